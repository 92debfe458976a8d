use super::failed;
use crate::{
    cli::CliError,
    domain::{Failure, FailureClass, Generated, GenerationSettings},
    execution::BatchPolicy,
    inference::{Engine, Step},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// What became of a prompt.
pub struct Outcome {
    /// The prompt's number.
    pub idx: usize,
    /// Its completion with its token ids, or why there is none.
    pub result: Completed,
    /// From the start of its batch.
    pub latency: Duration,
    /// Prompts in its batch.
    pub batch_size: usize,
}

type Waiting = VecDeque<(usize, Vec<u32>)>;

/// Completes all prompts in batches of at most `ceiling`, smaller ones where
/// memory runs out, and tells each outcome as soon as it is there.
pub fn complete(
    engine: &mut Engine,
    prompts: Vec<Result<Vec<u32>, Failure>>,
    settings: &GenerationSettings,
    ceiling: usize,
    tell: &mut dyn FnMut(Outcome) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut waiting = Waiting::new();
    for (idx, tokens) in prompts.into_iter().enumerate() {
        match tokens {
            Ok(tokens) => waiting.push_back((idx, tokens)),
            Err(failure) => tell(Outcome {
                idx,
                result: Err(failure),
                latency: Duration::ZERO,
                batch_size: 1,
            })?,
        }
    }
    let mut policy = BatchPolicy::new(ceiling, None);
    let mut retry = None;
    while !waiting.is_empty() {
        let size = retry.take().unwrap_or(policy.size()).min(waiting.len());
        let mut batch: BTreeMap<usize, Vec<u32>> = waiting.drain(..size).collect();
        let start = Instant::now();
        let mut told = Ok(());
        let result = step(engine, &batch, settings, &mut |idx, result| {
            batch_done(&mut told, tell, idx, result, start, size);
        });
        let (answered, result) = result;
        told?;
        batch.retain(|idx, _| !answered.contains(idx));
        let Err(failure) = result else {
            policy.succeeded(size);
            continue;
        };
        let can_shrink = matches!(failure.class, FailureClass::Oom | FailureClass::Transient);
        if !can_shrink {
            return Err(failed(failure));
        }
        engine_rest(engine)?;
        if size == 1 {
            for idx in batch.into_keys() {
                tell(Outcome {
                    idx,
                    result: Err(failure.clone()),
                    latency: start.elapsed(),
                    batch_size: 1,
                })?;
            }
            continue;
        }
        retry = Some(if failure.class == FailureClass::Oom {
            policy.ran_out_of_memory(size);
            policy.size()
        } else {
            size / 2
        });
        for prompt in batch.into_iter().rev() {
            waiting.push_front(prompt);
        }
    }
    Ok(())
}

/// Tells one outcome, unless telling has failed before.
fn batch_done(
    told: &mut Result<(), CliError>,
    tell: &mut dyn FnMut(Outcome) -> Result<(), CliError>,
    idx: usize,
    result: Completed,
    start: Instant,
    batch_size: usize,
) {
    if told.is_ok() {
        *told = tell(Outcome {
            idx,
            result,
            latency: start.elapsed(),
            batch_size,
        });
    }
}

/// A completion with its token ids, or why there is none.
type Completed = Result<(Generated, Vec<u32>), Failure>;

/// Runs one batch; the numbers of the prompts that were told of, and what
/// became of the batch.
fn step(
    engine: &mut Engine,
    batch: &BTreeMap<usize, Vec<u32>>,
    settings: &GenerationSettings,
    tell: &mut dyn FnMut(usize, Completed),
) -> (Vec<usize>, Result<(), Failure>) {
    fail::fail_point!("generate::batch", batch.len() > 2, |_| (
        Vec::new(),
        Err(Failure::new(FailureClass::Oom, "out of memory"))
    ));
    let mut answered = Vec::new();
    let prompts = batch.iter().map(|(idx, tokens)| (*idx, tokens.clone()));
    let result = engine.complete(prompts.collect(), settings, &mut |step| match step {
        Step::Progress { .. } => {}
        Step::Done {
            idx,
            generated,
            tokens,
        } => {
            answered.push(idx);
            tell(idx, Ok((generated, tokens)));
        }
        Step::Failed { idx, failure } => {
            answered.push(idx);
            tell(idx, Err(failure));
        }
    });
    (answered, result)
}

/// Gives memory back after a failure.
fn engine_rest(engine: &mut Engine) -> Result<(), CliError> {
    use crate::domain::Generator;
    engine.release_caches().map_err(failed)
}

/// The logits after the last token of each prompt; `None` for prompts that
/// can not be used.
pub fn logits(
    engine: &mut Engine,
    prompts: &[Result<Vec<u32>, Failure>],
    ceiling: usize,
) -> Result<Vec<Option<Vec<f32>>>, Failure> {
    let mut rows = vec![None; prompts.len()];
    let mut waiting: VecDeque<usize> = (0..prompts.len())
        .filter(|idx| prompts[*idx].is_ok())
        .collect();
    let mut size = ceiling.max(1);
    while !waiting.is_empty() {
        let batch: Vec<usize> = waiting.drain(..size.min(waiting.len())).collect();
        let tokens: Vec<Vec<u32>> = batch
            .iter()
            .filter_map(|idx| prompts[*idx].as_ref().ok().cloned())
            .collect();
        match engine.logits(&tokens) {
            Ok(found) => {
                for (idx, row) in batch.into_iter().zip(found) {
                    rows[idx] = Some(row);
                }
            }
            // One prompt that is too long is told of by its completion.
            Err(failure) if failure.class == FailureClass::BadItem && batch.len() == 1 => {}
            Err(failure) if may_shrink(failure.class) && batch.len() > 1 => {
                size = batch.len() / 2;
                for idx in batch.into_iter().rev() {
                    waiting.push_front(idx);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(rows)
}

/// Whether a smaller batch may do better.
const fn may_shrink(class: FailureClass) -> bool {
    matches!(
        class,
        FailureClass::Oom | FailureClass::Transient | FailureClass::BadItem
    )
}
