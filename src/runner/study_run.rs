use super::{
    experiment::{ExperimentRun, Verdict, changed_question},
    generation::failure_of,
    lessons::Lessons,
    listener::{Ears, Listener},
    message::Message,
    options::RunOptions,
    plan::{Action, look},
    report::{ExperimentReport, RunReport},
    resources::Resources,
    retrieval::Shelf,
    signals,
    supervisor::Supervisor,
};
use crate::{
    artifacts::{
        ArtifactError, Claim, ExperimentDir, LeaseOptions, ResultRow, StudyDir, SummaryEntry, now,
    },
    domain::{Event, ExperimentSpec, Failure, FailureClass, Phase},
    study::Study,
};
use crossbeam_channel::Receiver;
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// Tables of the whole study are rendered at most this often while it runs.
const SUMMARY_EVERY: Duration = Duration::from_secs(60);

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The study's directory can not be used.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Signals can not be listened for.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// A run over the experiments of a study.
pub struct StudyRun<'a> {
    study: &'a Study,
    experiments: &'a [ExperimentSpec],
    dir: &'a StudyDir,
    options: &'a RunOptions,
    resources: &'a mut Resources,
    supervisor: Supervisor,
    shelf: Shelf,
    lessons: Lessons,
    inbox: Receiver<Message>,
    signals: signals::SignalState,
    ears: Ears<'a>,
    environment: Value,
    report: RunReport,
    start: Instant,
    /// The same as a timestamp of artifacts.
    began: String,
    summarised: Instant,
}

enum Next {
    Go,
    Stop,
}

impl<'a> StudyRun<'a> {
    /// Prepares a run over `experiments`, which are of `study`, in `dir`.
    ///
    /// # Errors
    /// When signals or the event log can not be had.
    pub fn new(
        study: &'a Study,
        experiments: &'a [ExperimentSpec],
        dir: &'a StudyDir,
        options: &'a RunOptions,
        resources: &'a mut Resources,
        listener: &'a mut dyn Listener,
    ) -> Result<Self, RunError> {
        let (tell, inbox) = crossbeam_channel::unbounded();
        let signals = signals::listen(tell.clone()).map_err(RunError::Signals)?;
        let supervisor = Supervisor::new(
            options.worker.clone(),
            options.device.clone(),
            tell,
            signals.clone(),
        );
        let manifest = dir.read_manifest().ok().flatten();
        Ok(Self {
            study,
            experiments,
            dir,
            options,
            resources,
            supervisor,
            shelf: Shelf::new(options.cache.clone(), experiments),
            lessons: Lessons::from_value(
                manifest
                    .as_ref()
                    .and_then(|manifest| manifest.get("batch_sizes")),
            ),
            inbox,
            signals,
            ears: Ears {
                listener,
                log: Some(dir.events()?),
            },
            environment: environment(options),
            report: RunReport {
                selected: experiments.len(),
                ..RunReport::default()
            },
            start: Instant::now(),
            began: now(),
            summarised: Instant::now(),
        })
    }

    /// Runs every experiment that is to be run, and leaves the tables of the
    /// study behind.
    pub fn run(mut self) -> RunReport {
        let done = self
            .experiments
            .iter()
            .filter(|spec| self.is_complete(spec))
            .count();
        self.ears.hear(&Event::StudyStarted {
            study: self.study.name.clone(),
            experiments: self.experiments.len(),
            complete: done,
        });
        let mut held = Vec::new();
        let all: Vec<_> = self.experiments.iter().collect();
        let mut stopped = false;
        for spec in all {
            if let Next::Stop = self.one(spec, Some(&mut held)) {
                stopped = true;
                break;
            }
        }
        // What another run held when its turn came may be free by now.
        if !stopped {
            for spec in held {
                if let Next::Stop = self.one(spec, None) {
                    break;
                }
            }
        }
        self.supervisor.end_worker();
        self.report.loads = self.supervisor.loads;
        self.report.seconds = self.start.elapsed().as_secs_f64();
        self.summarise();
        self.ears.hear(&Event::StudyFinished {
            study: self.study.name.clone(),
            complete: self.report.complete(),
            failed: self.report.failed(),
            left: self.report.left(),
            seconds: self.report.seconds,
        });
        self.report
    }

