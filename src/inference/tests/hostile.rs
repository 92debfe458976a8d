//! Files of models are somebody else's: whatever stands in them, loading ends
//! with one sentence, and nothing is allocated that the file does not hold.

use super::{
    super::{bounds::Size, template::ChatTemplate},
    *,
};
use crate::domain::FailureClass;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Why a copy of a fixture can not be loaded in which one file was replaced.
fn refusal(directory: &Path, file: &str, content: &[u8]) -> Option<String> {
    let mut files = family_files("llama3")?;
    let path = directory.join(file);
    fs::write(&path, content).unwrap();
    match file {
        "config.json" => files.config = Some(hub::FileSource::Path(path)),
        "model.safetensors" => files.weights = hub::WeightFiles::Safetensors(vec![path]),
        "tokenizer.json" => files.tokenizer = Some(hub::FileSource::Path(path)),
        other => panic!("no {other}"),
    }
    let Err(failure) = load(&files, &LoadOptions::default()) else {
        panic!("{file} was taken");
    };
    assert_eq!(failure.class, FailureClass::Permanent, "{failure}");
    assert_eq!(failure.message.lines().count(), 1, "{failure}");
    Some(failure.message)
}

fn safetensors(length: u64, header: &str, data: usize) -> Vec<u8> {
    let mut file = length.to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

#[test]
fn a_safetensors_header_that_claims_what_is_not_there_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let headers = |tensors: Value| {
        let header = tensors.to_string();
        safetensors(header.len() as u64, &header, 64)
    };
    let tensor = |shape: Value, start: u64, end: u64| json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
    // Each tensor's bits can just be counted with 64 bits, the bytes of all and
    // the header can not.
    let large = (1_u64 << 61) - 4;
    let wrapping = (0..8).map(|part| {
        let tensor = tensor(json!([large / 4]), large * part, large * (part + 1));
        (format!("t{part}"), tensor)
    });
    let cases = [
        ("nothing", Vec::new()),
        ("a torn length", vec![1, 2, 3]),
        ("a length of 2^64 - 1", safetensors(u64::MAX, "{}", 64)),
        ("a length beyond the file", safetensors(1 << 20, "{}", 64)),
        ("no JSON", safetensors(5, "{]}  ", 64)),
        ("deep nesting", safetensors(20_000, &"[".repeat(20_000), 0)),
        (
            "an end past the file",
            headers(json!({"t": tensor(json!([1000]), 0, 4000)})),
        ),
        (
            "an end before the start",
            headers(json!({"t": tensor(json!([16]), 64, 0)})),
        ),
        (
            "a shape of 2^126 values",
            headers(json!({"t": tensor(json!([1_u64 << 63, 1_u64 << 63]), 0, 64)})),
        ),
        ("a hole", headers(json!({"t": tensor(json!([8]), 32, 64)}))),
        (
            "two in one place",
            headers(json!({"a": tensor(json!([16]), 0, 64), "b": tensor(json!([16]), 0, 64)})),
        ),
        (
            "another type",
            headers(json!({"t": {"dtype": "F99", "shape": [16], "data_offsets": [0, 64]}})),
        ),
        (
            "sizes that wrap",
            headers(Value::Object(wrapping.collect())),
        ),
        (
            "offsets that are none",
            headers(json!({"__metadata__": {"data_offsets": "all"}})),
        ),
    ];
    for (what, content) in cases {
        let Some(message) = refusal(directory.path(), "model.safetensors", &content) else {
            eprintln!("skipped: no fixtures");
            return;
        };
        assert!(
            message.contains("the weights of llama3"),
            "{what}: {message}"
        );
    }
}

