#![allow(clippy::unwrap_used)]

mod loopback;

use super::{
    openai::OpenAi,
    patience::{Patience, asked_wait},
    server::Server,
};
use crate::domain::{
    Dtype, Failure, FailureClass, FinishReason, Generated, GenerationEvent, GenerationRequest,
    GenerationSettings, Generator, ModelSpec, Provider,
};
use loopback::{Loopback, Says, Seen, nobody};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};
use ureq::http::HeaderMap;

const KEY: &str = "sk-very-secret-0123456789";

/// As patient as the real one in tries, not in time.
fn hasty() -> Patience {
    Patience {
        attempt: Duration::from_secs(20),
        total: Duration::from_secs(30),
        first_wait: Duration::from_millis(5),
        ..Patience::default()
    }
}

fn model(url: &str) -> OpenAi {
    patient_model(url, hasty())
}

fn patient_model(url: &str, patience: Patience) -> OpenAi {
    let server = Server::new("base_url", url, Some(KEY.to_owned())).unwrap();
    OpenAi::on(server, "tiny", patience)
}

fn requests(count: usize) -> Vec<GenerationRequest> {
    (0..count)
        .map(|idx| GenerationRequest {
            idx,
            system: Some("Answer briefly.".to_owned()),
            prompt: format!("Question {idx}?"),
            raw: false,
            passages: Vec::new(),
        })
        .collect()
}

#[derive(Debug, Default)]
struct Told {
    done: BTreeMap<usize, Generated>,
    failed: BTreeMap<usize, Failure>,
    progress: usize,
    order: Vec<usize>,
}

fn batch(
    model: &mut OpenAi,
    count: usize,
    settings: &GenerationSettings,
) -> (Told, Result<(), Failure>) {
    ask(model, &requests(count), settings)
}

fn ask(
    model: &mut OpenAi,
    requests: &[GenerationRequest],
    settings: &GenerationSettings,
) -> (Told, Result<(), Failure>) {
    let mut told = Told::default();
    let result = model.generate(requests, settings, &mut |event| match event {
        GenerationEvent::Progress { tokens } => told.progress += tokens,
        GenerationEvent::Done { idx, generated } => {
            told.order.push(idx);
            assert!(told.done.insert(idx, generated).is_none(), "told twice");
        }
        GenerationEvent::Failed { idx, failure } => {
            assert_eq!(failure.class, FailureClass::BadItem);
            assert!(told.failed.insert(idx, failure).is_none(), "told twice");
        }
    });
    for failure in told.failed.values().chain(result.as_ref().err()) {
        let shown = format!("{failure:?}");
        assert!(!shown.contains(KEY), "the key is shown: {shown}");
        assert!(!failure.message.contains('\n'), "more than a line: {shown}");
    }
    (told, result)
}

fn question(seen: &Seen) -> String {
    let messages = seen.body["messages"].as_array().unwrap();
    messages.last().unwrap()["content"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn defaults() -> GenerationSettings {
    GenerationSettings::default()
}

#[test]
fn a_batch_is_answered_and_each_answer_goes_to_its_question() {
    let server = Loopback::start(|_, seen| Says::answer(&format!("to {}", question(seen))));
    let mut model = model(&server.url());
    let (told, result) = batch(&mut model, 5, &defaults());
    result.unwrap();
    assert_eq!(told.done.len(), 5);
    for (idx, generated) in &told.done {
        let expected = Generated {
            text: format!("to Question {idx}?"),
            tokens_in: 7,
            tokens_out: 3,
            finish: FinishReason::Stop,
            passages_cut: 0,
        };
        assert_eq!(*generated, expected);
    }
    assert_eq!(told.progress, 50);
}

#[test]
fn settings_key_and_messages_are_sent_as_the_api_wants_them() {
    let server = Loopback::start(|_, _| Says::answer("yes"));
    let mut model = model(&format!("{}/", server.url()));
    let settings = GenerationSettings {
        max_new_tokens: 24,
        temperature: 0.7,
        top_p: Some(0.9),
        seed: 11,
        stop: ["a", "b", "", "c", "d", "e"].map(str::to_owned).to_vec(),
    };
    batch(&mut model, 1, &settings).1.unwrap();
    let seen = server.seen().remove(0);
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.authorization, Some(format!("Bearer {KEY}")));
    let expected = json!({
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": "Question 0?"},
        ],
        "max_tokens": 24, "temperature": 0.7, "top_p": 0.9, "seed": 11,
        "stop": ["a", "b", "c", "d"],
    });
    assert_eq!(seen.body, expected);
}

