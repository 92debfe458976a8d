use super::*;
use crate::artifacts::{
    host::{Process, parse_stat},
    lease::lease_path,
};
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    sync::{
        Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

fn directory() -> (tempfile::TempDir, ExperimentDir) {
    let root = tempfile::tempdir().unwrap();
    let directory = ExperimentDir::new(root.path().join("experiment"));
    directory.create().unwrap();
    (root, directory)
}

fn lease_files(directory: &ExperimentDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory.path.join("lease"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Leaves `lease` as if its process had been killed, and changes its file.
fn abandon(directory: &ExperimentDir, lease: Lease, change: impl FnOnce(&mut Map<String, Value>)) {
    let path = lease_path(&directory.path, lease.fence());
    std::mem::forget(lease);
    let Value::Object(mut map) = read_json(&path) else {
        panic!("no object");
    };
    change(&mut map);
    fs::write(&path, Value::Object(map).to_string()).unwrap();
}

fn date(directory: &ExperimentDir, fence: u64, age: Duration) {
    let path = lease_path(&directory.path, fence);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(SystemTime::now() - age)
        .unwrap();
}

/// The id of a process that has ended and was collected.
fn dead_pid() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

fn held(directory: &ExperimentDir) -> LeaseRecord {
    match directory.claim(&LeaseOptions::default()).unwrap() {
        Claim::Held(record) => record,
        Claim::Mine(lease) => panic!("fence {} was given away", lease.fence()),
    }
}

#[test]
fn the_second_claim_is_told_who_has_it() {
    let (_root, directory) = directory();
    let lease = claim(&directory);
    assert_eq!(lease.fence(), 1);
    let record = held(&directory);
    assert_eq!(record.pid, std::process::id());
    assert_eq!(record, *lease.record());
    assert!(record.to_string().starts_with("process "));
    assert!(lease.still_mine().unwrap());
}

#[test]
fn a_directory_that_nobody_claimed_has_no_owner() {
    let (_root, directory) = directory();
    assert_eq!(directory.owner(&LeaseOptions::default()).unwrap(), None);
    drop(claim(&directory));
    let (record, liveness) = directory.owner(&LeaseOptions::default()).unwrap().unwrap();
    assert_eq!((record.fence, liveness), (1, Liveness::Released));
}

#[test]
fn a_released_lease_is_free_at_once_and_the_fence_rises() {
    let (_root, directory) = directory();
    claim(&directory).release().unwrap();
    let second = claim(&directory);
    assert_eq!(second.fence(), 2);
    drop(second);
    assert_eq!(claim(&directory).fence(), 3);
    // They stay, so that no number comes again, and nothing else does.
    assert_eq!(
        lease_files(&directory),
        ["000001.json", "000002.json", "000003.json"]
    );
}

#[test]
fn the_fence_is_above_every_segment_of_the_journal() {
    let (_root, directory) = directory();
    fs::create_dir(directory.path.join("journal")).unwrap();
    fs::write(directory.path.join("journal/000041.jsonl"), "").unwrap();
    let lease = claim(&directory);
    assert_eq!(lease.fence(), 42);
    assert_eq!(directory.open_journal(&lease).unwrap().segment(), 42);
}

#[test]
fn a_dead_owner_is_followed_at_once() {
    let (_root, directory) = directory();
    let lease = claim(&directory);
    let pid = dead_pid();
    abandon(&directory, lease, |map| {
        map.insert("pid".to_owned(), json!(pid));
    });
    assert_eq!(claim(&directory).fence(), 2);
}

#[test]
fn a_process_that_only_has_the_same_number_is_no_owner() {
    let (_root, directory) = directory();
    let lease = claim(&directory);
    abandon(&directory, lease, |map| {
        map.insert("start_time".to_owned(), json!(1));
    });
    assert_eq!(claim(&directory).fence(), 2);
}

#[test]
fn an_owner_on_another_host_is_followed_only_when_it_is_silent() {
    for key in ["host", "boot_id", "pid_namespace"] {
        let (_root, directory) = directory();
        let lease = claim(&directory);
        let pid = dead_pid();
        abandon(&directory, lease, |map| {
            map.insert("pid".to_owned(), json!(pid));
            map.insert(key.to_owned(), json!("elsewhere"));
        });
        date(&directory, 1, Duration::from_secs(50));
        assert_eq!(held(&directory).pid, pid, "{key}");
        date(&directory, 1, Duration::from_secs(70));
        assert_eq!(claim(&directory).fence(), 2, "{key}");
    }
}

#[test]
fn an_owner_that_is_seen_to_run_may_be_silent_for_long_and_not_for_ever() {
    let (_root, directory) = directory();
    let _lease = claim(&directory);
    date(&directory, 1, Duration::from_secs(50 * 60));
    assert_eq!(held(&directory).pid, std::process::id());
    date(&directory, 1, Duration::from_secs(70 * 60));
    assert_eq!(claim(&directory).fence(), 2);
}

#[test]
fn the_silence_that_is_allowed_can_be_set() {
    let (_root, directory) = directory();
    let lease = claim(&directory);
    date(&directory, 1, Duration::from_secs(2 * 60 + 5));
    let options = LeaseOptions {
        silence: Duration::from_secs(2),
    };
    assert!(matches!(
        directory.claim(&options).unwrap(),
        Claim::Mine(second) if second.fence() == 2
    ));
    assert!(!lease.still_mine().unwrap());
}

#[test]
fn a_heartbeat_breaks_the_silence() {
    let (_root, directory) = directory();
    let mut lease = claim(&directory);
    date(&directory, 1, Duration::from_secs(600));
    lease.beat().unwrap();
    assert_eq!(held(&directory).fence, 1);
}

#[test]
fn a_sign_of_life_is_written_when_the_last_is_ten_seconds_ago() {
    let (_root, directory) = directory();
    let mut lease = claim(&directory);
    let age = || {
        let path = lease_path(&directory.path, 1);
        let written = fs::metadata(path).unwrap().modified().unwrap();
        written.elapsed().unwrap_or_default()
    };
    date(&directory, 1, Duration::from_secs(600));
    lease.keep_alive().unwrap();
    assert!(age() >= Duration::from_secs(600));
    lease.beaten -= Duration::from_secs(10);
    lease.keep_alive().unwrap();
    assert!(age() < Duration::from_secs(60));
    // That was one.
    date(&directory, 1, Duration::from_secs(600));
    lease.keep_alive().unwrap();
    assert!(age() >= Duration::from_secs(600));
}

#[test]
fn an_owner_that_was_overtaken_is_told_and_takes_nothing_back() {
    let (_root, directory) = directory();
    let mut late = claim(&directory);
    date(&directory, 1, Duration::from_secs(70 * 60));
    let new = claim(&directory);
    let error = late.beat().unwrap_err();
    assert!(
        matches!(&error, ArtifactError::LeaseLost { holder: Some(holder), .. } if holder.fence == 2),
        "{error}"
    );
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(directory.open_journal(&late).is_err());
    drop(late);
    assert!(new.still_mine().unwrap());
    assert_eq!(held(&directory).fence, 2);
}

#[test]
fn a_lease_goes_with_the_directory_that_is_moved_aside() {
    let (root, directory) = directory();
    let old = claim(&directory);
    directory.set_aside(root.path()).unwrap();
    let new = claim(&directory);
    assert_eq!(new.fence(), 1);
    // Both have number 1 and the same path.
    assert!(!old.still_mine().unwrap());
    old.release().unwrap();
    assert!(new.still_mine().unwrap());
    assert_eq!(held(&directory).fence, 1);
}

#[test]
fn a_lease_file_that_a_power_cut_emptied_is_waited_out() {
    let (_root, directory) = directory();
    fs::create_dir(directory.path.join("lease")).unwrap();
    fs::write(lease_path(&directory.path, 7), "").unwrap();
    assert_eq!(held(&directory).host, "an unknown host");
    date(&directory, 7, Duration::from_secs(61));
    assert_eq!(claim(&directory).fence(), 8);
}

#[test]
fn a_process_whose_name_looks_like_fields_is_read_right() {
    let fields = "S 1 2 3 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 98765 0 0";
    let runs = Process::Runs { start_time: 98765 };
    assert_eq!(parse_stat(&format!("12 (a) b) Z 1) {fields}")), runs);
    let zombie = fields.replacen('S', "Z", 1);
    assert_eq!(parse_stat(&format!("12 (x) {zombie}")), Process::Gone);
    assert_eq!(parse_stat("12 (x"), Process::Unknown);
    assert_eq!(parse_stat("12 (x) S 1"), Process::Unknown);
}

#[test]
fn of_many_threads_that_claim_at_once_exactly_one_wins() {
    const THREADS: usize = 16;
    for round in 0..40 {
        let (_root, directory) = directory();
        // Every other round they race for the lease of a dead owner.
        if round % 2 == 1 {
            let lease = claim(&directory);
            let pid = dead_pid();
            abandon(&directory, lease, |map| {
                map.insert("pid".to_owned(), json!(pid));
            });
        }
        let barrier = Barrier::new(THREADS);
        let claims: Vec<Claim> = thread::scope(|scope| {
            let claimants: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        directory.claim(&LeaseOptions::default()).unwrap()
                    })
                })
                .collect();
            claimants
                .into_iter()
                .map(|claimant| claimant.join().unwrap())
                .collect()
        });
        let winners = claims
            .iter()
            .filter(|claim| matches!(claim, Claim::Mine(_)))
            .count();
        assert_eq!(winners, 1, "round {round}");
    }
}

