use crate::domain::{GenerationRequest, GenerationSettings};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// Stop texts that the API takes; the others are found on this side.
const MOST_STOPS: usize = 4;

/// A setting that not every server takes, and without which the answer is the
/// same or nearly so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// Newer models want `max_completion_tokens` in place of `max_tokens`.
    MaxTokens,
    /// Stop texts are cut off on this side in any case.
    Stop,
    /// Only sampling needs it.
    Seed,
    /// Models that think take none but their own.
    Temperature,
}

/// What this server was found not to take. Learned from its refusals, once
/// per loaded model.
#[derive(Debug, Default)]
pub struct Dialect {
    completion_tokens: AtomicBool,
    no_stop: AtomicBool,
    no_seed: AtomicBool,
    no_temperature: AtomicBool,
    any_temperature: bool,
}

impl Dialect {
    fn flag(&self, parameter: Parameter) -> &AtomicBool {
        match parameter {
            Parameter::MaxTokens => &self.completion_tokens,
            Parameter::Stop => &self.no_stop,
            Parameter::Seed => &self.no_seed,
            Parameter::Temperature => &self.no_temperature,
        }
    }

    /// A temperature of 0 may be left out, although answers are sampled then.
    pub fn allow_any_temperature(&mut self) {
        self.any_temperature = true;
    }

    /// Does without the parameter from now on; false if it did already.
    pub fn leave_out(&self, parameter: Parameter) -> bool {
        !self.flag(parameter).swap(true, Ordering::Relaxed)
    }

    fn leaves_out(&self, parameter: Parameter) -> bool {
        self.flag(parameter).load(Ordering::Relaxed)
    }
}

/// The path below the base URL that takes a request.
pub const fn path(request: &GenerationRequest) -> &'static str {
    if request.raw {
        "/completions"
    } else {
        "/chat/completions"
    }
}

/// The JSON of a request, and the parameters it holds that a server might not
/// take.
pub fn body(
    model: &str,
    request: &GenerationRequest,
    settings: &GenerationSettings,
    dialect: &Dialect,
) -> (Value, Vec<Parameter>) {
    let mut body = Map::new();
    let mut optional = Vec::new();
    body.insert("model".to_owned(), model.into());
    if request.raw {
        let prompt = match &request.system {
            Some(system) => format!("{system}\n\n{}", request.prompt),
            None => request.prompt.clone(),
        };
        body.insert("prompt".to_owned(), prompt.into());
    } else {
        let mut messages = Vec::new();
        if let Some(system) = &request.system {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": request.prompt}));
        body.insert("messages".to_owned(), messages.into());
    }
    if dialect.leaves_out(Parameter::MaxTokens) {
        body.insert(
            "max_completion_tokens".to_owned(),
            settings.max_new_tokens.into(),
        );
    } else {
        body.insert("max_tokens".to_owned(), settings.max_new_tokens.into());
        optional.push(Parameter::MaxTokens);
    }
    let may_leave_out = dialect.any_temperature && settings.temperature == 0.0;
    if !(may_leave_out && dialect.leaves_out(Parameter::Temperature)) {
        body.insert("temperature".to_owned(), settings.temperature.into());
        if may_leave_out {
            optional.push(Parameter::Temperature);
        }
    }
    if let Some(top_p) = settings.top_p {
        body.insert("top_p".to_owned(), top_p.into());
    }
    if !dialect.leaves_out(Parameter::Seed) {
        // The API's integers are signed.
        body.insert("seed".to_owned(), (settings.seed & (u64::MAX >> 1)).into());
        optional.push(Parameter::Seed);
    }
    let stops: Vec<&str> = stops(settings).take(MOST_STOPS).collect();
    if !stops.is_empty() && !dialect.leaves_out(Parameter::Stop) {
        body.insert("stop".to_owned(), stops.into());
        optional.push(Parameter::Stop);
    }
    (Value::Object(body), optional)
}

fn stops(settings: &GenerationSettings) -> impl Iterator<Item = &str> {
    settings
        .stop
        .iter()
        .map(String::as_str)
        .filter(|stop| !stop.is_empty())
}

/// Cuts the text before the first of the stop texts; whether there was one.
pub fn cut(text: &mut String, settings: &GenerationSettings) -> bool {
    let end = stops(settings).filter_map(|stop| text.find(stop)).min();
    if let Some(end) = end {
        text.truncate(end);
    }
    end.is_some()
}
