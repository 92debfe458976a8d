//! Disks that are full, broken or read-only at every change of a file.

use crate::{
    bench::{Bench, Dice, Options, no_orphans, text},
    kills::sampled,
    print,
    shim::{self, Mode},
    size,
    stage::{Lies, Stage},
};
use rustix::io::Errno;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Output, Stdio},
    time::Instant,
};

const ERRORS: [(&str, Errno, &str); 4] = [
    ("ENOSPC", Errno::NOSPC, "No space left on device"),
    ("EDQUOT", Errno::DQUOT, "quota exceeded"),
    ("EIO", Errno::IO, "Input/output error"),
    ("EROFS", Errno::ROFS, "Read-only file system"),
];

/// Which files are on the disk that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Outputs,
    Cache,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    place: Place,
    mode: Mode,
    at: u64,
}

/// What the runs of one kind of fault came to.
#[derive(Default)]
struct Tally {
    runs: usize,
    tripped: usize,
    stopped: usize,
    unharmed: usize,
    wrong: Vec<String>,
    lies: usize,
    lost: usize,
    differ: usize,
}

impl Place {
    /// A fresh study, and the directory that is on the disk.
    fn bench(self, stage: &Stage) -> (Bench, PathBuf) {
        match self {
            Self::Outputs => {
                let bench = stage.bench();
                let directory = bench.path("outputs");
                (bench, directory)
            }
            // The index is built on the disk that fails.
            Self::Cache => {
                let bench = stage.bench_without_cache();
                let directory = bench.path("cache");
                (bench, directory)
            }
        }
    }
}

impl Case {
    fn kind(&self) -> String {
        let place = match self.place {
            Place::Outputs => "outputs",
            Place::Cache => "cache",
        };
        let fault = match self.mode {
            Mode::Fail { errno, sticky } => {
                let (name, ..) = named(errno);
                format!("{name} {}", if sticky { "from then on" } else { "once" })
            }
            Mode::Short { sticky: true } => "every write short".to_owned(),
            _ => "one write short".to_owned(),
        };
        format!("{place}: {fault}")
    }

    fn run(self, stage: &Stage, tally: &mut Tally) {
        let (bench, under) = self.place.bench(stage);
        let state = bench.path("shim");
        let mut command = bench.command(&["run", "study.yaml"], "");
        shim::load(&mut command, self.mode, self.at, &under, &state);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        no_orphans(pid);
        tally.runs += 1;
        tally.tripped += usize::from(shim::tripped(&state));
        if let Some(why) = self.wrong(stage, &bench, &output, tally) {
            tally
                .wrong
                .push(format!("{} at call {}: {why}", self.kind(), self.at));
        }
        let before = bench.journal_answers();
        tally.lies += Lies::of(&bench).total();
        // Space was freed, the disk replaced.
        let again = bench.run("");
        if again.status.code() != Some(0) {
            tally.differ += 1;
            tally.wrong.push(format!(
                "{} at call {}, afterwards: {}",
                self.kind(),
                self.at,
                text(&again)
            ));
            return;
        }
        tally.differ += usize::from(bench.answers() != stage.answers);
        let after = bench.journal_answers();
        tally.lost += before.keys().filter(|it| !after.contains_key(*it)).count();
        tally.lies += Lies::of(&bench).total();
    }

    /// What the run did that it must not do.
    fn wrong(
        &self,
        stage: &Stage,
        bench: &Bench,
        output: &Output,
        tally: &mut Tally,
    ) -> Option<String> {
        let said = text(output);
        if said.contains("panicked") {
            return Some(format!("a panic: {said}"));
        }
        match (output.status.code(), self.mode) {
            (Some(0), _) => {
                tally.unharmed += 1;
                (bench.answers() != stage.answers).then(|| "exit 0, other answers".to_owned())
            }
            (Some(4), Mode::Fail { errno, .. }) => {
                tally.stopped += 1;
                let (_, message) = named(errno);
                (!said.contains(message)).then(|| format!("it does not say why: {said}"))
            }
            (code, _) => Some(format!("exit {code:?}: {said}")),
        }
    }
}

