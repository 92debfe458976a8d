use super::{super::half_matrix::HalfMatrix, *};

fn kinds(engine: &Engine) -> Vec<(String, String)> {
    engine.describe()["tensors"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, kind)| (name.clone(), kind.as_str().unwrap().to_owned()))
        .collect()
}

fn with(quantization: Quantization) -> LoadOptions {
    LoadOptions {
        quantization,
        ..LoadOptions::default()
    }
}

#[test]
fn eight_and_four_bits_are_real_on_the_reader() {
    let mut right = BTreeMap::new();
    for quantization in [Quantization::None, Quantization::Int8, Quantization::Int4] {
        let mut engine = reader(with(quantization));
        let config = engine.config();
        let narrow = |name: &str| {
            let inputs = match name {
                name if name.contains("down_proj") => config.intermediate,
                name if name.contains("o_proj") => config.heads * config.head_dim,
                _ => config.hidden,
            };
            inputs % 256 != 0
        };
        for (name, kind) in kinds(&engine) {
            let want = match quantization {
                Quantization::None => "F32",
                _ if name == "model.embed_tokens.weight" => "F16",
                Quantization::Int8 => "Q8_0",
                // Blocks of 256 do not fit a narrow tensor.
                Quantization::Int4 if narrow(&name) => "Q8_0",
                Quantization::Int4 => "Q4_K",
            };
            assert_eq!(kind, want, "{name} at {quantization}");
        }
        let cases = heldout("one_passage");
        let prompts: Vec<String> = cases.iter().take(100).map(|(p, _)| p.clone()).collect();
        let answers = answers(
            &mut engine,
            &requests(&prompts),
            &GenerationSettings::default(),
        );
        let score = answers
            .iter()
            .filter(|(idx, answer)| answer.as_ref().unwrap().text.trim() == cases[**idx].1)
            .count();
        right.insert(quantization, score);
    }
    eprintln!("right of 100: {right:?}");
    let full = right[&Quantization::None];
    assert!(full.abs_diff(right[&Quantization::Int8]) <= 4, "{right:?}");
    assert!(full <= right[&Quantization::Int4] + 10, "{right:?}");
}

#[test]
fn narrow_tensors_fall_back_to_eight_bits_and_stay_close() {
    for name in ["llama2", "qwen2", "gemma2", "phi3"] {
        let Some(files) = family_files(name) else {
            eprintln!("skipped: no fixtures");
            return;
        };
        let prompts = [vec![5, 9, 2], vec![7; 40]];
        let full = load(&files, &LoadOptions::default())
            .unwrap()
            .logits(&prompts)
            .unwrap();
        let mut engine = load(&files, &with(Quantization::Int4)).unwrap();
        let linear = kinds(&engine);
        assert!(
            linear
                .iter()
                .filter(|(name, _)| name.contains("proj"))
                .all(|(_, kind)| kind == "Q8_0"),
            "{linear:?}"
        );
        let close = engine.logits(&prompts).unwrap();
        for (full, close) in full.iter().flatten().zip(close.iter().flatten()) {
            assert!((full - close).abs() < 0.35, "{name}: {close} for {full}");
        }
    }
}

#[test]
fn the_report_counts_bits_and_bytes() {
    let full = reader(LoadOptions::default()).describe();
    let eight = reader(with(Quantization::Int8)).describe();
    assert_eq!(full["architecture"], "llama");
    let bits = |report: &serde_json::Value| report["bits_per_weight"].as_f64().unwrap();
    // Panels of 32 rows may be filled up.
    assert!((32.0..32.5).contains(&bits(&full)), "{full}");
    assert!((8.0..12.0).contains(&bits(&eight)), "{eight}");
    assert!(eight["bytes"].as_u64() < full["bytes"].as_u64());
}

#[test]
fn bf16_is_real_on_processors_that_multiply_it() {
    let with = |dtype| {
        reader(LoadOptions {
            dtype,
            ..LoadOptions::default()
        })
    };
    let mut half = with(Dtype::Bf16);
    let is_real = HalfMatrix::is_possible();
    for (name, kind) in kinds(&half) {
        let want = if is_real { "BF16" } else { "F32" };
        assert_eq!(kind, want, "{name}");
    }
    let cases = heldout("one_passage");
    let prompts: Vec<String> = cases.iter().take(100).map(|(p, _)| p.clone()).collect();
    let requests = requests(&prompts);
    let settings = GenerationSettings::default();
    let rounded = answers(&mut half, &requests, &settings);
    let full = answers(&mut with(Dtype::F32), &requests, &settings);
    let right = |answers: &BTreeMap<usize, Result<Generated, Failure>>| {
        let is_right = |(idx, answer): &(&usize, &Result<Generated, Failure>)| {
            answer.as_ref().unwrap().text.trim() == cases[**idx].1
        };
        answers.iter().filter(is_right).count()
    };
    assert!(right(&full).abs_diff(right(&rounded)) <= 4);
    for request in &requests[..8] {
        let alone = answers(&mut half, std::slice::from_ref(request), &settings);
        assert_eq!(alone[&request.idx], rounded[&request.idx]);
    }
}
