use super::repository;
use ragicamp::{
    domain::{Dtype, Failure, GenerationSettings, ModelSpec, Provider, Quantization},
    hub,
    inference::{self, Device, Engine, LoadOptions, Step},
};
use std::{fs, path::Path};

/// What a model says of some prompts: the logits after each, and how each
/// goes on.
struct Said {
    logits: Vec<Vec<f32>>,
    tokens: Vec<Vec<u32>>,
}

fn files(provider: Provider, name: &Path) -> hub::ModelFiles {
    let spec = ModelSpec {
        provider,
        name: name.display().to_string(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: None,
    };
    hub::locate(&spec, None).unwrap_or_else(|error| panic!("{error}"))
}

fn engine(provider: Provider, name: &Path, options: &LoadOptions) -> Engine {
    let files = files(provider, name);
    inference::load(&files, options).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Prompts of one token up to more than two tiles of keys, and beyond 2,048.
fn prompts() -> Vec<Vec<u32>> {
    [1_u32, 3, 17, 64, 65, 200, 1100, 2100]
        .iter()
        .map(|length| {
            (0..*length)
                .map(|i| (i * 17 + i * i * 7 + length) % 120 + 1)
                .collect()
        })
        .collect()
}

fn said(mut engine: Engine) -> Result<Said, Failure> {
    let mut prompts = prompts();
    prompts.retain(|prompt| prompt.len() + 8 < engine.config().max_positions);
    let logits = engine.logits(&prompts)?;
    let mut tokens = vec![Vec::new(); prompts.len()];
    let settings = GenerationSettings {
        max_new_tokens: 8,
        ..GenerationSettings::default()
    };
    let numbered = prompts.into_iter().enumerate().collect();
    engine.complete(numbered, &settings, &mut |step| {
        if let Step::Done {
            idx, tokens: found, ..
        } = step
        {
            tokens[idx] = found;
        }
    })?;
    Ok(Said { logits, tokens })
}

impl Said {
    /// The largest error of a logit, relative to the largest logit of its
    /// prompt, and how many prompts go on alike.
    fn against(&self, reference: &Self) -> (f32, usize) {
        // What is no number is no small error.
        let largest = |row: &[f32]| {
            let greater = |most: f32, x: &f32| match x.is_nan() || most.is_nan() {
                true => f32::NAN,
                false => most.max(x.abs()),
            };
            row.iter().fold(0.0, greater)
        };
        let error = self
            .logits
            .iter()
            .zip(&reference.logits)
            .map(|(row, expected)| {
                let differences = row.iter().zip(expected).map(|(a, b)| a - b);
                largest(&differences.collect::<Vec<_>>()) / largest(expected)
            })
            .collect::<Vec<_>>();
        let error = largest(&error);
        let alike = self.tokens.iter().zip(&reference.tokens);
        (error, alike.filter(|(a, b)| a == b).count())
    }
}

#[test]
fn every_family_computes_what_the_processor_computes() {
    let fixtures = repository().join("tests/fixtures/families");
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut names: Vec<_> = fs::read_dir(&fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !path.ends_with("qwen3_moe"))
        .collect();
    names.sort();
    for family in names {
        let name = family.file_name().unwrap().to_string_lossy().into_owned();
        let model = directory.path().join(&name);
        fs::create_dir(&model).unwrap();
        for entry in fs::read_dir(&family).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
        }
        fs::copy(
            fixtures.join("tokenizer.json"),
            model.join("tokenizer.json"),
        )
        .unwrap();
        let with = |device, dtype| {
            let options = LoadOptions {
                device,
                dtype,
                ..LoadOptions::default()
            };
            said(engine(Provider::Hf, &model, &options))
        };
        let reference = with(Device::Cpu, Dtype::F32).unwrap();
        let count = reference.tokens.len();
        let mut line = format!("{name:12}");
        // Half precision keeps 8 or 11 bits; random weights give near-ties, so
        // that only f32 has to go on alike.
        for (label, dtype, bar) in [
            ("f32", Dtype::F32, 1e-4),
            ("bf16", Dtype::Bf16, 1e-1),
            ("f16", Dtype::F16, 1.5e-2),
        ] {
            let (error, alike) = match with(Device::Cuda(0), dtype) {
                Ok(said) => said.against(&reference),
                Err(failure) => {
                    wrong.push(format!("{name} in {label}: {failure}"));
                    continue;
                }
            };
            line += &format!(" | {label}: error {error:.1e}, {alike}/{count} alike");
            let is_right = error < bar && (dtype != Dtype::F32 || alike == count);
            if !is_right {
                wrong.push(format!("{name} in {label}: error {error}, {alike} alike"));
            }
        }
        println!("{line}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn weights_of_8_and_4_bits_compute_what_they_do_on_the_processor() {
    let root = repository();
    let mut wrong = Vec::new();
    for name in ["llama_q8_0.gguf", "llama_q4_k_m.gguf", "qwen2_q4_0.gguf"] {
        let model = root.join("tests/fixtures/gguf").join(name);
        let with = |device, dtype| {
            let options = LoadOptions {
                device,
                dtype,
                ..LoadOptions::default()
            };
            said(engine(Provider::Gguf, &model, &options)).unwrap()
        };
        let reference = with(Device::Cpu, Dtype::F32);
        // The processor's kernels round activations to 8 bits, so the two can
        // only be near.
        for (label, dtype) in [
            ("f32", Dtype::F32),
            ("bf16", Dtype::Bf16),
            ("f16", Dtype::F16),
        ] {
            let (error, alike) = with(Device::Cuda(0), dtype).against(&reference);
            println!("{name:18} | {label}: error {error:.1e}, {alike} alike");
            if error.is_nan() || error > 0.12 {
                wrong.push(format!("{name} in {label}: error {error}"));
            }
        }
    }
    for quantization in [Quantization::Int8, Quantization::Int4] {
        let with = |device| {
            let options = LoadOptions {
                device,
                quantization,
                dtype: if device == Device::Cpu {
                    Dtype::F32
                } else {
                    Dtype::F16
                },
                ..LoadOptions::default()
            };
            said(engine(Provider::Embedded, Path::new("reader"), &options)).unwrap()
        };
        let (error, alike) = with(Device::Cuda(0)).against(&with(Device::Cpu));
        println!("reader at {quantization} | f16: error {error:.1e}, {alike} alike");
        if error.is_nan() || error > 0.12 {
            wrong.push(format!("the reader at {quantization}: error {error}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// With CUDA compiled in, candle computes these experts on GPUs in bf16 only, so that the reference is the committed one. Where two
/// experts are nearly as likely, half precision may take another one.
#[test]
fn experts_on_the_gpu_compute_what_transformers_computes() {
    let fixtures = repository().join("tests/fixtures/families");
    let directory = tempfile::tempdir().unwrap();
    for (from, name) in [
        ("qwen3_moe/config.json", "config.json"),
        ("qwen3_moe/model.safetensors", "model.safetensors"),
        ("tokenizer.json", "tokenizer.json"),
    ] {
        fs::copy(fixtures.join(from), directory.path().join(name)).unwrap();
    }
    let reference = fs::read(fixtures.join("qwen3_moe/reference.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_slice(&reference).unwrap();
    let cases = reference["cases"].as_array().unwrap();
    let with = |device, dtype| LoadOptions {
        device,
        dtype,
        ..LoadOptions::default()
    };
    let options = with(Device::Cuda(0), Dtype::Bf16);
    let mut engine = engine(Provider::Hf, directory.path(), &options);
    let mut near = 0;
    let mut line = "qwen3_moe in bf16:".to_owned();
    for case in cases {
        let number = |key: &str| case[key].as_u64().unwrap();
        let (length, salt) = (number("length"), number("salt"));
        // The same formula stands in make.py.
        let prompt = (0..length)
            .map(|i| ((salt * 31 + i * 17 + i * i * 7) % 127 + 1) as u32)
            .collect();
        let logits = engine.logits(&[prompt]).unwrap().remove(0);
        let expected = case["logits"].as_array().unwrap().iter();
        let expected: Vec<f32> = expected.map(|x| x.as_f64().unwrap() as f32).collect();
        let said = |logits| Said {
            logits: vec![logits],
            tokens: Vec::new(),
        };
        let (error, _) = said(logits).against(&said(expected));
        line += &format!(" {error:.1e}");
        near += usize::from(error < 1e-1);
    }
    println!("{line}");
    assert!(2 * near > cases.len(), "{near} of {}", cases.len());
    for (device, dtype) in [(Device::Cpu, Dtype::Auto), (Device::Cuda(0), Dtype::F16)] {
        let files = files(Provider::Hf, directory.path());
        let failure = inference::load(&files, &with(device, dtype)).err();
        let message = failure.unwrap().message;
        assert!(message.contains("on GPUs in bf16 only"), "{message}");
    }
}
