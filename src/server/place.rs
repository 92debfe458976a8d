use super::{
    app::App,
    jobs::{JobLog, JobRow},
    problem::Problem,
};
use crate::{
    artifacts::{self, ExperimentDir, StudyHealth},
    diagnosis::Bounds,
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The directory that is served. Nothing that a request says becomes a path:
/// it is compared with the names of what is there. And what is there is only
/// followed where it stays inside.
pub struct Place {
    root: PathBuf,
}

/// What an id names.
pub enum Job {
    /// An experiment's directory.
    Experiment(PathBuf),
    /// A training job: its log, and what a database knows of it; one of them.
    Training(Option<JobLog>, Option<JobRow>),
}

impl Place {
    pub fn new(root: &Path) -> io::Result<Self> {
        Ok(Self {
            root: root.canonicalize()?,
        })
    }

    /// Whether a path that exists is below the root when all links are
    /// followed.
    pub fn holds(&self, path: &Path) -> bool {
        path.canonicalize()
            .is_ok_and(|path| path.starts_with(&self.root))
    }

    /// Whether an experiment of a study below the root is told by its own files,
    /// and not by what links lead to elsewhere.
    pub fn is_told_inside(&self, experiment: &Path) -> bool {
        let leads_out = |path: &Path| {
            // Hardly anything is a link, and that is cheap to see.
            let is_link = path.symlink_metadata().is_ok_and(|file| file.is_symlink());
            is_link && !self.holds(path)
        };
        !leads_out(experiment)
            && ["state.json", "error.log"]
                .iter()
                .all(|name| !leads_out(&experiment.join(name)))
    }

    /// Opens a file below the root; what a link leads to elsewhere, and what is
    /// no regular file, is not there.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.bounds().open(path)
    }

    /// Where files may be.
    pub fn bounds(&self) -> Bounds {
        Bounds::below(&self.root)
    }

    /// Every study with its id: its path below the root, or its name when it
    /// is the root.
    pub fn studies(&self) -> Result<Vec<(String, PathBuf)>, Problem> {
        let found = artifacts::studies(&self.root).map_err(Problem::internal)?;
        Ok(found
            .into_iter()
            .filter(|path| self.holds(path))
            .filter_map(|path| Some((self.id_of(&path)?, path)))
            .collect())
    }

    fn id_of(&self, study: &Path) -> Option<String> {
        let below = study.strip_prefix(&self.root).ok()?;
        let name = if below.as_os_str().is_empty() {
            Path::new(study.file_name()?)
        } else {
            below
        };
        Some(name.to_str()?.to_owned())
    }

    pub fn study(&self, id: &str) -> Result<PathBuf, Problem> {
        self.studies()?
            .into_iter()
            .find(|(known, _)| known == id)
            .map(|(_, path)| path)
            .ok_or_else(|| Problem::not_found(format!("there is no study '{id}'")))
    }

    /// `study/experiment`, or an experiment's name that only one study has.
    pub fn experiment(&self, app: &Arc<App>, id: &str) -> Result<(String, PathBuf), Problem> {
        if let Some((study, name)) = id.rsplit_once('/') {
            let missing = || Problem::not_found(format!("there is no experiment '{id}'"));
            let path = self.study(study).map_err(|_| missing())?;
            return self
                .experiment_in(app, &path, name)?
                .map(|path| (study.to_owned(), path))
                .ok_or_else(missing);
        }
        let mut found = Vec::new();
        for (study, path) in self.studies()? {
            if let Some(path) = self.experiment_in(app, &path, id)? {
                found.push((study, path));
            }
        }
        if found.len() > 1 {
            let ids: Vec<_> = found
                .iter()
                .map(|(study, _)| format!("{study}/{id}"))
                .collect();
            return Err(Problem::not_found(format!(
                "'{id}' names several experiments; ask for one of {}",
                ids.join(", ")
            )));
        }
        found
            .pop()
            .ok_or_else(|| Problem::not_found(format!("there is no experiment '{id}'")))
    }

    fn experiment_in(
        &self,
        app: &Arc<App>,
        study: &Path,
        name: &str,
    ) -> Result<Option<PathBuf>, Problem> {
        let known = |health: &StudyHealth| {
            let mut all = health.experiments.iter();
            all.find(|health| health.name == name)
                .map(|health| health.path.clone())
        };
        let mut path = known(&*app.look(study)?);
        // Younger than the last look.
        let is_plain = Path::new(name).file_name() == Some(name.as_ref());
        if path.is_none() && is_plain && ExperimentDir::new(study.join(name)).exists() {
            path = known(&*app.renew(study)?);
        }
        Ok(path.filter(|path| self.holds(path) && ExperimentDir::new(path).exists()))
    }

    /// An experiment; or a training job with a `logs/job_{id}.log` in the root
    /// or in a directory right below it, or a row in the database of jobs.
    pub fn job(&self, app: &Arc<App>, id: &str) -> Result<Job, Problem> {
        let missing = match self.experiment(app, id) {
            Ok((_, path)) => return Ok(Job::Experiment(path)),
            Err(problem) => problem,
        };
        let log = self.log_of(id)?;
        let row = match &app.jobs {
            Some(jobs) => jobs.job(id)?,
            None => None,
        };
        if log.is_none() && row.is_none() {
            return Err(missing);
        }
        Ok(Job::Training(log, row))
    }

    fn log_of(&self, id: &str) -> Result<Option<JobLog>, Problem> {
        let wanted = format!("job_{id}.log");
        let mut places = vec![self.root.clone()];
        places.extend(
            fs::read_dir(&self.root)
                .map_err(Problem::internal)?
                .flatten()
                .map(|entry| entry.path()),
        );
        for place in places {
            let Ok(entries) = fs::read_dir(place.join("logs")) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if *entry.file_name() == *wanted && path.is_file() && self.holds(&path) {
                    return Ok(Some(JobLog(path)));
                }
            }
        }
        Ok(None)
    }
}
