use super::super::{Status, read};
use serde_json::json;

const LOG: &[u8] = b"[2025-12-10 03:58:22] [app.run] [ERROR] [Main] it failed\n\
[2025-12-10 03:58:23] [app.run] [WARNING] [Main] it is slow\n\
[2025-12-10 03:58:25] [app.run] [ERROR] [Main] it failed\n";

#[test]
fn consumers_are_told_every_error_with_its_time_and_number() {
    let report = read(LOG);
    let contract = serde_json::to_value(report.contract("job", Status::Failed, None)).unwrap();
    assert_eq!(contract["error_summary"], "it failed");
    let told: Vec<_> = contract["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            let field = |name: &str| error[name].clone();
            [
                field("timestamp"),
                field("level"),
                field("phase"),
                field("message"),
                field("count"),
            ]
        })
        .collect();
    let row = |time: &str, level: &str, message: &str, count: u64| {
        [
            json!(time),
            json!(level),
            json!("Main"),
            json!(message),
            json!(count),
        ]
    };
    assert_eq!(
        told,
        [
            row("2025-12-10T03:58:22Z", "error", "it failed", 2),
            row("2025-12-10T03:58:23Z", "warning", "it is slow", 1),
        ]
    );
    let said = report.contract("job", Status::Failed, Some("the job says"));
    assert_eq!(said.error_summary.as_deref(), Some("the job says"));
    assert_eq!(report.errors().count(), 1);
}

#[test]
fn a_job_that_has_not_failed_carries_no_error() {
    let report = read(LOG);
    for (status, errors) in [
        (Status::Failed, 2),
        (Status::Cancelled, 2),
        (Status::Completed, 0),
        (Status::Running, 0),
    ] {
        let contract = report.contract("job", status, Some("the job says"));
        assert_eq!(contract.errors.len(), errors, "{status:?}");
        assert_eq!(contract.analysis.is_some(), errors > 0, "{status:?}");
        assert_eq!(contract.error_summary.is_some(), errors > 0, "{status:?}");
    }
}

#[test]
fn details_hold_every_occurrence() {
    let details = read(LOG).details();
    assert_eq!(
        (&details["lines"], &details["dropped"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(details["bytes"], LOG.len());
    let error = &details["errors"][0];
    for (name, value) in [
        ("first_seen", json!("2025-12-10T03:58:22Z")),
        ("last_seen", json!("2025-12-10T03:58:25Z")),
        (
            "times",
            json!(["2025-12-10T03:58:22Z", "2025-12-10T03:58:25Z"]),
        ),
        ("lines", json!([1, 3])),
        ("module", json!("app.run")),
        ("ranks", json!([])),
    ] {
        assert_eq!(error[name], value, "{name}");
    }
    assert_eq!(details["root_cause"]["line"], 1);
}

#[test]
fn the_place_of_a_failure_is_in_the_program_where_it_can_be() {
    let place = |files: &[&str]| {
        let frames: String = files
            .iter()
            .map(|file| format!("  File \"{file}\", line 3, in f\n"))
            .collect();
        let log = format!("Traceback (most recent call last):\n{frames}ValueError: bad\n");
        let root = read(log.as_bytes()).root_cause.unwrap();
        root.place.map(|frame| frame.file)
    };
    let library = "/x/site-packages/y.py";
    assert_eq!(
        place(&["/w/a.py", "/w/b.py", library]).as_deref(),
        Some("/w/b.py")
    );
    assert_eq!(
        place(&["/x/dist-packages/z.py", library]).as_deref(),
        Some(library)
    );
}

#[test]
fn a_long_failure_is_told_in_one_short_line() {
    let said = "word ".repeat(100);
    let report = read(format!("ERROR: {said}\n").as_bytes());
    let headline = report.headline().unwrap();
    assert_eq!(headline.chars().count(), 300);
    assert!(headline.ends_with('…'));
    let description = report.analysis.unwrap().description;
    assert!(description.ends_with('…'));
    assert!(!description.contains("is its echo"));
}
