use crate::domain::{Failure, FailureClass, ModelSpec};
use std::fmt;
use ureq::http::{HeaderValue, Uri};

/// Where a study that names no server sends its requests.
const OPENAI: &str = "https://api.openai.com/v1";

/// Where a model is served, and what is shown there to be let in.
#[derive(Debug)]
pub struct Server {
    /// Without a slash at the end.
    url: String,
    loopback: bool,
    key: Option<Key>,
}

/// A secret: neither shown nor logged, and cut out of what servers say.
struct Key {
    text: String,
    header: HeaderValue,
}

impl Key {
    fn new(text: String) -> Result<Self, Failure> {
        let mut header = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| {
            Failure::new(
                FailureClass::Permanent,
                "OPENAI_API_KEY holds characters that no key has: set it again",
            )
        })?;
        header.set_sensitive(true);
        Ok(Self { text, header })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Server {
    /// The server of a model: its own `base_url`, else `OPENAI_BASE_URL`,
    /// else OpenAI's; with `OPENAI_API_KEY`, if there is one.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn of(model: &ModelSpec) -> Result<Self, Failure> {
        let variable = |name| {
            std::env::var(name)
                .ok()
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let key = variable("OPENAI_API_KEY");
        match (&model.base_url, variable("OPENAI_BASE_URL")) {
            (Some(url), _) => Self::new(&format!("{model}: base_url"), url, key),
            (None, Some(url)) => Self::new("OPENAI_BASE_URL", &url, key),
            (None, None) => Self::new("base_url", OPENAI, key),
        }
    }

    /// A server at `url`, which was read from `origin`.
    ///
    /// # Errors
    /// `permanent`: one sentence on what is wrong with the URL or the key.
    pub fn new(origin: &str, url: &str, key: Option<String>) -> Result<Self, Failure> {
        let wrong = |what: &str| {
            let message =
                format!("{origin} {what}: write it like http://localhost:8000/v1 or {OPENAI}");
            Failure::new(FailureClass::Permanent, message)
        };
        let url = url.trim();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(wrong("does not begin with http:// or https://"));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("is no web address"))?;
        let authority = uri.authority().ok_or_else(|| wrong("names no server"))?;
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("names no server"));
        }
        // It would end in artifacts and messages.
        if authority.as_str().contains('@') {
            return Err(wrong(
                "holds a user name or a password; the key goes into OPENAI_API_KEY",
            ));
        }
        if url.contains(['?', '#']) {
            return Err(wrong("holds more than an address and a path"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        let key = key.map(Key::new).transpose()?;
        let url = url.trim_end_matches('/');
        let url = url.strip_suffix("/chat/completions").unwrap_or(url);
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            loopback,
            key,
        })
    }

    /// The base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is this machine, where no proxy leads to.
    pub const fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Whether there is a key.
    pub const fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The header that shows the key.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.key.as_ref().map(|key| &key.header)
    }

    /// A message without the key. One of a few letters is a word that servers
    /// without keys are shown (`none`, `x`): as a secret it would hide nothing.
    pub fn without_key(&self, text: String) -> String {
        const SHORTEST: usize = 6;
        match &self.key {
            Some(key) if key.text.len() >= SHORTEST => text.replace(&key.text, "***"),
            _ => text,
        }
    }

    /// An answer without the key, where it is one that nobody guesses: an
    /// answer may well hold the words that stand for a key where none is wanted.
    pub fn without_secret(&self, text: String) -> String {
        match &self.key {
            Some(key) if is_secret(&key.text) => text.replace(&key.text, "***"),
            _ => text,
        }
    }

    /// What a server says, fit for a message: one line, not long, and without
    /// the key, which some servers repeat.
    pub fn quote(&self, text: &str) -> String {
        const LONGEST: usize = 300;
        // What moves a terminal's cursor is not passed on.
        let text = text.replace(|c: char| c.is_control(), " ");
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line = self.without_key(line);
        if let Some((end, _)) = line.char_indices().nth(LONGEST) {
            line.truncate(end);
            line.push_str(" ...");
        }
        line
    }
}

/// Whether a key is long and mixed enough to stand in a text for itself alone.
fn is_secret(key: &str) -> bool {
    const SHORTEST: usize = 16;
    let has = |kind: fn(&char) -> bool| key.chars().any(|c| kind(&c));
    key.len() >= SHORTEST && has(char::is_ascii_digit) && has(char::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn answers_keep_the_words_that_stand_for_no_key() {
        let server = |key: &str| {
            Server::new("base_url", "http://localhost:8000/v1", Some(key.to_owned())).unwrap()
        };
        for placeholder in ["none", "EMPTY", "ollama", "1", "x", "token-abc123", "dummy"] {
            let answer = format!("{placeholder} of the EMPTY tokens is 1");
            assert_eq!(server(placeholder).without_secret(answer.clone()), answer);
        }
        let secret = "sk-proj-Ab3dEf6hIj9kLmN0";
        let echoed = format!("Bearer {secret}.");
        assert_eq!(server(secret).without_secret(echoed.clone()), "Bearer ***.");
        assert_eq!(server(secret).quote(&echoed), "Bearer ***.");
        assert_eq!(server("hunter2").quote("not hunter2\x1b[2J"), "not *** [2J");
        assert_eq!(server("1").quote("max_tokens 1024"), "max_tokens 1024");
    }
}