#[test]
fn a_raw_prompt_goes_where_no_chat_template_is_applied() {
    let server = Loopback::start(|_, _| {
        Says::choice(json!({"text": " Paris\nQ:", "finish_reason": "length"}))
    });
    let mut model = model(&server.url());
    let mut raw = requests(1);
    raw[0].raw = true;
    let settings = GenerationSettings {
        stop: vec!["\n".to_owned()],
        ..defaults()
    };
    let (told, result) = ask(&mut model, &raw, &settings);
    result.unwrap();
    assert_eq!(told.done[&0].text, " Paris");
    let seen = server.seen().remove(0);
    assert_eq!(seen.path, "/v1/completions");
    assert_eq!(seen.body["prompt"], "Answer briefly.\n\nQuestion 0?");
    assert_eq!(seen.body.get("messages"), None);
}

#[test]
fn no_key_means_no_authorization() {
    let server = Loopback::start(|_, _| Says::answer("yes"));
    let place = Server::new("base_url", &server.url(), None).unwrap();
    batch(&mut OpenAi::on(place, "tiny", hasty()), 1, &defaults())
        .1
        .unwrap();
    assert_eq!(server.seen()[0].authorization, None);
}

#[test]
fn all_stop_texts_cut_on_this_side_whatever_the_server_does() {
    let server = Loopback::start(|_, _| {
        Says::choice(json!({"message": {"content": "one END two"}, "finish_reason": "length"}))
    });
    let mut model = model(&server.url());
    let settings = GenerationSettings {
        stop: ["1", "2", "3", "4", "END"].map(str::to_owned).to_vec(),
        ..defaults()
    };
    let (told, _) = batch(&mut model, 1, &settings);
    assert_eq!(told.done[&0].text, "one ");
    assert_eq!(told.done[&0].finish, FinishReason::Stop);
}

#[test]
fn requests_of_a_batch_run_at_once_and_are_told_as_they_end() {
    // The first questions are the slowest.
    let server = Loopback::start(|_, seen| {
        let slow = question(seen).as_str() < "Question 4?";
        Says::answer("yes").after(if slow { 900 } else { 200 })
    });
    let mut model = model(&server.url());
    let start = Instant::now();
    let (told, result) = batch(&mut model, 8, &defaults());
    result.unwrap();
    assert_eq!(server.peak(), 8);
    assert!(start.elapsed() < Duration::from_millis(4 * 900));
    assert!(
        told.order[..4].iter().all(|idx| *idx >= 4),
        "{:?}",
        told.order
    );
}

#[test]
fn a_batch_larger_than_the_limit_is_answered_by_so_many_at_once() {
    let server = Loopback::start(|_, _| Says::answer("yes").after(20));
    let mut model = model(&server.url());
    let (told, result) = batch(&mut model, 150, &defaults());
    result.unwrap();
    assert_eq!(told.done.len(), 150);
    assert!(server.peak() > 8, "{}", server.peak());
    assert!(server.peak() <= 64, "{}", server.peak());
}

#[test]
fn too_many_requests_are_sent_again_after_the_wait_the_server_asks_for() {
    let server = Loopback::start(|number, _| match number {
        0 => Says::Reply(429, "Retry-After: 1\r\n", String::new()),
        _ => Says::answer("yes"),
    });
    let mut model = model(&server.url());
    let start = Instant::now();
    let (told, result) = batch(&mut model, 1, &defaults());
    result.unwrap();
    assert_eq!(told.done[&0].text, "yes");
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.seen().len(), 2);
    assert_eq!(told.progress, 10, "waiting is no progress");
}

