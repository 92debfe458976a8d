//! What the package is built from: licences by `cargo metadata`, sources by
//! `Cargo.lock`, and what is let in by `deny.toml`. Nothing is downloaded.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

pub struct Package {
    pub name: String,
    /// An SPDX expression; older ones write `/` for `OR`.
    pub license: String,
}

/// A package of `Cargo.lock`.
#[derive(Default)]
pub struct Locked {
    source: Option<String>,
    checksum: Option<String>,
}

impl Locked {
    pub fn is_sound(&self) -> bool {
        self.source
            .as_deref()
            .is_some_and(|source| source == "registry+https://github.com/rust-lang/crates.io-index")
            && self.checksum.as_ref().is_some_and(|sum| sum.len() == 64)
    }
}

/// The licences that `deny.toml` lets in.
pub struct Policy {
    allowed: Vec<String>,
    /// By the name of a crate.
    exceptions: Vec<(String, Vec<String>)>,
}

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What this package is built from on this machine; `None` where a manifest
/// would have to be downloaded.
pub fn packages() -> Option<Vec<Package>> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let told = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", &host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).ok()?;
    let packages = told["packages"].as_array()?.iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let packages = packages.map(|package| Package {
        name: text(&package["name"]),
        license: text(&package["license"]),
    });
    Some(packages.collect())
}

/// The packages of `Cargo.lock` by name; of several versions the worst.
pub fn locked() -> BTreeMap<String, Locked> {
    let mut all: BTreeMap<String, Locked> = BTreeMap::new();
    for package in read("Cargo.lock").split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim_start_matches(" = ").trim_matches('"').to_owned())
        };
        let Some(name) = value("name") else { continue };
        let found = Locked {
            source: value("source"),
            checksum: value("checksum"),
        };
        if all.get(&name).is_none_or(Locked::is_sound) {
            all.insert(name, found);
        }
    }
    all
}

/// The texts of a list of `deny.toml`.
fn list(text: &str, key: &str) -> Vec<String> {
    let start = text.find(key).unwrap_or_else(|| panic!("no {key}")) + key.len();
    let length = text[start..].find(']').expect("the list ends");
    let lines = text[start..start + length].lines();
    lines
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Crates that are banned.
pub fn denied() -> Vec<String> {
    list(&read("deny.toml"), "\ndeny = [")
}

impl Policy {
    pub fn of_deny_toml() -> Self {
        let text = read("deny.toml");
        let exceptions = text
            .match_indices("{ name = \"")
            .map(|(at, start)| {
                let rest = &text[at + start.len()..];
                let name = rest.split('"').next().unwrap_or_default().to_owned();
                (name, list(rest, "allow = ["))
            })
            .collect();
        Self {
            allowed: list(&text, "\nallow = ["),
            exceptions,
        }
    }

    /// Whether a package's licence is let in as a whole.
    pub fn lets_in(&self, package: &Package) -> bool {
        let expression = package
            .license
            .replace('/', " OR ")
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace(" WITH ", "\u{a0}WITH\u{a0}");
        let words: Vec<String> = expression
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(|word| word.replace('\u{a0}', " "))
            .collect();
        let is_allowed = |license: &str| {
            let own = self.exceptions.iter();
            let own = own.filter(|(name, _)| *name == package.name);
            let mut allowed = own.flat_map(|(_, more)| more).chain(&self.allowed);
            allowed.any(|allowed| allowed == license)
        };
        let mut words = words.iter().map(String::as_str).peekable();
        !package.license.is_empty() && any(&mut words, &is_allowed) && words.next().is_none()
    }
}

fn any<'i, I: Iterator<Item = &'i str>>(
    words: &mut std::iter::Peekable<I>,
    is_allowed: &dyn Fn(&str) -> bool,
) -> bool {
    let mut found = all(words, is_allowed);
    while words.next_if_eq(&"OR").is_some() {
        found |= all(words, is_allowed);
    }
    found
}

fn all<'i, I: Iterator<Item = &'i str>>(
    words: &mut std::iter::Peekable<I>,
    is_allowed: &dyn Fn(&str) -> bool,
) -> bool {
    let mut found = one(words, is_allowed);
    while words.next_if_eq(&"AND").is_some() {
        found &= one(words, is_allowed);
    }
    found
}

fn one<'i, I: Iterator<Item = &'i str>>(
    words: &mut std::iter::Peekable<I>,
    is_allowed: &dyn Fn(&str) -> bool,
) -> bool {
    match words.next() {
        Some("(") => {
            let found = any(words, is_allowed);
            words.next_if_eq(&")").is_some() && found
        }
        Some(license) => is_allowed(license),
        None => false,
    }
}
