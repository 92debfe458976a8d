//! Supervisors and workers are killed, again and again, and resumed.

use crate::{
    bench::{Bench, Dice, Options, no_orphans, text, workers_of},
    print,
    shim::{self, Mode},
    size,
    stage::{Lies, Stage},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

const BATCH: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Supervisor,
    Worker,
    Both,
}

const VICTIMS: [Victim; 3] = [Victim::Supervisor, Victim::Worker, Victim::Both];

/// What a series of kills did.
#[derive(Default)]
struct Tally {
    kills: usize,
    in_flight: usize,
    studies: usize,
    lost: usize,
    twice: usize,
    lies: usize,
    /// Questions that were asked again: in all, and per kill at worst.
    again: usize,
    worst: f64,
    /// Attempts that cost more than a batch per kill.
    over: usize,
    differ: usize,
    /// Runs in which workers were killed so often that a question failed.
    failed: usize,
}

impl Tally {
    const HEADER: [&str; 11] = [
        "killed",
        "kills",
        "a batch in flight",
        "studies",
        "acknowledged lost",
        "answered twice",
        "false labels",
        "asked again per kill",
        "at most",
        "more than a batch",
        "differ from a clean run",
    ];

    fn row(&self, what: &str) -> Vec<String> {
        vec![
            what.to_owned(),
            self.kills.to_string(),
            self.in_flight.to_string(),
            self.studies.to_string(),
            self.lost.to_string(),
            self.twice.to_string(),
            self.lies.to_string(),
            format!("{:.1}", self.again as f64 / self.kills.max(1) as f64),
            format!("{:.1}", self.worst),
            self.over.to_string(),
            self.differ.to_string(),
        ]
    }

    fn hold(&self) {
        assert_eq!(self.lost, 0, "an acknowledged answer is lost");
        assert_eq!(self.twice, 0, "a question is answered twice");
        assert_eq!(self.lies, 0, "a label is false");
        assert_eq!(self.differ, 0, "the end differs from a clean run's");
        assert!(self.worst <= BATCH as f64, "more is asked again");
    }

    /// What `kills` in one attempt cost.
    fn cost(&mut self, again: usize, kills: usize) {
        let each = again as f64 / kills as f64;
        self.again += again;
        self.worst = self.worst.max(each);
        self.over += usize::from(each > BATCH as f64);
    }

    /// Looks at what a killed or ended run left behind.
    fn look(&mut self, bench: &Bench, known: &mut BTreeSet<(String, u64)>) {
        let journal = bench.journal_answers();
        for (name, count) in acknowledged(bench) {
            let kept = journal.keys().filter(|(of, _)| *of == name).count();
            self.lost += count.saturating_sub(kept);
        }
        let lies = Lies::of(bench);
        self.twice += lies.twice;
        self.lies += lies.complete + lies.scored;
        let now: BTreeSet<_> = journal.into_keys().collect();
        self.lost += known.difference(&now).count();
        *known = now;
    }

    /// The end of a study.
    fn end(&mut self, bench: &Bench, stage: &Stage) {
        self.studies += 1;
        self.differ += usize::from(bench.answers() != stage.answers);
        let verified = bench
            .command(&["verify", "outputs/faults"], "")
            .output()
            .unwrap();
        self.differ += usize::from(verified.status.code() != Some(0));
    }
}

/// Every answer that an event called durable.
fn acknowledged(bench: &Bench) -> BTreeMap<String, usize> {
    bench
        .events_named("progress")
        .iter()
        .map(|event| {
            (
                event["experiment"].as_str().unwrap().to_owned(),
                event["answered"].as_u64().unwrap() as usize,
            )
        })
        .collect()
}

/// How many questions were given to a worker so far.
fn asked(bench: &Bench) -> usize {
    bench
        .events_named("batch_dispatched")
        .iter()
        .map(|event| event["size"].as_u64().unwrap() as usize)
        .sum()
}