#[test]
fn a_server_may_ask_for_more_time_than_tries_are_worth() {
    let server = Loopback::start(|number, _| match number {
        0 => Says::Reply(429, "Retry-After: 1\r\n", String::new()),
        _ => Says::answer("yes"),
    });
    let patience = Patience {
        total: Duration::from_millis(700),
        ..hasty()
    };
    let mut model = patient_model(&server.url(), patience);
    let (told, result) = batch(&mut model, 1, &defaults());
    result.unwrap();
    assert_eq!(told.done[&0].text, "yes");
}

#[test]
fn a_wait_that_is_too_long_ends_the_batch_at_once_and_is_named() {
    let server = Loopback::start(|_, _| Says::Reply(429, "Retry-After: 86400\r\n", String::new()));
    let mut model = model(&server.url());
    let (_, result) = batch(&mut model, 1, &defaults());
    let failure = result.unwrap_err();
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(
        failure
            .message
            .ends_with("(1 try; it asks to wait 86400 s): `ragicamp resume` goes on then"),
        "{failure}"
    );
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn server_errors_are_tried_five_times_and_then_are_transient() {
    let server = Loopback::start(|_, _| Says::error(503, "loading the\nmodel"));
    let mut model = model(&server.url());
    let (told, result) = batch(&mut model, 1, &defaults());
    let failure = result.unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient);
    assert_eq!(
        failure.message,
        format!(
            "openai:tiny at {}: 503 Service Unavailable: loading the model (5 tries)",
            server.url()
        )
    );
    assert_eq!(server.seen().len(), 5);
    assert_eq!(told.progress, 0);
}

#[test]
fn answers_told_before_a_batch_failed_stay_and_the_rest_is_called_off() {
    let server = Loopback::start(|_, seen| match question(seen).as_str() {
        "Question 0?" => Says::answer("yes"),
        "Question 1?" => Says::error(401, "no").after(300),
        _ => Says::Reply(429, "Retry-After: 25\r\n", String::new()),
    });
    let mut model = model(&server.url());
    let start = Instant::now();
    let (told, result) = batch(&mut model, 4, &defaults());
    assert_eq!(result.unwrap_err().class, FailureClass::Permanent);
    assert_eq!(told.done.len(), 1);
    assert!(told.failed.is_empty());
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "did not wait in vain"
    );
}

#[test]
fn a_dropped_connection_a_torn_reply_and_malformed_json_are_tried_again() {
    let server = Loopback::start(|number, _| match number {
        0 => Says::Nothing,
        1 => Says::Reply(200, "", "{\"choices\": [".to_owned()),
        2 => Says::Reply(200, "", "{}".to_owned()),
        3 => Says::Reply(
            200,
            "",
            json!({"error": {"code": 502, "message": "up"}}).to_string(),
        ),
        _ => Says::answer("yes"),
    });
    let mut model = model(&server.url());
    let (told, result) = batch(&mut model, 1, &defaults());
    result.unwrap();
    assert_eq!(told.done[&0].text, "yes");
    assert_eq!(server.seen().len(), 5);
}

#[test]
fn a_server_that_is_too_slow_is_transient() {
    let server = Loopback::start(|_, _| Says::answer("late").after(1500));
    let patience = Patience {
        tries: 2,
        attempt: Duration::from_millis(100),
        ..hasty()
    };
    let mut model = patient_model(&server.url(), patience);
    let (_, result) = batch(&mut model, 1, &defaults());
    let failure = result.unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient);
    assert!(
        failure.message.contains("no answer in time (2 tries)"),
        "{failure}"
    );
}

#[test]
fn all_tries_together_keep_to_the_time_a_request_is_worth() {
    let server = Loopback::start(|_, _| Says::Nothing.after(150));
    let patience = Patience {
        tries: 1000,
        total: Duration::from_millis(600),
        ..hasty()
    };
    let mut model = patient_model(&server.url(), patience);
    let start = Instant::now();
    assert!(batch(&mut model, 4, &defaults()).1.is_err());
    assert!(start.elapsed() < Duration::from_millis(1500));
    let hour = Duration::from_secs(3600);
    assert!(Patience::default().total * 2 <= Duration::from_secs(600));
    assert!(Patience::within(hour).attempt >= Duration::from_secs(1000));
}

