use super::{
    super::{memory, sampling::Sampler},
    *,
};
use crate::domain::FinishReason;

fn settings(max_new_tokens: usize) -> GenerationSettings {
    GenerationSettings {
        max_new_tokens,
        ..GenerationSettings::default()
    }
}

/// An engine that answers with words like `t5 t9`.
fn words_engine() -> Option<Engine> {
    let files = family_files("qwen3");
    if files.is_none() {
        eprintln!("skipped: no fixtures");
    }
    Some(load(&files?, &LoadOptions::default()).unwrap())
}

fn answer(engine: &mut Engine, prompt: &str, settings: &GenerationSettings) -> Generated {
    let mut all = answers(engine, &requests(&[prompt.to_owned()]), settings);
    all.remove(&0).unwrap().unwrap()
}

#[test]
fn an_answer_ends_before_the_first_stop_text_even_inside_of_tokens() {
    let Some(mut engine) = words_engine() else {
        return;
    };
    let whole = answer(&mut engine, "t1 t2 t3", &settings(12));
    assert_eq!(whole.finish, FinishReason::Length);
    let words: Vec<&str> = whole.text.split(' ').collect();
    assert_eq!(words.len(), 12);
    // From the end of the third word into the fourth.
    let cut = words[..2].join(" ").len() + 2;
    let stop = whole.text[cut..cut + words[2].len() + 2].to_owned();
    let at = whole.text.find(&stop).unwrap();
    let stopped = GenerationSettings {
        stop: vec!["never".to_owned(), String::new(), stop],
        ..settings(12)
    };
    let short = answer(&mut engine, "t1 t2 t3", &stopped);
    assert_eq!(short.text, whole.text[..at]);
    assert_eq!(short.finish, FinishReason::Stop);
    assert!(short.tokens_out < 12, "decoding ended early");
}

#[test]
fn an_answer_of_no_tokens_is_empty() {
    let Some(mut engine) = words_engine() else {
        return;
    };
    let empty = answer(&mut engine, "t1 t2", &settings(0));
    assert_eq!((empty.text.as_str(), empty.tokens_out), ("", 0));
    assert_eq!(empty.finish, FinishReason::Length);
    assert_eq!(engine.stats().prefill_passes, 0);
}

#[test]
fn sampling_depends_on_seed_and_question_and_not_on_the_batch() {
    let Some(mut engine) = words_engine() else {
        return;
    };
    let sampled = |seed| GenerationSettings {
        temperature: 1.5,
        top_p: Some(0.95),
        seed,
        ..settings(10)
    };
    // One prompt under many numbers: only the draw differs.
    let requests = requests(&vec!["t1 t2 t3".to_owned(); 12]);
    let batch = answers(&mut engine, &requests, &sampled(1));
    let texts: std::collections::BTreeSet<String> = batch
        .values()
        .map(|a| a.as_ref().unwrap().text.clone())
        .collect();
    assert!(texts.len() > 6, "questions draw for themselves: {texts:?}");
    for request in &requests {
        let alone = answers(&mut engine, std::slice::from_ref(request), &sampled(1));
        assert_eq!(alone[&request.idx], batch[&request.idx]);
    }
    assert_ne!(answers(&mut engine, &requests, &sampled(2)), batch);
}

#[test]
fn draws_follow_the_probabilities() {
    let logits = [0.0_f32, 1.0, 2.0, -30.0];
    let count = |settings: GenerationSettings| {
        let sampler = Sampler::of(&settings).unwrap();
        let mut counts = [0_u32; 4];
        (0..4000).for_each(|idx| counts[sampler.draw(&logits, idx, 3) as usize] += 1);
        counts
    };
    let warm = GenerationSettings {
        temperature: 1.0,
        ..GenerationSettings::default()
    };
    let counts = count(warm.clone());
    for (count, share) in counts.iter().zip([0.0900, 0.2447, 0.6652]) {
        let got = f64::from(*count) / 4000.0;
        assert!((got - share).abs() < 0.03, "{counts:?}");
    }
    let nucleus = count(GenerationSettings {
        top_p: Some(0.9),
        ..warm.clone()
    });
    assert_eq!(nucleus[0], 0, "the least likely is outside of the nucleus");
    assert!(nucleus[1] > 0);
    let single = count(GenerationSettings {
        top_p: Some(0.01),
        ..warm
    });
    assert_eq!(single[2], 4000, "the nucleus holds one token at least");
}

#[test]
fn zero_temperature_is_greedy() {
    assert_eq!(Sampler::of(&GenerationSettings::default()), None);
}

#[test]
fn the_batch_size_follows_from_memory_and_lengths() {
    let Some(engine) = words_engine() else { return };
    let config = engine.config();
    let size =
        |available| memory::batch_size(config, 4, available, &[100, 1000], &settings(24), 64);
    let each = (config.kv_bytes_per_token(4) * 1024 + config.vocab * 8) as u64;
    assert_eq!(size(0), 1, "one is tried in any case");
    assert_eq!(size(each * 10 * 5 / 4 + 10), 10);
    assert_eq!(size(u64::MAX), 64);
    assert!(engine.auto_batch_size(&[10, 20], &settings(5)) >= 1);
}

#[test]
fn free_memory_is_that_of_the_machine_or_of_the_group() {
    let meminfo = "MemTotal:  1000 kB\nMemAvailable:    500 kB\n";
    assert_eq!(available_host_bytes(meminfo, None, None), Some(500 * 1024));
    assert_eq!(
        available_host_bytes(meminfo, Some("max\n"), Some("5")),
        Some(500 * 1024)
    );
    assert_eq!(
        available_host_bytes(meminfo, Some("3000\n"), Some("1000\n")),
        Some(2000)
    );
    assert_eq!(available_host_bytes("nothing", None, None), None);
}

#[test]
fn the_estimate_grows_with_batch_and_shrinks_with_bits() {
    let Some(engine) = words_engine() else { return };
    let estimate = |quantization, batch| {
        let options = LoadOptions {
            quantization,
            device: Device::Cpu,
            ..LoadOptions::default()
        };
        memory_estimate(engine.config(), &options, 54_000, batch, 200)
    };
    let one = estimate(Quantization::None, 1);
    let many = estimate(Quantization::None, 32);
    assert_eq!(many.cache, 32 * one.cache);
    assert_eq!(one.total(), one.weights + one.cache + one.activations);
    assert!(estimate(Quantization::Int8, 1).weights < one.weights);
    assert!(estimate(Quantization::Int4, 1).weights < estimate(Quantization::Int8, 1).weights);
}

#[test]
fn devices_are_read_and_written_as_people_write_them() {
    for (text, device) in [
        ("cpu", Device::Cpu),
        ("cuda:3", Device::Cuda(3)),
        ("auto", Device::Auto),
    ] {
        assert_eq!(text.parse(), Ok(device));
        assert_eq!(device.to_string(), text);
    }
    assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
    let error = "gpu".parse::<Device>().unwrap_err();
    assert!(error.contains("cuda:N"), "{error}");
}
