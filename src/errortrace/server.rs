//! Models behind somebody else's server: their failures are the server's, not
//! those of a device here or of the hub.

use super::{
    advice::{self, Tip},
    explain::Context,
    rules::Rule,
};
use crate::domain::FailureClass;

/// What the names of such models begin with.
const PROVIDERS: [&str; 2] = ["openai:", "vllm:"];

/// Whether `message` says that a server failed: it names one.
pub(super) fn is_named(message: &str) -> bool {
    message.contains(" at http") && PROVIDERS.iter().any(|name| message.contains(name))
}

/// Whether a failure of `class` is the server's. An experiment that asks one
/// can lack a dataset or disk space all the same.
pub(super) fn has_failed(message: &str, class: FailureClass, context: &Context) -> bool {
    let model = context.model.as_deref().unwrap_or_default();
    let asks_one = PROVIDERS.iter().any(|name| model.starts_with(name));
    match class {
        FailureClass::Transient | FailureClass::DeviceLost | FailureClass::Hang => {
            asks_one || is_named(message)
        }
        FailureClass::Environment | FailureClass::WorkerDied => false,
        _ => is_named(message),
    }
}

/// What to do about a server of which `rule` says what happened, in place of
/// the rule's own advice, which knows the hub and the devices here.
pub(super) fn advice(rule: Option<&Rule>, message: &str) -> &'static [Tip] {
    if message.contains("can not be reached") {
        return &[advice::SERVER_URL, advice::RESUME];
    }
    match rule.map(|rule| rule.subtype) {
        Some("auth") => &[advice::SERVER_KEY, advice::SERVER_URL],
        Some("missing_model") => &[advice::SERVER_MODEL, advice::SERVER_URL],
        Some("quota") => &[advice::CREDIT],
        Some("certificate") => &[advice::CERTIFICATES, advice::SERVER_URL],
        Some("context_length") => &[advice::FEWER_PASSAGES],
        // Asking again, or less at once, changes nothing.
        _ if message.contains(" refuses ") => &[],
        _ => &[advice::SERVER_LOAD, advice::SERVER_URL, advice::SERVER_LOG],
    }
}

/// `message` without the name and the address of the server before what it
/// said: `openai:NAME at URL: 503 ...` and `openai:NAME at URL does so (400 ...`.
pub(super) fn without_name(message: &str) -> Option<&str> {
    let named = PROVIDERS
        .iter()
        .find_map(|name| message.strip_prefix(name))?;
    let (_, address) = named.split_once(" at http")?;
    let (url, said) = address.split_once(' ')?;
    if url.ends_with(':') {
        return Some(said);
    }
    let status = |text: &&str| text.bytes().take(3).filter(u8::is_ascii_digit).count() == 3;
    let quoted = said.split_once('(').map(|(_, quoted)| quoted);
    Some(quoted.filter(status).unwrap_or(said))
}