    fn is_complete(&self, spec: &ExperimentSpec) -> bool {
        self.dir
            .experiment(&spec.name)
            .state()
            .is_ok_and(|state| state.is_some_and(|state| state.phase == Phase::Complete))
    }

    fn one(
        &mut self,
        spec: &'a ExperimentSpec,
        held: Option<&mut Vec<&'a ExperimentSpec>>,
    ) -> Next {
        if let Some(signal) = self.signals.received() {
            self.report.signal = Some(signal);
            return Next::Stop;
        }
        // A panic in here is a bug of ours. It costs this experiment, which
        // can be resumed, and not the hundreds after it.
        let result = catch_unwind(AssertUnwindSafe(|| self.claimed(spec, held.is_some())));
        let verdict = match result {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Some(Verdict::StopStudy(failure_of(&error))),
            Err(_) => {
                self.report.bug = true;
                self.supervisor.kill_worker();
                Some(Verdict::Next(self.after_panic(spec)))
            }
        };
        let Some(verdict) = verdict else {
            if let Some(held) = held {
                held.push(spec);
            }
            return Next::Go;
        };
        if self.summarised.elapsed() >= SUMMARY_EVERY {
            self.summarise();
        }
        match verdict {
            Verdict::Next(report) => {
                let failed = report.phase == Phase::Failed;
                self.report.experiments.push(report);
                if failed && self.options.fail_fast {
                    self.ears
                        .remark("stopping at the first failure (--fail-fast)");
                    return Next::Stop;
                }
                Next::Go
            }
            Verdict::Interrupted(report) => {
                self.report.experiments.push(report);
                self.report.signal = Some(self.signals.received().unwrap_or(2));
                Next::Stop
            }
            Verdict::TakenOver(why) => {
                self.skip(spec, &why);
                Next::Go
            }
            Verdict::StopStudy(failure) => {
                self.ears.remark(&format!("the study stops: {failure}"));
                self.report.environment = Some(failure);
                Next::Stop
            }
        }
    }

