//! Training jobs that a database knows.

use super::{PYTHON, Served, command, write};
use serde_json::json;
use std::{fs, path::Path};

const TABLE: &str =
    "CREATE TABLE training_jobs (id INTEGER PRIMARY KEY, status TEXT, error_message TEXT)";

fn database(path: &Path, rows: &[(i64, &str, Option<&str>)]) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute(TABLE, []).unwrap();
    for row in rows {
        connection
            .execute("INSERT INTO training_jobs VALUES (?1, ?2, ?3)", *row)
            .unwrap();
    }
}

fn served() -> (Served, tempfile::TempDir) {
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("platform.db");
    database(
        &path,
        &[
            (17, "failed", Some("job 17 went down")),
            (
                18,
                "failed",
                Some("CUDA out of memory. Tried to allocate 2.00 GiB"),
            ),
            (19, "completed", None),
            (20, "running", Some("")),
            (21, "cancelled", Some("stopped by ann")),
            (22, "failed", Some("somebody knows why")),
        ],
    );
    let served = Served::start(&["--jobs-db", path.to_str().unwrap()]);
    (served, elsewhere)
}

#[test]
fn the_database_says_how_a_job_stands_and_its_log_why() {
    let (served, _database) = served();
    let found = served.ok("/api/training/17/errors");
    assert_eq!(found["status"], "failed");
    assert_eq!(found["error_summary"], "job 17 went down");
    assert_eq!(
        found["traceback"]["exception_type"],
        "torch.OutOfMemoryError"
    );
    assert_eq!(served.ok("/api/training/local/17/errors"), found);

    // One that has completed has no errors, whatever its log holds.
    write(served.root.path(), "logs/job_19.log", PYTHON);
    let found = served.ok("/api/training/19/errors");
    let empty = json!({
        "job_id": "19", "status": "completed", "error_summary": null,
        "errors": [], "traceback": null, "analysis": null,
    });
    assert_eq!(found, empty);
}

#[test]
fn a_job_without_a_log_answers_with_its_summary() {
    let (served, _database) = served();
    let found = served.ok("/api/training/18/errors");
    assert_eq!(found["status"], "failed");
    assert_eq!(
        found["error_summary"],
        "CUDA out of memory. Tried to allocate 2.00 GiB"
    );
    assert_eq!(
        (&found["errors"], &found["traceback"]),
        (&json!([]), &json!(null))
    );
    assert!(
        found["analysis"]["error_type"]
            .as_str()
            .unwrap()
            .starts_with("oom"),
        "{found}"
    );
    // A summary that no rule knows is no analysis.
    let found = served.ok("/api/training/22/errors");
    assert_eq!(found["error_summary"], "somebody knows why");
    assert_eq!(found["analysis"], json!(null));

    let found = served.ok("/api/training/20/errors");
    assert_eq!(
        (&found["status"], &found["errors"]),
        (&json!("running"), &json!([]))
    );
    let found = served.ok("/api/training/21/errors");
    assert_eq!(
        (&found["status"], &found["error_summary"]),
        (&json!("cancelled"), &json!("stopped by ann"))
    );
    let missing = served.get("/api/training/99/errors");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.headers["content-type"], "application/problem+json");
}

#[test]
fn the_database_is_read_while_others_write_it_and_never_changed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("platform.db");
    database(&path, &[(1, "running", None)]);
    let before = fs::read(&path).unwrap();
    let served = Served::start(&["--jobs-db", path.to_str().unwrap()]);
    assert_eq!(served.ok("/api/training/1/errors")["status"], "running");
    assert_eq!(fs::read(&path).unwrap(), before);
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer
        .execute(
            "UPDATE training_jobs SET status = 'failed', error_message = 'now'",
            [],
        )
        .unwrap();
    assert_eq!(served.ok("/api/training/1/errors")["error_summary"], "now");
}

#[test]
fn a_database_that_can_not_be_used_is_one_sentence() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (text, empty) = (
        elsewhere.path().join("text"),
        elsewhere.path().join("empty"),
    );
    fs::write(
        &text,
        "no database at all, but long enough to be looked at ".repeat(40),
    )
    .unwrap();
    rusqlite::Connection::open(&empty)
        .unwrap()
        .execute("CREATE TABLE other (x)", [])
        .unwrap();
    let missing = elsewhere.path().join("missing.db");
    for (database, said) in [
        (text.to_str().unwrap(), "must have a table training_jobs"),
        (empty.to_str().unwrap(), "no such table: training_jobs"),
        (missing.to_str().unwrap(), "is no file"),
        #[cfg(not(feature = "postgres"))]
        ("postgres://ann:secret@db/jobs", "--features postgres"),
    ] {
        let ended = command()
            .args([
                "serve",
                elsewhere.path().to_str().unwrap(),
                "--bind",
                "127.0.0.1:0",
            ])
            .args(["--jobs-db", database])
            .output()
            .unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains(said) && stderr.lines().count() == 1,
            "{stderr}"
        );
        assert!(!stderr.contains("secret"), "{stderr}");
    }
}

/// Needs a server: RAGICAMP_TEST_POSTGRES is a URL whose user may create
/// tables.
#[cfg(feature = "postgres")]
#[test]
fn a_postgresql_server_knows_jobs_as_well() {
    let Ok(url) = std::env::var("RAGICAMP_TEST_POSTGRES") else {
        eprintln!("skipped: RAGICAMP_TEST_POSTGRES is not set");
        return;
    };
    let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    client
        .batch_execute(
            "DROP TABLE IF EXISTS training_jobs;
             CREATE TABLE training_jobs (id BIGINT PRIMARY KEY, status TEXT, error_message TEXT);
             INSERT INTO training_jobs VALUES (17, 'FAILED', 'from the server'), (18, 'succeeded', NULL);",
        )
        .unwrap();
    let served = Served::start(&["--jobs-db", &url]);
    let found = served.ok("/api/training/17/errors");
    assert_eq!(
        (&found["status"], &found["error_summary"]),
        (&json!("failed"), &json!("from the server"))
    );
    assert_eq!(served.ok("/api/training/18/errors")["status"], "completed");
    assert_eq!(served.get("/api/training/19/errors").status, 404);
}
