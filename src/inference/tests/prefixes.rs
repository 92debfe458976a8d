use super::*;

/// Prompts of a family's vocabulary: some shared beginnings, some twins, one
/// that is the beginning of others, one that shares nothing.
fn branching() -> Vec<(usize, Vec<u32>)> {
    let token = |salt: usize, i: usize| ((salt * 37 + i * 11 + i * i * 3) % 120 + 4) as u32;
    let stem: Vec<u32> = (0..75).map(|i| token(1, i)).collect();
    let mut prompts = vec![stem.clone(), stem.clone()];
    for branch in 2..5 {
        let mut limb = stem[..60].to_vec();
        limb.extend((0..40 * branch).map(|i| token(branch, i)));
        for leaf in 0..3 {
            let mut prompt = limb.clone();
            prompt.extend((0..1 + 9 * leaf).map(|i| token(10 * branch + leaf, i)));
            prompts.push(prompt);
        }
    }
    prompts.push((0..50).map(|i| token(99, i)).collect());
    prompts.into_iter().enumerate().collect()
}

fn completed(
    engine: &mut Engine,
    prompts: &[(usize, Vec<u32>)],
) -> BTreeMap<usize, (Generated, Vec<u32>)> {
    let settings = GenerationSettings {
        max_new_tokens: 12,
        ..GenerationSettings::default()
    };
    let mut all = BTreeMap::new();
    engine
        .complete(prompts.to_vec(), &settings, &mut |step| match step {
            Step::Done {
                idx,
                generated,
                tokens,
            } => {
                all.insert(idx, (generated, tokens));
            }
            Step::Failed { failure, .. } => panic!("{failure}"),
            Step::Progress { .. } => {}
        })
        .unwrap();
    all
}

#[test]
fn prompts_that_begin_alike_are_answered_as_if_each_were_alone() {
    // Windows, soft caps, norms on heads, partial rotary: all kinds of keys.
    for name in [
        "llama3",
        "mistral",
        "gemma2",
        "gemma3",
        "qwen3",
        "phi3_long",
    ] {
        let Some(files) = family_files(name) else {
            eprintln!("skipped: no fixtures");
            return;
        };
        let prompts = branching();
        let given: usize = prompts.iter().map(|(_, prompt)| prompt.len()).sum();
        for quantization in [Quantization::None, Quantization::Int8] {
            let with = |separate_prompts, prefill_tokens| {
                let options = LoadOptions {
                    quantization,
                    separate_prompts,
                    prefill_tokens,
                    ..LoadOptions::default()
                };
                load(&files, &options).unwrap()
            };
            let mut apart = with(true, None);
            let want = completed(&mut apart, &prompts);
            assert_eq!(apart.stats().shared_tokens, 0);
            assert_eq!(apart.stats().prompt_tokens, given);
            // Donors in the same pass, in an earlier one, and cut in two.
            for prefill_tokens in [None, Some(64), Some(7)] {
                let mut engine = with(false, prefill_tokens);
                assert_eq!(completed(&mut engine, &prompts), want, "{name}");
                let stats = engine.stats();
                assert_eq!(stats.prompt_tokens + stats.shared_tokens, given);
                // The stem once, each limb once, each leaf's own tokens, and the
                // last token of the twin.
                let least = 75 + (80 + 120 + 160) + 9 * 10 + 50 + 1;
                assert!(stats.prompt_tokens <= least, "{name}: {stats:?}");
            }
        }
    }
}

#[test]
fn a_batch_begins_with_what_the_one_before_computed() {
    let Some(files) = family_files("llama3") else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let prompts = branching();
    let mut apart = load(
        &files,
        &LoadOptions {
            separate_prompts: true,
            ..LoadOptions::default()
        },
    )
    .unwrap();
    let want = completed(&mut apart, &prompts);
    let mut engine = load(&files, &LoadOptions::default()).unwrap();
    for (idx, prompt) in &prompts {
        let before = engine.stats().shared_tokens;
        let one = completed(&mut engine, &[(*idx, prompt.clone())]);
        assert_eq!(one[idx], want[idx], "prompt {idx}");
        let shared = engine.stats().shared_tokens - before;
        let is_stranger = *idx == 0 || *idx == prompts.len() - 1;
        assert_eq!(shared > 0, !is_stranger, "prompt {idx} shares {shared}");
    }
    engine.release_caches().unwrap();
    let before = engine.stats().shared_tokens;
    completed(&mut engine, &prompts[..1]);
    completed(&mut engine, &prompts[..1]);
    // Nothing was left of it; then all but the last token.
    assert_eq!(engine.stats().shared_tokens - before, 74);
}

#[test]
fn prompts_share_in_device_memory_too() {
    let Some(files) = family_files("qwen2") else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let with = |separate_prompts| {
        let options = LoadOptions {
            separate_prompts,
            tensor_attention: true,
            ..LoadOptions::default()
        };
        load(&files, &options).unwrap()
    };
    let prompts = branching();
    let mut engine = with(false);
    let mut apart = with(true);
    assert_eq!(
        completed(&mut engine, &prompts),
        completed(&mut apart, &prompts)
    );
    assert!(engine.stats().shared_tokens > 500);
    assert!(engine.stats().prompt_tokens < apart.stats().prompt_tokens / 2);
}

#[test]
fn prompts_whose_keys_are_rotated_otherwise_share_nothing() {
    let Some(files) = family_files("phi3_long") else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let stem: Vec<u32> = (0..1020).map(|i| (i * 13 % 120 + 4) as u32).collect();
    let prompts: Vec<(usize, Vec<u32>)> = [1020, 700, 600, 1019]
        .into_iter()
        .map(|length| stem[..length].to_vec())
        .enumerate()
        .collect();
    let with = |separate_prompts| {
        let options = LoadOptions {
            separate_prompts,
            ..LoadOptions::default()
        };
        load(&files, &options).unwrap()
    };
    let mut engine = with(false);
    assert_eq!(
        completed(&mut engine, &prompts),
        completed(&mut with(true), &prompts)
    );
    // Beyond 1024 tokens with the answer, other angles hold.
    assert_eq!(engine.stats().shared_tokens, 600 + 1019);
}