    /// `None`: another run has it, and it is worth another look later.
    fn claimed(
        &mut self,
        spec: &'a ExperimentSpec,
        may_wait: bool,
    ) -> Result<Option<Verdict>, ArtifactError> {
        let settings = self.study.settings_for(&spec.name);
        let unavailable = self.study.unavailable.get(&spec.name);
        let dataset = self
            .resources
            .dataset(&spec.dataset, settings.num_questions)
            .ok();
        let total = dataset.as_ref().map(|dataset| dataset.questions.len());
        let force = self.options.force;
        let (action, _) = look(spec, settings, unavailable, total, self.dir, force, false)?;
        if action == Action::Complete {
            return Ok(Some(Verdict::Next(self.complete_before(spec, "complete")?)));
        }
        let dir = self.dir.experiment(&spec.name);
        let lease = match dir.claim(&LeaseOptions::default())? {
            Claim::Mine(lease) => lease,
            Claim::Held(_) if may_wait => return Ok(None),
            Claim::Held(owner) => {
                let why = format!("it is being run by {owner}");
                return Ok(Some(Verdict::TakenOver(why)));
            }
        };
        // Somebody may have finished it between the look and the claim.
        let (mut action, _) = self.look_again(spec, total, force)?;
        // A cell whose dataset now asks something else is left as it is.
        if let Some(dataset) = &dataset
            && !matches!(
                action,
                Action::Complete | Action::Changed { .. } | Action::Redo
            )
            && let Some(message) = changed_question(&dir, dataset)?
        {
            if !force {
                let mut report = self.blank(spec);
                report.failure = Some(Failure::new(FailureClass::Permanent, message));
                report.phase = Phase::Failed;
                return Ok(Some(Verdict::Next(report)));
            }
            action = Action::Redo;
        }
        let lease = match action {
            Action::Complete => {
                return Ok(Some(Verdict::Next(self.complete_before(spec, "complete")?)));
            }
            Action::Changed { differences } => {
                let message = format!(
                    "the directory holds another experiment of this name ({}); give the study \
                     another name or output_dir, or start over with --force",
                    differences.join("; ")
                );
                let mut report = self.blank(spec);
                report.failure = Some(Failure::new(FailureClass::Permanent, message));
                report.phase = Phase::Failed;
                return Ok(Some(Verdict::Next(report)));
            }
            Action::Redo if self.finished_meanwhile(&dir) => {
                return Ok(Some(Verdict::Next(self.complete_before(spec, "complete")?)));
            }
            Action::Redo => {
                let aside = dir.set_aside(self.dir.path())?;
                self.ears.remark(&format!(
                    "{}: moved aside to {}",
                    spec.name,
                    aside.display()
                ));
                drop(lease);
                match dir.claim(&LeaseOptions::default())? {
                    Claim::Mine(lease) => lease,
                    Claim::Held(owner) => {
                        let why = format!("it is being run by {owner}");
                        return Ok(Some(Verdict::TakenOver(why)));
                    }
                }
            }
            _ => lease,
        };
        let timeout = self.options.timeout.or_else(|| {
            settings
                .experiment_timeout_s
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        });
        let mut run = ExperimentRun {
            spec,
            settings,
            unavailable: unavailable.map(String::as_str),
            timeout,
            device: &self.options.device,
            dir,
            lease,
            supervisor: &mut self.supervisor,
            resources: self.resources,
            shelf: &mut self.shelf,
            lessons: &mut self.lessons,
            inbox: &self.inbox,
            signals: &self.signals,
            ears: &mut self.ears,
            environment: &self.environment,
        };
        let verdict = run.run();
        if let Err(error) = run.lease.release()
            && !matches!(error, ArtifactError::LeaseLost { .. })
        {
            self.ears.remark(&format!("{}: {error}", spec.name));
        }
        Ok(Some(verdict))
    }

    /// Whether another run completed it since this one began: that is what
    /// starting over was to bring about.
    fn finished_meanwhile(&self, dir: &ExperimentDir) -> bool {
        dir.state().is_ok_and(|state| {
            state.is_some_and(|state| {
                state.phase == Phase::Complete && state.updated_at >= self.began
            })
        })
    }

    fn look_again(
        &self,
        spec: &ExperimentSpec,
        total: Option<usize>,
        force: bool,
    ) -> Result<(Action, usize), ArtifactError> {
        let settings = self.study.settings_for(&spec.name);
        let unavailable = self.study.unavailable.get(&spec.name);
        look(spec, settings, unavailable, total, self.dir, force, true)
    }

    fn complete_before(
        &mut self,
        spec: &ExperimentSpec,
        why: &str,
    ) -> Result<ExperimentReport, ArtifactError> {
        let mut report = self.blank(spec);
        report.phase = Phase::Complete;
        report.skipped = Some(why.to_owned());
        if let Ok(Some(results)) = self.dir.experiment(&spec.name).results() {
            report.answered = results.num_examples;
            report.total = results.num_examples;
            report.metrics = results.metrics;
        }
        self.ears.hear(&Event::ExperimentSkipped {
            experiment: spec.name.clone(),
            reason: why.to_owned(),
        });
        Ok(report)
    }

    fn skip(&mut self, spec: &ExperimentSpec, why: &str) {
        let mut report = self.blank(spec);
        report.skipped = Some(why.to_owned());
        self.report.experiments.push(report);
        self.ears.hear(&Event::ExperimentSkipped {
            experiment: spec.name.clone(),
            reason: why.to_owned(),
        });
    }

