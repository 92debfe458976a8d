//! Power cuts: a run's changes of files are recorded, and after every one of
//! them the disk is made as a power cut may leave it.
//!
//! What fsync has seen is there: the bytes of a file by the file's, a name in
//! a directory by the directory's. Of what came later any part may be there,
//! in any order: each name, and of the bytes each sector of 512, with the new
//! length or the old. (As ALICE and dm-log-writes do it; of real file systems
//! most keep more order than that.) Names of one file follow one another, and
//! a rename is there or not.

use crate::{
    bench::{Bench, Dice, Options, text},
    print,
    shim::{self, Call, Mode},
    size,
    stage::{Lies, Stage},
};
use ragicamp::{
    artifacts::{ExperimentDir, Sealed},
    domain::{Phase, Prediction},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

const SECTOR: usize = 512;

/// A file or directory, whatever its names.
type Node = usize;

/// Changes of one directory that happen together: names and what they name.
type Names = Vec<(PathBuf, Option<Node>)>;

/// A disk: what was done to it, and what of it would survive a power cut.
#[derive(Default, Clone)]
pub struct Disk {
    names: BTreeMap<PathBuf, Node>,
    directories: BTreeSet<Node>,
    bytes: Vec<Vec<u8>>,
    safe_names: BTreeMap<PathBuf, Node>,
    safe_bytes: Vec<Vec<u8>>,
    /// What happened to names since their directory was synced, in order.
    open_names: Vec<Names>,
    /// Ranges that were written since their file was synced.
    open_bytes: Vec<Vec<(usize, usize)>>,
}

/// How much of what was not synced a power cut leaves.
#[derive(Debug, Clone, Copy)]
enum Rest {
    Nothing,
    Everything,
    /// Names and lengths, as file systems do that journal these alone.
    NamesOnly,
    Any,
}

impl Disk {
    /// The disk after all of `calls`, which began with nothing below `root`.
    pub fn replay(root: &Path, calls: &[Call]) -> Self {
        let mut disk = Self::begin(root);
        calls.iter().for_each(|call| disk.take(call));
        disk
    }

    /// An empty disk with the directory `root`. What happens to its own name
    /// happens outside of what is recorded.
    fn begin(root: &Path) -> Self {
        let mut disk = Self::default();
        let node = disk.node();
        disk.directories.insert(node);
        disk.names.insert(root.to_owned(), node);
        disk.safe_names = disk.names.clone();
        disk
    }

    /// The files and their bytes.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.names
            .iter()
            .filter(|(_, node)| !self.directories.contains(node))
            .map(|(path, &node)| (path.as_path(), &self.bytes[node][..]))
    }

    fn node(&mut self) -> Node {
        self.bytes.push(Vec::new());
        self.safe_bytes.push(Vec::new());
        self.open_bytes.push(Vec::new());
        self.bytes.len() - 1
    }

    fn name(&mut self, changes: Names) {
        for (path, node) in &changes {
            match node {
                Some(node) => self.names.insert(path.clone(), *node),
                None => self.names.remove(path),
            };
        }
        self.open_names.push(changes);
    }

    fn take(&mut self, call: &Call) {
        let node = self.names.get(&call.path).copied();
        match call.op.as_str() {
            "mkdir" if node.is_some() => {}
            "mkdir" => {
                let node = self.node();
                self.directories.insert(node);
                self.name(vec![(call.path.clone(), Some(node))]);
            }
            "open" => {
                const TRUNCATE: u64 = 0o1000;
                match node {
                    None => {
                        let node = self.node();
                        self.name(vec![(call.path.clone(), Some(node))]);
                    }
                    Some(node) if call.number & TRUNCATE != 0 => self.cut(node, 0),
                    Some(_) => {}
                }
            }
            // Of a file without a name nothing is ever seen again.
            "write" => {
                if let Some(node) = node {
                    let (start, length) = (call.number as usize, call.bytes.len());
                    let bytes = &mut self.bytes[node];
                    if bytes.len() < start + length {
                        bytes.resize(start + length, 0);
                    }
                    bytes[start..start + length].copy_from_slice(&call.bytes);
                    self.open_bytes[node].push((start, start + length));
                }
            }
            "truncate" => {
                if let Some(node) = node {
                    self.cut(node, call.number as usize);
                }
            }
            "rename" => {
                let node = node.unwrap();
                self.name(vec![
                    (call.path.clone(), None),
                    (call.other.clone(), Some(node)),
                ]);
            }
            "link" => self.name(vec![(call.other.clone(), node)]),
            "unlink" => self.name(vec![(call.path.clone(), None)]),
            "sync" => {
                let Some(node) = node else { return };
                self.safe_bytes[node].clone_from(&self.bytes[node]);
                self.open_bytes[node].clear();
                let Self {
                    open_names,
                    safe_names,
                    ..
                } = self;
                open_names.retain(|changes| {
                    let stays = changes[0].0.parent() != Some(&call.path);
                    if !stays {
                        apply(safe_names, changes);
                    }
                    stays
                });
            }
            op => panic!("{op}"),
        }
    }

    fn cut(&mut self, node: Node, length: usize) {
        self.bytes[node].resize(length, 0);
        self.open_bytes[node].push((0, length));
    }

    /// The files after a power cut now.
    fn after_power_cut(&self, rest: Rest, dice: &mut Dice) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut names = self.safe_names.clone();
        for changes in &self.open_names {
            let kept = match rest {
                Rest::Nothing => false,
                Rest::Everything | Rest::NamesOnly => true,
                Rest::Any => dice.roll(2) == 0,
            };
            if kept {
                apply(&mut names, changes);
            }
        }
        let mut contents: BTreeMap<Node, Vec<u8>> = BTreeMap::new();
        let mut files = BTreeMap::new();
        for (path, &node) in &names {
            // A directory whose own name is lost is lost with all in it.
            let is_reachable = path
                .ancestors()
                .skip(1)
                .take_while(|above| self.names.contains_key(*above) || names.contains_key(*above))
                .all(|above| names.contains_key(above));
            if !is_reachable || self.directories.contains(&node) {
                continue;
            }
            let bytes = contents
                .entry(node)
                .or_insert_with(|| self.content(node, rest, dice));
            files.insert(path.clone(), bytes.clone());
        }
        files
    }

    fn content(&self, node: Node, rest: Rest, dice: &mut Dice) -> Vec<u8> {
        let (safe, now) = (&self.safe_bytes[node], &self.bytes[node]);
        let open = &self.open_bytes[node];
        match rest {
            _ if open.is_empty() => safe.clone(),
            Rest::Nothing => safe.clone(),
            Rest::Everything => now.clone(),
            Rest::NamesOnly => {
                let mut bytes = safe.clone();
                bytes.resize(now.len(), 0);
                bytes
            }
            Rest::Any => {
                let mut bytes = safe.clone();
                let end = match dice.roll(3) {
                    0 => safe.len(),
                    1 => now.len(),
                    _ => dice.roll(now.len() as u64 + 1) as usize,
                };
                bytes.resize(end.max(safe.len().min(now.len())), 0);
                for &(start, stop) in open {
                    for sector in start / SECTOR..stop.div_ceil(SECTOR) {
                        let from = (sector * SECTOR).max(start);
                        let to = ((sector + 1) * SECTOR)
                            .min(stop)
                            .min(bytes.len())
                            .min(now.len());
                        if from < to && dice.roll(2) == 0 {
                            bytes[from..to].copy_from_slice(&now[from..to]);
                        }
                    }
                }
                bytes
            }
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, changes: &Names) {
    for (path, node) in changes {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}

/// Answers that the journal's fsync has seen, by experiment.
#[derive(Default)]
struct Acknowledged(BTreeSet<(String, usize)>);

impl Acknowledged {
    fn hear(&mut self, call: &Call, disk: &Disk) {
        let is_journal = call.path.parent().is_some_and(|it| it.ends_with("journal"))
            && call.path.extension().is_some_and(|it| it == "jsonl");
        let Some(&node) = disk.names.get(&call.path) else {
            return;
        };
        if call.op != "sync" || !is_journal {
            return;
        }
        let experiment = call.path.ancestors().nth(2).unwrap();
        let name = experiment.file_name().unwrap().to_string_lossy();
        for line in String::from_utf8_lossy(&disk.bytes[node]).lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            if record["error"].is_null() {
                let idx = record["idx"].as_u64().unwrap() as usize;
                self.0.insert((name.clone().into_owned(), idx));
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    calls: usize,
    states: usize,
    unopened: usize,
    lost: usize,
    invented: usize,
    mislabelled: usize,
    /// Experiments with answers that do not tell what these were made with.
    unknown: usize,
    alarms: usize,
    resumed: usize,
    differ: usize,
}

/// Writes the files of a state where a study is looked for.
fn lay_down(files: &BTreeMap<PathBuf, Vec<u8>>, from: &Path, to: &Path) {
    for (path, bytes) in files {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, bytes).unwrap();
        // A machine takes its time to come up again.
        let long_ago = SystemTime::now() - Duration::from_secs(180);
        File::options()
            .write(true)
            .open(&target)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
}

/// Looks at a state as the program does.
fn look(
    study: &Path,
    written: &BTreeMap<String, BTreeMap<usize, Prediction>>,
    acknowledged: &Acknowledged,
    tally: &mut Tally,
) {
    let mut found = BTreeSet::new();
    for (name, truth) in written {
        let directory = ExperimentDir::new(study.join(name));
        let Ok(contents) = directory.records() else {
            tally.unopened += 1;
            continue;
        };
        for (idx, record) in &contents.best {
            tally.invented += usize::from(truth.get(idx) != Some(record));
            found.insert((name.clone(), *idx));
        }
        let is_known = directory
            .metadata()
            .is_ok_and(|it| it.is_some_and(|it| !it.spec_hash.is_empty() && !it.model.is_null()));
        tally.unknown += usize::from(!contents.best.is_empty() && !is_known);
        match directory.state() {
            Ok(Some(state)) if state.phase == Phase::Complete => {
                let whole = contents.best.len() == truth.len()
                    && directory.results().is_ok_and(|results| results.is_some())
                    && directory.predictions().is_ok_and(|file| {
                        file.is_some_and(|it| it.predictions.len() == truth.len())
                    });
                tally.mislabelled += usize::from(!whole);
            }
            Ok(_) => {}
            Err(_) => tally.unopened += 1,
        }
        // The log is a worker's, whose calls are not recorded; its end may be
        // lost in a power cut, and is missed then.
        tally.alarms += match directory.check_seal() {
            Ok(Sealed::Yes { tampered, .. }) => {
                usize::from(tampered.iter().any(|it| it.file != "experiment.log"))
            }
            Ok(Sealed::Not) => 0,
            Err(_) => 1,
        };
    }
    tally.lost += acknowledged.0.difference(&found).count();
}

/// Records a run; `killed`: it is killed half way, and the record goes on
/// with its resumption.
fn recorded(stage: &Stage, killed: bool) -> (Bench, Vec<Call>) {
    let bench = stage.bench();
    let under = bench.path("outputs");
    let mut calls = Vec::new();
    for (number, kill) in [killed, false].into_iter().enumerate() {
        if number == 0 && !killed {
            continue;
        }
        let mut command = bench.command(&["run", "study.yaml"], "");
        let trace = bench.path(&format!("trace-{number}"));
        command.env("SHIM_TRACE", &trace);
        let (mode, at) = if kill {
            (Mode::Kill, 52)
        } else {
            (Mode::Count, 0)
        };
        shim::load(&mut command, mode, at, &under, &bench.path("shim"));
        let output = command.output().unwrap();
        assert_eq!(output.status.success(), !kill, "{}", text(&output));
        calls.extend(shim::trace(&trace));
    }
    assert_eq!(bench.answers(), stage.answers);
    (bench, calls)
}

#[test]
fn after_a_power_cut_at_any_moment_the_study_opens_never_lies_and_goes_on() {
    if shim::library().is_none() {
        return;
    }
    // States per call beside the three that are always made.
    let random = size("RAGICAMP_POWER", 1);
    let stage = Stage::new(Options {
        questions: 8,
        batch: 4,
        more: "",
    });
    let mut dice = Dice::new();
    let start = Instant::now();
    let mut rows = Vec::new();
    let mut tallies = Vec::new();
    for (killed, name) in [
        (false, "a run"),
        (true, "a run, killed, and its resumption"),
    ] {
        let mut tally = Tally::default();
        let (bench, calls) = recorded(&stage, killed);
        tally.calls = calls.len();
        let root = bench.path("outputs");
        let written = written(&bench);
        let mut disk = Disk::begin(&root);
        let mut acknowledged = Acknowledged::default();
        let every = (calls.len() * (3 + random) / (2 + 4 * random)).max(1) as u64;
        for call in &calls {
            disk.take(call);
            acknowledged.hear(call, &disk);
            let rests = [Rest::Nothing, Rest::Everything, Rest::NamesOnly]
                .into_iter()
                .chain(std::iter::repeat_n(Rest::Any, random));
            for rest in rests {
                let files = disk.after_power_cut(rest, &mut dice);
                let after = stage.bench();
                lay_down(&files, &root, &after.path("outputs"));
                tally.states += 1;
                look(&after.study(), &written, &acknowledged, &mut tally);
                if dice.roll(every) == 0 {
                    go_on(&stage, &after, &mut tally);
                }
            }
        }
        rows.push(vec![
            name.to_owned(),
            tally.calls.to_string(),
            tally.states.to_string(),
            tally.unopened.to_string(),
            tally.lost.to_string(),
            tally.invented.to_string(),
            tally.mislabelled.to_string(),
            tally.unknown.to_string(),
            tally.alarms.to_string(),
            tally.resumed.to_string(),
            tally.differ.to_string(),
        ]);
        tallies.push(tally);
    }
    print(
        &format!("Power cuts, {:.0} s", start.elapsed().as_secs_f64()),
        &[
            "recorded",
            "changes of files",
            "states of the disk",
            "not opened",
            "acknowledged lost",
            "invented",
            "complete and not whole",
            "of unknown origin",
            "false alarms",
            "run to the end",
            "differ from a clean run",
        ],
        &rows,
    );
    for tally in tallies {
        let bad = (
            tally.unopened,
            tally.lost,
            tally.invented,
            tally.mislabelled,
            tally.unknown,
        );
        assert_eq!(bad, (0, 0, 0, 0, 0));
        assert_eq!((tally.differ, tally.alarms), (0, 0));
    }
}

/// What the journals of a finished study hold.
fn written(bench: &Bench) -> BTreeMap<String, BTreeMap<usize, Prediction>> {
    bench
        .experiments()
        .into_iter()
        .map(|path| {
            let directory = ExperimentDir::new(&path);
            (directory.name(), directory.records().unwrap().best)
        })
        .collect()
}

/// Runs a study that a power cut left to its end.
fn go_on(stage: &Stage, bench: &Bench, tally: &mut Tally) {
    tally.resumed += 1;
    let output = bench.run("");
    let lies = Lies::of(bench);
    let is_equal = output.status.code() == Some(0) && bench.answers() == stage.answers;
    if !is_equal || lies.total() > 0 {
        eprintln!(
            "after a power cut: equal {is_equal}, {lies:?}: {}",
            text(&output)
        );
        tally.differ += 1;
    }
}

#[test]
fn a_disk_that_forgets_what_it_synced_is_found_out() {
    if shim::library().is_none() {
        return;
    }
    let stage = Stage::new(Options {
        questions: 4,
        batch: 4,
        more: "",
    });
    let (bench, calls) = recorded(&stage, false);
    let (root, written) = (bench.path("outputs"), written(&bench));
    let mut dice = Dice::new();
    let (mut disk, mut tally) = (Disk::begin(&root), Tally::default());
    let mut acknowledged = Acknowledged::default();
    for call in &calls {
        let is_journal = call.path.extension().is_some_and(|it| it == "jsonl");
        if call.op != "sync" || !is_journal {
            disk.take(call);
        }
        acknowledged.hear(call, &disk);
    }
    let after = stage.bench();
    let files = disk.after_power_cut(Rest::Nothing, &mut dice);
    lay_down(&files, &root, &after.path("outputs"));
    look(&after.study(), &written, &acknowledged, &mut tally);
    assert_eq!(tally.lost, stage.questions());
    assert_eq!(tally.mislabelled, stage.answers.len());
}
