use super::repository;
use ragicamp::{
    domain::{Dtype, GenerationSettings, ModelSpec, Provider, Quantization},
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

fn engine(provider: Provider, name: &Path, options: &LoadOptions) -> Engine {
    let spec = ModelSpec {
        provider,
        name: name.display().to_string(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: None,
    };
    let files = hub::locate(&spec, None).unwrap_or_else(|error| panic!("{error}"));
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

fn said(mut engine: Engine) -> Said {
    let mut prompts = prompts();
    prompts.retain(|prompt| prompt.len() + 8 < engine.config().max_positions);
    let logits = engine.logits(&prompts).unwrap();
    let mut tokens = vec![Vec::new(); prompts.len()];
    let settings = GenerationSettings {
        max_new_tokens: 8,
        ..GenerationSettings::default()
    };
    let numbered = prompts.into_iter().enumerate().collect();
    engine
        .complete(numbered, &settings, &mut |step| {
            if let Step::Done {
                idx, tokens: found, ..
            } = step
            {
                tokens[idx] = found;
            }
        })
        .unwrap();
    Said { logits, tokens }
}

impl Said {
    /// The largest error of a logit, relative to the largest logit of its
    /// prompt, and how many prompts go on alike.
    fn against(&self, reference: &Self) -> (f32, usize) {
        let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let error = self
            .logits
            .iter()
            .zip(&reference.logits)
            .map(|(row, expected)| {
                let differences = row.iter().zip(expected).map(|(a, b)| a - b);
                largest(&differences.collect::<Vec<_>>()) / largest(expected)
            })
            .fold(0.0_f32, |most, error| {
                if error.is_nan() {
                    error
                } else {
                    most.max(error)
                }
            });
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
        .filter(|path| path.is_dir())
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
        let reference = with(Device::Cpu, Dtype::F32);
        let count = reference.tokens.len();
        let mut line = format!("{name:12}");
        // Half precision keeps 8 or 11 bits; random weights give near-ties, so
        // that only f32 has to go on alike.
        for (label, dtype, bar) in [
            ("f32", Dtype::F32, 1e-4),
            ("bf16", Dtype::Bf16, 1e-1),
            ("f16", Dtype::F16, 1.5e-2),
        ] {
            let (error, alike) = with(Device::Cuda(0), dtype).against(&reference);
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
            said(engine(Provider::Gguf, &model, &options))
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
            said(engine(Provider::Embedded, Path::new("reader"), &options))
        };
        let (error, alike) = with(Device::Cuda(0)).against(&with(Device::Cpu));
        println!("reader at {quantization} | f16: error {error:.1e}, {alike} alike");
        if error.is_nan() || error > 0.12 {
            wrong.push(format!("the reader at {quantization}: error {error}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
