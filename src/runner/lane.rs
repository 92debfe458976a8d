use super::{
    devices::LaneDevice,
    environment,
    experiment::{ExperimentRun, Verdict},
    generation::failure_of,
    judge::Judge,
    listener::Ears,
    message::Message,
    origin::Origin,
    plan::{Action, Manner, look},
    questions::{changed_question, stored_questions},
    report::ExperimentReport,
    resources::Resources,
    schedule::{Seen, Turn},
    signals::SignalState,
    study_run::Shared,
    supervisor::Supervisor,
};
use crate::{
    artifacts::{ArtifactError, Claim, Durability, ErrorLog, ExperimentDir, LeaseOptions, State},
    domain::{Event, ExperimentSpec, Failure, FailureClass, Phase},
};
use crossbeam_channel::Receiver;
use serde_json::{Map, Value};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

/// A lane that waits for another's search looks again after this at the latest.
const WAIT: Duration = Duration::from_millis(50);

/// One device's part of a run, on a thread that lives as long as its worker:
/// the kernel kills a worker when the thread that started it ends.
pub struct Lane<'s, 'a> {
    shared: &'s Shared<'a>,
    number: usize,
    device: &'s LaneDevice,
    resources: Resources,
    supervisor: Supervisor,
    inbox: Receiver<Message>,
    signals: SignalState,
    ears: Ears<'s>,
    environment: Value,
    judge: Option<Judge>,
}

enum Next {
    Go,
    Stop,
}

impl<'s, 'a> Lane<'s, 'a> {
    /// A lane that has not begun.
    pub fn new(shared: &'s Shared<'a>, number: usize, resources: Resources) -> Self {
        let device = &shared.options.devices[number];
        let (tell, inbox) = crossbeam_channel::unbounded();
        let signals = shared.hub.attach(tell.clone());
        Self {
            shared,
            number,
            device,
            resources,
            supervisor: Supervisor::new(
                shared.options.worker.clone(),
                device.clone(),
                shared.options.cache.clone(),
                tell,
                signals.clone(),
            ),
            inbox,
            signals,
            ears: Ears(&shared.audience),
            environment: environment::of(device),
            judge: shared
                .study
                .llm_judge
                .as_ref()
                .map(|judge| Judge::new(judge, &shared.options.cache)),
        }
    }

    /// Runs experiments until there is none left for it.
    pub fn run(mut self) {
        loop {
            if let Some(signal) = self.signals.received() {
                lock(&self.shared.report).signal = Some(signal);
                break;
            }
            if self.signals.is_stopping() || self.shared.is_closed() {
                break;
            }
            match self.shared.turn(self.number) {
                Turn::Run(cell) => {
                    if let Next::Stop = self.one(&self.shared.experiments[cell]) {
                        break;
                    }
                }
                Turn::Wait => {}
                Turn::Over => break,
            }
        }
        self.supervisor.end_worker();
        lock(&self.shared.report).loads += self.supervisor.loads;
    }