#[test]
fn a_server_that_never_was_there_is_permanent_and_one_that_went_is_transient() {
    let url = nobody();
    let (_, result) = batch(&mut model(&url), 3, &defaults());
    let failure = result.unwrap_err();
    assert_eq!(failure.class, FailureClass::Permanent);
    assert_eq!(
        failure.message,
        format!(
            "openai:tiny at {url} can not be reached (connection refused, 5 tries): start the server, or correct base_url or OPENAI_BASE_URL"
        )
    );

    let server = Loopback::start(|_, _| Says::answer("yes"));
    let mut model = model(&server.url());
    batch(&mut model, 1, &defaults()).1.unwrap();
    drop(server);
    let (_, result) = batch(&mut model, 1, &defaults());
    assert_eq!(result.unwrap_err().class, FailureClass::Transient);
}

#[test]
fn a_prompt_too_long_costs_only_itself_in_every_servers_words() {
    let words = [
        (
            400,
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        ),
        (
            400,
            "the request exceeds the available context size (512 tokens), try increasing it",
        ),
        (
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",
        ),
        (
            400,
            "Please reduce: longer than the maximum model length of 2048",
        ),
        (500, "Requested tokens (900) exceed context window of 512"),
    ];
    for (status, message) in words {
        let server = Loopback::start(move |_, seen| match question(seen).as_str() {
            "Question 1?" => Says::error(status, message),
            _ => Says::answer("yes"),
        });
        let (told, result) = batch(&mut model(&server.url()), 3, &defaults());
        result.unwrap();
        assert_eq!(told.done.len(), 2);
        assert!(
            told.failed[&1]
                .message
                .contains("does not fit into the context"),
            "{message}"
        );
        assert_eq!(server.seen().len(), 3, "not sent again");
    }
}

#[test]
fn a_prompt_too_long_loses_passages_from_the_end_until_the_server_takes_it() {
    let server = Loopback::start(|_, seen| match question(seen).len() {
        0..=8 => Says::answer("yes"),
        _ => Says::error(400, "the request exceeds the available context size"),
    });
    let mut long = requests(1);
    long[0].prompt = "Q:aabbccdd".to_owned();
    long[0].passages = vec![(2, 4), (4, 6), (6, 8), (8, 10)];
    let mut model = model(&server.url());
    let (told, result) = ask(&mut model, &long, &defaults());
    result.unwrap();
    assert_eq!(told.done[&0].passages_cut, 1);
    let sent: Vec<String> = server.seen().iter().map(question).collect();
    assert_eq!(sent, ["Q:aabbccdd", "Q:aabbcc"]);
    // A question that is too long by itself is a bad one.
    long[0].prompt = "A long question:aabb".to_owned();
    long[0].passages = vec![(16, 18), (18, 20)];
    let (told, result) = ask(&mut model, &long, &defaults());
    result.unwrap();
    assert!(
        told.failed[&0]
            .message
            .contains("does not fit into the context")
    );
    assert_eq!(server.seen().len(), 2 + 3);
}

