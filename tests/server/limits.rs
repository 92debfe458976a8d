//! What one client can not take from the others.

use super::Served;
use std::{
    fs,
    io::Read,
    process::Command,
    thread,
    time::{Duration, Instant},
};

#[test]
fn a_request_with_a_body_or_a_huge_head_is_refused() {
    let served = Served::start(&[]);
    let answer = served.send("GET", "/api/studies", "Content-Length: 4\r\n");
    assert_eq!(answer.status, 413);
    let answer = served.send("GET", "/api/studies", "Transfer-Encoding: chunked\r\n");
    assert_eq!(answer.status, 413);
    let huge = format!("X-Much: {}\r\n", "x".repeat(100_000));
    let mut stream = served.raw(&format!(
        "GET / HTTP/1.1\r\nHost: {}\r\n{huge}\r\n",
        served.address
    ));
    let mut bytes = Vec::new();
    // It may hang up before all of it is sent.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 431"),
        "{text}"
    );
    let many = "X-A: b\r\n".repeat(200);
    assert_eq!(served.send("GET", "/healthz", &many).status, 431);
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn only_so_many_streams_are_open_and_a_closed_one_makes_room() {
    let served = Served::start(&[]);
    let open = || {
        let mut stream = served.raw(&format!(
            "GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n",
            served.address
        ));
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, String::from_utf8_lossy(&head).into_owned())
    };
    let mut streams = Vec::new();
    for _ in 0..64 {
        let (stream, head) = open();
        assert_eq!(head, "HTTP/1.1 200");
        streams.push(stream);
    }
    assert_eq!(open().1, "HTTP/1.1 503");
    assert!(
        served
            .get("/metrics")
            .body
            .contains("ragicamp_event_streams 64")
    );
    // Others are answered all the same.
    assert_eq!(served.get("/api/studies").status, 200);
    streams.clear();
    let until = Instant::now() + Duration::from_secs(20);
    while !served
        .get("/metrics")
        .body
        .contains("ragicamp_event_streams 0")
    {
        assert!(Instant::now() < until, "{}", served.get("/metrics").body);
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(open().1, "HTTP/1.1 200");
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let served = Served::start(&[]);
    let _silent = served.raw("GET / HTTP/1.1\r\n");
    let _idle = served.raw("");
    let begun = Instant::now();
    assert_eq!(served.end(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_pipe_in_the_place_of_a_log_holds_up_nobody() {
    let served = Served::start(&[]);
    for name in [
        "one/stopped/experiment.log",
        "one/piped/state.json",
        "two/events.jsonl",
    ] {
        let path = served.root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
    }
    // One more than read at one time.
    thread::scope(|scope| {
        for _ in 0..9 {
            scope.spawn(|| served.get("/api/experiments/one%2Fstopped/errors"));
        }
    });
    assert_eq!(served.get("/api/studies").status, 200);
    assert_eq!(served.get("/api/experiments/one%2Fstopped/log").status, 404);
    let begun = Instant::now();
    assert_eq!(served.end(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10));
}
