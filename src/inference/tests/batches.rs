use super::*;
use crate::domain::FinishReason;

/// 64 prompts of very different lengths.
fn mixed_prompts() -> Vec<String> {
    let sets = [
        "no_context",
        "one_passage",
        "five_same_relation",
        "unseen_wording",
    ];
    let sets: Vec<Vec<(String, String)>> = sets.iter().map(|name| heldout(name)).collect();
    (0..64)
        .map(|i| {
            let set = &sets[i % sets.len()];
            set[i * 7 % set.len()].0.clone()
        })
        .collect()
}

/// Tokens that were drawn for an answer, the end token included.
fn drawn(generated: &Generated) -> usize {
    generated.tokens_out + usize::from(generated.finish == FinishReason::Stop)
}

#[test]
fn the_reader_gives_in_a_batch_of_64_what_it_gives_alone() {
    let mut engine = reader(LoadOptions::default());
    let requests = requests(&mixed_prompts());
    let settings = GenerationSettings {
        max_new_tokens: 20,
        ..GenerationSettings::default()
    };
    let batch = answers(&mut engine, &requests, &settings);
    let stats = engine.stats();
    assert_eq!(batch.len(), 64);
    let longest = batch
        .values()
        .map(|a| drawn(a.as_ref().unwrap()))
        .max()
        .unwrap();
    // The first token comes with the prompt; then one pass per token.
    assert_eq!(stats.decode_passes, longest - 1);
    let tokens: usize = batch.values().map(|a| a.as_ref().unwrap().tokens_in).sum();
    assert_eq!(stats.prompt_tokens + stats.shared_tokens, tokens);
    assert_eq!(stats.prefill_passes, stats.prompt_tokens.div_ceil(512));
    for request in &requests {
        let alone = answers(&mut engine, std::slice::from_ref(request), &settings);
        assert_eq!(
            alone[&request.idx], batch[&request.idx],
            "question {}",
            request.idx
        );
    }
}

#[test]
fn random_weights_give_in_any_batch_what_they_give_alone() {
    let Some(files) = family_files("llama3") else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let mut engine = load(&files, &LoadOptions::default()).unwrap();
    let texts: Vec<String> = (0..64_u64)
        .map(|i| {
            let length = 1 + i * i * 3 % 150;
            let tokens: Vec<String> = (0..length)
                .map(|j| format!("t{}", (i * 31 + j * j * 5) % 128))
                .collect();
            tokens.join(" ")
        })
        .collect();
    let requests = requests(&texts);
    let settings = GenerationSettings {
        max_new_tokens: 24,
        ..GenerationSettings::default()
    };
    let all = answers(&mut engine, &requests, &settings);
    for size in [1, 7, 32] {
        for chunk in requests.chunks(size) {
            for (idx, answer) in answers(&mut engine, chunk, &settings) {
                assert_eq!(answer, all[&idx], "question {idx} in batches of {size}");
            }
        }
    }
}

#[test]
fn the_reader_answers_from_its_context() {
    let mut engine = reader(LoadOptions::default());
    let cases = heldout("one_passage");
    let prompts: Vec<String> = cases
        .iter()
        .take(64)
        .map(|(prompt, _)| prompt.clone())
        .collect();
    let answers = answers(
        &mut engine,
        &requests(&prompts),
        &GenerationSettings::default(),
    );
    let right = answers
        .iter()
        .filter(|(idx, answer)| answer.as_ref().unwrap().text.trim() == cases[**idx].1)
        .count();
    assert!(right >= 32, "{right} of 64 right");
}

#[test]
fn every_forward_pass_is_told_as_progress() {
    let mut engine = reader(LoadOptions::default());
    let mut tokens = 0;
    let mut passes = 0;
    engine
        .generate(
            &requests(&mixed_prompts()[..8]),
            &GenerationSettings::default(),
            &mut |event| {
                if let GenerationEvent::Progress { tokens: new } = event {
                    tokens += new;
                    passes += 1;
                }
            },
        )
        .unwrap();
    let stats = engine.stats();
    assert_eq!(tokens, stats.prompt_tokens + stats.answer_tokens);
    assert_eq!(passes, stats.prefill_passes + stats.decode_passes);
}

#[test]
fn an_engine_gives_its_memory_back_between_batches() {
    let mut engine = reader(LoadOptions::default());
    let request = requests(&mixed_prompts()[..1]);
    let first = answers(&mut engine, &request, &GenerationSettings::default());
    engine.release_caches().unwrap();
    let second = answers(&mut engine, &request, &GenerationSettings::default());
    assert_eq!(first, second);
}