    fn after_panic(&mut self, spec: &ExperimentSpec) -> ExperimentReport {
        let failure = Failure::new(
            FailureClass::Permanent,
            "a bug in ragicamp: its message stands above; what was answered is kept",
        );
        let dir = self.dir.experiment(&spec.name);
        let mut report = self.blank(spec);
        if let Ok(Some(mut state)) = dir.state() {
            state.phase = Phase::Failed;
            state.error = Some(failure.first_line().to_owned());
            state.failure_class = Some(failure.class);
            report.answered = state.predictions_complete;
            report.total = state.total_questions;
            let written = dir.write_state(&state).and_then(|()| {
                dir.write_error_log(&crate::artifacts::ErrorLog::new(spec, &failure))
            });
            if let Err(error) = written {
                self.ears.remark(&format!("{}: {error}", spec.name));
            }
        }
        report.phase = Phase::Failed;
        report.failure = Some(failure);
        report
    }

    fn blank(&self, spec: &ExperimentSpec) -> ExperimentReport {
        ExperimentReport {
            name: spec.name.clone(),
            phase: Phase::Init,
            answered: 0,
            total: 0,
            failure: None,
            metrics: Map::new(),
            interrupted: false,
            skipped: None,
            seconds: 0.0,
        }
    }

    /// Renders what is derived from all experiments. It is for people, so a
    /// failure to write it is a remark.
    fn summarise(&mut self) {
        self.summarised = Instant::now();
        let mut entries = Vec::new();
        let mut rows = Vec::new();
        let seen: HashMap<&str, &ExperimentReport> = self
            .report
            .experiments
            .iter()
            .map(|report| (report.name.as_str(), report))
            .collect();
        // All experiments of the study, not only those of this run: others
        // may have been done before, or are being done beside it.
        for spec in &self.study.experiments {
            let dir = self.dir.experiment(&spec.name);
            let Ok(Some(state)) = dir.state() else {
                continue;
            };
            let results = dir.results().ok().flatten();
            let report = seen.get(spec.name.as_str());
            let duration = results
                .as_ref()
                .map(|results| results.duration_seconds)
                .or(report.map(|report| report.seconds));
            let metrics = results
                .map(|results| results.metrics)
                .or(report.map(|report| report.metrics.clone()))
                .unwrap_or_default();
            entries.push(SummaryEntry {
                name: spec.name.clone(),
                status: state.phase,
                metrics: metrics.clone(),
                duration,
                error: state.error,
            });
            rows.push(ResultRow {
                experiment: spec.name.clone(),
                status: state.phase,
                fields: fields(spec),
                metrics,
            });
        }
        let mut manifest = match self.dir.read_manifest() {
            Ok(Some(Value::Object(manifest))) => manifest,
            _ => Map::new(),
        };
        manifest.insert("batch_sizes".to_owned(), self.lessons.to_value());
        self.resources.record(&mut manifest);
        let written = self
            .dir
            .write_summary(&self.study.name, &entries)
            .and_then(|()| self.dir.write_results_csv(&rows))
            .and_then(|()| self.dir.write_manifest(&Value::Object(manifest)));
        if let Err(error) = written {
            self.ears.remark(&format!("the study's tables: {error}"));
        }
    }
}

fn fields(spec: &ExperimentSpec) -> Vec<(String, String)> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    };
    [
        ("type", json!(spec.kind)),
        ("model", json!(spec.model.to_string())),
        ("quantization", json!(spec.quantization)),
        ("prompt", json!(spec.prompt.name)),
        ("dataset", json!(spec.dataset.name)),
        (
            "retriever",
            json!(spec.retriever.as_ref().map(|retriever| &retriever.name)),
        ),
        ("top_k", json!(spec.top_k)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), text(value)))
    .collect()
}

fn environment(options: &RunOptions) -> Value {
    json!({
        "ragicamp": env!("CARGO_PKG_VERSION"),
        "device": options.device,
        "host": rustix::system::uname().nodename().to_string_lossy(),
        "kernel": rustix::system::uname().release().to_string_lossy(),
        "threads": std::thread::available_parallelism().map_or(0, usize::from),
        "cuda": cfg!(feature = "cuda"),
    })
}