#[test]
fn a_tokenizer_that_is_torn_or_senseless_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let with_decoder = |decoder: &str| {
        format!(
            r#"{{"version": "1.0", "model": {{"type": "WordLevel", "vocab": {{"a": 0}}, "unk_token": "a"}}, "decoder": {decoder}}}"#
        )
    };
    let cases = [
        ("nothing", String::new()),
        ("no object", "[1, 2]".to_owned()),
        ("a decoder that is none", with_decoder("7")),
        ("half a letter", with_decoder(r#"{"type": "\ud800"}"#)),
        (
            "torn inside its decoder",
            with_decoder(r#"{"type": "Fuse""#)
                .trim_end_matches('}')
                .to_owned(),
        ),
    ];
    for (what, content) in cases {
        let Some(message) = refusal(directory.path(), "tokenizer.json", content.as_bytes()) else {
            eprintln!("skipped: no fixtures");
            return;
        };
        assert!(
            message.contains("the tokenizer.json of llama3 can not be used"),
            "{what}: {message}"
        );
    }
}

#[test]
fn a_tokenizer_that_names_a_token_it_has_not_costs_its_prompts_and_no_worker() {
    let Some(mut files) = family_files("llama3") else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<not there>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "model": {"type": "WordLevel", "vocab": {"t0": 0, "t1": 1}, "unk_token": "t0"},
    });
    fs::write(&path, tokenizer.to_string()).unwrap();
    files.tokenizer = Some(hub::FileSource::Path(path));
    match load(&files, &LoadOptions::default()) {
        Ok(mut engine) => {
            let requests = requests(&["t1".to_owned()]);
            let answers = answers(&mut engine, &requests, &GenerationSettings::default());
            let failure = answers[&0].as_ref().unwrap_err();
            assert_eq!(failure.class, FailureClass::BadItem, "{failure}");
            assert!(
                failure.message.contains("can not be tokenised"),
                "{failure}"
            );
        }
        Err(failure) => assert_eq!(failure.class, FailureClass::Permanent, "{failure}"),
    }
}

#[test]
fn a_configuration_for_candle_transformers_that_no_model_has_is_refused() {
    let cases = [
        ("mixtral", "num_local_experts", json!(1_u64 << 60)),
        ("mixtral", "num_local_experts", json!(1)),
        ("mixtral", "max_position_embeddings", json!(1_u64 << 40)),
        ("qwen2_moe", "num_experts", json!(0)),
        ("qwen3_moe", "num_experts_per_tok", json!(1_u64 << 60)),
        ("qwen3_moe", "decoder_sparse_step", json!(0)),
        ("qwen3_moe", "decoder_sparse_step", json!("two")),
        ("phi", "partial_rotary_factor", json!(1e300)),
        ("olmo", "num_hidden_layers", json!(1_u64 << 60)),
        ("olmo2", "rope_theta", json!("far")),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (family, key, value) in cases {
        let Some(mut files) = family_files(family) else {
            eprintln!("skipped: no fixtures");
            return;
        };
        let source = files.config.unwrap().read().unwrap();
        let mut config: Value = serde_json::from_slice(&source).unwrap();
        config[key] = value.clone();
        let path = directory.path().join("config.json");
        fs::write(&path, config.to_string()).unwrap();
        files.config = Some(hub::FileSource::Path(path));
        let Err(failure) = load(&files, &LoadOptions::default()) else {
            panic!("{family} was taken with {key} {value}");
        };
        assert_eq!(failure.class, FailureClass::Permanent, "{failure}");
        assert!(
            failure.message.contains("config.json") && failure.message.lines().count() == 1,
            "{family}, {key} {value}: {failure}"
        );
    }
}

/// A GGUF file of version 3 with so many tensors and keys, and what follows.
fn gguf(tensors: u64, keys: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend_from_slice(&3_u32.to_le_bytes());
    file.extend_from_slice(&tensors.to_le_bytes());
    file.extend_from_slice(&keys.to_le_bytes());
    file.extend(rest.concat());
    file.resize(file.len() + 64, 0);
    file
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name), kind.to_le_bytes().as_slice(), value].concat()
}

fn tensor(name: &str, sides: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut entry = text(name);
    entry.extend_from_slice(&(sides.len() as u32).to_le_bytes());
    for side in sides {
        entry.extend_from_slice(&side.to_le_bytes());
    }
    entry.extend_from_slice(&kind.to_le_bytes());
    entry.extend_from_slice(&offset.to_le_bytes());
    entry
}

