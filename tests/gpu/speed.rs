//! Qwen2.5-7B's shape with random weights: 64 prompts of 1,000 random tokens,
//! 32 new ones each, and 8 of 8,000. Prints rates and how much of the floors
//! they are: the bytes of weights, keys and values over the bandwidth that a
//! copy reaches, and the operations of the prompts over the rate of a plain
//! bf16 product.
//! `GPU_CHECK_KEEP=DIRECTORY` leaves the model there for another engine.

use candle_core::{DType, Device as Candle, Tensor};
use ragicamp::{
    domain::{Dtype, GenerationSettings, ModelSpec, Provider, Quantization},
    hub,
    inference::{self, Device, LoadOptions},
};
use serde_json::{Map, json};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

const HIDDEN: usize = 3584;
const LAYERS: usize = 28;
const HEADS: usize = 28;
const KV_HEADS: usize = 4;
const HEAD: usize = 128;
const WIDE: usize = 18944;
const VOCAB: usize = 152_064;
const PROMPTS: usize = 64;
const TOKENS: usize = 1000;
const NEW: usize = 32;
/// Prompts whose attention counts.
const LONG_PROMPTS: usize = 8;
const LONG_TOKENS: usize = 8000;

/// Weights that every token meets, and those of the head.
const BODY: usize =
    LAYERS * (HIDDEN * HEAD * (HEADS + 2 * KV_HEADS) + HIDDEN * HIDDEN + 3 * HIDDEN * WIDE);
const TABLE: usize = VOCAB * HIDDEN;

fn config() -> serde_json::Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "intermediate_size": WIDE, "vocab_size": VOCAB, "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "hidden_act": "silu", "tie_word_embeddings": false,
        "use_sliding_window": false, "torch_dtype": "bfloat16",
    })
}

fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("lm_head.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let mut add = |name: &str, shape: Vec<usize>| {
            all.push((format!("model.layers.{layer}.{name}"), shape));
        };
        add("input_layernorm.weight", vec![HIDDEN]);
        add("post_attention_layernorm.weight", vec![HIDDEN]);
        for (name, rows) in [("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)] {
            add(
                &format!("self_attn.{name}_proj.weight"),
                vec![rows * HEAD, HIDDEN],
            );
            add(&format!("self_attn.{name}_proj.bias"), vec![rows * HEAD]);
        }
        add("self_attn.o_proj.weight", vec![HIDDEN, HEADS * HEAD]);
        add("mlp.gate_proj.weight", vec![WIDE, HIDDEN]);
        add("mlp.up_proj.weight", vec![WIDE, HIDDEN]);
        add("mlp.down_proj.weight", vec![HIDDEN, WIDE]);
    }
    all
}

/// Writes the model, as Hugging Face keeps it.
fn write_model(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("config.json"), config().to_string()).unwrap();
    let words: Map<_, _> = (0..VOCAB).map(|i| (format!("t{i}"), i.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
        "decoder": null, "model": {"type": "WordLevel", "vocab": words, "unk_token": "t0"},
    });
    fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut end = 0;
    for (name, shape) in tensors() {
        let bytes = 2 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [end, end + bytes]});
        header.insert(name, entry);
        end += bytes;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = BufWriter::with_capacity(
        8 << 20,
        File::create(directory.join("model.safetensors")).unwrap(),
    );
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    // The same noise again and again, each time from another place.
    let noise = Tensor::randn(0_f32, 0.02, 32 << 20, &Candle::Cpu).unwrap();
    let noise: Vec<u8> = noise
        .to_vec1::<f32>()
        .unwrap()
        .into_iter()
        .flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes())
        .collect();
    let one = 0x3f80_u16.to_le_bytes();
    let mut start = 0;
    for (name, shape) in tensors() {
        let mut left = 2 * shape.iter().product::<usize>();
        if name.ends_with("norm.weight") {
            file.write_all(&one.repeat(left / 2)).unwrap();
            continue;
        }
        while left > 0 {
            let part = left.min(noise.len() - start);
            file.write_all(&noise[start..start + part]).unwrap();
            left -= part;
            start = (start + part + 2 * 12_345) % noise.len();
        }
    }
    file.flush().unwrap();
}

/// Bytes per second that a copy moves, and operations per second of a product.
fn floors() -> (f64, f64) {
    let device = Candle::new_cuda(0).unwrap();
    let large = Tensor::zeros(2 << 30, DType::BF16, &device).unwrap();
    let wait = |tensor: &Tensor| {
        tensor
            .flatten_all()
            .unwrap()
            .get(0)
            .unwrap()
            .to_dtype(DType::F32)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
    };
    let copies = 5;
    wait(&large.copy().unwrap());
    let start = Instant::now();
    for _ in 0..copies {
        wait(&large.copy().unwrap());
    }
    let bandwidth = f64::from(copies) * 2.0 * (4_u64 << 30) as f64 / start.elapsed().as_secs_f64();
    let random = |rows: usize, columns: usize| {
        let tensor = Tensor::randn(0_f32, 1.0, (rows, columns), &device).unwrap();
        tensor.to_dtype(DType::BF16).unwrap()
    };
    let (rows, outputs) = (8192, 2 * WIDE);
    let (x, w) = (random(rows, HIDDEN), random(outputs, HIDDEN));
    wait(&x.matmul(&w.t().unwrap()).unwrap());
    let start = Instant::now();
    let mut last = None;
    for _ in 0..10 {
        last = Some(x.matmul(&w.t().unwrap()).unwrap());
    }
    wait(&last.unwrap());
    let rate = 10.0 * 2.0 * (rows * outputs * HIDDEN) as f64 / start.elapsed().as_secs_f64();
    (bandwidth, rate)
}

