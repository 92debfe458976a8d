use super::{exit::is_closed, words::count};
use crate::{
    artifacts::EventLog,
    diagnosis::printable_lines,
    domain::{Event, Phase},
    runner::{LaneDevice, Listener},
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Live lines on a terminal: the study, and one for each device.
    Live,
    /// One line per thing that happened.
    Plain,
    /// One JSON object per event, on standard output.
    Json,
}

impl Style {
    /// What standard error is good for.
    pub fn detect(json: bool) -> Self {
        if json {
            Self::Json
        } else if std::io::stderr().is_terminal() {
            Self::Live
        } else {
            Self::Plain
        }
    }
}

/// The listener for a style. `devices` names a line for each; `lost` is set
/// where standard output took not all events.
pub fn listener(style: Style, devices: &[LaneDevice], lost: &Arc<AtomicBool>) -> Box<dyn Listener> {
    match style {
        Style::Live => Box::new(Live::new(devices)),
        Style::Plain => Box::new(Plain {
            tally: Tally::new(devices.len()),
        }),
        Style::Json => Box::new(Json {
            out: std::io::stdout(),
            lost: Arc::clone(lost),
        }),
    }
}

/// What both ways of showing need to count.
#[derive(Debug, Default)]
struct Tally {
    devices: usize,
    experiments: usize,
    /// Experiments that are over, and whether they are complete. One that
    /// failed on a device may be tried on another.
    over: HashMap<String, bool>,
    /// The device on which an experiment runs.
    places: HashMap<String, String>,
}

impl Tally {
    fn new(devices: usize) -> Self {
        Self {
            devices,
            ..Self::default()
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::StudyStarted { experiments, .. } => self.experiments = *experiments,
            Event::ExperimentStarted {
                experiment,
                device: Some(device),
                ..
            } => {
                self.over.remove(experiment);
                self.places.insert(experiment.clone(), device.clone());
            }
            Event::ExperimentFinished {
                experiment, phase, ..
            } => {
                let is_complete = *phase == Phase::Complete;
                if is_complete || matches!(phase, Phase::Failed | Phase::ComputingMetrics) {
                    self.over.insert(experiment.clone(), is_complete);
                }
            }
            Event::ExperimentSkipped { experiment, reason } if reason == "complete" => {
                self.over.insert(experiment.clone(), true);
            }
            _ => {}
        }
    }

    fn done(&self) -> usize {
        self.over
            .values()
            .filter(|&&is_complete| is_complete)
            .count()
    }

    fn failed(&self) -> usize {
        self.over.len() - self.done()
    }

    fn left(&self) -> usize {
        self.experiments.saturating_sub(self.over.len())
    }

    /// Where an experiment runs, if that is worth saying.
    fn place(&self, experiment: &str) -> String {
        match self.places.get(experiment) {
            Some(device) if self.devices > 1 => format!(" on {device}"),
            _ => String::new(),
        }
    }
}

/// What a device is doing.
#[derive(Debug, Default)]
struct Work {
    name: String,
    answered_before: usize,
    answered: usize,
    total: usize,
    tokens: usize,
    batch: usize,
    reason: String,
    since: Option<Instant>,
}

impl Work {
    fn take(&mut self, event: &Event) {
        match event {
            Event::ExperimentStarted {
                experiment,
                total,
                answered,
                ..
            } => {
                *self = Self {
                    name: experiment.clone(),
                    answered_before: *answered,
                    answered: *answered,
                    total: *total,
                    ..Self::default()
                };
            }
            Event::ModelLoaded { .. } => self.since = Some(Instant::now()),
            Event::BatchDispatched { size, .. } => self.batch = *size,
            Event::BatchSizeChanged { reason, .. } => self.reason.clone_from(reason),
            Event::Progress {
                answered, tokens, ..
            } => {
                self.answered = *answered;
                self.tokens = *tokens;
            }
            _ => {}
        }
    }

    /// Items and tokens per second since the model was loaded.
    fn rates(&self) -> (f64, f64) {
        let seconds = self
            .since
            .map_or(0.0, |since| since.elapsed().as_secs_f64())
            .max(1e-3);
        let items = self.answered.saturating_sub(self.answered_before);
        (items as f64 / seconds, self.tokens as f64 / seconds)
    }
}

/// The experiment that an event is about.
fn subject(event: &Event) -> Option<&str> {
    match event {
        Event::ExperimentStarted { experiment, .. }
        | Event::ModelLoaded { experiment, .. }
        | Event::BatchDispatched { experiment, .. }
        | Event::BatchSizeChanged { experiment, .. }
        | Event::Progress { experiment, .. } => Some(experiment),
        _ => None,
    }
}

/// What is worth a line of its own; a server's words in it give the terminal
/// no orders.
fn line(event: &Event, tally: &Tally) -> Option<String> {
    sentence(event, tally).map(|line| printable_lines(&line))
}

