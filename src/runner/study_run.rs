use super::{
    costs,
    encoders::StudyEncoders,
    lane::{Lane, lock},
    lessons::Lessons,
    listener::{Audience, Hear, Listener},
    options::RunOptions,
    plan::{Action, Manner, look},
    report::RunReport,
    resources::Resources,
    retrieval::Shelf,
    schedule::{Schedule, Seen, Turn},
    signals::{self, SignalHub},
    tables,
};
use crate::{
    artifacts::{ArtifactError, LeaseOptions, Liveness, Sealed, StudyDir, now},
    domain::{Event, ExperimentSpec, FailureClass, Phase},
    hub::FetchProgress,
    index::Query,
    study::Study,
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::ControlFlow,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Tables of the whole study are rendered at most this often while it runs.
const SUMMARY_EVERY: Duration = Duration::from_secs(60);

/// A lane without work looks this often whether there is some.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
    shared: Shared<'a>,
}

/// What the lanes of a run have in common.
pub struct Shared<'a> {
    pub study: &'a Study,
    pub experiments: &'a [ExperimentSpec],
    pub dir: &'a StudyDir,
    pub options: &'a RunOptions,
    pub resources: &'a Resources,
    pub hub: SignalHub,
    pub audience: Mutex<Audience<'a>>,
    pub lessons: Mutex<Lessons>,
    /// Finds passages for all lanes.
    pub shelf: Mutex<Shelf>,
    pub report: Mutex<RunReport>,
    /// When the run began, as a timestamp of artifacts.
    pub began: String,
    schedule: Mutex<Schedule>,
    /// The cells of a searched grid that were tried.
    tried: Mutex<BTreeSet<usize>>,
    /// Something about the schedule changed.
    changed: Condvar,
    /// No lane begins another experiment.
    is_closed: AtomicBool,
    start: Instant,
    summarised: Mutex<Instant>,
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
        resources: &'a Resources,
        listener: &'a mut dyn Listener,
    ) -> Result<Self, RunError> {
        let hub = signals::listen().map_err(RunError::Signals)?;
        let manifest = dir.read_manifest().ok().flatten();
        let cells = costs::cells(study, experiments, dir, options.force);
        let (withheld, tried) = search_begins(study, experiments, dir);
        Ok(Self {
            shared: Shared {
                study,
                experiments,
                dir,
                options,
                resources,
                hub,
                audience: Audience::new(listener, dir.events()?),
                lessons: Mutex::new(Lessons::from_value(
                    manifest
                        .as_ref()
                        .and_then(|manifest| manifest.get("batch_sizes")),
                )),
                shelf: Mutex::new(Shelf::new(
                    options.cache.clone(),
                    experiments,
                    Box::new(StudyEncoders::new(
                        &options.worker,
                        &options.devices[0],
                        options.bases.clone(),
                        &dir.path().join("encoders.log"),
                    )),
                )),
                report: Mutex::new(RunReport {
                    selected: study.to_run_of(experiments),
                    ..RunReport::default()
                }),
                began: now(),
                schedule: Mutex::new(Schedule::with_withheld(
                    cells,
                    options.devices.len(),
                    &withheld,
                )),
                tried: Mutex::new(tried),
                changed: Condvar::new(),
                is_closed: AtomicBool::new(false),
                start: Instant::now(),
                summarised: Mutex::new(Instant::now()),
            },
        })
    }

    /// Runs every experiment that is to be run, and leaves the tables of the
    /// study behind.
    pub fn run(self) -> RunReport {
        let Self { shared } = self;
        let done = shared
            .experiments
            .iter()
            .filter(|spec| shared.is_complete(spec))
            .count();
        if let Err(error) = shared.dir.unseal() {
            shared.audience.remark(&error.to_string());
        }
        shared.audience.hear(&Event::StudyStarted {
            study: shared.study.name.clone(),
            experiments: shared.experiments.len(),
            complete: done,
        });
        shared.retrieve(&mut shared.resources.clone());
        std::thread::scope(|scope| {
            let mut lanes = Vec::new();
            for number in 0..shared.options.devices.len() {
                let (shared, resources) = (&shared, shared.resources.clone());
                let lane = std::thread::Builder::new()
                    .name(format!("lane-{number}"))
                    .spawn_scoped(scope, move || {
                        let _left = Left { shared, number };
                        Lane::new(shared, number, resources).run();
                    });
                match lane {
                    Ok(lane) => lanes.push(lane),
                    Err(error) => {
                        let device = &shared.options.devices[number].name;
                        shared
                            .audience
                            .remark(&format!("{device} is not used: no thread for it: {error}"));
                        lock(&shared.schedule).retire(number);
                    }
                }
            }
            for lane in lanes {
                // A lane that panicked has said so, and the report knows.
                let _ = lane.join();
            }
        });
        shared.score_later();
        shared.finish()
    }
}

/// However a lane ends, nobody waits for it.
struct Left<'s, 'a> {
    shared: &'s Shared<'a>,
    number: usize,
}

