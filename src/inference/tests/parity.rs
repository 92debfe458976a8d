use super::*;
use crate::domain::FailureClass;

struct Case {
    prompt: Vec<u32>,
    logits: Vec<f64>,
    greedy: String,
}

fn cases(name: &str) -> Vec<Case> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/families")
        .join(name)
        .join("reference.json");
    let reference: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let list = reference["cases"].as_array().unwrap();
    list.iter()
        .map(|case| {
            let number = |key: &str| case[key].as_u64().unwrap();
            let (length, salt) = (number("length"), number("salt"));
            Case {
                // The same formula stands in make.py.
                prompt: (0..length)
                    .map(|i| ((salt * 31 + i * 17 + i * i * 7) % 127 + 1) as u32)
                    .collect(),
                logits: case["logits"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|x| x.as_f64().unwrap())
                    .collect(),
                greedy: words(
                    case["greedy"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|t| t.as_u64().unwrap()),
                ),
            }
        })
        .collect()
}

/// The fixtures' tokenizer reads `t5` as token 5.
fn words(tokens: impl Iterator<Item = u64>) -> String {
    tokens
        .map(|token| format!("t{token}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn compare_with_reference(name: &str, options: LoadOptions) {
    let Some(files) = family_files(name) else {
        eprintln!("skipped: no fixtures for {name}");
        return;
    };
    let mut engine = load(&files, &options).unwrap();
    let cases = cases(name);
    let prompts: Vec<Vec<u32>> = cases.iter().map(|case| case.prompt.clone()).collect();
    let together = engine.logits(&prompts).unwrap();
    for (case, logits) in cases.iter().zip(&together) {
        let scale = case.logits.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
        for (got, want) in logits.iter().zip(&case.logits) {
            let error = (f64::from(*got) - want).abs() / scale;
            assert!(
                error < 1e-4,
                "{name}, {} tokens: {got} for {want}",
                case.prompt.len()
            );
        }
        let is_short = case.prompt.len() < 100;
        if !options.tensor_attention && is_short {
            let alone = engine.logits(std::slice::from_ref(&case.prompt)).unwrap();
            assert_eq!(logits, &alone[0], "{name}: the batch changes nothing");
        }
    }
    let settings = GenerationSettings {
        max_new_tokens: 12,
        ..GenerationSettings::default()
    };
    let texts: Vec<String> = prompts
        .iter()
        .map(|prompt| words(prompt.iter().map(|token| u64::from(*token))))
        .collect();
    let requests = requests(&texts);
    let batch = answers(&mut engine, &requests, &settings);
    for (request, case) in requests.iter().zip(&cases) {
        let got = batch[&request.idx].as_ref().unwrap();
        assert_eq!(
            got.text,
            case.greedy,
            "{name}, {} tokens",
            case.prompt.len()
        );
        assert_eq!((got.tokens_in, got.tokens_out), (case.prompt.len(), 12));
        if case.prompt.len() < 100 {
            let alone = answers(&mut engine, std::slice::from_ref(request), &settings);
            assert_eq!(alone[&request.idx].as_ref().unwrap(), got);
        }
    }
}

#[test]
fn every_family_agrees_with_its_reference_alone_and_in_a_batch() {
    for name in FAMILIES {
        compare_with_reference(name, LoadOptions::default());
    }
}

#[test]
fn attention_by_tensor_operations_agrees_with_the_reference_too() {
    for name in ["llama2", "mistral", "qwen3", "gemma2", "phi3_long"] {
        let options = LoadOptions {
            tensor_attention: true,
            ..LoadOptions::default()
        };
        compare_with_reference(name, options);
    }
}

#[test]
fn prompts_in_small_pieces_agree_with_the_reference_too() {
    for name in ["llama3", "gemma3", "phi3_long"] {
        let options = LoadOptions {
            prefill_tokens: Some(61),
            ..LoadOptions::default()
        };
        compare_with_reference(name, options);
    }
}

/// A model of candle-transformers agrees with its reference, and gives in a
/// batch what it gives alone.
macro_rules! borrowed {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            compare_with_reference(stringify!($name), LoadOptions::default());
            compare_batch_with_alone(stringify!($name));
        }
    )*

        #[test]
        fn all_of_them_are_compared() {
            assert_eq!(BORROWED, [$(stringify!($name)),*]);
        }
    };
}

mod borrowed {
    use super::{BORROWED, LoadOptions, compare_batch_with_alone, compare_with_reference};

    borrowed!(
        mixtral, qwen2_moe, qwen3_moe, olmo, olmo2, phi, starcoder2, helium
    );
}

fn compare_batch_with_alone(name: &str) {
    let Some(files) = family_files(name) else {
        eprintln!("skipped: no fixtures for {name}");
        return;
    };
    let mut engine = load(&files, &LoadOptions::default()).unwrap();
    // Two lengths, and answers that end at different times by a stop text.
    let texts: Vec<String> = (0..9_u64)
        .map(|i| words((0..5 + i % 2 * 4).map(|j| (i * 37 + j * 11) % 127 + 1)))
        .collect();
    let requests = requests(&texts);
    let settings = GenerationSettings {
        max_new_tokens: 12,
        stop: vec!["t1".to_owned()],
        ..GenerationSettings::default()
    };
    let batch = answers(&mut engine, &requests, &settings);
    assert_eq!(batch.len(), 9);
    assert_eq!(
        engine.stats().prefill_passes,
        2,
        "one for the prompts of each length"
    );
    for request in &requests {
        let alone = answers(&mut engine, std::slice::from_ref(request), &settings);
        assert_eq!(alone[&request.idx], batch[&request.idx]);
    }
}

#[test]
fn weights_of_candle_transformers_are_not_quantised_and_say_so() {
    let Some(files) = family_files("mixtral") else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let options = LoadOptions {
        quantization: Quantization::Int8,
        ..LoadOptions::default()
    };
    let failure = load(&files, &options).err().unwrap();
    assert_eq!(failure.class, FailureClass::Permanent);
    assert_eq!(
        failure.message,
        "mixtral: weights of the architecture mixtral can not be quantised (8bit); leave the quantization out"
    );
}
