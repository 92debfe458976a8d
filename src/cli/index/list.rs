use super::{unknown, wrong};
use crate::{
    cli::{
        CliError, ExitStatus,
        cache_dir::CacheDir,
        run::say,
        table::{print, table},
    },
    index::{Shelved, ShelvedState, Shelves},
};
use clap::Args;
use serde_json::json;
use std::io::Write;

#[derive(Debug, Args)]
pub struct ListArgs {
    /// As a list in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheDir,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A retriever's name, or the beginning of a directory's name; all without one.
    name: Option<String>,
    #[command(flatten)]
    cache: CacheDir,
}

#[derive(Debug, Args)]
pub struct DropArgs {
    /// A retriever's name, or the beginning of a directory's name.
    name: String,
    #[command(flatten)]
    cache: CacheDir,
}

pub fn list(args: &ListArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let place = args.cache.path();
    let shelved = Shelves::new(&place).list().map_err(wrong)?;
    if args.json {
        say(out, &format!("{:#}", json!(shelved)))?;
        return Ok(ExitStatus::OK);
    }
    if shelved.is_empty() {
        say(out, &format!("there is no index in {}", place.display()))?;
        return Ok(ExitStatus::OK);
    }
    let mut rows = table([
        "directory",
        "state",
        "passages",
        "MB",
        "chunking",
        "retrievers",
        "corpus",
    ]);
    for one in &shelved {
        rows.add_row([
            one.directory.clone(),
            state(one).to_owned(),
            one.manifest["passages"]
                .as_u64()
                .or(one.manifest["vectors"].as_u64())
                .map_or_else(String::new, |count| count.to_string()),
            format!("{:.1}", one.bytes as f64 / 1e6),
            text(one, "chunking"),
            one.retrievers.join(", "),
            text(one, "corpus"),
        ]);
    }
    print(&rows, out)?;
    Ok(ExitStatus::OK)
}

fn state(one: &Shelved) -> &'static str {
    match one.state {
        ShelvedState::Ready => "ready",
        ShelvedState::Unfinished => "unfinished",
        ShelvedState::Broken => "broken",
    }
}

fn text(one: &Shelved, key: &str) -> String {
    one.manifest[key].as_str().unwrap_or_default().to_owned()
}

pub fn verify(args: &VerifyArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let shelves = Shelves::new(&args.cache.path());
    let directories = match &args.name {
        Some(name) => shelves.resolve(name).map_err(unknown)?,
        None => {
            let all = shelves.list().map_err(wrong)?.into_iter();
            all.filter(|one| one.state == ShelvedState::Ready)
                .map(|one| one.directory)
                .collect()
        }
    };
    let mut broken = false;
    for directory in directories {
        let damage = shelves.verify(&directory).map_err(wrong)?;
        broken |= !damage.is_empty();
        match damage.is_empty() {
            true => say(out, &format!("{directory}: whole"))?,
            false => say(out, &format!("{directory}: {}", damage.join("; ")))?,
        }
    }
    if broken {
        say(
            out,
            "next: ragicamp index drop NAME; what needs it builds it again",
        )?;
    }
    Ok(ExitStatus(u8::from(broken)))
}

pub fn drop(args: &DropArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let shelves = Shelves::new(&args.cache.path());
    let directories = shelves.resolve(&args.name).map_err(unknown)?;
    // What another retriever uses stays for it.
    let list = shelves.list().map_err(wrong)?;
    let is_shared = |directory: &String| {
        let one = list.iter().find(|one| one.directory == *directory);
        one.is_some_and(|one| {
            one.retrievers.contains(&args.name)
                && one.retrievers.iter().any(|name| *name != args.name)
        })
    };
    let (shared, own): (Vec<String>, Vec<String>) = directories.into_iter().partition(is_shared);
    for directory in shelves.drop(&own).map_err(wrong)? {
        say(out, &format!("dropped {directory}"))?;
    }
    for directory in &shared {
        say(out, &format!("kept {directory}: other retrievers use it"))?;
    }
    if own.is_empty() {
        shelves.forget(&args.name).map_err(wrong)?;
    }
    Ok(ExitStatus::OK)
}