impl Drop for Left<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.shared.report).bug = true;
        }
        lock(&self.shared.schedule).retire(self.number);
        self.shared.changed.notify_all();
    }
}

impl Shared<'_> {
    /// Builds what indexes are missing and finds the passages for the whole
    /// grid, each search once, before the first experiment begins: so nobody's
    /// lease waits for it, and the models that embed and rerank are gone when
    /// the first generator comes.
    fn retrieve(&self, resources: &mut Resources) {
        let mut shelf = lock(&self.shelf);
        // Only to be told of a signal; nobody listens at the other end.
        let (tell, _inbox) = crossbeam_channel::unbounded();
        let signals = self.hub.attach(tell);
        for spec in self.experiments {
            let settings = self.study.settings_for(&spec.name);
            let unavailable = self.study.unavailable.get(&spec.name);
            if spec.retriever.is_none() || spec.reads_own_passages() || unavailable.is_some() {
                continue;
            }
            // What can not be had says so when its turn comes.
            let found =
                resources.fetch_dataset(&spec.dataset, settings.num_questions, &mut |progress| {
                    self.tell_of_download(&spec.dataset.name, progress)
                });
            let Ok(dataset) = found else { continue };
            let total = Some(dataset.questions.len());
            let manner = Manner {
                force: self.options.force,
                is_ours: false,
                // What is found damaged later is ranked then.
                is_deep: false,
            };
            let action = look(spec, settings, unavailable, total, self.dir, manner);
            if let Ok((Action::Complete | Action::Changed { .. }, _)) = action {
                continue;
            }
            let questions = dataset.questions.iter();
            let queries: Vec<Query<'_>> = questions
                .map(|question| Query::plain(&question.question))
                .collect();
            let ranked = shelf.rank(spec, &queries, resources, &mut |remark| {
                if let Some(remark) = remark {
                    self.audience.remark(remark);
                }
                match signals.is_stopping() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            if signals.is_stopping() {
                break;
            }
            // Any other failure is that of the experiments that need it.
            if let Err(failure) = ranked
                && failure.class == FailureClass::Environment
            {
                self.audience.remark(&format!("the study stops: {failure}"));
                lock(&self.report).environment = Some(failure);
                self.hub.stop();
                break;
            }
        }
        shelf.release_models();
    }

    fn tell_of_download(&self, dataset: &str, progress: Option<&FetchProgress>) {
        if let Some(progress) = progress.filter(|progress| progress.bytes == 0) {
            self.audience.remark(&format!(
                "dataset {dataset}: fetching {} ({} MB)",
                progress.file,
                progress.total / 1_000_000
            ));
        }
    }

    /// What a lane is to do; [`Turn::Wait`] after a while without work.
    pub fn turn(&self, lane: usize) -> Turn {
        let mut schedule = lock(&self.schedule);
        let mut turn = schedule.next(lane, self.now());
        if !matches!(turn, Turn::Run(_))
            && let Some(cell) = self.next_of_search()
        {
            schedule.release(cell);
            turn = schedule.next(lane, self.now());
        }
        if turn == Turn::Wait {
            // Whatever woke it: it asks again.
            let _ = self
                .changed
                .wait_timeout(schedule, LOOK_EVERY)
                .unwrap_or_else(PoisonError::into_inner);
        }
        turn
    }

    /// The cell that a search chooses next, by what the tried ones scored.
    /// What runs at this moment is tried, and has no score.
    fn next_of_search(&self) -> Option<usize> {
        let search = self.study.search.as_ref()?;
        let mut tried = lock(&self.tried);
        // Others may search beside this run, or have done so, in other parts of
        // the grid.
        let begun = search.cells.iter().map(String::as_str);
        let mut names: BTreeSet<&str> = begun
            .filter(|name| self.dir.experiment(name).exists())
            .collect();
        names.extend(
            tried
                .iter()
                .map(|&cell| self.experiments[cell].name.as_str()),
        );
        let scores: HashMap<&str, f64> = names
            .iter()
            .filter_map(|&name| Some((name, self.score(name, &search.metric)?)))
            .collect();
        let here: HashSet<&str> = self
            .experiments
            .iter()
            .map(|spec| spec.name.as_str())
            .collect();
        let may = |name: &str| here.contains(name);
        let chosen = search.next(&self.study.experiments, may, &names, &scores)?;
        let cell = self
            .experiments
            .iter()
            .position(|spec| spec.name == chosen.name)?;
        tried.insert(cell);
        Some(cell)
    }

    /// What a complete experiment scored; one that failed has no score.
    fn score(&self, name: &str, metric: &str) -> Option<f64> {
        let dir = self.dir.experiment(name);
        let state = dir.state().ok()??;
        let results = dir.results().ok()??;
        let is_complete = state.phase == Phase::Complete;
        results
            .metrics
            .get(metric)?
            .as_f64()
            .filter(|_| is_complete)
    }

    /// A lane's experiment is over.
    pub fn done(&self, lane: usize, seen: Seen) {
        let given_up = {
            let mut schedule = lock(&self.schedule);
            let given_up = schedule.done(lane, self.now(), seen);
            if let Some(suspect) = given_up {
                schedule.give_up(suspect);
            }
            given_up
        };
        self.changed.notify_all();
        if let Some(suspect) = given_up {
            self.audience.remark(&format!(
                "{} is given up, its work goes to the other devices: \
                 models that it could not start ran elsewhere",
                self.options.devices[suspect].name
            ));
        }
    }

    /// Another run has a lane's experiment.
    pub fn postpone(&self, lane: usize) {
        lock(&self.schedule).postpone(lane);
        self.changed.notify_all();
    }

    pub fn may_postpone(&self) -> bool {
        lock(&self.schedule).may_postpone()
    }

    /// Whether another lane takes the experiment that this one could not start.
    pub fn second_opinion(&self, lane: usize) -> bool {
        let goes_on = lock(&self.schedule).second_opinion(lane);
        self.changed.notify_all();
        goes_on
    }

    /// Gives a lane up, unless it is the last.
    pub fn retire(&self, lane: usize) -> bool {
        let mut schedule = lock(&self.schedule);
        if schedule.active() < 2 {
            return false;
        }
        schedule.retire(lane);
        self.changed.notify_all();
        true
    }

    /// From now on no experiment is begun; what runs is finished.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Seconds since the run began.
    fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn is_complete(&self, spec: &ExperimentSpec) -> bool {
        self.dir
            .experiment(&spec.name)
            .state()
            .is_ok_and(|state| state.is_some_and(|state| state.phase == Phase::Complete))
    }

    /// Renders the tables when they are old.
    pub fn summarise_now_and_then(&self) {
        // Where another lane is at it, it is being done.
        if let Ok(mut summarised) = self.summarised.try_lock()
            && summarised.elapsed() >= SUMMARY_EVERY
        {
            *summarised = Instant::now();
            self.summarise();
        }
    }

    /// Renders what is derived from all experiments. It is for people, so a
    /// failure to write it is a remark.
    fn summarise(&self) {
        let reports = lock(&self.report).experiments.clone();
        let lessons = lock(&self.lessons).clone();
        let written = tables::render_tables(
            self.dir,
            &self.study.name,
            &self.study.experiments,
            &reports,
        )
        .and_then(|()| tables::update_manifest(self.dir, &lessons, self.resources));
        if let Err(error) = written {
            self.audience
                .remark(&format!("the study's tables: {error}"));
        }
    }

    fn finish(self) -> RunReport {
        {
            let mut report = lock(&self.report);
            report.seconds = self.now();
            if self.options.devices.len() > 1 {
                let places: HashMap<&str, usize> = self
                    .experiments
                    .iter()
                    .enumerate()
                    .map(|(at, spec)| (spec.name.as_str(), at))
                    .collect();
                report
                    .experiments
                    .sort_by_key(|one| places.get(one.name.as_str()).copied());
            }
        }
        self.summarise();
        if let Err(error) = tables::complete_manifest(self.study, self.dir) {
            self.audience.remark(&error.to_string());
        }
        let report = std::mem::take(&mut *lock(&self.report));
        self.audience.hear(&Event::StudyFinished {
            study: self.study.name.clone(),
            complete: report.complete(),
            failed: report.failed(),
            left: report.left(),
            seconds: report.seconds,
        });
        if let Err(error) = self.seal() {
            self.audience.remark(&error.to_string());
        }
        report
    }

    /// Seals the study's files, unless another run goes on: that one does.
    fn seal(&self) -> Result<(), ArtifactError> {
        for spec in self.experiments {
            let owner = self
                .dir
                .experiment(&spec.name)
                .owner(&LeaseOptions::default())?;
            if matches!(owner, Some((_, Liveness::Alive))) {
                return Ok(());
            }
        }
        self.dir.seal()?;
        // It may have ended at the same time, and written after this one read.
        match self.dir.check_seal()? {
            Sealed::Yes { tampered, .. } if !tampered.is_empty() => self.dir.unseal(),
            _ => Ok(()),
        }
    }
}

/// Of a searched grid, the cells that wait to be chosen, and those that were
/// chosen before: they are a part of the search, finished or not.
fn search_begins(
    study: &Study,
    experiments: &[ExperimentSpec],
    dir: &StudyDir,
) -> (HashSet<usize>, BTreeSet<usize>) {
    let Some(search) = &study.search else {
        return (HashSet::new(), BTreeSet::new());
    };
    let (begun, waiting): (Vec<usize>, Vec<usize>) = (0..experiments.len())
        .filter(|&cell| search.cells.contains(&experiments[cell].name))
        .partition(|&cell| dir.experiment(&experiments[cell].name).exists());
    (waiting.into_iter().collect(), begun.into_iter().collect())
}
