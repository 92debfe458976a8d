//! GGUF files against llama.cpp, whose answers are fixtures made by
//! tests/fixtures/gguf/make.py.

use super::{
    super::{decoder::LOOKS_GELU_UP, gguf as format, text::TextModel},
    *,
};
use crate::domain::FailureClass;
use candle_core::{
    Device as CandleDevice,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Content, Value as Key},
    },
};
use serde_json::Value;
use std::{collections::HashMap, fs, path::Path};

fn fixtures() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf");
    if !root.join("reference.json").is_file() {
        eprintln!("skipped: no fixtures in {}", root.display());
        return None;
    }
    Some(root)
}

fn files(path: &Path) -> ModelFiles {
    let model = ModelSpec {
        provider: Provider::Gguf,
        name: path.display().to_string(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: None,
    };
    hub::locate(&model, None).unwrap()
}

fn open(path: &Path) -> Engine {
    load(&files(path), &LoadOptions::default()).unwrap()
}

fn refusal(path: &Path) -> Failure {
    let Err(failure) = load(&files(path), &LoadOptions::default()) else {
        panic!("{} was loaded", path.display());
    };
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(
        failure.message.contains(&path.display().to_string()),
        "{failure}"
    );
    failure
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().unwrap();
    list.iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

struct Model {
    name: String,
    prompts: Vec<Vec<u32>>,
    /// llama.cpp's greedy tokens on exact weights, and their margins.
    greedy: Vec<Vec<(u32, f64)>>,
    /// llama.cpp's logits on the file as it is.
    stored: Vec<Vec<f32>>,
    /// The same with all weights as f32.
    exact: Vec<Vec<f32>>,
}

fn models(root: &Path) -> Vec<Model> {
    let reference = json(&root.join("reference.json"));
    let logits: Vec<f32> = fs::read(root.join("reference.bin"))
        .unwrap()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    let mut rest = logits.as_slice();
    let models = reference.as_array().unwrap();
    let models = models
        .iter()
        .map(|model| {
            let vocab = model["vocab"].as_u64().unwrap();
            let cases = model["cases"].as_array().unwrap();
            let mut take = || {
                let rows = cases.iter().map(|_| {
                    let (row, after) = rest.split_at(vocab as usize);
                    rest = after;
                    row.to_vec()
                });
                rows.collect::<Vec<_>>()
            };
            let (stored, exact) = (take(), take());
            let prompt = |case: &Value| {
                let number = |key: &str| case[key].as_u64().unwrap();
                let (length, salt) = (number("length"), number("salt"));
                // The same formula stands in make.py.
                (0..length)
                    .map(|i| ((salt * 31 + i * 17 + i * i * 7) % (vocab - 8) + 1) as u32)
                    .collect()
            };
            let greedy = |case: &Value| {
                let margins = case["margins"].as_array().unwrap();
                ids(&case["greedy"])
                    .into_iter()
                    .zip(margins.iter().map(|margin| margin.as_f64().unwrap()))
                    .collect()
            };
            Model {
                name: model["name"].as_str().unwrap().to_owned(),
                prompts: cases.iter().map(prompt).collect(),
                greedy: cases.iter().map(greedy).collect(),
                stored,
                exact,
            }
        })
        .collect();
    assert!(rest.is_empty());
    models
}

/// The largest difference, as a part of the largest logit.
fn distance(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f32 {
    let scale = theirs.iter().flatten().fold(0.0_f32, |m, x| m.max(x.abs()));
    ours.iter()
        .flatten()
        .zip(theirs.iter().flatten())
        .map(|(a, b)| (a - b).abs() / scale)
        .fold(0.0, f32::max)
}

/// Greedy continuations by feeding tokens back, `count` per prompt.
fn continuations(engine: &mut Engine, prompts: &[Vec<u32>], count: usize) -> Vec<Vec<u32>> {
    let settings = GenerationSettings {
        max_new_tokens: count,
        ..GenerationSettings::default()
    };
    let prompts: Vec<(usize, Vec<u32>)> = prompts.iter().cloned().enumerate().collect();
    let mut all = vec![Vec::new(); prompts.len()];
    engine
        .complete(prompts, &settings, &mut |step| {
            if let Step::Done { idx, tokens, .. } = step {
                all[idx] = tokens;
            }
        })
        .unwrap();
    all
}

/// A copy of a file with other keys and tensors.
fn rewritten(
    from: &Path,
    to: &Path,
    keys: impl Fn(&mut HashMap<String, Key>),
    tensor: impl Fn(&str, QTensor) -> Option<(String, QTensor)>,
) {
    let mut file = fs::File::open(from).unwrap();
    let content = Content::read(&mut file).unwrap();
    let mut metadata = content.metadata.clone();
    keys(&mut metadata);
    let tensors: Vec<(String, QTensor)> = content
        .tensor_infos
        .keys()
        .filter_map(|name| {
            let read = content.tensor(&mut file, name, &CandleDevice::Cpu).unwrap();
            tensor(name, read)
        })
        .collect();
    let metadata: Vec<(&str, &Key)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    gguf_file::write(&mut fs::File::create(to).unwrap(), &metadata, &tensors).unwrap();
}

fn same(name: &str, tensor: QTensor) -> Option<(String, QTensor)> {
    Some((name.to_owned(), tensor))
}

/// The tensor with its weights widened to f32.
fn widened(name: &str, tensor: QTensor) -> Option<(String, QTensor)> {
    let wide = tensor.dequantize(&CandleDevice::Cpu).unwrap();
    same(name, QTensor::quantize(&wide, GgmlDType::F32).unwrap())
}

#[test]
fn every_architecture_agrees_with_llama_cpp() {
    let Some(root) = fixtures() else { return };
    let directory = tempfile::tempdir().unwrap();
    for model in models(&root) {
        let path = root.join(format!("{}.gguf", model.name));
        let is_quantised = model.name.contains("_q");
        // Weights as f32: both compute the same sums.
        let wide = directory.path().join("wide.gguf");
        rewritten(&path, &wide, |_| {}, widened);
        let mut engine = open(&wide);
        let exact = distance(&engine.logits(&model.prompts).unwrap(), &model.exact);
        // llama.cpp looks GELU up in a table of f16.
        let looks_up = model.name.starts_with("gemma");
        LOOKS_GELU_UP.set(looks_up);
        let alike = distance(&engine.logits(&model.prompts).unwrap(), &model.exact);
        LOOKS_GELU_UP.set(false);
        assert!(alike < 1e-4, "{}: off by {alike}", model.name);
        let tolerance = if looks_up { 1e-3 } else { 1e-4 };
        assert!(exact < tolerance, "{}: off by {exact}", model.name);
        let count = model.greedy[0].len();
        let greedy: Vec<Vec<u32>> = model
            .greedy
            .iter()
            .map(|case| case.iter().map(|(token, _)| *token).collect())
            .collect();
        assert_eq!(
            continuations(&mut engine, &model.prompts, count),
            greedy,
            "{}",
            model.name
        );
        // The file as it is: f16 is widened too; blocks are multiplied by
        // activations of 8 bits, here and there, each rounding in its own way.
        let mut engine = open(&path);
        let logits = engine.logits(&model.prompts).unwrap();
        let from_exact = distance(&logits, &model.exact);
        let from_theirs = distance(&logits, &model.stored);
        let theirs = distance(&model.stored, &model.exact);
        eprintln!(
            "{}: exact weights {exact:.1e}, {alike:.1e} with their GELU; as stored {from_exact:.1e} from exact weights, {from_theirs:.1e} from llama.cpp, which is {theirs:.1e} from exact weights",
            model.name
        );
        if is_quantised {
            assert!(from_exact < 0.08 && from_theirs < 0.08, "{}", model.name);
            let found = continuations(&mut engine, &model.prompts, count);
            let scale = model
                .exact
                .iter()
                .flatten()
                .fold(0.0_f32, |m, x| m.max(x.abs()));
            for (ours, theirs) in found.iter().zip(&model.greedy) {
                for (ours, (theirs, margin)) in ours.iter().zip(theirs) {
                    if *margin < f64::from(0.16 * scale) {
                        break;
                    }
                    assert_eq!(ours, theirs, "{}", model.name);
                }
            }
        } else {
            assert!(
                from_exact < tolerance,
                "{}: off by {from_exact}",
                model.name
            );
            assert!(from_theirs < 4e-3, "{}: off by {from_theirs}", model.name);
            assert_eq!(
                continuations(&mut engine, &model.prompts, count),
                greedy,
                "{}",
                model.name
            );
        }
    }
}

#[test]
fn tensors_keep_the_types_of_the_file() {
    let Some(root) = fixtures() else { return };
    let kinds = |name: &str| -> BTreeMap<String, String> {
        let report = open(&root.join(name)).describe();
        let tensors = report["tensors"].as_object().unwrap().clone();
        tensors
            .into_iter()
            .map(|(name, kind)| (name, kind.as_str().unwrap().to_owned()))
            .collect()
    };
    let mixture = kinds("llama_q4_k_m.gguf");
    assert_eq!(mixture["model.layers.0.self_attn.o_proj.weight"], "Q4_K");
    assert_eq!(mixture["model.embed_tokens.weight"], "Q6_K");
    assert_eq!(
        mixture["model.layers.0.self_attn.qkv_proj.weight"],
        "Q4_K+Q6_K"
    );
    let eight = kinds("llama_q8_0.gguf");
    assert!(eight.values().all(|kind| kind == "Q8_0"), "{eight:?}");
    let report = open(&root.join("llama_q8_0.gguf")).describe();
    assert_eq!(report["quantization"], "none");
    // Rows of 32 and 64 weights are not padded; panels of 32 rows may be
    // filled up.
    let bits = report["bits_per_weight"].as_f64().unwrap();
    assert!((8.49..8.7).contains(&bits), "{bits}");
}

/// The tokens of the texts, by our tokenizer from this vocabulary.
fn tokenised(path: &Path, texts: &[String]) -> Vec<Vec<u32>> {
    let file = format::GgufFile::open("gguf:test", path).unwrap();
    let text = format::text(&file).unwrap();
    let model = TextModel::of_gguf("gguf:test", text, 4096).unwrap();
    texts
        .iter()
        .map(|text| {
            let request = GenerationRequest {
                idx: 0,
                system: None,
                prompt: text.clone(),
                raw: true,
                passages: Vec::new(),
            };
            match model.encode(&request) {
                Ok(tokens) => tokens,
                Err(failure) => {
                    assert!(failure.message.contains("no tokens"), "{failure}");
                    Vec::new()
                }
            }
        })
        .collect()
}

fn strings(value: &Value) -> Key {
    let list = value.as_array().unwrap();
    Key::Array(
        list.iter()
            .map(|text| Key::String(text.as_str().unwrap().to_owned()))
            .collect(),
    )
}

fn kinds_of(value: &Value) -> Key {
    let list = value.as_array().unwrap();
    Key::Array(
        list.iter()
            .map(|kind| Key::I32(kind.as_i64().unwrap() as i32))
            .collect(),
    )
}

fn write_keys(path: &Path, keys: &[(&str, Key)]) {
    let keys: Vec<(&str, &Key)> = keys.iter().map(|(name, key)| (*name, key)).collect();
    gguf_file::write(&mut fs::File::create(path).unwrap(), &keys, &[]).unwrap();
}

#[test]
fn byte_level_tokens_are_those_of_llama_cpp_and_of_tokenizers() {
    let Some(root) = fixtures() else { return };
    let fixture = json(&root.join("tokenizers.json"));
    let texts: Vec<String> = serde_json::from_value(fixture["texts"].clone()).unwrap();
    let vocabulary = &fixture["gpt2"];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vocabulary.gguf");
    for (pre, reference) in fixture["pre"].as_object().unwrap() {
        write_keys(
            &path,
            &[
                ("tokenizer.ggml.model", Key::String("gpt2".to_owned())),
                ("tokenizer.ggml.pre", Key::String(pre.clone())),
                ("tokenizer.ggml.tokens", strings(&vocabulary["tokens"])),
                ("tokenizer.ggml.merges", strings(&vocabulary["merges"])),
                ("tokenizer.ggml.token_type", kinds_of(&vocabulary["types"])),
                ("tokenizer.ggml.add_bos_token", Key::Bool(false)),
            ],
        );
        let ours = tokenised(&path, &texts);
        for (index, text) in texts.iter().enumerate() {
            if let Some(theirs) = reference.get("tokenizers") {
                assert_eq!(ours[index], ids(&theirs[index]), "{pre}, {text:?}");
            }
            assert_eq!(
                ours[index],
                ids(&reference["llama_cpp"][index]),
                "{pre}, llama.cpp, {text:?}"
            );
        }
    }
}

#[test]
fn sentence_pieces_are_those_of_llama_cpp_and_of_sentencepiece() {
    let Some(root) = fixtures() else { return };
    let fixture = json(&root.join("tokenizers.json"));
    let texts: Vec<String> = serde_json::from_value(fixture["texts"].clone()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vocabulary.gguf");
    for reference in fixture["sentence_piece"].as_array().unwrap() {
        let scores = reference["scores"].as_array().unwrap();
        let prefix = reference["prefix"].as_bool().unwrap();
        write_keys(
            &path,
            &[
                ("tokenizer.ggml.model", Key::String("llama".to_owned())),
                ("tokenizer.ggml.tokens", strings(&reference["tokens"])),
                (
                    "tokenizer.ggml.scores",
                    Key::Array(
                        scores
                            .iter()
                            .map(|score| Key::F32(score.as_f64().unwrap() as f32))
                            .collect(),
                    ),
                ),
                ("tokenizer.ggml.token_type", kinds_of(&reference["types"])),
                ("tokenizer.ggml.unknown_token_id", Key::U32(0)),
                ("tokenizer.ggml.bos_token_id", Key::U32(1)),
                ("tokenizer.ggml.add_bos_token", Key::Bool(false)),
                ("tokenizer.ggml.add_space_prefix", Key::Bool(prefix)),
            ],
        );
        let ours = tokenised(&path, &texts);
        for (index, text) in texts.iter().enumerate() {
            assert_eq!(
                ours[index],
                ids(&reference["llama_cpp"][index]),
                "llama.cpp, prefix {prefix}, {text:?}"
            );
            assert_eq!(
                ours[index],
                ids(&reference["sentencepiece"][index]),
                "sentencepiece, prefix {prefix}, {text:?}"
            );
        }
    }
}

#[test]
fn a_file_brings_its_template_and_its_end_tokens() {
    let Some(root) = fixtures() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.gguf");
    let template =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
    let key = Key::String(template.to_owned());
    rewritten(
        &root.join("qwen3.gguf"),
        &path,
        |keys| {
            keys.insert("tokenizer.chat_template".to_owned(), key.clone());
        },
        same,
    );
    let engine = open(&path);
    assert_eq!(engine.describe()["chat_template"], true);
    let request = GenerationRequest {
        idx: 0,
        system: None,
        prompt: "Hi".to_owned(),
        raw: false,
        passages: Vec::new(),
    };
    let tokens = engine.tokens(&request).unwrap();
    let vocab = engine.config().vocab as u32;
    // The special tokens are the last four of the vocabulary.
    assert_eq!(tokens[0], vocab - 2);
    assert_eq!(tokens.iter().filter(|id| **id == vocab - 1).count(), 1);
    // `eos_token_id` names one end token, the vocabulary shows the other.
    assert!(engine.ends(vocab - 3) && engine.ends(vocab - 1));
    assert!(!engine.ends(5));
}

#[test]
fn what_is_not_supported_is_told_with_its_key_or_tensor() {
    let Some(root) = fixtures() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("odd.gguf");
    let text = |text: &str| Key::String(text.to_owned());
    let cases: [(&str, Key, &[&str]); 9] = [
        ("general.architecture", text("mamba"), &["mamba", "qwen3"]),
        (
            "tokenizer.ggml.model",
            text("t5"),
            &["t5", "gpt2 and llama"],
        ),
        (
            "tokenizer.ggml.pre",
            text("martian"),
            &["martian", "llama-bpe"],
        ),
        (
            "llama.rope.scaling.type",
            text("magic"),
            &["magic", "llama.rope.scaling.type"],
        ),
        ("llama.expert_count", Key::U32(8), &["llama.expert_count"]),
        (
            "llama.block_count",
            Key::U32(9),
            &["blk.", "lacks the tensor"],
        ),
        (
            "llama.feed_forward_length",
            Key::U32(64),
            &["ffn_", "[48, 32]", "[64, 32]"],
        ),
        (
            "split.count",
            Key::U16(3),
            &["split.count", "llama-gguf-split"],
        ),
        (
            "llama.attention.head_count_kv",
            Key::Array(vec![Key::U32(2), Key::U32(4)]),
            &["llama.attention.head_count_kv", "differs by layer"],
        ),
    ];
    let model = root.join("llama3.gguf");
    for (key, value, parts) in cases {
        rewritten(
            &model,
            &path,
            |keys| {
                keys.insert(key.to_owned(), value.clone());
                // A kind of scaling is asked for where no tensor says better.
                keys.insert("llama.rope.scaling.factor".to_owned(), Key::F32(2.0));
            },
            |name, tensor| (name != "rope_freqs.weight").then(|| (name.to_owned(), tensor)),
        );
        let failure = refusal(&path);
        for part in parts {
            assert!(failure.message.contains(part), "{part}: {failure}");
        }
        assert_eq!(failure.message.lines().count(), 1, "{failure}");
    }
    for key in [
        "llama.block_count",
        "tokenizer.ggml.pre",
        "tokenizer.ggml.tokens",
    ] {
        rewritten(
            &model,
            &path,
            |keys| {
                keys.remove(key).unwrap();
            },
            same,
        );
        assert!(refusal(&path).message.contains(key));
    }
    rewritten(
        &model,
        &path,
        |_| {},
        |name, tensor| (name != "blk.1.ffn_down.weight").then(|| (name.to_owned(), tensor)),
    );
    assert!(refusal(&path).message.contains("blk.1.ffn_down.weight"));
}

#[test]
fn a_torn_file_is_refused_wherever_it_is_torn() {
    let Some(root) = fixtures() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("torn.gguf");
    let whole = fs::read(root.join("qwen2.gguf")).unwrap();
    for length in [0, 3, 4, 20, 500, 5_000, 20_000, whole.len() - 100] {
        fs::write(&path, &whole[..length]).unwrap();
        let failure = refusal(&path);
        assert_eq!(failure.message.lines().count(), 1, "{failure}");
    }
    assert!(refusal(&path).message.contains("torn: the tensor "));
    fs::write(&path, b"not at all a GGUF file, but long enough").unwrap();
    assert!(refusal(&path).message.contains("no GGUF file"));
    // IQ4_XS instead of F16 for one tensor.
    let name = b"blk.0.ffn_up.weight";
    let at = whole
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    let mut odd = whole;
    odd[at + name.len() + 4 + 16] = 23;
    fs::write(&path, &odd).unwrap();
    let failure = refusal(&path);
    assert!(failure.message.contains("IQ4_XS"), "{failure}");
}

#[test]
fn a_quantisation_on_top_of_a_file_s_own_is_refused() {
    let Some(root) = fixtures() else { return };
    let options = LoadOptions {
        quantization: Quantization::Int8,
        ..LoadOptions::default()
    };
    let Err(failure) = load(&files(&root.join("llama_q8_0.gguf")), &options) else {
        panic!("loaded");
    };
    assert!(
        failure.message.contains("leave the quantization out"),
        "{failure}"
    );
}

#[test]
fn the_estimate_of_a_file_is_near_what_it_takes() {
    let Some(root) = fixtures() else { return };
    for name in ["llama_q4_k_m", "llama_q8_0", "llama3"] {
        let files = files(&root.join(format!("{name}.gguf")));
        let options = LoadOptions {
            device: Device::Cpu,
            ..LoadOptions::default()
        };
        let estimate = estimate(&files, &options, 4, 100).unwrap().memory;
        let report = load(&files, &options).unwrap().describe();
        let kept = report["bytes"].as_u64().unwrap();
        // A table that is looked up in stays in its file; panels of 32 rows may
        // be filled up.
        assert!(
            estimate.weights >= kept * 3 / 4 && estimate.weights <= kept * 5 / 4,
            "{name}: {} for {kept}",
            estimate.weights
        );
        assert!(estimate.cache > 0 && estimate.activations > 0);
    }
}
