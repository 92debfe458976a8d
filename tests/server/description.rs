//! What the server says about itself.

use super::{Served, write};

#[test]
fn the_description_names_every_path_and_what_it_answers() {
    let served = Served::start(&[]);
    let document = served.ok("/api/openapi.json");
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    let mut known: Vec<&str> = paths.keys().map(String::as_str).collect();
    known.sort_unstable();
    insta::assert_snapshot!(known.join("\n"), @"
    /api/events
    /api/experiments/{id}
    /api/experiments/{id}/errors
    /api/experiments/{id}/log
    /api/experiments/{id}/predictions
    /api/experiments/{id}/report
    /api/openapi.json
    /api/studies
    /api/studies/{study}
    /api/studies/{study}/experiments
    /api/training/local/{job}/errors
    /api/training/{job}/errors
    /healthz
    /metrics
    ");
    // Whatever is referred to is there.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name} is missing"
        );
    }
    assert_eq!(
        document["components"]["schemas"]["Contract"]["required"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn what_can_not_be_read_in_a_query_is_a_problem() {
    let served = Served::start(&[]);
    for query in [
        "/api/studies/one/experiments?page=0",
        "/api/studies/one/experiments?page=many",
        "/api/studies/one/experiments?per_page=501",
        "/api/studies/one/experiments?sort=colour",
        "/api/studies/one/experiments?phase=",
        "/api/experiments/broken/log?file=../state.json",
        "/api/experiments/broken/log?line=0",
        "/api/experiments/broken/log?length=99999999",
        "/api/experiments/broken/predictions?failed=perhaps",
        "/api/experiments/%FF",
    ] {
        let answer = served.get(query);
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert_eq!(
            answer.headers["content-type"], "application/problem+json",
            "{query}"
        );
        assert_eq!(answer.json()["status"], 400);
    }
}

#[test]
fn prometheus_reads_how_studies_and_requests_fare() {
    let served = Served::start(&[]);
    served.ok("/api/studies/one");
    served.get("/api/studies/nothing");
    let metrics = served.get("/metrics");
    assert!(metrics.headers["content-type"].starts_with("application/openmetrics-text"));
    for line in [
        "ragicamp_experiments{study=\"one\",state=\"failed\"} 1",
        "ragicamp_experiments{study=\"one\",state=\"complete\"} 1",
        "ragicamp_questions_answered{study=\"one\"} 9",
        "ragicamp_http_requests_total{path=\"/api/studies/{study}\",status=\"200\"} 1",
        "ragicamp_http_requests_total{path=\"/api/studies/{study}\",status=\"404\"} 1",
        "ragicamp_http_request_duration_seconds_count{path=\"/api/studies/{study}\"} 2",
    ] {
        assert!(
            metrics.body.contains(line),
            "{line} is not in {}",
            metrics.body
        );
    }
    assert_eq!(metrics.body.matches("# EOF").count(), 1);
}

#[test]
fn a_report_is_markdown_to_paste_without_secrets() {
    let served = Served::start(&[]);
    let log = "one/well2/experiment.log";
    write(
        served.root.path(),
        "one/well2/state.json",
        &super::state("failed", 0, serde_json::json!({})),
    );
    write(
        served.root.path(),
        log,
        "[2025-12-10 03:58:22] [m] [ERROR] [Main] RuntimeError: no access with token hf_abcdefghijklmnopqrstuvwxyz0123456789\n",
    );
    let report = served.get("/api/experiments/one%2Fwell2/report");
    assert_eq!(report.status, 200);
    assert!(report.headers["content-type"].starts_with("text/markdown"));
    assert!(report.body.starts_with("## well2"), "{}", report.body);
    assert!(!report.body.contains("hf_abcdefghij"), "{}", report.body);
    let report = served.get("/api/experiments/broken/report").body;
    assert!(report.contains("torch.OutOfMemoryError") && report.contains("```text"));
}

#[test]
fn the_panel_is_part_of_the_program_and_asks_nobody_else() {
    let served = Served::start(&[]);
    let page = served.get("/");
    assert_eq!(page.status, 200);
    assert!(page.headers["content-type"].starts_with("text/html"));
    let policy = &page.headers["content-security-policy"];
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let mut wanted = vec!["/static/main.js".to_owned(), "/static/style.css".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = wanted.pop() {
        if seen.contains(&path) {
            continue;
        }
        let file = served.get(&path);
        assert_eq!(file.status, 200, "{path}");
        for import in file.body.split("from \"./").skip(1) {
            wanted.push(format!("/static/{}", import.split('"').next().unwrap()));
        }
        assert!(
            !file.body.contains("http://") || path.ends_with("dom.js"),
            "{path}"
        );
        assert!(
            !file.body.contains("https://") && !file.body.contains("innerHTML"),
            "{path}"
        );
        seen.push(path);
    }
    assert!(seen.len() > 10, "{seen:?}");
    assert_eq!(served.get("/static/nothing.js").status, 404);
    assert_eq!(served.get("/static/..%2Fmod.rs").status, 404);
}