    fn one(&mut self, spec: &'s ExperimentSpec) -> Next {
        let loaded_before = self.supervisor.loaded.0;
        let loads_before = self.supervisor.loads;
        let may_wait = self.shared.may_postpone();
        // A panic in here is a bug of ours. It costs this experiment, which
        // can be resumed, and not the hundreds after it.
        let result = catch_unwind(AssertUnwindSafe(|| self.claimed(spec, may_wait)));
        let verdict = match result {
            Ok(Ok(verdict)) => verdict,
            // What is wrong with one directory costs its experiment.
            Ok(Err(error)) if error.class() != FailureClass::Environment => {
                let mut report = self.blank(spec);
                report.phase = Phase::Failed;
                report.failure = Some(failure_of(&error));
                Some(Verdict::Next(report))
            }
            Ok(Err(error)) => Some(Verdict::StopStudy(failure_of(&error))),
            Err(_) => {
                lock(&self.shared.report).bug = true;
                self.supervisor.kill_worker();
                Some(Verdict::Next(self.after_panic(spec)))
            }
        };
        let Some(verdict) = verdict else {
            self.shared.postpone(self.number);
            return Next::Go;
        };
        self.shared.summarise_now_and_then();
        let (loaded, load_seconds) = self.supervisor.loaded;
        let seen = Seen {
            load_seconds: (loaded > loaded_before).then_some(load_seconds),
            // A worker that was kept from before has shown that it can.
            started: loaded > loaded_before || self.supervisor.loads == loads_before,
            is_complete: matches!(&verdict, Verdict::Next(report)
                if (report.phase == Phase::Complete && report.skipped.is_none())
                    || !report.later.is_empty()),
        };
        match verdict {
            Verdict::Next(report) => {
                if !seen.started
                    && may_be_the_device(report.failure.as_ref())
                    && self.shared.second_opinion(self.number)
                {
                    self.ears.remark(&format!(
                        "{}: its model could not be started on {}; another device tries",
                        spec.name, self.device.name
                    ));
                    return Next::Go;
                }
                self.shared.done(self.number, seen);
                let failed = report.phase == Phase::Failed;
                lock(&self.shared.report).experiments.push(report);
                if failed && self.shared.options.fail_fast {
                    self.ears
                        .remark("stopping at the first failure (--fail-fast)");
                    self.shared.close();
                    return Next::Stop;
                }
                Next::Go
            }
            Verdict::Interrupted(report) => {
                let mut run = lock(&self.shared.report);
                run.experiments.push(report);
                if run.environment.is_none() {
                    run.signal = Some(self.signals.received().unwrap_or(2));
                }
                Next::Stop
            }
            Verdict::TakenOver(why) => {
                self.shared.done(self.number, seen);
                self.skip(spec, &why);
                Next::Go
            }
            Verdict::StopStudy(failure) => {
                if self.supervisor.device_failure.is_some() && self.shared.retire(self.number) {
                    self.ears.remark(&format!(
                        "{} is given up, its work goes to the other devices: {failure}",
                        self.device.name
                    ));
                    return Next::Stop;
                }
                let is_first = {
                    let mut run = lock(&self.shared.report);
                    let is_first = run.environment.is_none();
                    run.environment.get_or_insert(failure.clone());
                    is_first
                };
                if is_first {
                    self.ears.remark(&format!("the study stops: {failure}"));
                    self.shared.hub.stop();
                }
                Next::Stop
            }
        }
    }

