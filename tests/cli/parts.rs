//! Parts of a study: several workers, tasks of a cluster, directories.

use super::place::{EIGHT, FULL, Place, done, plan};
use std::fs;

#[test]
fn an_index_is_the_experiments_of_one_model() {
    let place = Place::new();
    place.ok(&["run", "study.yaml", "--index", "1"]);
    assert!(
        place
            .path(&format!("outputs/s/{EIGHT}/results.json"))
            .exists()
    );
    assert!(!place.path(&format!("outputs/s/{FULL}")).exists());
    let wrong = place.exits(2, &["run", "study.yaml", "--index", "2"]);
    assert!(
        wrong
            .err
            .contains("--index 2: there are 2 tasks, from 0 on"),
        "{}",
        wrong.err
    );
}

#[test]
fn a_directory_is_run_as_its_study_was_and_what_is_complete_stays() {
    let place = Place::new();
    place.ok(&["run", "study.yaml", "--shard", "1/2"]);
    let before = place.text("outputs/s/study.yaml");
    let first = format!("{FULL} complete 4/4");
    assert_eq!(
        plan(&place, &["run", "outputs/s"]),
        [first, format!("{EIGHT} new 0/4")]
    );
    place.ok(&["run", "outputs/s", "--shard", "2/2"]);
    assert!(
        place
            .path(&format!("outputs/s/{EIGHT}/results.json"))
            .exists()
    );
    assert_eq!(place.text("outputs/s/study.yaml"), before);
    let empty = place.exits(2, &["run", "outputs"]);
    assert!(
        empty.err.contains("it is no study's directory"),
        "{}",
        empty.err
    );
}

#[test]
fn a_directory_beside_the_one_that_is_meant_is_told_with_it() {
    let place = Place::ran();
    let experiment = format!("outputs/s/{FULL}");
    for command in ["resume", "status", "cancel"] {
        let said = place.exits(2, &[command, &experiment]).err;
        let meant = "it is an experiment's directory: name its study's, outputs/s\n";
        assert!(said.ends_with(meant), "{command}: {said}");
        let said = place.exits(2, &[command, "outputs"]).err;
        let meant = "but has studies below it: name one, as outputs/s\n";
        assert!(said.ends_with(meant), "{command}: {said}");
    }
}

#[test]
fn two_workers_leave_what_one_leaves() {
    let one = Place::ran();
    let two = Place::new();
    two.ok(&["run", "study.yaml", "--device", "cpu", "--workers", "2"]);
    let path = "outputs/s/results.csv";
    assert_eq!(two.text(path), one.text(path));
}

#[test]
fn devices_that_make_no_sense_are_refused_in_one_sentence() {
    let place = Place::new();
    for (arguments, code, sentence) in [
        (
            &["--devices", "0+1"][..],
            2,
            "one model over several devices",
        ),
        (&["--devices", "0,cpu"], 2, "cpu stands alone"),
        (
            &["--device", "cuda:0", "--workers", "2"],
            2,
            "several workers are for the CPU",
        ),
        (
            &["--device", "cpu", "--workers", "100000"],
            2,
            "this machine gives",
        ),
        (
            &["--device", "cpu", "--devices", "cpu"],
            2,
            "cannot be used with",
        ),
    ] {
        let mut all = vec!["run", "study.yaml"];
        all.extend(arguments);
        let done = place.exits(code, &all);
        assert!(done.err.contains(sentence), "{arguments:?}: {}", done.err);
    }
    assert!(!place.path("outputs").exists());
}

#[test]
fn a_submission_can_be_looked_at_where_there_is_no_cluster_and_not_made() {
    let place = Place::new();
    let printed = place.ok(&["submit", "study.yaml", "--print", "--time", "1:00:00"]);
    assert!(
        printed.out.contains("#SBATCH --array=0-1\n"),
        "{}",
        printed.out
    );
    assert!(
        printed.out.contains("#SBATCH --time=1:00:00\n"),
        "{}",
        printed.out
    );
    assert!(!place.path("outputs").exists());
    let no_programs = place.path("empty");
    fs::create_dir(&no_programs).unwrap();
    let refused = done(
        place
            .command(&["submit", "study.yaml"])
            .env("PATH", no_programs),
    );
    assert_eq!(refused.code, 4, "{refused:#?}");
    assert!(
        refused.err.contains("sbatch can not be started"),
        "{refused:#?}"
    );
}

#[test]
fn what_a_cluster_file_says_is_checked_and_the_command_line_wins() {
    let place = Place::new();
    place.write("cluster.yaml", "partition: slow\nmem: 2G\n");
    let submit = |more: &[&'static str]| {
        let mut all = vec![
            "submit",
            "study.yaml",
            "--print",
            "--cluster",
            "cluster.yaml",
        ];
        all.extend(more);
        place.call(&all)
    };
    let printed = submit(&["--partition", "fast"]);
    assert!(
        printed.out.contains("#SBATCH --partition=fast\n"),
        "{printed:#?}"
    );
    assert!(printed.out.contains("#SBATCH --mem=2G\n"), "{printed:#?}");
    place.write("cluster.yaml", "partion: slow\n");
    let wrong = submit(&[]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.err.contains("cluster.yaml") && wrong.err.contains("partion"),
        "{wrong:#?}"
    );
    place.write("cluster.yaml", "time: 8h\n");
    let wrong = submit(&[]);
    assert!(
        wrong
            .err
            .contains("cluster.yaml: time: \"8h\" is no time limit"),
        "{wrong:#?}"
    );
}

#[test]
fn the_status_of_a_study_that_was_not_submitted_is_its_own_and_the_tables_are_rendered() {
    let place = Place::ran();
    fs::remove_file(place.path("outputs/s/results.csv")).unwrap();
    let status = place.ok(&["status", "outputs/s", "--tables"]);
    assert_eq!(
        status.out,
        "s: 2 of 2 experiments complete, 0 failed, 0 left\n"
    );
    assert!(place.text("outputs/s/results.csv").contains(FULL));
    let nothing = place.ok(&["cancel", "outputs/s"]);
    assert_eq!(nothing.out, "outputs/s: nothing was submitted\n");
}
