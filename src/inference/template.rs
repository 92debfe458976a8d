use minijinja::{Environment, Error, ErrorKind, context, syntax::SyntaxConfig};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value;

/// Instructions that rendering one prompt may take.
const FUEL: u64 = 10_000_000;

/// The name of the template in its environment.
const NAME: &str = "chat";

/// A model's chat template.
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
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| error.to_string())?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| format!("the chat template has an error: {error}"))?;
        Ok(Self {
            environment,
            bos,
            eos,
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
        let messages: Vec<minijinja::Value> = messages
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

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The day that templates are told. Always the same (it is the one that
/// Llama's own templates fall back to), so that a study gives the same prompts
/// tomorrow.
fn strftime_now(format: String) -> Result<String, Error> {
    let failure = |error: jiff::Error| Error::new(ErrorKind::InvalidOperation, error.to_string());
    let day = jiff::civil::Date::new(2024, 7, 26)
        .map_err(failure)?
        .at(12, 0, 0, 0);
    jiff::fmt::strtime::format(&format, day).map_err(failure)
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