#[test]
fn the_shape_of_qwen_7b_is_read_and_written_at_these_rates() {
    let kept = std::env::var_os("GPU_CHECK_KEEP").map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let directory = kept.unwrap_or_else(|| temporary.path().join("seven"));
    let start = Instant::now();
    write_model(&directory);
    println!(
        "the model was written in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let (bandwidth, rate) = floors();
    println!(
        "a copy moves {:.2} TB/s, a bf16 product computes {:.0} TFLOP/s",
        bandwidth / 1e12,
        rate / 1e12
    );
    let spec = ModelSpec {
        provider: Provider::Hf,
        name: directory.display().to_string(),
        revision: None,
        dtype: Dtype::Bf16,
        base_url: None,
    };
    let settings = GenerationSettings {
        max_new_tokens: NEW,
        ..GenerationSettings::default()
    };
    let mut seed = 7_u64;
    let mut prompt = |tokens: usize| -> Vec<u32> {
        (0..tokens)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as u32 % (VOCAB as u32 - 1) + 1
            })
            .collect()
    };
    let cache = tempfile::tempdir().unwrap();
    println!(
        "| weights | load s | again s | prompts/s | prompt tokens/s | of long prompts | of the product's rate | ms a step | of the bandwidth's floor | GiB used |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for quantization in [Quantization::None, Quantization::Int8, Quantization::Int4] {
        let options = LoadOptions {
            quantization,
            dtype: Dtype::Bf16,
            device: Device::Cuda(0),
            cache: Some(cache.path().to_owned()),
            ..LoadOptions::default()
        };
        let files = hub::locate(&spec, None).unwrap();
        let load = || {
            let start = Instant::now();
            let engine = inference::load(&files, &options).unwrap();
            (engine, start.elapsed().as_secs_f64())
        };
        let (mut engine, loaded) = load();
        let first = engine.logits(&[vec![5; 40]]).unwrap();
        drop(engine);
        let (mut engine, again) = load();
        assert_eq!(engine.logits(&[vec![5; 40]]).unwrap(), first);
        let mut run = |count: usize, tokens: usize| {
            let prompts = (0..count).map(|idx| (idx, prompt(tokens))).collect();
            engine.complete(prompts, &settings, &mut |_| {}).unwrap();
            engine.stats()
        };
        run(LONG_PROMPTS, LONG_TOKENS);
        let before = run(PROMPTS, TOKENS);
        let after = run(LONG_PROMPTS, LONG_TOKENS);
        let long = (LONG_PROMPTS * LONG_TOKENS) as f64
            / (after.prefill_time - before.prefill_time).as_secs_f64();
        let before = run(1, TOKENS);
        let start = Instant::now();
        let rounds = 3;
        let mut after = before;
        for _ in 0..rounds {
            after = run(PROMPTS, TOKENS);
        }
        let took = start.elapsed().as_secs_f64();
        let prefill = (after.prefill_time - before.prefill_time).as_secs_f64();
        let decode = (after.decode_time - before.decode_time).as_secs_f64();
        let steps = (after.decode_passes - before.decode_passes) as f64;
        let operations = (rounds * PROMPTS * TOKENS) as f64 * 2.0 * BODY as f64;
        let bits = match quantization {
            Quantization::None => 16.0,
            Quantization::Int8 => 8.5,
            Quantization::Int4 => 5.0,
        };
        let cache = PROMPTS * (TOKENS + NEW / 2) * LAYERS * 2 * KV_HEADS * HEAD * 2;
        let bytes = (BODY + TABLE) as f64 * bits / 8.0 + cache as f64;
        let used = nvml_wrapper::Nvml::init()
            .and_then(|nvml| Ok(nvml.device_by_index(0)?.memory_info()?.used))
            .map_or(0.0, |used| used as f64 / f64::from(1 << 30));
        println!(
            "| {quantization} | {loaded:.1} | {again:.1} | {:.1} | {:.0} | {long:.0} | {:.2} | {:.2} | {:.2} | {used:.0} |",
            (rounds * PROMPTS) as f64 / took,
            (rounds * PROMPTS * TOKENS) as f64 / prefill,
            operations / prefill / rate,
            decode / steps * 1e3,
            bytes / bandwidth * steps / decode,
        );
    }
}
