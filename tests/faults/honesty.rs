//! What was finished stays finished, and what claims to be is looked at.

use crate::bench::{Bench, Options, text};
use std::{fs, process::Command, time::Duration};

fn finished(options: &Options) -> Bench {
    let bench = Bench::new(options);
    let output = bench.run("");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    bench
}

#[test]
fn resume_never_starts_over_what_is_complete_whatever_the_study_says() {
    let bench = finished(&Options {
        more: "options: {skip_existing: false}\n",
        ..Options::default()
    });
    let before = bench.answers();
    let output = bench.resume("");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(!bench.path("outputs/.aside").exists());
    assert_eq!(bench.answers(), before);
    assert_eq!(bench.state("direct")["attempt"], 1);
    // A run does start over, and moves the old work aside.
    assert_eq!(bench.run("").status.code(), Some(0));
    assert!(bench.path("outputs/.aside").exists());
}

#[test]
fn a_complete_experiment_that_lost_its_files_gets_them_again_without_asking_the_model() {
    let bench = finished(&Options::default());
    let before = bench.answers();
    for name in ["predictions.json", "results.json"] {
        fs::remove_file(bench.experiment("direct").join(name)).unwrap();
    }
    // A worker that can not load shows that none is needed.
    let output = bench.resume("worker::load=return(missing)");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(bench.answers(), before);
}

#[test]
fn a_run_of_a_part_keeps_the_rows_of_the_rest() {
    let bench = finished(&Options::default());
    let rows = || fs::read_to_string(bench.study().join("results.csv")).unwrap();
    let before = rows();
    assert_eq!(before.lines().count(), 3);
    let output = bench
        .command(&["run", "study.yaml", "--filter", "rag*"], "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(rows(), before);
}

#[test]
fn a_dataset_that_changed_is_refused_without_harm_and_force_starts_over() {
    let bench = Bench::new(&Options::default());
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/data/quickstart");
    let questions = fs::read_to_string(root.join("questions.jsonl")).unwrap();
    let local = bench.path("questions.jsonl");
    fs::write(&local, &questions).unwrap();
    let yaml = fs::read_to_string(bench.path("study.yaml")).unwrap();
    let yaml = yaml.replace(
        &root.join("questions.jsonl").display().to_string(),
        &local.display().to_string(),
    );
    fs::write(bench.path("study.yaml"), &yaml).unwrap();
    assert_eq!(bench.run("").status.code(), Some(0));

    let changed: Vec<_> = questions.lines().skip(1).collect();
    fs::write(&local, changed.join("\n")).unwrap();
    fs::write(
        bench.path("study.yaml"),
        yaml.replace("num_questions: 40", "num_questions: 50"),
    )
    .unwrap();
    let output = bench.run("");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("has changed since this experiment began"));
    assert_eq!(
        bench.state("direct")["phase"],
        "complete",
        "what was done stays"
    );
    let forced = bench
        .command(&["run", "study.yaml", "--force"], "")
        .output()
        .unwrap();
    assert_eq!(forced.status.code(), Some(0), "{}", text(&forced));
    assert_eq!(bench.state("direct")["predictions_complete"], 50);
}

#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let bench = Bench::new(&Options::default());
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" run study.yaml"])
        .arg(env!("CARGO_BIN_EXE_ragicamp"))
        .current_dir(bench.dir.path())
        .env("XDG_CACHE_HOME", bench.path("cache"))
        .env("FAILPOINTS", "worker::slow=sleep(40)")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while bench.events_named("batch_dispatched").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(bench.state("rag")["phase"], "complete");
}
