//! A study with known scores, without a model.

use super::place::Place;
use serde_json::{Value, json};

pub const DIRECT: &str = "direct_m1_default_nq";
pub const RAG_1: &str = "rag_m1_bm25_k1_default_nq";
pub const RAG_5: &str = "rag_m1_bm25_k5_default_nq";
pub const OTHER: &str = "rag_m2_bm25_k5_default_nq";
pub const FAILED: &str = "rag_m3_bm25_k5_default_nq";

const QUESTIONS: usize = 40;

/// Four complete experiments over the same questions, and one that failed.
pub fn study() -> Place {
    let place = Place::new();
    // Right where the question's number has this rest.
    experiment(&place, DIRECT, ("direct", "m1", None), |i| i % 4 == 0);
    experiment(&place, RAG_1, ("rag", "m1", Some(1)), |i| i % 4 < 2);
    experiment(&place, RAG_5, ("rag", "m1", Some(5)), |i| i % 4 < 3);
    experiment(&place, OTHER, ("rag", "m2", Some(5)), |i| i % 8 < 3);
    failed(&place);
    place
}

fn experiment(
    place: &Place,
    name: &str,
    (kind, model, top_k): (&str, &str, Option<usize>),
    is_right: fn(usize) -> bool,
) {
    let score = |i| f64::from(u8::from(is_right(i)));
    let predictions: Vec<Value> = (0..QUESTIONS)
        .map(|i| {
            let prediction = if is_right(i) { "yes" } else { "no" };
            json!({"idx": i, "question": format!("Is {i}?"), "prediction": prediction,
                "expected": ["yes"], "prompt": "p", "error": null, "retrieved": [],
                "batch_size": 8, "attempt": 1, "tokens_in": 3, "tokens_out": 1,
                "latency_ms": 20, "metrics": {"exact_match": score(i)}})
        })
        .collect();
    let mean = (0..QUESTIONS).map(score).sum::<f64>() / QUESTIONS as f64;
    let metrics = json!({"exact_match": mean, "exact_match_ci95": [mean - 0.1, mean + 0.1],
        "n_scored": QUESTIONS, "n_failed": 0, "n_without_gold": 0, "coverage": 1.0});
    let write = |file: &str, value: Value| {
        place.write(&format!("outputs/made/{name}/{file}"), &value.to_string());
    };
    write(
        "predictions.json",
        json!({"experiment": name, "predictions": predictions, "aggregate_metrics": metrics,
            "schema_version": 1}),
    );
    write(
        "results.json",
        json!({"name": name, "metrics": metrics, "num_examples": QUESTIONS,
            "duration_seconds": 8.0, "metadata": {"type": kind, "model": model,
            "prompt": "default", "dataset": "nq", "quantization": "none",
            "retriever": top_k.map(|_| "bm25"), "top_k": top_k}}),
    );
    write(
        "state.json",
        json!({"phase": "complete", "error": null, "predictions_complete": QUESTIONS,
            "total_questions": QUESTIONS, "metrics_requested": ["exact_match"],
            "metrics_computed": ["exact_match"], "schema_version": 1, "attempt": 1}),
    );
}

fn failed(place: &Place) {
    let directory = format!("outputs/made/{FAILED}");
    let record = |i: usize, prediction: &str, error: Value| {
        json!({"idx": i, "question": format!("Is {i}?"), "prediction": prediction,
            "expected": ["yes"], "error": error, "attempt": 1})
    };
    let predictions = json!({"experiment": FAILED, "predictions": [
        record(0, "yes", Value::Null),
        record(1, "[ERROR: CUDA_ERROR_OUT_OF_MEMORY]", json!("CUDA_ERROR_OUT_OF_MEMORY")),
    ]});
    place.write(
        &format!("{directory}/predictions.json"),
        &predictions.to_string(),
    );
    let state = json!({"phase": "failed", "error": "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "failure_class": "oom", "predictions_complete": 1, "total_questions": QUESTIONS,
        "metrics_requested": ["exact_match"], "schema_version": 1, "attempt": 1});
    place.write(&format!("{directory}/state.json"), &state.to_string());
    place.write(
        &format!("{directory}/error.log"),
        &format!(
            "Error: CUDA_ERROR_OUT_OF_MEMORY: out of memory\n\nExperiment: {FAILED}\nModel: hf:m3\n"
        ),
    );
}
