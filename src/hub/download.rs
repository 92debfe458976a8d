use super::{HubError, HubSettings, directory};
use crate::domain::ModelSpec;
use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        Progress, RepoInfo,
        sync::{ApiBuilder, ApiError, ApiRepo},
    },
};
use std::{
    path::PathBuf,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::Duration,
};

/// Without a byte for this long, a download is given up.
pub const SILENCE: Duration = Duration::from_secs(60);

/// A piece of a file that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchProgress {
    /// The file's name in its repository.
    pub file: String,
    /// Bytes of it here so far.
    pub bytes: u64,
    /// Its size in bytes.
    pub total: u64,
}

enum Report {
    Piece(FetchProgress),
    End(Result<(), ApiError>),
}

/// Brings the files of a model into the cache.
pub fn model(
    settings: &HubSettings,
    model: &ModelSpec,
    tell: &mut dyn FnMut(&FetchProgress),
) -> Result<(), HubError> {
    let (sender, receiver) = channel();
    let task = Task {
        settings: settings.clone(),
        name: model.name.clone(),
        revision: model.revision.clone().unwrap_or_else(|| "main".to_owned()),
        sender: sender.clone(),
    };
    // hf-hub sets no timeouts, so the download runs beside and is left behind
    // when it falls silent.
    std::thread::spawn(move || {
        let result = task.run();
        // Nobody listens any more when the silence was too long.
        sender.send(Report::End(result)).ok();
    });
    let network = |reason: String| HubError::Network {
        model: model.to_string(),
        endpoint: settings.endpoint.clone(),
        reason,
    };
    loop {
        match receiver.recv_timeout(SILENCE) {
            Ok(Report::Piece(progress)) => tell(&progress),
            Ok(Report::End(Ok(()))) => return Ok(()),
            Ok(Report::End(Err(error))) => return Err(explain(model, error, network)),
            Err(RecvTimeoutError::Timeout) => {
                return Err(network(format!("no answer for {} s", SILENCE.as_secs())));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(network("the download stopped unexpectedly".to_owned()));
            }
        }
    }
}

struct Task {
    settings: HubSettings,
    name: String,
    revision: String,
    sender: Sender<Report>,
}

impl Task {
    fn run(&self) -> Result<(), ApiError> {
        let api = ApiBuilder::new()
            .with_cache_dir(self.settings.cache.clone())
            .with_endpoint(self.settings.endpoint.clone())
            .with_token(self.settings.token.clone())
            .with_progress(false)
            .build()?;
        let repository = |revision: &str| {
            Repo::with_revision(self.name.clone(), RepoType::Model, revision.to_owned())
        };
        let RepoInfo { siblings, sha } = api.repo(repository(&self.revision)).info()?;
        // All files are of one commit, even if the branch moves meanwhile.
        let pinned = api.repo(repository(&sha));
        let names: Vec<String> = siblings.into_iter().map(|file| file.rfilename).collect();
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        for name in directory::SMALL_FILES {
            if has(name) {
                self.get(&pinned, name)?;
            }
        }
        if has(directory::SINGLE) {
            self.get(&pinned, directory::SINGLE)?;
        } else if has(directory::INDEX) {
            let index = std::fs::read(self.get(&pinned, directory::INDEX)?)?;
            // A damaged list is found, and told, when the files are located.
            for shard in directory::shard_names(&index).unwrap_or_default() {
                self.get(&pinned, &shard)?;
            }
        } else if let Some(name) = names
            .iter()
            .find(|name| directory::is_pickle(name) && name.ends_with(".json"))
        {
            // Small enough to bring, so that locating can say what is wrong.
            self.get(&pinned, name)?;
        }
        Cache::new(self.settings.cache.clone())
            .repo(repository(&self.revision))
            .create_ref(&sha)?;
        Ok(())
    }

    fn get(&self, repository: &ApiRepo, name: &str) -> Result<PathBuf, ApiError> {
        repository.download_with_progress(
            name,
            Tell {
                sender: self.sender.clone(),
                progress: FetchProgress {
                    file: name.to_owned(),
                    bytes: 0,
                    total: 0,
                },
            },
        )
    }
}

struct Tell {
    sender: Sender<Report>,
    progress: FetchProgress,
}

impl Tell {
    fn send(&self) {
        self.sender.send(Report::Piece(self.progress.clone())).ok();
    }
}

impl Progress for Tell {
    fn init(&mut self, size: usize, _: &str) {
        self.progress.bytes = 0;
        self.progress.total = size as u64;
        self.send();
    }

    fn update(&mut self, size: usize) {
        self.progress.bytes += size as u64;
        self.send();
    }

    fn finish(&mut self) {
        self.send();
    }
}

fn explain(model: &ModelSpec, error: ApiError, network: impl Fn(String) -> HubError) -> HubError {
    match &error {
        ApiError::RequestError(request) => match request.as_ref() {
            ureq::Error::StatusCode(status @ 400..500) => HubError::Refused {
                model: model.to_string(),
                status: *status,
                hint: match status {
                    401 | 403 => {
                        "accept its licence on the hub and set HF_TOKEN to a token that may read it"
                    }
                    404 => "check its name and revision; a private model needs HF_TOKEN",
                    _ => "try again later",
                },
            },
            other => network(other.to_string()),
        },
        other => network(other.to_string()),
    }
}
