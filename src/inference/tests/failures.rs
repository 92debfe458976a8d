use super::*;
use crate::domain::FailureClass;
use candle_core::{DType, Tensor};
use std::{collections::HashMap, path::Path};

/// A copy of a fixture whose configuration and tensors were tampered with.
fn tampered(
    name: &str,
    directory: &Path,
    config: impl Fn(&mut serde_json::Value),
    tensors: impl Fn(&mut HashMap<String, Tensor>),
) -> Option<ModelFiles> {
    let Some(mut files) = family_files(name) else {
        eprintln!("skipped: no fixtures");
        return None;
    };
    let hub::WeightFiles::Safetensors(paths) = &files.weights else {
        unreachable!("fixtures are safetensors");
    };
    let mut all = candle_core::safetensors::load(&paths[0], &candle_core::Device::Cpu).unwrap();
    tensors(&mut all);
    let path = directory.join("model.safetensors");
    candle_core::safetensors::save(&all, &path).unwrap();
    let mut value: serde_json::Value =
        serde_json::from_slice(&files.config.as_ref().unwrap().read().unwrap()).unwrap();
    config(&mut value);
    let config = directory.join("config.json");
    std::fs::write(&config, value.to_string()).unwrap();
    files.config = Some(hub::FileSource::Path(config));
    files.weights = hub::WeightFiles::Safetensors(vec![path]);
    Some(files)
}

fn load_error(files: &ModelFiles) -> Failure {
    match load(files, &LoadOptions::default()) {
        Ok(_) => panic!("loaded"),
        Err(failure) => failure,
    }
}

#[test]
fn a_prompt_that_is_too_long_fails_alone_and_says_both_numbers() {
    let mut engine = reader(LoadOptions::default());
    let context = engine.config().max_positions;
    let long = "Mount Dalzora. ".repeat(context);
    let prompts = [
        "Context:\n[1] A is B.".to_owned(),
        long,
        "Question: x\nAnswer:".to_owned(),
    ];
    let answers = answers(
        &mut engine,
        &requests(&prompts),
        &GenerationSettings::default(),
    );
    assert!(answers[&0].is_ok() && answers[&2].is_ok());
    let failure = answers[&1].as_ref().unwrap_err();
    assert_eq!(failure.class, FailureClass::BadItem);
    assert!(failure.message.contains(&context.to_string()), "{failure}");
}

#[test]
fn a_prompt_without_tokens_fails_alone() {
    let Some(files) = family_files("llama2") else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let mut engine = load(&files, &LoadOptions::default()).unwrap();
    let prompts = ["   ".to_owned(), "t1".to_owned()];
    let answers = answers(
        &mut engine,
        &requests(&prompts),
        &GenerationSettings::default(),
    );
    assert_eq!(
        answers[&0].as_ref().unwrap_err().class,
        FailureClass::BadItem
    );
    assert!(answers[&1].is_ok());
}

#[test]
fn a_prompt_whose_logits_are_not_finite_fails_alone() {
    let directory = tempfile::tempdir().unwrap();
    let Some(files) = tampered(
        "llama2",
        directory.path(),
        |_| {},
        |tensors| {
            // The embedding of token 7 is poison.
            let table = &tensors["model.embed_tokens.weight"];
            let (vocab, hidden) = table.dims2().unwrap();
            let mut rows = table
                .to_dtype(DType::F32)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap();
            rows[7].fill(f32::NAN);
            let table = Tensor::from_vec(rows.concat(), (vocab, hidden), table.device()).unwrap();
            tensors.insert("model.embed_tokens.weight".to_owned(), table);
        },
    ) else {
        return;
    };
    let mut engine = load(&files, &LoadOptions::default()).unwrap();
    let clean = ["t1 t2".to_owned(), "t9 t8".to_owned()];
    let prompts = [clean[0].clone(), "t1 t7 t3".to_owned(), clean[1].clone()];
    let settings = GenerationSettings {
        max_new_tokens: 1,
        ..GenerationSettings::default()
    };
    for temperature in [0.0, 1.0] {
        let settings = GenerationSettings {
            temperature,
            ..settings.clone()
        };
        let answers = answers(&mut engine, &requests(&prompts), &settings);
        let failure = answers[&1].as_ref().unwrap_err();
        assert_eq!(failure.class, FailureClass::BadItem);
        assert!(failure.message.contains("not finite"), "{failure}");
        assert!(answers[&0].is_ok() && answers[&2].is_ok());
    }
}

#[test]
fn an_answer_ends_where_the_context_does() {
    let directory = tempfile::tempdir().unwrap();
    let shrink = |config: &mut serde_json::Value| config["max_position_embeddings"] = 8.into();
    let Some(files) = tampered("qwen3", directory.path(), shrink, |_| {}) else {
        return;
    };
    let mut engine = load(&files, &LoadOptions::default()).unwrap();
    let prompts = [
        "t1 t2 t3 t4 t5".to_owned(),
        "t1 t2 t3 t4 t5 t6 t7 t8".to_owned(),
    ];
    let answers = answers(
        &mut engine,
        &requests(&prompts),
        &GenerationSettings::default(),
    );
    assert_eq!(answers[&0].as_ref().unwrap().tokens_out, 3);
    assert!(answers[&1].is_err());
}

#[test]
fn a_missing_tensor_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let name = "model.layers.1.mlp.down_proj.weight";
    let remove = |tensors: &mut HashMap<String, Tensor>| {
        tensors.remove(name).unwrap();
    };
    let Some(files) = tampered("qwen2", directory.path(), |_| {}, remove) else {
        return;
    };
    let failure = load_error(&files);
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(failure.message.contains(name), "{failure}");
}

#[test]
fn a_wrong_shape_is_told_with_both_shapes() {
    let directory = tempfile::tempdir().unwrap();
    let widen = |config: &mut serde_json::Value| config["intermediate_size"] = 64.into();
    let Some(files) = tampered("qwen2", directory.path(), widen, |_| {}) else {
        return;
    };
    let failure = load_error(&files);
    assert_eq!(failure.class, FailureClass::Permanent);
    for part in ["mlp", "[48, 32]", "[64, 32]"] {
        assert!(failure.message.contains(part), "{failure}");
    }
}

#[test]
fn an_unknown_architecture_is_told_with_the_known_ones() {
    let failure = ModelConfig::parse(br#"{"model_type": "mamba"}"#).unwrap_err();
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(
        failure.message.contains("mamba") && failure.message.contains("qwen3"),
        "{failure}"
    );
}

#[test]
fn senseless_configurations_are_refused() {
    for text in [
        "no json",
        "{}",
        r#"{"model_type": "llama"}"#,
        r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 0}"#,
        r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 3}"#,
        r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 9,
            "rope_scaling": {"rope_type": "magic"}}"#,
    ] {
        let failure = ModelConfig::parse(text.as_bytes()).unwrap_err();
        assert_eq!(failure.class, FailureClass::Permanent, "{text}");
    }
}

#[test]
fn damaged_weights_are_refused_with_their_path() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut files) = family_files("llama2") else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, b"torn").unwrap();
    files.weights = hub::WeightFiles::Safetensors(vec![path.clone()]);
    let failure = load_error(&files);
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(failure.message.contains("model.safetensors"), "{failure}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_is_refused_by_a_build_without_cuda() {
    let options = LoadOptions {
        device: Device::Cuda(0),
        ..LoadOptions::default()
    };
    let Err(failure) = load(&reader_files(), &options) else {
        panic!("loaded");
    };
    assert!(failure.message.contains("--features cuda"), "{failure}");
}
