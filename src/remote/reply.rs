use super::body::{Parameter, cut};
use crate::domain::{FinishReason, Generated, GenerationSettings};
use serde_json::{Value, json};
use std::time::Duration;
use ureq::http::StatusCode;

/// What a server answered instead of a completion, or why it did not answer.
/// The texts are the server's own words where it had any.
#[derive(Debug, PartialEq)]
pub enum Trouble {
    /// It may pass: the request is worth sending again.
    Passing {
        /// What happened.
        what: String,
        /// How long the server asks to wait.
        wait: Option<Duration>,
        /// Too many requests.
        too_many: bool,
        /// No connection came about.
        unreachable: bool,
    },
    /// This prompt does not fit into the context.
    Overflow(String),
    /// This prompt can not be completed: not allowed.
    Prompt(String),
    /// A request that is no good, for a reason that may be the prompt or may
    /// be what all requests have in common.
    Refused(String),
    /// The server does not take this parameter.
    Untaken(Parameter),
    /// No request can be answered.
    Hopeless(Hopeless),
}

/// Why no request can be answered.
#[derive(Debug, PartialEq)]
pub enum Hopeless {
    /// 401 and 403: the key is missing, wrong, or may not do this.
    Key(String),
    /// 404: no such model, or no such path.
    Unknown(String),
    /// Anything else, with what is wrong.
    Other(String),
}

/// The completion in a reply of status 200.
pub fn completion(body: &[u8], settings: &GenerationSettings) -> Result<Generated, Trouble> {
    let reply: Value = serde_json::from_slice(body)
        .map_err(|error| passing(format!("the reply is no JSON ({error})")))?;
    // Some gateways say 200 and put the status into the body, also beside what
    // was said before the error.
    let within = ["/error", "/choices/0/error"];
    let error = within.iter().find_map(|place| {
        let error = reply.pointer(place)?;
        (!error.is_null() && error.as_str() != Some("")).then_some(error)
    });
    if let Some(error) = error {
        let status = error
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok())
            .filter(|status| status.as_u16() >= 400)
            .unwrap_or(StatusCode::BAD_GATEWAY);
        let body = json!({ "error": error }).to_string();
        return Err(trouble(status, body.as_bytes(), None, &[]));
    }
    let Some(choice) = reply.pointer("/choices/0") else {
        return Err(passing("the reply holds no choices".to_owned()));
    };
    let reason = choice
        .get("finish_reason")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if reason == "content_filter" {
        return Err(Trouble::Prompt(
            "the server's content filter held the answer back".to_owned(),
        ));
    }
    if matches!(reason, "error" | "abort") {
        return Err(passing(format!(
            "the server broke the answer off (finish_reason {reason:?})"
        )));
    }
    let message = choice.get("message");
    if let Some(refusal) = message
        .and_then(|message| message.get("refusal"))
        .and_then(Value::as_str)
        .filter(|refusal| !refusal.is_empty())
    {
        return Err(Trouble::Prompt(format!("the model refused: {refusal}")));
    }
    let content = match message {
        Some(message) => message.get("content"),
        None => choice.get("text"),
    };
    let mut text = match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text")?.as_str())
            .collect(),
        // Nothing was said before the end, or before the limit: models that
        // think may spend all tokens on it. Both are answers, though empty.
        None | Some(Value::Null) if matches!(reason, "stop" | "length") => String::new(),
        _ => return Err(passing("the reply holds no text".to_owned())),
    };
    let tokens = |key| {
        reply
            .pointer(&format!("/usage/{key}"))
            .and_then(Value::as_u64)
            .and_then(|tokens| usize::try_from(tokens).ok())
            .unwrap_or(0)
    };
    let stopped = cut(&mut text, settings);
    Ok(Generated {
        text,
        tokens_in: tokens("prompt_tokens"),
        tokens_out: tokens("completion_tokens"),
        finish: if reason == "length" && !stopped {
            FinishReason::Length
        } else {
            FinishReason::Stop
        },
        passages_cut: 0,
    })
}

fn passing(what: String) -> Trouble {
    Trouble::Passing {
        what,
        wait: None,
        too_many: false,
        unreachable: false,
    }
}