#[test]
fn a_prompt_that_a_content_filter_stops_costs_only_itself() {
    let server = Loopback::start(|_, seen| match question(seen).as_str() {
        "Question 0?" => Says::Reply(
            400,
            "",
            json!({"error": {"code": "content_filter", "message": "no"}}).to_string(),
        ),
        "Question 1?" => {
            Says::choice(json!({"message": {"content": null}, "finish_reason": "content_filter"}))
        }
        "Question 2?" => Says::choice(
            json!({"message": {"content": null, "refusal": "I can not"}, "finish_reason": "stop"}),
        ),
        _ => Says::answer("yes"),
    });
    let (told, result) = batch(&mut model(&server.url()), 4, &defaults());
    result.unwrap();
    assert_eq!(told.failed.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(told.done.len(), 1);
}

#[test]
fn a_refusal_of_all_requests_is_permanent_and_of_one_is_that_prompts() {
    let server = Loopback::start(|_, _| Says::error(400, "temperature must be 1"));
    let (told, result) = batch(&mut model(&server.url()), 3, &defaults());
    let failure = result.unwrap_err();
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(
        failure.message.contains("temperature must be 1"),
        "{failure}"
    );
    assert!(told.failed.is_empty());

    let server = Loopback::start(|_, seen| match question(seen).as_str() {
        "Question 1?" => Says::error(400, "odd characters"),
        // So the refusal is known before the first answer.
        _ => Says::answer("yes").after(100),
    });
    let mut model = model(&server.url());
    let (told, result) = batch(&mut model, 3, &defaults());
    result.unwrap();
    assert_eq!(told.done.len(), 2);
    assert!(told.failed[&1].message.contains("odd characters"));
    // Alone, after others were answered, it is still that prompt's.
    let (told, result) = ask(&mut model, &requests(2)[1..], &defaults());
    result.unwrap();
    assert_eq!(told.failed.len(), 1);
}

#[test]
fn a_wrong_key_is_permanent_and_says_what_to_do_and_not_the_key() {
    let server =
        Loopback::start(|_, _| Says::error(401, &format!("Incorrect API key provided: {KEY}.")));
    let (_, result) = batch(&mut model(&server.url()), 2, &defaults());
    let failure = result.unwrap_err();
    assert_eq!(failure.class, FailureClass::Permanent);
    assert_eq!(
        failure.message,
        format!(
            "openai:tiny at {} does not accept the key (401 Unauthorized: Incorrect API key provided: ***.): correct OPENAI_API_KEY",
            server.url()
        )
    );

    let server = Loopback::start(|_, _| Says::error(401, "no key"));
    let place = Server::new("base_url", &server.url(), None).unwrap();
    let (_, result) = batch(&mut OpenAi::on(place, "tiny", hasty()), 1, &defaults());
    assert!(result.unwrap_err().message.ends_with("set OPENAI_API_KEY"));
}

#[test]
fn an_answer_that_echoes_the_key_is_kept_without_it() {
    let server = Loopback::start(|_, seen| {
        Says::answer(&format!(
            "you sent {}",
            seen.authorization.as_ref().unwrap()
        ))
    });
    let (told, result) = batch(&mut model(&server.url()), 1, &defaults());
    result.unwrap();
    assert_eq!(told.done[&0].text, "you sent Bearer ***");
}

#[test]
fn an_unknown_model_a_redirect_and_an_empty_account_are_permanent() {
    let cases = [
        (
            404,
            "The model `tiny` does not exist",
            "correct the model's name",
        ),
        (307, "", "correct the model's name"),
        (
            429,
            "You exceeded your current quota, please check your plan",
            "can not be used",
        ),
    ];
    for (status, message, expected) in cases {
        let server = Loopback::start(move |_, _| match status {
            307 => Says::Reply(307, "Location: /elsewhere\r\n", String::new()),
            _ => Says::error(status, message),
        });
        let (_, result) = batch(&mut model(&server.url()), 1, &defaults());
        let failure = result.unwrap_err();
        assert_eq!(failure.class, FailureClass::Permanent, "{status}");
        assert!(failure.message.contains(expected), "{failure}");
        assert_eq!(server.seen().len(), 1, "{status}");
    }
}

#[test]
fn parameters_that_a_server_does_not_take_are_left_out_once_and_for_all() {
    let server = Loopback::start(|_, seen| {
        let has = |key| seen.body.get(key).is_some();
        if has("max_tokens") {
            Says::error(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            )
        } else if has("stop") {
            Says::Reply(
                400,
                "",
                json!({"error": {"message": "Unsupported parameter", "param": "stop"}}).to_string(),
            )
        } else if has("seed") {
            Says::Reply(
                422,
                "",
                json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]})
                    .to_string(),
            )
        } else {
            Says::answer("yes. no")
        }
    });
    let mut model = model(&server.url());
    let settings = GenerationSettings {
        stop: vec![".".to_owned()],
        ..defaults()
    };
    let (told, result) = batch(&mut model, 1, &settings);
    result.unwrap();
    assert_eq!(told.done[&0].text, "yes");
    assert_eq!(server.seen()[3].body["max_completion_tokens"], 64);
    batch(&mut model, 1, &settings).1.unwrap();
    assert_eq!(
        server.seen().len(),
        5,
        "the second request is right at once"
    );
}