fn named(errno: i32) -> (&'static str, &'static str) {
    let (name, _, message) = ERRORS
        .into_iter()
        .find(|(_, known, _)| known.raw_os_error() == errno)
        .unwrap();
    (name, message)
}

/// How many calls change files of `place` in a clean run.
fn calls(stage: &Stage, place: Place) -> u64 {
    let (bench, under) = place.bench(stage);
    let state = bench.path("shim");
    let mut command = bench.command(&["run", "study.yaml"], "");
    shim::load(&mut command, Mode::Count, 0, &under, &state);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    shim::calls(&state)
}

#[test]
fn a_disk_that_fails_at_any_change_of_a_file_stops_cleanly_and_resumes() {
    if shim::library().is_none() {
        return;
    }
    // Runs per kind of fault; `make campaign DISK=1000` makes all there are.
    let share = size("RAGICAMP_DISK", 1);
    let stage = Stage::new(Options {
        questions: 8,
        batch: 4,
        more: "",
    });
    let mut dice = Dice::new();
    let start = Instant::now();
    let mut modes: Vec<Mode> = Vec::new();
    for (_, errno, _) in ERRORS {
        let errno = errno.raw_os_error();
        modes.extend([true, false].map(|sticky| Mode::Fail { errno, sticky }));
    }
    modes.extend([true, false].map(|sticky| Mode::Short { sticky }));
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut counted = Vec::new();
    for place in [Place::Outputs, Place::Cache] {
        let calls = calls(&stage, place);
        counted.push(calls);
        for &mode in &modes {
            for at in sampled((0..calls).collect(), share, &mut dice) {
                let case = Case { place, mode, at };
                case.run(&stage, tallies.entry(case.kind()).or_default());
            }
        }
    }
    let rows: Vec<_> = tallies
        .iter()
        .map(|(kind, tally)| {
            vec![
                kind.clone(),
                tally.runs.to_string(),
                tally.tripped.to_string(),
                tally.stopped.to_string(),
                tally.unharmed.to_string(),
                tally.wrong.len().to_string(),
                tally.lies.to_string(),
                tally.lost.to_string(),
                tally.differ.to_string(),
            ]
        })
        .collect();
    print(
        &format!(
            "Disks: {} changes of files in outputs, {} in the cache, {:.0} s",
            counted[0],
            counted[1],
            start.elapsed().as_secs_f64()
        ),
        &[
            "the disk of",
            "runs",
            "fault met",
            "stopped with exit 4",
            "complete all the same",
            "anything else",
            "false labels, answered twice",
            "answers lost",
            "differ after resuming",
        ],
        &rows,
    );
    let wrong = tallies.values().flat_map(|tally| &tally.wrong);
    wrong.for_each(|why| eprintln!("{why}"));
    for (kind, tally) in &tallies {
        assert!(tally.wrong.is_empty(), "{kind}");
        assert_eq!((tally.lies, tally.lost, tally.differ), (0, 0, 0), "{kind}");
    }
}

#[test]
fn the_shim_sees_every_change_of_a_file_that_the_kernel_sees() {
    if shim::library().is_none() {
        return;
    }
    let stage = Stage::new(Options {
        questions: 4,
        batch: 4,
        more: "",
    });
    let bench = stage.bench();
    let under = bench.path("outputs");
    let mut command = bench.command(&["run", "study.yaml"], "");
    command.env("SHIM_TRACE", bench.path("trace"));
    shim::load(&mut command, Mode::Count, 0, &under, &bench.path("shim"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    // Replayed from the record alone, the directory is what is there; but for
    // what the workers wrote to their log.
    let disk = crate::power::Disk::replay(&under, &shim::trace(&bench.path("trace")));
    let mut compared = 0;
    for (path, bytes) in disk.files() {
        if path.ends_with("experiment.log") {
            continue;
        }
        let there = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(there == bytes, "{}", path.display());
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} files");
}