/// What a reply that is no success means. `sent`: the parameters that were
/// sent and can be left out.
pub fn trouble(
    status: StatusCode,
    body: &[u8],
    wait: Option<Duration>,
    sent: &[Parameter],
) -> Trouble {
    let error = ServerError::read(body);
    let what = match error.message.trim() {
        "" => status.to_string(),
        message => format!("{status}: {message}"),
    };
    // Some servers say 500 where others say 400, 413 or 422.
    let is_about_request = matches!(status.as_u16(), 400 | 413 | 422 | 500);
    if is_about_request && error.is_overflow() {
        return Trouble::Overflow(format!("the prompt does not fit into the context ({what})"));
    }
    if matches!(status.as_u16(), 400 | 403 | 422) && error.is_content_filter() {
        return Trouble::Prompt(format!("the server does not answer this prompt ({what})"));
    }
    match status.as_u16() {
        400 | 422 => match error.untaken(sent) {
            Some(parameter) => Trouble::Untaken(parameter),
            None => Trouble::Refused(what),
        },
        401 | 403 => Trouble::Hopeless(Hopeless::Key(what)),
        404 => Trouble::Hopeless(Hopeless::Unknown(what)),
        413 => Trouble::Overflow(format!("the prompt is too large ({what})")),
        429 if error.is_quota() => Trouble::Hopeless(Hopeless::Other(what)),
        408 | 409 | 425 | 429 | 500.. => Trouble::Passing {
            what,
            wait,
            too_many: status == StatusCode::TOO_MANY_REQUESTS,
            unreachable: false,
        },
        300..400 => Trouble::Hopeless(Hopeless::Unknown(what)),
        _ => Trouble::Hopeless(Hopeless::Other(what)),
    }
}

/// What a connection that failed means.
pub fn no_reply(error: &ureq::Error) -> Trouble {
    use std::io::ErrorKind;
    use ureq::{Error, Timeout};
    let (what, unreachable) = match error {
        Error::Io(error) => {
            let unreachable = matches!(
                error.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::AddrNotAvailable
            );
            let what = match error.kind() {
                ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
                    "the connection broke off".to_owned()
                }
                _ => error.to_string(),
            };
            (what, unreachable)
        }
        Error::HostNotFound => ("no such host".to_owned(), true),
        Error::ConnectionFailed | Error::ConnectProxyFailed(_) => (error.to_string(), true),
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            ("no connection in time".to_owned(), true)
        }
        Error::Timeout(_) => ("no answer in time".to_owned(), false),
        Error::Tls(_)
        | Error::Rustls(_)
        | Error::Http(_)
        | Error::BadUri(_)
        | Error::InvalidProxyUrl => {
            return Trouble::Hopeless(Hopeless::Other(error.to_string()));
        }
        _ => (error.to_string(), false),
    };
    Trouble::Passing {
        what,
        wait: None,
        too_many: false,
        unreachable,
    }
}

/// An error as servers of this kind word it.
#[derive(Debug, Default)]
struct ServerError {
    message: String,
    /// Message, code and type in lower case, for looking.
    all: String,
    param: String,
}

impl ServerError {
    fn read(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            // A proxy's page: its text is of no use to a reader.
            let text = String::from_utf8_lossy(body);
            let message = if text.trim_start().starts_with('<') {
                String::new()
            } else {
                text.into_owned()
            };
            return Self {
                all: message.to_lowercase(),
                message,
                param: String::new(),
            };
        };
        let error = value.get("error").unwrap_or(&value);
        let word = |key: &str| match error.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let message = [error.get("message"), Some(error), value.get("message")]
            .into_iter()
            .flatten()
            .chain(value.get("detail"))
            .find_map(|message| match message {
                Value::String(text) => Some(text.clone()),
                Value::Array(_) => Some(message.to_string()),
                _ => None,
            })
            .unwrap_or_default();
        Self {
            all: format!("{message} {} {}", word("code"), word("type")).to_lowercase(),
            message,
            param: word("param"),
        }
    }

    fn has_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.all.contains(word))
    }

    fn is_overflow(&self) -> bool {
        self.has_any(&[
            "context_length_exceeded",
            "exceed_context_size",
            "context length",
            "context window",
            "context size",
            "maximum model length",
            "prompt is too long",
            "prompt too long",
            "input is too long",
            "too many tokens",
            "`inputs` must have less than",
            "`inputs` tokens + `max_new_tokens` must be",
        ])
    }

    fn is_content_filter(&self) -> bool {
        self.has_any(&[
            "content_filter",
            "content filter",
            "content_policy",
            "content management policy",
            "responsibleaipolicyviolation",
            "moderation",
            "flagged",
        ])
    }

    fn is_quota(&self) -> bool {
        self.has_any(&["insufficient_quota", "exceeded your current quota"])
    }

    /// Which of the sent parameters the server says it does not know.
    fn untaken(&self, sent: &[Parameter]) -> Option<Parameter> {
        let unknown = self.has_any(&[
            "unsupported",
            "not support",
            "unknown",
            "unrecognized",
            "extra",
            "not permitted",
            "not allowed",
        ]);
        sent.iter().copied().find(|parameter| {
            let name = match parameter {
                Parameter::MaxTokens => return self.all.contains("max_completion_tokens"),
                Parameter::Stop => "stop",
                Parameter::Seed => "seed",
                Parameter::Temperature => "temperature",
            };
            let named = self.param == name
                || self
                    .all
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .any(|word| word == name);
            unknown && named
        })
    }
}