#[test]
fn a_temperature_of_zero_is_left_out_only_for_whom_sampled_answers_will_do() {
    let server = Loopback::start(|_, seen| match seen.body.get("temperature") {
        Some(_) => Says::Reply(
            400,
            "",
            json!({"error": {"param": "temperature", "message": "Unsupported value: 'temperature' \
                does not support 0.0 with this model. Only the default (1) value is supported."}})
            .to_string(),
        ),
        None => Says::answer("yes"),
    });
    let failure = batch(&mut model(&server.url()), 1, &defaults()).1;
    assert!(
        failure
            .unwrap_err()
            .message
            .contains("refuses the requests")
    );
    let mut judge = model(&server.url()).with_any_temperature();
    let (told, result) = batch(&mut judge, 1, &defaults());
    result.unwrap();
    assert_eq!(told.done[&0].text, "yes");
}

#[test]
fn an_empty_answer_is_an_answer_and_a_reply_without_one_is_not() {
    let server = Loopback::start(|_, seen| match question(seen).as_str() {
        "Question 0?" => Says::choice(json!({"message": {"content": ""}, "finish_reason": "stop"})),
        "Question 1?" => {
            Says::choice(json!({"message": {"content": null}, "finish_reason": "length"}))
        }
        _ => Says::choice(json!({"message": {"content": [
            {"type": "text", "text": "in "}, {"type": "text", "text": "parts"},
        ]}, "finish_reason": null})),
    });
    let (told, result) = batch(&mut model(&server.url()), 3, &defaults());
    result.unwrap();
    assert_eq!(told.done[&0].text, "");
    assert_eq!(told.done[&0].finish, FinishReason::Stop);
    assert_eq!(told.done[&1].text, "");
    assert_eq!(told.done[&1].finish, FinishReason::Length);
    assert_eq!(told.done[&2].text, "in parts");

    let server = Loopback::start(|_, _| Says::choice(json!({"message": {"content": null}})));
    let (_, result) = batch(&mut model(&server.url()), 1, &defaults());
    assert_eq!(result.unwrap_err().class, FailureClass::Transient);
}

#[test]
fn a_reply_that_reports_an_error_is_no_answer_whatever_was_said_before() {
    let partial = json!({"content": "partial answ"});
    for body in [
        json!({"choices": [{"message": partial, "finish_reason": "error"}]}),
        json!({"choices": [{"message": partial, "finish_reason": "abort"}]}),
        json!({"error": {"code": 502, "message": "upstream"}, "choices": [{"message": partial}]}),
        json!({"choices": [{"message": partial, "error": {"code": 502, "message": "gone"}}]}),
    ] {
        let text = body.to_string();
        let server = Loopback::start(move |_, _| Says::Reply(200, "", text.clone()));
        let (told, result) = batch(&mut model(&server.url()), 1, &defaults());
        assert_eq!(result.unwrap_err().class, FailureClass::Transient, "{body}");
        assert!(told.done.is_empty(), "{body}");
    }
    // A server that has a place for errors and none to report.
    let text = json!({"error": null, "choices": [
        {"message": {"content": "whole"}, "finish_reason": "stop", "error": null},
    ]});
    let server = Loopback::start(move |_, _| Says::Reply(200, "", text.to_string()));
    let (told, result) = batch(&mut model(&server.url()), 1, &defaults());
    result.unwrap();
    assert_eq!(told.done[&0].text, "whole");
}

#[test]
fn an_empty_batch_is_done() {
    let (told, result) = batch(&mut model(&nobody()), 0, &defaults());
    result.unwrap();
    assert!(told.done.is_empty());
}

#[test]
fn a_description_names_the_server_and_holds_no_secret() {
    let model = model("http://localhost:1/v1/");
    let description = model.describe();
    assert_eq!(description["model"], "openai:tiny");
    assert_eq!(description["base_url"], "http://localhost:1/v1");
    assert_eq!(description["has_key"], Value::Bool(true));
    assert!(!description.to_string().contains(KEY));
    assert!(!format!("{model:?}").contains(KEY));
}

