//! Faults on purpose, in the worker, for the end-to-end suite.
//!
//! The failpoint `worker::batch` takes `return(KIND KEY=VALUE ...)`. Kinds:
//! `oom`, `transient`, `device_lost`, `permanent`, `bad_item`, `sigkill`,
//! `sigsegv`, `sigstop`, `hang`, `panic`, `garbage`; with CUDA the real
//! `cuda::out_of_memory`, `cuda::invalid_launch`, `cuda::illegal_address`.
//! Keys: `after=N` items are answered first; `over=N` only in batches larger than N; `idx=N` only in batches
//! that hold the question; `at=FILE:N` only in the Nth batch (from 0) of all
//! workers that share the file; `from=FILE:N` in it and after, with `until=N`
//! up to another; `every=FILE:N` in every Nth. The failpoint `worker::slow`
//! takes `sleep(MILLISECONDS)`. `worker::encode` takes the same for batches of
//! texts, whose places in the batch are their numbers.

use super::encoder_model::{EncoderBatch, EncoderModel};
use crate::{
    domain::{
        Failure, FailureClass, GenerationEvent, GenerationRequest, GenerationSettings, Generator,
    },
    inference::EncoderEvent,
};
use rustix::process::{Signal, getpid, kill_process};
use std::{fs::OpenOptions, io::Write, time::Duration};

struct Fault {
    kind: String,
    after: usize,
}

/// A generator whose batches fail as the failpoint says.
pub struct Faulty<G>(pub G);

impl<G: Generator> Generator for Faulty<G> {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
        settings: &GenerationSettings,
        tell: &mut dyn FnMut(GenerationEvent),
    ) -> Result<(), Failure> {
        fail::fail_point!("worker::slow");
        let Some(fault) = fault(requests) else {
            return self.0.generate(requests, settings, tell);
        };
        let before = &requests[..fault.after.min(requests.len())];
        if !before.is_empty() {
            self.0.generate(before, settings, tell)?;
        }
        eprintln!("[fault] {} after {} items", fault.kind, before.len());
        Err(commit(&fault.kind))
    }

    fn release_caches(&mut self) -> Result<(), Failure> {
        self.0.release_caches()
    }

    fn describe(&self) -> serde_json::Value {
        self.0.describe()
    }
}

/// Fails a batch of texts as the failpoint says; `None` where it says nothing.
pub fn encode(
    model: &mut EncoderModel,
    batch: &EncoderBatch,
    budget: Option<usize>,
    tell: &mut dyn FnMut(EncoderEvent),
) -> Option<Result<(), Failure>> {
    let fault = encoder_fault(batch.len())?;
    if fault.after > 0
        && let Err(failure) = model.encode(&batch.first(fault.after), budget, tell)
    {
        return Some(Err(failure));
    }
    eprintln!("[fault] {} after {} texts", fault.kind, fault.after);
    Some(Err(commit(&fault.kind)))
}

fn encoder_fault(size: usize) -> Option<Fault> {
    fail::fail_point!("worker::encode", |argument| parse(
        &argument.unwrap_or_default(),
        size,
        &|idx| idx < size
    ));
    None
}

fn fault(requests: &[GenerationRequest]) -> Option<Fault> {
    fail::fail_point!("worker::batch", |argument| parse(
        &argument.unwrap_or_default(),
        requests.len(),
        &|idx| requests.iter().any(|request| request.idx == idx)
    ));
    None
}

/// The fault that an argument means for a batch of `size` that `holds` some
/// items.
fn parse(argument: &str, size: usize, holds: &dyn Fn(usize) -> bool) -> Option<Fault> {
    let mut words = argument.split_whitespace();
    let kind = words.next()?.to_owned();
    let mut after = 0;
    let mut batch = 0;
    for word in words {
        let (key, value) = word.split_once('=')?;
        let fires = match key {
            "after" => {
                after = value.parse().ok()?;
                true
            }
            "over" => size > value.parse().ok()?,
            "idx" => holds(value.parse().ok()?),
            "at" => {
                let (file, at) = value.rsplit_once(':')?;
                count(file)? == at.parse::<u64>().ok()?
            }
            "from" => {
                let (file, from) = value.rsplit_once(':')?;
                batch = count(file)?;
                batch >= from.parse::<u64>().ok()?
            }
            "until" => batch < value.parse::<u64>().ok()?,
            "every" => {
                let (file, every) = value.rsplit_once(':')?;
                let every: u64 = every.parse().ok()?;
                count(file)? % every.max(1) == every.saturating_sub(1)
            }
            _ => return None,
        };
        if !fires {
            return None;
        }
    }
    Some(Fault { kind, after })
}

/// Counts over processes: one byte of the file per batch.
fn count(file: &str) -> Option<u64> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .ok()?;
    file.write_all(b".").ok()?;
    Some(file.metadata().ok()?.len() - 1)
}

fn commit(kind: &str) -> Failure {
    #[cfg(feature = "cuda")]
    if let Some(kind) = kind.strip_prefix("cuda::") {
        return crate::inference::drill(kind);
    }
    match kind {
        "oom" => Failure::new(
            FailureClass::Oom,
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
        ),
        "device_lost" => Failure::new(
            FailureClass::DeviceLost,
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")",
        ),
        "permanent" => Failure::new(FailureClass::Permanent, "shape mismatch in matmul"),
        "bad_item" => Failure::new(FailureClass::BadItem, "non-finite logits"),
        "sigkill" => die(Signal::KILL),
        "sigsegv" => die(Signal::SEGV),
        "sigstop" => die(Signal::STOP),
        "hang" => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        "panic" => panic!("a panic on purpose"),
        _ => Failure::new(
            FailureClass::Transient,
            "Error invalid configuration argument at line 380 in file /src/csrc/ops.cu",
        ),
    }
}

fn die(signal: Signal) -> ! {
    loop {
        // Rust's own handler for SIGSEGV takes the first one and gives way.
        let _ = kill_process(getpid(), signal);
        std::thread::sleep(Duration::from_millis(10));
    }
}
