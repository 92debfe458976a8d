use crate::domain::{AgentKind, Dtype, ExperimentKind, ExperimentSpec, ModelSpec, Quantization};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Names are directories: longer ones are cut, in bytes.
pub const MAX_NAME_BYTES: usize = 200;

/// Names that a study's directory needs for its own files.
pub(super) const RESERVED: &[&str] = &[
    "study.yaml",
    "manifest.json",
    "events.jsonl",
    "results.csv",
    "study_summary.json",
    "checksums.json",
    "lease",
];

/// The name of a cell of a grid, as existing studies have it:
/// `direct_{model}_{prompt}_{dataset}{_quant}` and
/// `rag_{model}_{retriever}_k{k}_{prompt}_{dataset}{_quant}`. Agents other than
/// the plain ones, query transforms and rerankers stand behind `k{k}`.
pub fn experiment_name(spec: &ExperimentSpec) -> String {
    let mut parts = vec![
        match spec.kind {
            ExperimentKind::Direct => "direct".to_owned(),
            ExperimentKind::Rag => "rag".to_owned(),
        },
        model_part(&spec.model),
    ];
    if let Some(retriever) = &spec.retriever {
        parts.push(retriever.name.clone());
    }
    if let Some(top_k) = spec.top_k {
        parts.push(format!("k{top_k}"));
    }
    match spec.agent {
        AgentKind::DirectLlm | AgentKind::FixedRag => {}
        AgentKind::IterativeRag => parts.push("iterative".to_owned()),
        AgentKind::SelfRag => parts.push("selfrag".to_owned()),
    }
    if let Some(transform) = spec.options.get("query_transform").and_then(Value::as_str) {
        parts.push(transform.to_owned());
    }
    if let Some(reranker) = spec
        .options
        .get("reranker")
        .and_then(|r| r["name"].as_str())
    {
        parts.push(reranker.to_owned());
    }
    parts.push(spec.prompt.name.clone());
    parts.push(spec.dataset.name.clone());
    // 4bit is what existing studies ran without saying so.
    if spec.model.provider.has_quantization() && spec.quantization != Quantization::Int4 {
        parts.push(spec.quantization.as_str().to_owned());
    }
    safe_name(&parts.join("_"))
}

/// `hf:Qwen/Qwen2.5-7B-Instruct` as `hf_Qwen_Qwen2.57BInstruct`; a dtype that
/// was asked for is added, so that one study can compare several.
fn model_part(model: &ModelSpec) -> String {
    let mut part: String = model
        .to_string()
        .chars()
        .filter(|c| *c != '-')
        .map(|c| if matches!(c, ':' | '/') { '_' } else { c })
        .collect();
    match model.dtype {
        Dtype::Auto => {}
        Dtype::F32 => part.push_str("_f32"),
        Dtype::F16 => part.push_str("_f16"),
        Dtype::Bf16 => part.push_str("_bf16"),
    }
    part
}

/// The name as a directory may have it: ASCII letters, digits and `._-@+=`,
/// no dot or dash in front, at most [`MAX_NAME_BYTES`]. A name that has to be
/// changed gets eight digits of its hash, so that different names stay
/// different; one that is fine already is left alone.
pub fn safe_name(name: &str) -> String {
    let mut safe: String = name
        .chars()
        .enumerate()
        .map(|(i, c)| {
            let inside = c.is_ascii_alphanumeric() || "._-@+=".contains(c);
            let in_front = i > 0 || !".-".contains(c);
            if inside && in_front { c } else { '_' }
        })
        .collect();
    if safe == name && safe.len() <= MAX_NAME_BYTES && !safe.is_empty() {
        return safe;
    }
    let hash = Sha256::digest(name.as_bytes());
    let digits: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    safe.truncate(MAX_NAME_BYTES - digits.len() - 1);
    format!("{safe}_{digits}")
}
