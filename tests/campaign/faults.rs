//! Every class of failure, in every phase, at the first, a middle and the last
//! batch, at several batch sizes: what was expected, and what came.

use crate::{
    bench::{Bench, Options, text},
    print, size,
    stage::{Lies, Stage},
};
use std::{collections::BTreeMap, fmt, time::Instant};

/// The batches of a cell: so many, whatever their size.
const BATCHES: usize = 3;

/// What a run with a fault comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    exit: i32,
    phase: &'static str,
    /// The failure's class, empty where it says none.
    class: &'static str,
    answered: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}, {}", self.exit, self.phase)?;
        if !self.class.is_empty() {
            write!(f, " ({})", self.class)?;
        }
        write!(f, ", {} answered", self.answered)
    }
}

/// A cell of the matrix.
struct Cell {
    row: String,
    place: String,
    failpoints: String,
    expected: Outcome,
}

impl Cell {
    fn hangs(&self) -> bool {
        ["hang", "sigstop"]
            .iter()
            .any(|kind| self.row.starts_with(kind))
    }
}

/// The faults of a worker's batch, the class that each is of, and whether a
/// batch that fails so once is saved.
const IN_A_BATCH: [(&str, &str, bool); 10] = [
    ("oom", "oom", true),
    ("transient", "transient", true),
    ("panic", "transient", true),
    ("device_lost", "device_lost", true),
    ("sigkill", "worker_died", true),
    ("sigsegv", "worker_died", true),
    ("hang", "hang", true),
    ("sigstop", "hang", true),
    ("bad_item", "bad_item", true),
    ("permanent", "permanent", false),
];

fn cells(size: usize) -> Vec<Cell> {
    let questions = BATCHES * size;
    let complete = Outcome {
        exit: 0,
        phase: "complete",
        class: "",
        answered: questions,
    };
    let failed = |class, answered| Outcome {
        exit: 1,
        phase: "failed",
        class,
        answered,
    };
    // What was being done when nothing could be kept any more.
    let stopped = |phase, answered| Outcome {
        exit: 4,
        phase,
        class: "",
        answered,
    };
    let mut cells = Vec::new();
    let mut cell = |row: String, place: &str, failpoints: String, expected| {
        cells.push(Cell {
            row,
            place: format!("batches of {size}, {place}"),
            failpoints,
            expected,
        });
    };
    for (place, batch) in [("the first", 0), ("a middle", 1), ("the last", 2)] {
        let before = batch * size;
        for (kind, class, is_saved) in IN_A_BATCH {
            let once = match is_saved {
                true => complete,
                false => failed(class, before),
            };
            cell(
                format!("{kind} in a batch, once"),
                place,
                format!("worker::batch=return({kind} at=COUNTER:{batch})"),
                once,
            );
            let class = match class {
                // Two deaths before anything succeeded: the model's own fault.
                "worker_died" if batch == 0 => "permanent",
                class => class,
            };
            cell(
                format!("{kind} in a batch, from then on"),
                place,
                format!("worker::batch=return({kind} from=COUNTER:{batch})"),
                failed(class, before),
            );
        }
        for errno in ["ENOSPC", "EIO"] {
            cell(
                format!("environment ({errno}) at a batch"),
                place,
                format!("journal::append={batch}*off->return({errno})"),
                stopped("generating", before),
            );
        }
    }
    let first = "before the first";
    for (fault, class) in [
        ("missing", "permanent"),
        ("sigkill", "worker_died"),
        ("oom", "oom"),
        ("panic", "transient"),
    ] {
        cell(
            format!("{fault} while loading"),
            first,
            format!("worker::load=return({fault})"),
            failed(class, 0),
        );
    }
    cell(
        "environment (the device) while loading".to_owned(),
        first,
        "worker::load=return(device)".to_owned(),
        stopped("generating", 0),
    );
    cell(
        "transient while starting the worker".to_owned(),
        first,
        "worker::spawn=return".to_owned(),
        failed("transient", 0),
    );
    cell(
        "environment (ENOSPC) at the start".to_owned(),
        first,
        "questions::write=return(ENOSPC)".to_owned(),
        stopped("init", 0),
    );
    for point in ["predictions::write", "results::write"] {
        cell(
            format!("environment (ENOSPC) in metrics, {point}"),
            "after the last",
            format!("{point}=return(ENOSPC)"),
            stopped("computing_metrics", questions),
        );
    }
    cells
}

/// What hangs is given up after this. Nothing else is, however slow the machine
/// that runs the campaign.
const HASTY: &str = "batch_timeout: 1\n";