/// Owners come and go, some released and some killed, and at no moment there
/// are two, and no fence number comes twice.
#[test]
fn there_is_never_a_second_owner_however_owners_end() {
    const THREADS: usize = 8;
    const CLAIMS: usize = 40;
    let (_root, directory) = directory();
    let dead = dead_pid();
    let inside = AtomicUsize::new(0);
    let fences = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut done = 0;
                while done < CLAIMS {
                    let Claim::Mine(mut lease) = directory.claim(&LeaseOptions::default()).unwrap()
                    else {
                        thread::yield_now();
                        continue;
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two owners");
                    fences.lock().unwrap().push(lease.fence());
                    lease.beat().unwrap();
                    drop(directory.open_journal(&lease).unwrap());
                    assert!(lease.still_mine().unwrap());
                    inside.fetch_sub(1, Ordering::SeqCst);
                    done += 1;
                    if done % 3 == 0 {
                        // Renamed, as every write of a lease.
                        let path = lease_path(&directory.path, lease.fence());
                        let mut record = lease.record().clone();
                        record.pid = dead;
                        let beside = path.with_extension(format!("{:?}", thread::current().id()));
                        fs::write(&beside, serde_json::to_vec(&record).unwrap()).unwrap();
                        fs::rename(&beside, &path).unwrap();
                        std::mem::forget(lease);
                    } else {
                        lease.release().unwrap();
                    }
                }
            });
        }
    });
    let fences = fences.into_inner().unwrap();
    assert_eq!(fences.len(), THREADS * CLAIMS);
    assert!(
        fences.windows(2).all(|pair| pair[0] < pair[1]),
        "{fences:?}"
    );
}

