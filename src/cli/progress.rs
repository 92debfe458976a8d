use crate::{
    artifacts::EventLog,
    domain::{Event, Phase},
    runner::Listener,
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Two live lines on a terminal.
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

/// The listener for a style. `device` names the line of the worker.
pub fn listener(style: Style, device: &str) -> Box<dyn Listener> {
    match style {
        Style::Live => Box::new(Live::new(device)),
        Style::Plain => Box::new(Plain::default()),
        Style::Json => Box::new(Json),
    }
}

/// What both ways of showing need to count.
#[derive(Debug, Default)]
struct Tally {
    experiments: usize,
    done: usize,
    failed: usize,
    answered_before: usize,
    answered: usize,
    total: usize,
    tokens: usize,
    batch: usize,
    reason: String,
    since: Option<Instant>,
}

impl Tally {
    fn take(&mut self, event: &Event) {
        match event {
            Event::StudyStarted { experiments, .. } => self.experiments = *experiments,
            Event::ExperimentStarted {
                total, answered, ..
            } => {
                self.answered_before = *answered;
                self.answered = *answered;
                self.total = *total;
                self.tokens = 0;
                self.batch = 0;
                self.reason.clear();
                self.since = None;
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
            Event::ExperimentFinished { phase, .. } => match phase {
                Phase::Complete => self.done += 1,
                Phase::Failed | Phase::ComputingMetrics => self.failed += 1,
                _ => {}
            },
            Event::ExperimentSkipped { reason, .. } if reason == "complete" => self.done += 1,
            _ => {}
        }
    }

    fn left(&self) -> usize {
        self.experiments.saturating_sub(self.done + self.failed)
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

/// What is worth a line of its own, and how it reads.
fn line(event: &Event, tally: &Tally) -> Option<String> {
    let counter = |name: &str| {
        let width = tally.experiments.to_string().len();
        format!(
            "[{:>width$}/{}] {name}",
            tally.done + tally.failed,
            tally.experiments
        )
    };
    Some(match event {
        Event::StudyStarted {
            study,
            experiments,
            complete,
        } => format!("{study}: {experiments} experiments, {complete} of them complete"),
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
            "{}: {total} answered in {seconds:.1} s",
            counter(experiment)
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
    device: ProgressBar,
    tally: Tally,
    name: String,
    begun: Instant,
}

impl Live {
    fn new(device: &str) -> Self {
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
        let device_line = bar("{prefix:>6.bold} [{bar:24.cyan}] {pos}/{len}  {msg}");
        device_line.set_prefix(device.to_owned());
        study.enable_steady_tick(Duration::from_millis(500));
        Self {
            study,
            device: device_line,
            lines,
            tally: Tally::default(),
            name: String::new(),
            begun: Instant::now(),
        }
    }

    fn draw(&self) {
        let tally = &self.tally;
        let eta = eta(tally, self.begun.elapsed());
        self.study.set_length(tally.experiments.max(1) as u64);
        self.study.set_position((tally.done + tally.failed) as u64);
        self.study.set_message(format!(
            "{} done, {} failed, {} left{eta}",
            tally.done,
            tally.failed,
            tally.left()
        ));
        let (items, tokens) = tally.rates();
        let reason = if tally.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", tally.reason)
        };
        self.device.set_length(tally.total.max(1) as u64);
        self.device.set_position(tally.answered as u64);
        self.device.set_message(format!(
            "batch {}{reason}  {items:.1} items/s  {tokens:.0} tokens/s  {}",
            tally.batch, self.name
        ));
    }
}

/// Expected time left, from the experiments that are over.
fn eta(tally: &Tally, elapsed: Duration) -> String {
    let over = tally.done + tally.failed;
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
        match event {
            Event::StudyStarted { study, .. } => self.study.set_prefix(study.clone()),
            Event::ExperimentStarted { experiment, .. } => self.name.clone_from(experiment),
            _ => {}
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
            self.device.finish_and_clear();
            self.study.finish_and_clear();
        } else {
            self.draw();
        }
    }

    fn remark(&mut self, text: &str) {
        let _ = self.lines.println(text);
    }
}

#[derive(Default)]
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

struct Json;

impl Listener for Json {
    fn hear(&mut self, event: &Event) {
        let _ = writeln!(std::io::stdout(), "{}", EventLog::line(event).trim_end());
    }

    fn remark(&mut self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