/// A run of the study, or the resumption of what is there.
fn begin(bench: &Bench, failpoints: &str) -> Child {
    let arguments: &[&str] = if bench.study().join("study.yaml").exists() {
        &["resume", "outputs/faults"]
    } else {
        &["run", "study.yaml"]
    };
    bench
        .command(arguments, failpoints)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// When the next kill comes: after so many more batches and then some, or at
/// any time at all.
enum Moment {
    Batches(usize, Duration),
    Time(Instant),
}

impl Moment {
    fn roll(dice: &mut Dice, bench: &Bench) -> Self {
        if dice.roll(4) == 0 {
            return Self::Time(Instant::now() + Duration::from_millis(dice.roll(400)));
        }
        let batches = bench.events_named("batch_dispatched").len() + 1 + dice.roll(4) as usize;
        Self::Batches(batches, Duration::from_millis(dice.roll(40)))
    }

    fn has_come(&self, bench: &Bench) -> bool {
        match self {
            Self::Time(time) => Instant::now() >= *time,
            Self::Batches(batches, then) => {
                let come = bench.events_named("batch_dispatched").len() >= *batches;
                if come {
                    std::thread::sleep(*then);
                }
                come
            }
        }
    }
}

fn kill(pid: u32) {
    // It may have ended by itself in this moment.
    let _ = kill_process(
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        Signal::KILL,
    );
}

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_lost_or_answered_twice() {
    let kills = size("RAGICAMP_KILLS", 18);
    let stage = Stage::new(Options {
        questions: 50,
        batch: BATCH,
        more: "",
    });
    let mut dice = Dice::new();
    let mut tallies: BTreeMap<Victim, Tally> = BTreeMap::new();
    let start = Instant::now();
    for victim in VICTIMS {
        let tally = tallies.entry(victim).or_default();
        let share = kills.div_ceil(VICTIMS.len());
        while tally.kills < share {
            one_study(&stage, victim, share, &mut dice, tally);
        }
    }
    let rows: Vec<_> = VICTIMS
        .iter()
        .map(|victim| {
            tallies[victim].row(match victim {
                Victim::Supervisor => "the supervisor",
                Victim::Worker => "the worker",
                Victim::Both => "both at once",
            })
        })
        .collect();
    print(
        &format!(
            "Kills at random moments, {:.0} s",
            start.elapsed().as_secs_f64()
        ),
        &Tally::HEADER,
        &rows,
    );
    for (victim, tally) in &tallies {
        eprintln!(
            "{victim:?}: {} runs ended with a failed question",
            tally.failed
        );
        tally.hold();
        assert!(
            tally.in_flight * 2 >= tally.kills,
            "only {} of {} kills hit a batch in flight",
            tally.in_flight,
            tally.kills
        );
    }
}

/// Runs a study to its end, killing on the way until there were `share` kills.
fn one_study(stage: &Stage, victim: Victim, share: usize, dice: &mut Dice, tally: &mut Tally) {
    let bench = stage.bench();
    let mut known = BTreeSet::new();
    for attempt in 0.. {
        assert!(attempt < 400, "the study does not get ahead");
        let (asked_before, answered_before) = (asked(&bench), known.len());
        let mut child = begin(&bench, "worker::slow=sleep(25)");
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut moment = Moment::roll(dice, &bench);
        let mut here = 0;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the run hangs");
            if tally.kills >= share || !moment.has_come(&bench) {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            let workers = workers_of(child.id());
            if victim == Victim::Worker && workers.is_empty() {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            tally.kills += 1;
            here += 1;
            let supervisor_first = victim == Victim::Supervisor || dice.roll(2) == 0;
            if victim != Victim::Worker && supervisor_first {
                child.kill().unwrap();
            }
            if victim != Victim::Supervisor {
                workers.into_iter().for_each(kill);
            }
            if victim != Victim::Worker {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
            let answered = bench.journal_answers().len();
            let asked = asked(&bench) - asked_before;
            tally.in_flight += usize::from(asked > answered - answered_before);
            moment = Moment::roll(dice, &bench);
        };
        no_orphans(child.id());
        tally.look(&bench, &mut known);
        let again = (asked(&bench) - asked_before).saturating_sub(known.len() - answered_before);
        match (status.code(), status.signal()) {
            (None, Some(9)) => tally.in_flight += usize::from(again > 0),
            (Some(0), _) => {}
            // Killed so often at one question that it was given up: said, and
            // asked again by the next attempt.
            (Some(1), _) if victim == Victim::Worker => tally.failed += 1,
            _ => panic!("{status}"),
        }
        if here > 0 {
            tally.cost(again, here);
        } else {
            assert_eq!(again, 0, "questions are asked again without a kill");
        }
        if status.success() {
            break;
        }
    }
    assert_eq!(known.len(), stage.questions());
    tally.end(&bench, stage);
}

/// Points at which an artifact is written, or a batch made durable.
const POINTS: [&str; 19] = [
    "study::write",
    "manifest::write",
    "events::append",
    "lease::write",
    "metadata::write",
    "metadata::write::rename",
    "state::write",
    "state::write::rename",
    "questions::write",
    "journal::create",
    "journal::append",
    "journal::sync",
    "journal::synced",
    "predictions::write",
    "predictions::write::rename",
    "results::write",
    "results::write::rename",
    "checksums::write",
    "summary::write",
];

/// Runs with a kill in it that the program makes itself, and then to the end.
fn killed_once(
    stage: &Stage,
    tally: &mut Tally,
    what: &str,
    prepare: impl FnOnce(&Bench) -> Child,
) {
    let bench = stage.bench();
    let mut child = prepare(&bench);
    let status = child.wait().unwrap();
    no_orphans(child.id());
    let mut known = BTreeSet::new();
    tally.look(&bench, &mut known);
    if status.signal() == Some(9) {
        tally.kills += 1;
        let again = asked(&bench).saturating_sub(known.len());
        tally.in_flight += usize::from(again > 0);
        tally.cost(again, 1);
    } else {
        assert_eq!(status.code(), Some(0), "{what}");
    }
    let output = begin(&bench, "").wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{what}: {}", text(&output));
    tally.look(&bench, &mut known);
    assert_eq!(known.len(), stage.questions(), "{what}");
    tally.end(&bench, stage);
}

#[test]
fn killed_at_every_failpoint_and_around_every_write_it_goes_on() {
    // So many of each kind, or all there are.
    let sample = size("RAGICAMP_KILLS", 4);
    let stage = Stage::new(Options {
        questions: 8,
        batch: BATCH,
        more: "",
    });
    let mut dice = Dice::new();
    let mut rows = Vec::new();
    let mut tallies = Vec::new();
    let start = Instant::now();

    let mut points: Vec<(String, String)> = Vec::new();
    for point in POINTS {
        for skip in [0, 1, 3] {
            let name = format!("{point} after {skip}");
            points.push((name, format!("{point}={skip}*off->return(kill)")));
        }
    }
    for skip in [0, 1, 3] {
        points.push((
            format!("a torn line after {skip}"),
            format!("journal::torn={skip}*off->return;journal::after_torn=return(kill)"),
        ));
    }
    let mut tally = Tally::default();
    for (name, failpoints) in sampled(points, sample * 2, &mut dice) {
        killed_once(&stage, &mut tally, &name, |bench| begin(bench, &failpoints));
    }
    rows.push(tally.row("the supervisor at a failpoint"));
    tallies.push(tally);

    if shim::library().is_some() {
        let calls = {
            let bench = stage.bench();
            let mut command = bench.command(&["run", "study.yaml"], "");
            let state = bench.path("shim");
            shim::load(&mut command, Mode::Count, 0, &bench.path("outputs"), &state);
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
            shim::calls(&state)
        };
        for (mode, name) in [(Mode::Kill, "before"), (Mode::KillAfter, "after")] {
            let mut tally = Tally::default();
            for at in sampled((0..calls).collect(), sample, &mut dice) {
                let what = format!("killed {name} call {at}");
                killed_once(&stage, &mut tally, &what, |bench| {
                    let mut command = bench.command(&["run", "study.yaml"], "");
                    shim::load(
                        &mut command,
                        mode,
                        at,
                        &bench.path("outputs"),
                        &bench.path("shim"),
                    );
                    command
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .spawn()
                        .unwrap()
                });
            }
            rows.push(tally.row(&format!(
                "the supervisor {name} a change of a file ({calls} in a run)"
            )));
            tallies.push(tally);
        }
    }
    print(
        &format!(
            "Kills at chosen moments, {:.0} s",
            start.elapsed().as_secs_f64()
        ),
        &Tally::HEADER,
        &rows,
    );
    tallies.iter().for_each(Tally::hold);
}

/// `count` of `all` in their order, all where that is more.
pub fn sampled<T>(all: Vec<T>, count: usize, dice: &mut Dice) -> Vec<T> {
    let (mut wanted, mut left) = (count as u64, all.len() as u64);
    let mut chosen = Vec::new();
    for one in all {
        if dice.roll(left) < wanted {
            wanted -= 1;
            chosen.push(one);
        }
        left -= 1;
    }
    chosen
}
