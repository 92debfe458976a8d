//! Two hosts that share a directory and see nothing else of each other: each
//! has namespaces of its own for its name, processes, network and mounts.

use crate::bench::{Bench, Options, text};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

/// A command that runs on the host `name`.
fn on_host(name: &str, command: &Command) -> Command {
    let mut host = Command::new("unshare");
    host.args([
        "--uts",
        "--pid",
        "--net",
        "--mount-proc",
        "--fork",
        "--kill-child",
    ])
    .args(["sh", "-c", "hostname \"$0\" && exec \"$@\"", name])
    .arg(command.get_program())
    .args(command.get_args())
    .current_dir(command.get_current_dir().unwrap())
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => host.env(key, value),
            None => host.env_remove(key),
        };
    }
    host
}

/// Whether this machine lets us make hosts; says so where not.
fn has_hosts() -> bool {
    let mut nothing = Command::new("true");
    nothing.current_dir("/");
    let made = on_host("a", &nothing).status();
    let can = made.is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED: no namespaces here (they need root and unshare)");
    }
    can
}

fn run_on(bench: &Bench, host: &str, failpoints: &str) -> Child {
    on_host(host, &bench.command(&["run", "study.yaml"], failpoints))
        .spawn()
        .unwrap()
}

fn wait_for_batches(bench: &Bench, batches: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while bench.events_named("batch_dispatched").len() < batches {
        assert!(Instant::now() < deadline, "no batch was dispatched");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The supervisor in the host that `unshare` made.
fn inside(host: &Child) -> Pid {
    let path = format!("/proc/{0}/task/{0}/children", host.id());
    let children = fs::read_to_string(path).unwrap();
    let child = children.split_whitespace().next().unwrap();
    Pid::from_raw(child.parse().unwrap()).unwrap()
}

/// The owner's last sign of life was two hours ago.
fn age_leases(experiment: &Path) {
    for entry in fs::read_dir(experiment.join("lease")).unwrap() {
        let file = fs::File::options()
            .write(true)
            .open(entry.unwrap().path())
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7200))
            .unwrap();
    }
}

/// The experiment that runs now.
fn at_work(bench: &Bench) -> std::path::PathBuf {
    let batches = bench.events_named("batch_dispatched");
    let name = batches.last().unwrap()["experiment"].as_str().unwrap();
    bench.study().join(name)
}

#[test]
fn two_hosts_share_the_work_and_never_an_experiment() {
    if !has_hosts() {
        return;
    }
    let options = Options::default();
    let bench = Bench::new(&options);
    let first = run_on(&bench, "first", "worker::slow=sleep(40)");
    wait_for_batches(&bench, 1);
    let second = run_on(&bench, "second", "worker::slow=sleep(40)");
    let (first, second) = (
        first.wait_with_output().unwrap(),
        second.wait_with_output().unwrap(),
    );
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    assert_eq!(bench.answers(), Bench::clean(&options));
    assert!(bench.journal_answers().values().all(|&count| count == 1));
    let mut hosts: Vec<_> = bench
        .experiments()
        .iter()
        .map(|path| bench.read(&path.join("metadata.json"))["environment"]["host"].clone())
        .collect();
    hosts.sort_by_key(ToString::to_string);
    assert_eq!(hosts, ["first", "second"]);
}

#[test]
fn a_host_that_was_frozen_and_comes_back_finds_another_owner_and_changes_nothing() {
    if !has_hosts() {
        return;
    }
    let options = Options::default();
    let bench = Bench::new(&options);
    let first = run_on(&bench, "first", "worker::slow=sleep(60)");
    wait_for_batches(&bench, 3);
    let frozen = inside(&first);
    kill_process(frozen, Signal::STOP).unwrap();
    let experiment = at_work(&bench);
    // Not silent for long enough: the second leaves it alone.
    let second = run_on(&bench, "second", "").wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    assert!(!experiment.join("results.json").exists());
    assert!(text(&second).contains("on first"), "{}", text(&second));

    age_leases(&experiment);
    let third = run_on(&bench, "second", "").wait_with_output().unwrap();
    assert_eq!(third.status.code(), Some(0), "{}", text(&third));
    let clean = Bench::clean(&options);
    assert_eq!(bench.answers(), clean);
    let files = ["state.json", "predictions.json", "results.json"];
    let read = || files.map(|name| fs::read(experiment.join(name)).unwrap());
    let finished = read();

    // When it wakes, a checkpoint of its answers is overdue.
    std::thread::sleep(Duration::from_secs(16));
    kill_process(frozen, Signal::CONT).unwrap();
    let first = first.wait_with_output().unwrap();
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert!(text(&first).contains("left alone"), "{}", text(&first));
    assert_eq!(bench.answers(), clean);
    assert!(read() == finished, "the finished experiment was changed");
}

#[test]
fn what_a_lost_host_had_answered_is_not_asked_again() {
    if !has_hosts() {
        return;
    }
    let options = Options::default();
    let bench = Bench::new(&options);
    let mut first = run_on(&bench, "first", "worker::slow=sleep(60)");
    wait_for_batches(&bench, 4);
    kill_process(inside(&first), Signal::KILL).unwrap();
    first.wait().unwrap();
    let kept = bench.journal_answers();
    assert!(kept.len() >= 16, "{kept:?}");
    age_leases(&at_work(&bench));
    let second = run_on(&bench, "second", "").wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    assert_eq!(bench.answers(), Bench::clean(&options));
    assert!(bench.journal_answers().values().all(|&count| count == 1));
}