    /// `None`: another run has it, and it is worth another look later.
    fn claimed(
        &mut self,
        spec: &'s ExperimentSpec,
        may_wait: bool,
    ) -> Result<Option<Verdict>, ArtifactError> {
        self.shared.dir.still_there()?;
        let settings = self.shared.study.settings_for(&spec.name);
        let unavailable = self.shared.study.unavailable.get(&spec.name);
        let dataset = self
            .resources
            .dataset(&spec.dataset, settings.num_questions)
            .ok();
        let total = dataset.as_ref().map(|dataset| dataset.questions.len());
        let force = self.shared.options.force;
        let (action, _) = look(
            spec,
            settings,
            unavailable,
            total,
            self.shared.dir,
            self.manner(force, false),
        )?;
        if action == Action::Complete {
            return Ok(Some(Verdict::Next(self.complete_before(spec, "complete")?)));
        }
        let dir = self.shared.dir.experiment(&spec.name);
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
            && let Some(message) = changed_question(&dir, dataset, settings.num_questions)?
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
            Action::Redo if self.finished_meanwhile(spec, &dir) => {
                return Ok(Some(Verdict::Next(self.complete_before(spec, "complete")?)));
            }
            Action::Redo => {
                let aside = dir.set_aside(self.shared.dir.path())?;
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
        let timeout = self.shared.options.timeout.or_else(|| {
            settings
                .experiment_timeout_s
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        });
        let mut run = ExperimentRun {
            spec,
            settings,
            unavailable: unavailable.map(String::as_str),
            timeout,
            device: &self.device.name,
            dir,
            lease,
            supervisor: &mut self.supervisor,
            resources: &mut self.resources,
            shelf: &self.shared.shelf,
            lessons: &self.shared.lessons,
            inbox: &self.inbox,
            signals: &self.signals,
            ears: &mut self.ears,
            environment: &self.environment,
            origin: Origin::default(),
            is_origin_lost: false,
            worked_before: 0.0,
            index: None,
            judge: self.judge.as_mut(),
            models: &self.shared.study.scoring,
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
    fn finished_meanwhile(&self, spec: &ExperimentSpec, dir: &ExperimentDir) -> bool {
        dir.state().is_ok_and(|state| {
            state.is_some_and(|state| {
                state.phase == Phase::Complete && state.updated_at >= self.shared.began
            })
        }) && dir
            .identity()
            .is_ok_and(|stored| stored.is_some_and(|stored| stored.hash == spec.hash()))
    }

    fn look_again(
        &self,
        spec: &ExperimentSpec,
        total: Option<usize>,
        force: bool,
    ) -> Result<(Action, usize), ArtifactError> {
        let settings = self.shared.study.settings_for(&spec.name);
        let unavailable = self.shared.study.unavailable.get(&spec.name);
        look(
            spec,
            settings,
            unavailable,
            total,
            self.shared.dir,
            self.manner(force, true),
        )
    }

    fn manner(&self, force: bool, is_ours: bool) -> Manner {
        Manner {
            force,
            is_ours,
            is_deep: self.shared.options.is_deep,
        }
    }

    fn complete_before(
        &mut self,
        spec: &ExperimentSpec,
        why: &str,
    ) -> Result<ExperimentReport, ArtifactError> {
        let mut report = self.blank(spec);
        report.phase = Phase::Complete;
        report.skipped = Some(why.to_owned());
        if let Ok(Some(results)) = self.shared.dir.experiment(&spec.name).results() {
            report.answered = results.num_examples;
            report.total = results.num_examples;
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
        lock(&self.shared.report).experiments.push(report);
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
        let dir = self.shared.dir.experiment(&spec.name);
        let mut report = self.blank(spec);
        match put_on_record(&dir, spec, &failure) {
            Ok(Some(state)) => {
                report.answered = state.predictions_complete;
                report.total = state.total_questions;
            }
            Ok(None) => {}
            Err(error) => self.ears.remark(&format!("{}: {error}", spec.name)),
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
            later: Vec::new(),
            seconds: 0.0,
        }
    }
}

/// Writes what a panic left of an experiment: what is answered, and that it
/// failed. `None` where it is complete, or another run's by now.
fn put_on_record(
    dir: &ExperimentDir,
    spec: &ExperimentSpec,
    failure: &Failure,
) -> Result<Option<State>, ArtifactError> {
    let Claim::Mine(lease) = dir.claim(&LeaseOptions::default())? else {
        return Ok(None);
    };
    let Some(mut state) = dir.state()?.filter(|state| state.phase != Phase::Complete) else {
        return Ok(None);
    };
    dir.unseal()?;
    let best = dir.records()?.best;
    let answered = best.values().filter(|record| record.is_answered()).count();
    state.predictions_complete = answered;
    state.unanswered = best.len() - answered;
    state.phase = Phase::Failed;
    state.error = Some(failure.first_line().to_owned());
    state.failure_class = Some(failure.class);
    if let Some(file) = stored_questions(dir)? {
        state.total_questions = file.questions.len();
        dir.write_predictions(&file.questions, &best, &Map::new(), Durability::Ordered)?;
    }
    dir.write_error_log(&ErrorLog::new(spec, failure))?;
    dir.write_state(&state)?;
    dir.seal()?;
    lease.release()?;
    Ok(Some(state))
}

/// Whether a model that could not be started might do so on another device:
/// not where the worker said what is wrong with the model.
fn may_be_the_device(failure: Option<&Failure>) -> bool {
    failure.is_some_and(|failure| {
        !matches!(
            failure.class,
            FailureClass::Permanent | FailureClass::BadItem
        )
    })
}

/// Waits for a lock that may be held for as long as a search takes, and asks
/// meanwhile whether to go on; `None` when not.
pub fn patiently<'m, T>(
    mutex: &'m Mutex<T>,
    go_on: &mut dyn FnMut() -> bool,
) -> Option<MutexGuard<'m, T>> {
    // Most searches are short.
    let mut wait = Duration::from_millis(1);
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if !go_on() => return None,
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(wait);
                wait = (2 * wait).min(WAIT);
            }
        }
    }
}

/// A lane that panicked leaves nothing half done behind its locks.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
