use super::{CliError, ExitStatus, cache_dir::CacheDir, run::say};
use crate::index::{Cache, CachePart, CacheShare, IndexError};
use clap::{Args, Subcommand};
use serde_json::json;
use std::io::Write;

/// Say what is kept of what was computed before, or forget it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp cache stats
  ragicamp cache clear --rankings

Vectors of texts are kept by model, rankings of questions by index, reranker and query transform.
What is forgotten is computed again when it is needed. Indexes are no part of it: see `ragicamp
index`.")]
pub struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Say what is kept.
    Stats {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        cache: CacheDir,
    },
    /// Forget it: all, or one part.
    Clear {
        /// Vectors of texts only.
        #[arg(long, conflicts_with = "rankings")]
        embeddings: bool,
        /// Rankings of questions only.
        #[arg(long)]
        rankings: bool,
        #[command(flatten)]
        cache: CacheDir,
    },
}

pub fn run(args: &CacheArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    match &args.command {
        CacheCommand::Stats { json, cache } => stats(*json, cache, out),
        CacheCommand::Clear {
            embeddings,
            rankings,
            cache,
        } => {
            let kept = open(cache)?;
            for (part, what, wanted) in [
                (CachePart::Embeddings, "vectors", !rankings),
                (CachePart::Rankings, "rankings", !embeddings),
            ] {
                if wanted {
                    let count = match &kept {
                        Some(cache) => cache.clear(part).map_err(failed)?,
                        None => 0,
                    };
                    say(out, &format!("{count} {what} forgotten"))?;
                }
            }
            Ok(ExitStatus::OK)
        }
    }
}

fn stats(as_json: bool, cache: &CacheDir, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    // Looking makes nothing.
    let Some(kept) = open(cache)? else {
        let place = cache.path();
        return match as_json {
            true => say(
                out,
                &format!(
                    "{:#}",
                    json!({"path": place, "bytes": 0, "embeddings": [], "rankings": []})
                ),
            ),
            false => say(out, &format!("nothing is kept in {}", place.display())),
        }
        .map(|()| ExitStatus::OK);
    };
    let stats = kept.stats().map_err(failed)?;
    if as_json {
        say(out, &format!("{:#}", json!(stats)))?;
        return Ok(ExitStatus::OK);
    }
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    say(
        out,
        &format!("{}  {:.1} MB", stats.path.display(), megabytes(stats.bytes)),
    )?;
    let parts: [(&str, &[CacheShare]); 2] = [
        ("vectors", &stats.embeddings),
        ("rankings", &stats.rankings),
    ];
    for (what, shares) in parts {
        for share in shares {
            say(
                out,
                &format!(
                    "{:>9} {what}, {:.1} MB, of {}",
                    share.entries,
                    megabytes(share.bytes),
                    share.of
                ),
            )?;
        }
    }
    Ok(ExitStatus::OK)
}

fn open(cache: &CacheDir) -> Result<Option<Cache>, CliError> {
    Cache::open_existing(&cache.path()).map_err(failed)
}

fn failed(error: IndexError) -> CliError {
    CliError::environment(anyhow::anyhow!("{error}"))
}
