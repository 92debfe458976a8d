use super::{CliError, ExitStatus};
use crate::server::{self, JobsDatabase, ServeError, ServeOptions};
use anyhow::{Context as _, anyhow};
use clap::Args;
use std::{fs, net::SocketAddr, path::PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp serve outputs                    # and open http://localhost:8642
  curl localhost:8642/api/studies
  curl localhost:8642/api/studies/baseline/experiments?phase=failed
  curl localhost:8642/api/training/baseline%2FEXPERIMENT/errors
  curl -N localhost:8642/api/events
  curl localhost:8642/api/openapi.json
  ragicamp serve outputs --jobs-db platform.db
  ragicamp serve outputs --bind 0.0.0.0:8642 --token-file ~/.ragicamp-token

The server only reads. Without a token it can be reached from this machine only.")]
pub struct ServeArgs {
    /// The directory that holds the studies.
    #[arg(default_value = "outputs")]
    dir: PathBuf,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8642",
        env = "RAGICAMP_BIND"
    )]
    bind: SocketAddr,
    /// A file with the token that requests must carry as `Authorization:
    /// Bearer TOKEN`.
    #[arg(long, value_name = "FILE", env = "RAGICAMP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// A further name by which requests may call this server.
    #[arg(long, value_name = "NAME", env = "RAGICAMP_ALLOW_HOST")]
    allow_host: Vec<String>,
    /// A database that knows training jobs: an SQLite file, or a postgres://
    /// URL where it is built in, with a table training_jobs(id, status,
    /// error_message). It is only read.
    #[arg(
        long,
        value_name = "DATABASE",
        env = "RAGICAMP_JOBS_DB",
        hide_env_values = true
    )]
    jobs_db: Option<String>,
}

pub fn run(args: ServeArgs) -> Result<ExitStatus, CliError> {
    let token = match &args.token_file {
        None => None,
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("--token-file {}", path.display()))
                .map_err(CliError::usage)?;
            let token = text.trim();
            if token.is_empty() {
                return Err(CliError::usage(anyhow!(
                    "--token-file {} is empty; write a token into it",
                    path.display()
                )));
            }
            Some(token.to_owned())
        }
    };
    let options = ServeOptions {
        root: args.dir,
        bind: args.bind,
        token,
        allowed_hosts: args.allow_host,
        jobs: args
            .jobs_db
            .as_deref()
            .map(JobsDatabase::open)
            .transpose()
            .map_err(CliError::usage)?,
    };
    server::serve(options, |address| {
        eprintln!("listening on http://{address}");
    })
    .map_err(|error| match error {
        ServeError::Io(_) => CliError::environment(error),
        _ => CliError::usage(error),
    })?;
    Ok(ExitStatus::OK)
}
