use crate::domain::{Dtype, ModelSpec, Provider, Quantization};

/// A model of this machine, as studies write it.
///
/// # Errors
/// One sentence that says how models are written.
pub fn local_model(text: &str) -> Result<ModelSpec, String> {
    const WAYS: &str = "write hf:org/name, hf:org/name@revision, hf:./directory, gguf:file.gguf or embedded:reader";
    let Some((word, name)) = text.trim().split_once(':') else {
        return Err(format!("it does not say where it comes from; {WAYS}"));
    };
    let provider = match word {
        "hf" => Provider::Hf,
        "gguf" => Provider::Gguf,
        "embedded" => Provider::Embedded,
        "openai" | "vllm" => return Err(format!("it runs on a server, not here; {WAYS}")),
        _ => return Err(format!("there is no provider {word}; {WAYS}")),
    };
    let is_local = name.starts_with(['/', '.', '~']);
    let (name, revision) = match name.rsplit_once('@') {
        Some((name, revision)) if provider == Provider::Hf && !is_local => {
            (name, Some(revision.to_owned()))
        }
        _ => (name, None),
    };
    if name.is_empty() || revision.as_deref() == Some("") {
        return Err(format!("a part of it is empty; {WAYS}"));
    }
    Ok(ModelSpec {
        provider,
        name: name.to_owned(),
        revision,
        dtype: Dtype::Auto,
        base_url: None,
    })
}

/// A type of floats, as studies write it.
///
/// # Errors
/// What can be written.
pub fn dtype(text: &str) -> Result<Dtype, String> {
    match text {
        "auto" => Ok(Dtype::Auto),
        "f32" => Ok(Dtype::F32),
        "f16" => Ok(Dtype::F16),
        "bf16" => Ok(Dtype::Bf16),
        _ => Err("write auto, f32, f16 or bf16".to_owned()),
    }
}

/// A quantisation, as studies write it.
///
/// # Errors
/// What can be written.
pub fn quantization(text: &str) -> Result<Quantization, String> {
    [Quantization::None, Quantization::Int8, Quantization::Int4]
        .into_iter()
        .find(|quantization| quantization.as_str() == text)
        .ok_or_else(|| "write none, 8bit or 4bit".to_owned())
}
