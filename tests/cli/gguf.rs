//! Models in GGUF files, from outside.

use super::place::{Place, shipped};
use candle_core::{
    Device, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Value as Key},
    },
    safetensors,
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// A head of the reader.
const HEAD: usize = 32;

/// Writes the embedded reader as llama.cpp's converter would, with its own
/// tokenizer.json, and its matrices as `kind`.
pub fn write_reader(path: &Path, kind: GgmlDType) {
    let root = shipped("conf/models/reader");
    let read = |name: &str| fs::read_to_string(format!("{root}/{name}")).unwrap();
    let config: Value = serde_json::from_str(&read("config.json")).unwrap();
    let tokenizer = read("tokenizer.json");
    let number = |key: &str| Key::U32(config[key].as_u64().unwrap() as u32);
    let real = |key: &str| Key::F32(config[key].as_f64().unwrap() as f32);
    let pieces: Value = serde_json::from_str(&tokenizer).unwrap();
    let tokens = pieces["model"]["vocab"]
        .as_array()
        .unwrap()
        .iter()
        .map(|piece| Key::String(piece[0].as_str().unwrap().to_owned()))
        .collect();
    let keys = [
        ("general.architecture", Key::String("llama".to_owned())),
        ("llama.context_length", number("max_position_embeddings")),
        ("llama.embedding_length", number("hidden_size")),
        ("llama.feed_forward_length", number("intermediate_size")),
        ("llama.block_count", number("num_hidden_layers")),
        ("llama.attention.head_count", number("num_attention_heads")),
        (
            "llama.attention.head_count_kv",
            number("num_key_value_heads"),
        ),
        (
            "llama.attention.layer_norm_rms_epsilon",
            real("rms_norm_eps"),
        ),
        ("llama.rope.dimension_count", Key::U32(HEAD as u32)),
        ("llama.rope.freq_base", real("rope_theta")),
        ("tokenizer.ggml.model", Key::String("gpt2".to_owned())),
        ("tokenizer.ggml.tokens", Key::Array(tokens)),
        ("tokenizer.ggml.bos_token_id", Key::U32(1)),
        ("tokenizer.ggml.eos_token_id", Key::U32(2)),
        ("tokenizer.huggingface.json", Key::String(tokenizer)),
    ];
    let all = safetensors::load(format!("{root}/model.safetensors"), &Device::Cpu).unwrap();
    let tensors: Vec<(String, QTensor)> = all
        .iter()
        .map(|(name, tensor)| {
            let tensor = if name.contains("q_proj") || name.contains("k_proj") {
                interleaved(tensor)
            } else {
                tensor.clone()
            };
            let kind = if tensor.rank() == 2 {
                kind
            } else {
                GgmlDType::F32
            };
            (gguf_name(name), QTensor::quantize(&tensor, kind).unwrap())
        })
        .collect();
    let keys: Vec<(&str, &Key)> = keys.iter().map(|(name, key)| (*name, key)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    gguf_file::write(&mut fs::File::create(path).unwrap(), &keys, &tensors).unwrap();
}

/// The halves of each head in turns.
fn interleaved(tensor: &Tensor) -> Tensor {
    let (rows, inputs) = tensor.dims2().unwrap();
    tensor
        .reshape((rows / HEAD, 2, HEAD / 2, inputs))
        .unwrap()
        .transpose(1, 2)
        .unwrap()
        .contiguous()
        .unwrap()
        .reshape((rows, inputs))
        .unwrap()
}

fn gguf_name(name: &str) -> String {
    [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers", "blk"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ]
    .into_iter()
    .fold(name.to_owned(), |name, (ours, theirs)| {
        name.replace(ours, theirs)
    })
}

fn predictions(place: &Place, experiment: &str) -> BTreeMap<u64, String> {
    let file = place.json(&format!("outputs/s/{experiment}/predictions.json"));
    let list = file["predictions"].as_array().unwrap();
    list.iter()
        .map(|record| {
            let text = record["prediction"].as_str().unwrap().to_owned();
            (record["idx"].as_u64().unwrap(), text)
        })
        .collect()
}

#[test]
fn the_reader_answers_from_a_gguf_file_as_from_its_own() {
    let place = Place::new();
    write_reader(&place.path("full.gguf"), GgmlDType::F16);
    write_reader(&place.path("eight.gguf"), GgmlDType::Q8_0);
    write_reader(&place.path("four.gguf"), GgmlDType::Q4K);
    let study = format!(
        "name: s
num_questions: 24
datasets: [{{name: quick, path: {data}}}]
rag:
  models: ['embedded:reader', 'gguf:full.gguf', 'gguf:eight.gguf', 'gguf:four.gguf']
  retrievers: [{{name: bm25, type: bm25, corpus: {corpus}, chunking: none}}]
  top_k_values: [3]
  prompts: [default]
  quantization: [none]
generation: {{max_new_tokens: 16, stop: [\"\\n\"]}}
metrics: [exact_match]
",
        data = shipped("conf/data/quickstart/questions.jsonl"),
        corpus = shipped("conf/data/quickstart/encyclopedia.jsonl"),
    );
    place.write("study.yaml", &study);
    place.ok(&["run", "study.yaml"]);
    let names: Vec<String> = fs::read_dir(place.path("outputs/s"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("rag_"))
        .collect();
    assert_eq!(names.len(), 4, "one cell per file: {names:?}");
    let of = |part: &str| {
        let name = names.iter().find(|name| name.contains(part)).unwrap();
        let metadata = place.json(&format!("outputs/s/{name}/metadata.json"));
        (predictions(&place, name), metadata.to_string())
    };
    let (own, _) = of("embedded");
    assert_eq!(own.len(), 24);
    let (full, told) = of("full");
    assert_eq!(full, own, "the same weights give the same answers");
    assert!(told.contains("\"F32\""), "{told}");
    for (part, kind, most) in [("eight", "Q8_0", 1), ("four", "Q4_K", 4)] {
        let (answers, told) = of(part);
        assert!(told.contains(kind), "{told}");
        let differ = answers.iter().filter(|(idx, text)| own[idx] != **text);
        let differ = differ.count();
        assert!(differ <= most, "{kind}: {differ} of 24 answers differ");
    }
}

#[test]
fn a_torn_file_fails_its_cell_with_one_sentence() {
    let place = Place::new();
    let whole = fs::read(shipped("tests/fixtures/gguf/llama3.gguf")).unwrap();
    fs::write(place.path("torn.gguf"), &whole[..whole.len() / 2]).unwrap();
    let study = place
        .text("study.yaml")
        .replace("embedded:reader", "gguf:torn.gguf");
    place.write("study.yaml", &study);
    place.exits(1, &["run", "study.yaml"]);
    let log = place.text("outputs/s/direct_gguf_torn.gguf_default_quick/error.log");
    let first = log.lines().next().unwrap();
    assert!(
        first.starts_with("Error: gguf:torn.gguf is torn: the tensor "),
        "{log}"
    );
    assert!(log.contains("Failure class: permanent"), "{log}");
}