/// As [`cells`], of what hangs until a timeout other than `batch_timeout`.
fn timeouts(size: usize) -> Vec<Cell> {
    let timeout = |row: &str, place: &str, failpoints: String, answered| Cell {
        row: row.to_owned(),
        place: format!("batches of {size}, {place}"),
        failpoints,
        expected: Outcome {
            exit: 1,
            phase: "failed",
            class: "timeout",
            answered,
        },
    };
    let mut cells = vec![timeout(
        "timeout of the load",
        "before the first",
        "worker::load=return(hang)".to_owned(),
        0,
    )];
    for (place, batch) in [("the first", 0), ("a middle", 1), ("the last", 2)] {
        cells.push(timeout(
            "timeout of the experiment in a batch",
            place,
            format!("worker::batch=return(hang from=COUNTER:{batch})"),
            batch * size,
        ));
    }
    cells
}

/// Settings under which [`timeouts`] are what they are.
const IMPATIENT: &str = "load_timeout: 3\nexperiment_timeout: 5\n";

#[derive(Default)]
struct Tally {
    cells: usize,
    as_expected: usize,
    lies: Lies,
    differ: usize,
}

const FIRST: [&str; 2] = ["--filter", "direct*"];

fn got(bench: &Bench, exit: Option<i32>) -> Option<(i32, String, String, usize)> {
    let state = bench.read(&bench.experiments().first()?.join("state.json"));
    let word = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
    let answered = bench.journal_answers().len();
    Some((exit?, word("phase"), word("failure_class"), answered))
}

fn run(cell: &Cell, stage: &Stage, tally: &mut Tally, unexpected: &mut Vec<Vec<String>>) {
    let bench = stage.bench();
    let counter = bench.path("counter").display().to_string();
    let failpoints = cell.failpoints.replace("COUNTER", &counter);
    let arguments = [&["run", "study.yaml"][..], &FIRST].concat();
    let output = bench.command(&arguments, &failpoints).output().unwrap();
    let expected = cell.expected;
    let found = got(&bench, output.status.code());
    let is_expected = found
        .as_ref()
        .is_some_and(|(exit, phase, class, answered)| {
            (*exit, phase.as_str(), class.as_str(), *answered)
                == (
                    expected.exit,
                    expected.phase,
                    expected.class,
                    expected.answered,
                )
        });
    tally.cells += 1;
    tally.as_expected += usize::from(is_expected);
    tally.lies.add(Lies::of(&bench));
    if !is_expected {
        let found = match found {
            Some((exit, phase, class, answered)) => {
                format!("exit {exit}, {phase} ({class}), {answered} answered")
            }
            None => format!("no state: {}", text(&output)),
        };
        unexpected.push(vec![
            cell.row.clone(),
            cell.place.clone(),
            expected.to_string(),
            found,
        ]);
    }
    // Without the fault it goes on to what a clean run finds.
    let again = bench.command(&arguments, "").output().unwrap();
    let clean: BTreeMap<_, _> = stage
        .answers
        .iter()
        .filter(|(name, _)| name.starts_with("direct"))
        .collect();
    let answers = bench.answers();
    let is_equal = again.status.code() == Some(0) && answers.iter().eq(clean);
    tally.differ += usize::from(!is_equal);
    tally.lies.add(Lies::of(&bench));
}

#[test]
fn every_failure_at_every_moment_comes_to_what_is_promised() {
    // Every so many of the cells; of a short run none that waits.
    let every = size("RAGICAMP_FAULTS", 0);
    let start = Instant::now();
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut unexpected = Vec::new();
    let mut number = 0;
    for batch in [1, 4, 16] {
        let (hanging, prompt) = cells(batch).into_iter().partition(Cell::hangs);
        for (more, cells) in [("", prompt), (HASTY, hanging), (IMPATIENT, timeouts(batch))] {
            if every == 0 && (batch != 4 || !more.is_empty()) {
                continue;
            }
            let stage = Stage::new(Options {
                questions: BATCHES * batch,
                batch,
                more,
            });
            for cell in &cells {
                number += 1;
                let step = if every == 0 { 7 } else { every };
                if number % step == 0 {
                    let tally = tallies.entry(cell.row.clone()).or_default();
                    run(cell, &stage, tally, &mut unexpected);
                }
            }
        }
    }
    let rows: Vec<_> = tallies
        .iter()
        .map(|(row, tally)| {
            vec![
                row.clone(),
                tally.cells.to_string(),
                tally.as_expected.to_string(),
                tally.lies.complete.to_string(),
                tally.lies.scored.to_string(),
                tally.lies.twice.to_string(),
                tally.differ.to_string(),
            ]
        })
        .collect();
    print(
        &format!(
            "Faults: {} cells, {:.0} s",
            tallies.values().map(|tally| tally.cells).sum::<usize>(),
            start.elapsed().as_secs_f64()
        ),
        &[
            "fault",
            "cells",
            "as expected",
            "complete with a failed question",
            "error texts scored",
            "answered twice",
            "differ after resuming",
        ],
        &rows,
    );
    if !unexpected.is_empty() {
        print(
            "Not as expected",
            &["fault", "place", "expected", "got"],
            &unexpected,
        );
    }
    assert!(unexpected.is_empty());
    for (row, tally) in &tallies {
        assert_eq!(tally.lies.total() + tally.differ, 0, "{row}");
    }
}
