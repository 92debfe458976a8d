//! `ragicamp doctor`.

use super::place::{Place, done, shipped};
use serde_json::Value;

fn report(place: &Place, arguments: &[&str]) -> Value {
    let fixed = ["doctor", "--json", "--no-measure"];
    let out = place.ok(&[&fixed[..], arguments].concat()).out;
    assert_eq!(out.lines().count(), 1);
    serde_json::from_str(&out).unwrap()
}

#[test]
fn doctor_helps() {
    insta::assert_snapshot!(Place::new().ok(&["doctor", "--help"]).out);
}

#[test]
fn doctor_says_what_the_machine_has() {
    let place = Place::new();
    place.write("cache/huggingface/hub/models--org--name/blobs/a", "12345");
    let found = report(&place, &[]);
    assert!(found["processor"]["cores"].as_u64().unwrap() >= 1);
    assert!(found["memory"]["available_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(found["outputs"]["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(found["outputs"]["exists"], false);
    assert_eq!(found["cached_models"][0]["name"], "org/name");
    assert_eq!(found["cached_models"][0]["bytes"], 5);
    let people = place.ok(&["doctor", "--no-measure"]).out;
    for part in [
        "processor",
        "memory",
        "gpu",
        "outputs",
        "cached model    hf:org/name, 0 kB",
        "HF_HUB_OFFLINE=1",
    ] {
        assert!(people.contains(part), "{part}: {people}");
    }
}

#[test]
fn doctor_measures() {
    let place = Place::new();
    let found: Value = serde_json::from_str(&place.ok(&["doctor", "--json"]).out).unwrap();
    for figure in [
        "memory_gb_per_second",
        "f32_gemm_gflop_per_second",
        "q8_0_gemm_gop_per_second",
    ] {
        assert!(found["speed"][figure].as_f64().unwrap() > 0.0, "{found}");
    }
}

#[test]
fn doctor_keeps_secrets() {
    let place = Place::new();
    let mut command = place.command(&["doctor", "--no-measure"]);
    command
        .env("HF_TOKEN", "hf_secret")
        .env("HF_ENDPOINT", "http://127.0.0.1:9");
    let told = done(&mut command).out;
    assert!(
        told.contains("HF_TOKEN=(set)") && !told.contains("hf_secret"),
        "{told}"
    );
    assert!(told.contains("HF_ENDPOINT=http://127.0.0.1:9"), "{told}");
}

#[test]
fn doctor_says_what_a_model_would_need() {
    let place = Place::new();
    let of = |arguments: &[&str]| report(&place, arguments)["model"].clone();
    let full = of(&["--model", "embedded:reader"]);
    let eight = of(&["--model", "embedded:reader", "--quantization", "8bit"]);
    let bytes = |model: &Value, key: &str| model[key].as_u64().unwrap();
    assert!(bytes(&full, "weights_bytes") > bytes(&eight, "weights_bytes"));
    assert!(bytes(&full, "batch_size") >= 1);
    // 4 layers of keys and values of 256 floats.
    assert_eq!(
        bytes(&full, "cache_bytes_per_sequence"),
        4 * 2 * 256 * 4 * 1024
    );
    let file = format!("gguf:{}", shipped("tests/fixtures/gguf/gemma3.gguf"));
    assert_eq!(of(&["--model", &file])["architecture"], "gemma3");
    let missing = of(&["--model", "hf:org/none"]);
    assert!(
        missing["problem"]
            .as_str()
            .unwrap()
            .contains("not on this machine"),
        "{missing}"
    );
    let people = place
        .ok(&["doctor", "--no-measure", "--model", "embedded:reader"])
        .out;
    assert!(people.contains("batch size      "), "{people}");
    place.exits(2, &["doctor", "--model", "nonsense"]);
}