const CHILD: &str = "RAGICAMP_TEST_CLAIM";

/// Only does something as the child of the test below.
#[test]
fn claims_as_a_child_process() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let directory = ExperimentDir::new(path);
    let go = directory.path.join("go");
    while !go.exists() {
        std::hint::spin_loop();
    }
    let claim = directory.claim(&LeaseOptions::default()).unwrap();
    let word = match &claim {
        Claim::Mine(lease) => format!("mine {}", lease.fence()),
        Claim::Held(record) => format!("held {}", record.pid),
    };
    fs::write(
        directory.path.join(format!("said.{}", std::process::id())),
        word,
    )
    .unwrap();
    // Held until the parent kills this process: as in life.
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn of_many_processes_that_claim_at_once_one_wins_and_its_death_frees_the_lease() {
    const CHILDREN: usize = 6;
    let (_root, directory) = directory();
    let mut children: Vec<_> = (0..CHILDREN)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["claims_as_a_child_process", "--nocapture"])
                .env(CHILD, &directory.path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    fs::write(directory.path.join("go"), "").unwrap();
    let said = |pid: u32| fs::read_to_string(directory.path.join(format!("said.{pid}"))).ok();
    let words: Vec<String> = children
        .iter()
        .map(|child| {
            for _ in 0..500 {
                match said(child.id()) {
                    Some(word) if !word.is_empty() => return word,
                    _ => thread::sleep(Duration::from_millis(20)),
                }
            }
            "nothing".to_owned()
        })
        .collect();
    let winner = words.iter().position(|word| word == "mine 1");
    let answers: BTreeSet<&str> = words.iter().map(String::as_str).collect();
    let live = winner.map(|winner| (children[winner].id(), held(&directory)));
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (pid, record) = live.unwrap_or_else(|| panic!("{words:?}"));
    assert_eq!(record.pid, pid);
    assert_eq!(answers.len(), 2, "{words:?}");
    assert!(
        answers.contains(format!("held {pid}").as_str()),
        "{words:?}"
    );
    assert_eq!(claim(&directory).fence(), 2);
}
