use super::{HubError, HubSettings, directory};
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

/// Files of a repository that are to be brought into the cache.
pub struct Wanted {
    /// For messages.
    pub label: String,
    pub kind: RepoType,
    /// `org/name`.
    pub name: String,
    /// Branch, tag or commit; `None` means `main`.
    pub revision: Option<String>,
    pub files: Files,
}

/// Chooses among the names of a repository's files.
type Chooser = Box<dyn Fn(&[String]) -> Vec<String> + Send>;

/// Which files.
pub enum Files {
    /// Those that a model is loaded from.
    OfModel,
    /// Those that are chosen from the list of all; there has to be one.
    Chosen(Chooser),
}

enum Report {
    Piece(FetchProgress),
    End(Result<(), Refusal>),
}

/// Why a download ended early.
enum Refusal {
    Api(ApiError),
    /// Nothing was chosen among these.
    NoFile(Vec<String>),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Api(error.into())
    }
}

/// Brings files into the cache.
pub fn repository(
    settings: &HubSettings,
    wanted: Wanted,
    tell: &mut dyn FnMut(&FetchProgress),
) -> Result<(), HubError> {
    let (sender, receiver) = channel();
    let label = wanted.label.clone();
    let task = Task {
        settings: settings.clone(),
        revision: wanted.revision.clone().unwrap_or_else(|| "main".to_owned()),
        wanted,
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
        model: label.clone(),
        endpoint: settings.endpoint.clone(),
        reason,
    };
    loop {
        match receiver.recv_timeout(SILENCE) {
            Ok(Report::Piece(progress)) => tell(&progress),
            Ok(Report::End(Ok(()))) => return Ok(()),
            Ok(Report::End(Err(Refusal::NoFile(there)))) => {
                return Err(HubError::NoSuchFile {
                    label,
                    file: String::new(),
                    there,
                });
            }
            Ok(Report::End(Err(Refusal::Api(error)))) => {
                return Err(explain(&label, error, network));
            }
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
    revision: String,
    wanted: Wanted,
    sender: Sender<Report>,
}

impl Task {
    fn run(&self) -> Result<(), Refusal> {
        let api = ApiBuilder::new()
            .with_cache_dir(self.settings.cache.clone())
            .with_endpoint(self.settings.endpoint.clone())
            .with_token(self.settings.token.clone())
            .with_progress(false)
            .build()?;
        let repository = |revision: &str| {
            Repo::with_revision(
                self.wanted.name.clone(),
                self.wanted.kind,
                revision.to_owned(),
            )
        };
        let RepoInfo { siblings, sha } = api.repo(repository(&self.revision)).info()?;
        // All files are of one commit, even if the branch moves meanwhile.
        let pinned = api.repo(repository(&sha));
        let names: Vec<String> = siblings.into_iter().map(|file| file.rfilename).collect();
        match &self.wanted.files {
            Files::OfModel => self.get_model(&pinned, &names)?,
            Files::Chosen(choose) => {
                let chosen = choose(&names);
                if chosen.is_empty() {
                    return Err(Refusal::NoFile(names));
                }
                for name in chosen {
                    self.get(&pinned, &name)?;
                }
            }
        }
        Cache::new(self.settings.cache.clone())
            .repo(repository(&self.revision))
            .create_ref(&sha)?;
        Ok(())
    }

    fn get_model(&self, pinned: &ApiRepo, names: &[String]) -> Result<(), Refusal> {
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        for name in directory::SMALL_FILES {
            if has(name) {
                self.get(pinned, name)?;
            }
        }
        if has(directory::SINGLE) {
            self.get(pinned, directory::SINGLE)?;
        } else if has(directory::INDEX) {
            let index = std::fs::read(self.get(pinned, directory::INDEX)?)?;
            // A damaged list is found, and told, when the files are located.
            for shard in directory::shard_names(&index).unwrap_or_default() {
                self.get(pinned, &shard)?;
            }
        } else if let Some(name) = names
            .iter()
            .find(|name| directory::is_pickle(name) && name.ends_with(".json"))
        {
            // Small enough to bring, so that locating can say what is wrong.
            self.get(pinned, name)?;
        }
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

fn explain(label: &str, error: ApiError, network: impl Fn(String) -> HubError) -> HubError {
    match &error {
        ApiError::RequestError(request) => match request.as_ref() {
            ureq::Error::StatusCode(status @ 400..500) => HubError::Refused {
                model: label.to_owned(),
                status: *status,
                hint: match status {
                    401 | 403 => {
                        "accept its licence on the hub and set HF_TOKEN to a token that may read it"
                    }
                    404 => "check its name and revision; what is private needs HF_TOKEN",
                    _ => "try again later",
                },
            },
            other => network(other.to_string()),
        },
        other => network(other.to_string()),
    }
}