#[test]
fn a_gguf_header_that_claims_what_is_not_there_is_refused() {
    const HUGE: u64 = 1 << 60;
    let huge = HUGE.to_le_bytes();
    let list =
        |kind: u32, count: u64| [kind.to_le_bytes().as_slice(), &count.to_le_bytes()].concat();
    let nested: Vec<u8> = (0..20_000).flat_map(|_| list(9, 1)).collect();
    let cases: [(&str, Vec<u8>, &str); 16] = [
        (
            "2^60 tensors",
            gguf(HUGE, 0, &[]),
            "1152921504606846976 of something",
        ),
        (
            "2^60 keys",
            gguf(0, HUGE, &[]),
            "1152921504606846976 of something",
        ),
        ("a name of 2^60 bytes", gguf(0, 1, &[&huge]), "a text of"),
        (
            "a text of 2^60 bytes",
            gguf(0, 1, &[&key("k", 8, &huge)]),
            "a text of",
        ),
        (
            "a list of 2^60",
            gguf(0, 1, &[&key("k", 9, &list(0, HUGE))]),
            "of something",
        ),
        (
            "a list of nothing known",
            gguf(0, 1, &[&key("k", 9, &list(99, 1))]),
            "the type 99",
        ),
        (
            "lists in lists",
            gguf(0, 1, &[&key("k", 9, &nested)]),
            "lists in lists",
        ),
        (
            "a value of no type",
            gguf(0, 1, &[&key("k", 13, &[0; 8])]),
            "the type 13",
        ),
        (
            "a truth of 7",
            gguf(0, 1, &[&key("k", 7, &[7])]),
            "a truth value of 7",
        ),
        (
            "a key twice",
            gguf(0, 2, &[&key("k", 0, &[1]), &key("k", 0, &[2])]),
            "the key k twice",
        ),
        (
            "no alignment",
            gguf(0, 1, &[&key("general.alignment", 4, &[0; 4])]),
            "general.alignment is no power of two",
        ),
        (
            "an alignment of 2^63",
            gguf(
                1,
                1,
                &[
                    &key("general.alignment", 10, &(1_u64 << 63).to_le_bytes()),
                    &tensor("t", &[32], 0, 0),
                ],
            ),
            "is torn: the tensor t",
        ),
        (
            "a side of 2^60",
            gguf(1, 0, &[&tensor("t", &[HUGE, 32], 0, 0)]),
            "the tensor t claims the shape",
        ),
        (
            "2^128 weights",
            gguf(1, 0, &[&tensor("t", &[u64::MAX, u64::MAX], 0, 0)]),
            "the tensor t",
        ),
        (
            "an offset of 2^64 - 1",
            gguf(1, 0, &[&tensor("t", &[32], 0, u64::MAX)]),
            "the tensor t",
        ),
        (
            "a type of tomorrow",
            gguf(1, 0, &[&tensor("t", &[32], 4_000, 0)]),
            "number 4000",
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hostile.gguf");
    for (what, content, part) in cases {
        fs::write(&path, content).unwrap();
        let model = format!("gguf:{}", path.display());
        let Err(failure) = super::super::gguf::GgufFile::open(&model, &path) else {
            panic!("{what} was taken");
        };
        assert_eq!(failure.class, FailureClass::Permanent);
        assert!(failure.message.contains(part), "{what}: {failure}");
        assert!(
            failure.message.contains("hostile.gguf"),
            "{what}: {failure}"
        );
        assert_eq!(failure.message.lines().count(), 1, "{what}: {failure}");
    }
}

#[test]
fn a_config_json_that_asks_for_a_model_nobody_has_is_refused_by_its_key() {
    let Some(files) = family_files("llama3") else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let read = files.config.as_ref().unwrap().read().unwrap();
    let config: Value = serde_json::from_slice(&read).unwrap();
    let huge = json!(1_u64 << 60);
    for (key, value) in [
        ("num_hidden_layers", huge.clone()),
        ("vocab_size", huge.clone()),
        ("hidden_size", huge.clone()),
        ("intermediate_size", huge.clone()),
        ("num_attention_heads", huge.clone()),
        ("num_key_value_heads", huge.clone()),
        ("num_key_value_heads", json!(0)),
        ("head_dim", huge.clone()),
        ("head_dim", json!(0)),
        ("max_position_embeddings", huge),
        ("partial_rotary_factor", json!(1e300)),
        ("partial_rotary_factor", json!(-1.0)),
        ("hidden_size", json!(-32)),
        ("vocab_size", json!(1.5)),
    ] {
        let mut config = config.clone();
        config[key] = value.clone();
        let message = refusal(
            directory.path(),
            "config.json",
            config.to_string().as_bytes(),
        )
        .unwrap();
        assert!(message.contains(key), "{key}: {value}: {message}");
        // A plan looks at the same file.
        assert!(ModelConfig::parse(config.to_string().as_bytes()).is_err());
    }
    let nested = format!("{{\"model_type\": {}", "[".repeat(100_000));
    refusal(directory.path(), "config.json", nested.as_bytes()).unwrap();
}

#[test]
fn the_largest_model_that_is_let_in_has_an_estimate() {
    let config = json!({
        "model_type": "llama", "hidden_size": 1 << 20, "intermediate_size": 1 << 24,
        "num_attention_heads": 1 << 12, "head_dim": 1 << 12, "num_hidden_layers": 1 << 12,
        "vocab_size": 1_u64 << 31, "max_position_embeddings": 1_u64 << 40,
    });
    let config = ModelConfig::parse(config.to_string().as_bytes()).unwrap();
    for quantization in [Quantization::None, Quantization::Int8, Quantization::Int4] {
        let options = LoadOptions {
            quantization,
            ..LoadOptions::default()
        };
        let needed = memory_estimate(&config, &options, u64::MAX, usize::MAX, usize::MAX);
        assert_eq!(needed.total(), u64::MAX);
        assert!(memory_estimate(&config, &options, 1, 1, 1).total() > 1 << 50);
    }
    assert!(Size::Layers.check(0).is_err() && Size::Layers.check(4096).is_ok());
}

fn chat(source: &str) -> Result<String, String> {
    ChatTemplate::new(source.to_owned(), "<s>".to_owned(), "</s>".to_owned())?
        .render(Some("Be short."), "Hi")
}

#[test]
fn a_template_gets_no_memory_that_its_fuel_does_not_pay_for() {
    const GROWN: &str = "{% set ns = namespace(x='abcdefgh') %}{% for i in range(17) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    const KNOT: &str = "{% set ns = namespace(x=['a', 'b']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
    for source in [
        "{{ 'a' * 10000000000 }}".to_owned(),
        "{{ [1] * 10000000000 }}".to_owned(),
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}".to_owned(),
        format!("{GROWN}{{{{ ([ns.x] * 100000) | join('') }}}}"),
        format!("{GROWN}{{{{ ''.join([ns.x] * 100000) }}}}"),
        format!("{GROWN}{{{{ ns.x.replace('a', ns.x) }}}}"),
        format!("{GROWN}{{{{ ns.x | replace('a', ns.x) }}}}"),
        format!("{GROWN}{{{{ ('{{0}}' * 100000).format(ns.x) }}}}"),
        format!("{GROWN}{{{{ ('{{a}}' * 100000).format(a=ns.x) }}}}"),
        "{{ '{:>{}}'.format('a', 10000000000) }}".to_owned(),
        "{{ ('a,' * 5000000).split(',') }}".to_owned(),
        format!("{GROWN}{{% for i in range(99999) %}}{{{{ ns.x }}}}{{% endfor %}}"),
        "{{ '{:>10000000000}'.format('a') }}".to_owned(),
        "{{ '%10000000000d' | format(1) }}".to_owned(),
        "{{ 'a' | indent(10000000000) }}".to_owned(),
        format!("{KNOT}{{{{ ''.join(ns.x) }}}}"),
        format!("{KNOT}{{{{ raise_exception(ns.x) }}}}"),
        format!("{KNOT}{{{{ strftime_now(ns.x) }}}}"),
    ] {
        let error = chat(&source).err();
        assert!(error.is_some(), "{source} was rendered");
    }
    // What real templates do stays cheap.
    assert_eq!(
        chat("{{ ', '.join(['a', 'b', 'c']) }}").as_deref(),
        Ok("a, b, c")
    );
    assert_eq!(
        chat("{{ messages | map(attribute='role') | join('-') }}").as_deref(),
        Ok("system-user")
    );
    assert_eq!(
        chat("{{ '{}{{}}{:>3}{x}'.format('a', 3, x='q') }}").as_deref(),
        Ok("a{}  3q")
    );
}

#[test]
fn a_template_gets_at_no_file_and_no_other_template() {
    for source in [
        "{% include '/etc/passwd' %}",
        "{% include ['../../etc/passwd', 'chat'] %}",
        "{% import '/etc/passwd' as p %}{{ p }}",
        "{% from '/etc/passwd' import x %}{{ x }}",
        "{% extends '/etc/passwd' %}",
        "{% include 'chat' %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{{ open('/etc/passwd') }}",
        "{{ messages.__class__.__mro__ }}{{ cycler.__init__.__globals__.os }}",
        "{{ self.__init__.__globals__ }}{{ environ['HF_TOKEN'] }}",
    ] {
        let error = chat(source)
            .err()
            .unwrap_or_else(|| panic!("{source} was rendered"));
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    // The parser does not follow any depth either.
    for open in ["{{ (", "{{ [", "{% if a %}", "{{ -"] {
        assert!(chat(&open.repeat(50_000)).is_err());
    }
}
