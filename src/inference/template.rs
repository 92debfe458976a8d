use super::{
    nesting, operands,
    tags::{self, Filters},
};
use minijinja::{
    Environment, Error, ErrorKind, State, Value as Given, context, escape_formatter, filters,
    syntax::SyntaxConfig,
    value::{Rest, ValueKind},
};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value;
use std::{panic::resume_unwind, thread};

/// Instructions that rendering one prompt may take. 64 bytes of text count as
/// one, so this bounds its memory too: 64 MB of text, some ten times as much in
/// lists.
const FUEL: u64 = 1_000_000;

/// What assigned values and operands go through.
const FILTERS: Filters = Filters {
    named: "ragicamp_named",
    held: "ragicamp_held",
    operands: operands::Filters {
        factor: "ragicamp_factor",
        part: "ragicamp_part",
    },
};

/// Bytes of stack for the engine while it reads a template, when it recurses
/// by operators and by branches of a condition. The worst of them that the
/// bounds let through take a quarter of it.
const STACK: usize = 64 << 20;

/// The name of the template in its environment.
const NAME: &str = "chat";

/// A model's chat template. It is somebody else's program: it sees the messages
/// and nothing else, has no files and no other templates, and is stopped when
/// its fuel is spent.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles a template as transformers would.
    ///
    /// # Errors
    /// Where the template has an error.
    pub fn new(source: String, bos: String, eos: String) -> Result<Self, String> {
        let source = tags::with_filters(&source, &FILTERS)?;
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| error.to_string())?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(python_method);
        environment.add_filter(JOIN, filters::join);
        environment.add_filter("join", join);
        environment.add_filter(FILTERS.named, nesting::named);
        environment.add_filter(FILTERS.held, nesting::held);
        environment.add_filter(FILTERS.operands.factor, nesting::factor);
        environment.add_filter(FILTERS.operands.part, nesting::part);
        environment.set_formatter(|out, state, value| {
            if value.as_object().is_some() {
                nesting::pay_to_write(state, value)?;
            }
            escape_formatter(out, state, value)
        });
        // It writes out everything, unpaid; other engines do not have it.
        environment.remove_global("debug");
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        with_room(move || {
            environment
                .add_template_owned(NAME, source)
                .map_err(|error| format!("the chat template has an error: {error}"))?;
            Ok(Self {
                environment,
                bos,
                eos,
            })
        })
    }

    /// The prompt text for a system and a user message, up to where the
    /// assistant speaks. Templates that refuse a system message get its text
    /// before the user's.
    ///
    /// # Errors
    /// What the template says.
    pub fn render(&self, system: Option<&str>, user: &str) -> Result<String, String> {
        let Some(system) = system else {
            return self.messages(&[("user", user)]);
        };
        self.messages(&[("system", system), ("user", user)])
            .or_else(|_| self.messages(&[("user", &format!("{system}\n\n{user}"))]))
    }

    fn messages(&self, messages: &[(&str, &str)]) -> Result<String, String> {
        let messages: Vec<Given> = messages
            .iter()
            .map(|(role, content)| context! { role => *role, content => *content })
            .collect();
        let values = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(values))
            .map_err(|error| format!("the chat template fails: {error}"))
    }
}

/// Does work of the engine on a thread of its own, whose stack suffices.
fn with_room<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread for the chat template: {error}"))?
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// The library's `join` under a name that no template can write.
const JOIN: &str = "join, unpaid";

/// A number that is formatted gets no wider than this.
const WIDEST: usize = 9_999;

/// Joins texts. The library pays for what it joined when all of it is there,
/// which may be more than any machine has; here it is paid before.
fn join(state: &mut State<'_, '_>, list: &Given, arguments: Rest<Given>) -> Result<Given, Error> {
    let joiner = arguments.first().and_then(Given::as_str);
    let mut bytes = 0_usize;
    for item in list.try_iter()? {
        bytes = bytes.saturating_add(length(&item)? + joiner.map_or(0, str::len));
    }
    pay(state, bytes)?;
    let arguments: Vec<Given> = std::iter::once(list.clone())
        .chain(arguments.iter().cloned())
        .collect();
    state.apply_filter(JOIN, &arguments)
}

/// The methods that Python's values have.
fn python_method(
    state: &mut State<'_, '_>,
    value: &Given,
    method: &str,
    arguments: &[Given],
) -> Result<Given, Error> {
    match (method, value.as_str(), arguments) {
        ("join", Some(_), [list]) => {
            return state.apply_filter("join", &[list.clone(), value.clone()]);
        }
        ("format", Some(text), _) => pay_for_format(state, text, arguments)?,
        _ => {}
    }
    unknown_method_callback(state, value, method, arguments)
}

/// The library does not pay for what `format` makes.
fn pay_for_format(state: &State<'_, '_>, text: &str, arguments: &[Given]) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, what.to_owned()));
    let mut digits = 0;
    let mut open = 0;
    for letter in text.replace("{{", "").replace("}}", "").chars() {
        digits = if letter.is_ascii_digit() {
            digits + 1
        } else {
            0
        };
        match letter {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if digits > 4 || open > 1 {
            return wrong("the width of a format is no number below 10000");
        }
    }
    let mut longest = WIDEST;
    for argument in arguments {
        if argument.is_kwargs() {
            for key in argument.try_iter()? {
                longest = longest.max(length(&argument.get_item(&key)?)?);
            }
        } else {
            longest = longest.max(length(argument)?);
        }
    }
    pay(state, text.matches('{').count().saturating_mul(longest))
}

/// Bytes of a value that is no list, written out.
fn length(value: &Given) -> Result<usize, Error> {
    match value.kind() {
        ValueKind::String => Ok(value.as_str().map_or(0, str::len)),
        ValueKind::Undefined | ValueKind::None | ValueKind::Bool | ValueKind::Number => Ok(512),
        other => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a {other} is no text"),
        )),
    }
}

fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

// The parameters are borrowed texts: any other value would be written out
// first, and a list that holds itself forty times over has no end.
fn raise_exception(message: &str) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// The day that templates are told. Always the same (it is the one that
/// Llama's own templates fall back to), so that a study gives the same prompts
/// tomorrow.
fn strftime_now(format: &str) -> Result<String, Error> {
    let failure = |error: jiff::Error| Error::new(ErrorKind::InvalidOperation, error.to_string());
    let day = jiff::civil::Date::new(2024, 7, 26)
        .map_err(failure)?
        .at(12, 0, 0, 0);
    jiff::fmt::strtime::format(format, day).map_err(failure)
}

/// The template in a `tokenizer_config.json`: a text, or the one named
/// `default` in a list.
pub fn of_tokenizer_config(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let named = |name: &str| {
                list.iter()
                    .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
            };
            let entry = named("default").or_else(|| list.first())?;
            Some(entry.get("template")?.as_str()?.to_owned())
        }
        _ => None,
    }
}

/// A special token in a `tokenizer_config.json`: a text, or an object with
/// its content.
pub fn special_token(config: &Value, key: &str) -> Option<String> {
    let value = config.get(key)?;
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    Some(text.to_owned())
}