#[test]
fn a_url_that_is_none_is_told_at_load_in_one_sentence() {
    let spec = |url: &str| ModelSpec {
        provider: Provider::Openai,
        name: "tiny".to_owned(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: Some(url.to_owned()),
    };
    for (url, expected) in [
        (
            "localhost:8000/v1",
            "does not begin with http:// or https://",
        ),
        ("ftp://host/v1", "does not begin with http:// or https://"),
        ("http://", "is no web address"),
        ("http://a b/v1", "is no web address"),
        ("", "does not begin with http:// or https://"),
        ("http://me:secret-pass@host/v1", "OPENAI_API_KEY"),
        (
            "http://host/v1?key=1",
            "holds more than an address and a path",
        ),
    ] {
        let failure = OpenAi::new(&spec(url)).unwrap_err();
        assert_eq!(failure.class, FailureClass::Permanent, "{url}");
        assert!(failure.message.contains(expected), "{url}: {failure}");
        assert!(
            failure.message.starts_with("openai:tiny: base_url "),
            "{failure}"
        );
        assert!(!failure.message.contains("secret-pass"));
    }
    for url in ["http://[::1]:8000/v1", "https://host/v1/chat/completions"] {
        OpenAi::new(&spec(url)).unwrap();
    }
    assert!(Server::new("base_url", "http://host", Some("a\nb".to_owned())).is_err());
}

#[test]
fn waits_double_with_jitter_and_follow_the_server() {
    let patience = Patience::default();
    let first = patience.first_wait;
    for tried in 1..5 {
        let most = first * (1 << (tried - 1));
        for _ in 0..50 {
            let wait = patience.wait(tried, false, None);
            assert!(wait >= most / 2 && wait <= most, "{wait:?}");
            assert!(patience.wait(tried, true, None) >= most * 2);
        }
    }
    let asked = Duration::from_secs(7);
    let wait = patience.wait(1, true, Some(asked));
    assert!(wait >= asked && wait <= asked + first);
    // No overflow, whatever a server asks for.
    assert!(patience.wait(u32::MAX, true, Some(Duration::MAX)) == Duration::MAX);
    assert!(patience.wait(u32::MAX, true, None) > asked);
}

#[test]
fn the_wait_is_read_as_seconds_milliseconds_or_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
    let read = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        asked_wait(&headers, now)
    };
    assert_eq!(read("retry-after", "2"), Some(Duration::from_secs(2)));
    assert_eq!(read("retry-after", "0.5"), Some(Duration::from_millis(500)));
    assert_eq!(
        read("retry-after-ms", "250"),
        Some(Duration::from_millis(250))
    );
    let date = read("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT");
    assert_eq!(date, Some(Duration::from_secs(10)));
    let past = read("retry-after", "Wed, 21 Oct 2005 07:28:00 GMT");
    assert!(past.is_none_or(|wait| wait.is_zero()));
    for nonsense in ["soon", "-1", "NaN", "inf", "1e300", ""] {
        assert_eq!(read("retry-after", nonsense), None, "{nonsense}");
    }
}

#[test]
fn a_limit_that_is_used_up_is_waited_for_until_it_begins_anew() {
    let wait = |pairs: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        asked_wait(&headers, SystemTime::UNIX_EPOCH)
    };
    let requests = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "1m2.5s"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-tokens", "6h0m0s"),
    ];
    assert_eq!(wait(&requests), Some(Duration::from_millis(62_500)));
    let both = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "20ms"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "3"),
    ];
    assert_eq!(wait(&both), Some(Duration::from_secs(3)));
    // What is left is nothing to wait for, and the plain header wins.
    assert_eq!(wait(&requests[2..]), None);
    let plain = [requests[0], requests[1], ("retry-after", "2")];
    assert_eq!(wait(&plain), Some(Duration::from_secs(2)));
    for nonsense in ["soon", "5x", "1.2.3s", "-1s", ""] {
        let wait = wait(&[requests[0], ("x-ratelimit-reset-requests", nonsense)]);
        assert!(wait.is_none_or(|wait| wait.is_zero()), "{nonsense}");
    }
}
