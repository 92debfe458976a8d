//! The HTTP API over a directory of studies: how they stand, what failed and
//! why, and what happens now; and the web panel that shows it. It only ever
//! reads.
//!
//! [`serve`] is the way in. A request passes `guard` (host, origin, method,
//! token), finds what it names through `place`, which never leads out of the
//! directory, and is answered by the room's file of that name: `studies`,
//! `experiments`, `failures`, `window` (of a log), `events`. Files are read on
//! threads of their own, of which there are only so many. Whatever goes wrong
//! is a `problem` (RFC 9457). `openapi` describes all of it from the code that
//! answers, `prometheus` counts it, and `panel` is the page: plain modules of
//! JavaScript in `panel/`, served as they are.

mod app;
mod asked;
mod connections;
mod diagnoses;
mod events;
mod experiments;
mod failures;
mod guard;
mod jobs;
mod openapi;
mod page;
mod panel;
mod place;
mod problem;
mod prometheus;
mod studies;
mod window;

pub use jobs::{JobsDatabase, JobsError};

use app::App;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use thiserror::Error;

/// Reads of files under way when the server ends are given so long.
const LAST_READS: Duration = Duration::from_secs(1);

/// What is served, where, and to whom.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The directory below which studies and logs are.
    pub root: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    pub bind: SocketAddr,
    /// What `Authorization: Bearer` must carry.
    pub token: Option<String>,
    /// Names by which requests may call this server, beside the address
    /// itself and the names of this machine's loopback.
    pub allowed_hosts: Vec<String>,
    /// What else knows training jobs.
    pub jobs: Option<JobsDatabase>,
}

/// Why nothing is served. Each message is one sentence.
#[derive(Debug, Error)]
pub enum ServeError {
    /// There is no such directory.
    #[error("{} is no directory; give the directory that holds the studies, as outputs", .0.display())]
    NoDirectory(PathBuf),
    /// Everybody could read everything.
    #[error("{0} can be reached from outside: give a token with --token-file, or bind 127.0.0.1")]
    NoToken(IpAddr),
    /// The address is taken, or not ours.
    #[error("listening on {address}: {source}; choose another one with --bind")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system failed.
    #[error("serving: {0}")]
    Io(#[from] io::Error),
}

/// Serves until SIGINT or SIGTERM; requests that are under way are answered.
/// `listening` hears the address.
///
/// # Errors
/// When the directory is none, the address can not be had, or would be open
/// to everybody.
pub fn serve(
    options: ServeOptions,
    listening: impl FnOnce(SocketAddr) + Send,
) -> Result<(), ServeError> {
    let is_directory = options.root.is_dir();
    if !is_directory {
        return Err(ServeError::NoDirectory(options.root));
    }
    if options.token.is_none() && !options.bind.ip().is_loopback() {
        return Err(ServeError::NoToken(options.bind.ip()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let address = options.bind;
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Bind { address, source })?;
        let address = listener.local_addr()?;
        let app = App::new(options, address)?;
        let stop = app.stop_sender();
        // Whoever is told the address may end the server at once.
        let end = end()?;
        listening(address);
        connections::serve(listener, app.router(), async move {
            end.await;
            // Streams of events have no end of their own.
            stop.send_replace(true);
        })
        .await?;
        Ok(())
    });
    // A read that never returns does not hold up the end.
    runtime.shutdown_timeout(LAST_READS);
    served
}

/// Takes the signals over from now on; what is returned waits for one.
fn end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