fn sentence(event: &Event, tally: &Tally) -> Option<String> {
    let counter = |name: &str| {
        let width = tally.experiments.to_string().len();
        format!(
            "[{:>width$}/{}] {name}",
            tally.over.len(),
            tally.experiments
        )
    };
    Some(match event {
        Event::StudyStarted {
            study,
            experiments,
            complete,
        } => format!(
            "{study}: {}, {complete} of them complete",
            count(*experiments, "experiment")
        ),
        Event::BatchFailed {
            experiment,
            size,
            class,
            message,
        } => format!("{experiment}: a batch of {size} failed ({class}): {message}"),
        Event::WorkerRestarted {
            experiment, reason, ..
        } => {
            format!("{experiment}: starting a new worker: {reason}")
        }
        Event::Aborted {
            experiment,
            consecutive_failures,
            message,
        } => format!(
            "{experiment}: aborted after {consecutive_failures} failures in a row: {message}"
        ),
        Event::ExperimentFinished {
            experiment,
            phase: Phase::Complete,
            total,
            seconds,
            ..
        } => format!(
            "{}: {total} answered in {seconds:.1} s{}",
            counter(experiment),
            tally.place(experiment)
        ),
        Event::ExperimentFinished {
            experiment,
            phase,
            answered,
            total,
            error,
            ..
        } => {
            let why = error
                .as_deref()
                .map(|error| format!(": {error}"))
                .unwrap_or_default();
            format!("{} {phase} at {answered}/{total}{why}", counter(experiment))
        }
        Event::ExperimentSkipped { experiment, reason } if reason != "complete" => {
            format!("{experiment}: left alone: {reason}")
        }
        _ => return None,
    })
}

struct Live {
    lines: MultiProgress,
    study: ProgressBar,
    devices: Vec<(String, ProgressBar, Work)>,
    tally: Tally,
    begun: Instant,
}

impl Live {
    fn new(devices: &[LaneDevice]) -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let bar = |template: &str| {
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ");
            let bar = lines.add(ProgressBar::new(1));
            bar.set_style(style);
            bar
        };
        // indicatif leaves colours out by itself where NO_COLOR is set.
        let study = bar("{prefix:.bold} [{bar:24.green}] {pos}/{len}  {msg}");
        let tally = Tally::new(devices.len());
        let devices = devices
            .iter()
            .map(|device| {
                let line = bar("{prefix:>6.bold} [{bar:24.cyan}] {pos}/{len}  {msg}");
                line.set_prefix(short(&device.name));
                (device.name.clone(), line, Work::default())
            })
            .collect();
        study.enable_steady_tick(Duration::from_millis(500));
        Self {
            study,
            devices,
            lines,
            tally,
            begun: Instant::now(),
        }
    }

    fn draw(&self) {
        let tally = &self.tally;
        let eta = eta(tally, self.begun.elapsed());
        self.study.set_length(tally.experiments.max(1) as u64);
        self.study.set_position(tally.over.len() as u64);
        self.study.set_message(format!(
            "{} done, {} failed, {} left{eta}",
            tally.done(),
            tally.failed(),
            tally.left()
        ));
    }

    fn draw_device(line: &ProgressBar, work: &Work) {
        let (items, tokens) = work.rates();
        let reason = if work.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", work.reason)
        };
        line.set_length(work.total.max(1) as u64);
        line.set_position(work.answered as u64);
        line.set_message(format!(
            "batch {}{reason}  {items:.1} items/s  {tokens:.0} tokens/s  {}",
            work.batch, work.name
        ));
    }
}

/// A uuid's beginning tells the GPUs of a machine apart.
fn short(device: &str) -> String {
    device.chars().take(12).collect()
}

/// Expected time left, from the experiments that are over.
fn eta(tally: &Tally, elapsed: Duration) -> String {
    let over = tally.over.len();
    if over == 0 || tally.left() == 0 {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() / over as f64 * tally.left() as f64;
    let seconds = seconds.round() as u64;
    format!(
        "  ETA {}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

impl Listener for Live {
    fn hear(&mut self, event: &Event) {
        self.tally.take(event);
        if let Event::StudyStarted { study, .. } = event {
            self.study.set_prefix(study.clone());
        }
        let place = subject(event).and_then(|name| self.tally.places.get(name));
        if let Some(place) = place
            && let Some((_, line, work)) =
                self.devices.iter_mut().find(|(name, _, _)| name == place)
        {
            work.take(event);
            Self::draw_device(line, work);
        }
        let complete = matches!(
            event,
            Event::ExperimentFinished {
                phase: Phase::Complete,
                ..
            } | Event::StudyStarted { .. }
        );
        if !complete && let Some(line) = line(event, &self.tally) {
            // A terminal that is gone takes no more lines.
            let _ = self.lines.println(line);
        }
        if matches!(event, Event::StudyFinished { .. }) {
            for (_, line, _) in &self.devices {
                line.finish_and_clear();
            }
            self.study.finish_and_clear();
        } else {
            self.draw();
        }
    }

    fn remark(&mut self, text: &str) {
        let _ = self.lines.println(text);
    }
}

struct Plain {
    tally: Tally,
}

impl Listener for Plain {
    fn hear(&mut self, event: &Event) {
        self.tally.take(event);
        if let Some(line) = line(event, &self.tally) {
            self.remark(&line);
        }
    }

    fn remark(&mut self, text: &str) {
        // A log nobody reads any more is no reason to stop.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

struct Json<W> {
    out: W,
    lost: Arc<AtomicBool>,
}

impl<W: Write + Send> Listener for Json<W> {
    fn hear(&mut self, event: &Event) {
        let written = writeln!(self.out, "{}", EventLog::line(event).trim_end());
        if let Err(error) = written
            && !is_closed(&error)
            && !self.lost.swap(true, Ordering::Relaxed)
        {
            self.remark(&format!(
                "standard output takes no more events ({error}); the study goes on, and all of \
                 them are in its events.jsonl"
            ));
        }
    }

    fn remark(&mut self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
