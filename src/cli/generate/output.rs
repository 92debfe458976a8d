use super::Outcome;
use crate::{
    cli::{CliError, ExitStatus, run::say, words::count},
    inference::EngineStats,
};
use anyhow::anyhow;
use serde_json::json;
use std::{collections::BTreeMap, fs::OpenOptions, io::Write, path::Path, time::Duration};

/// Prints outcomes in the order of the prompts, each as soon as all before it
/// are printed.
pub struct Output<'a> {
    out: &'a mut dyn Write,
    json: bool,
    prompts: usize,
    next: usize,
    early: BTreeMap<usize, Outcome>,
    failed: usize,
    tokens_in: usize,
    tokens_out: usize,
}

impl<'a> Output<'a> {
    /// For this many prompts.
    pub fn new(out: &'a mut dyn Write, json: bool, prompts: usize) -> Self {
        Self {
            out,
            json,
            prompts,
            next: 0,
            early: BTreeMap::new(),
            failed: 0,
            tokens_in: 0,
            tokens_out: 0,
        }
    }

    /// Takes an outcome.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn take(&mut self, outcome: Outcome) -> Result<(), CliError> {
        self.early.insert(outcome.idx, outcome);
        while let Some(outcome) = self.early.remove(&self.next) {
            self.next += 1;
            self.print(&outcome)?;
        }
        Ok(())
    }

    fn print(&mut self, outcome: &Outcome) -> Result<(), CliError> {
        let idx = outcome.idx;
        match &outcome.result {
            Ok((generated, tokens)) => {
                self.tokens_in += generated.tokens_in;
                self.tokens_out += generated.tokens_out;
                if self.json {
                    let line = json!({
                        "idx": idx,
                        "text": generated.text,
                        "token_ids": tokens,
                        "tokens_in": generated.tokens_in,
                        "tokens_out": generated.tokens_out,
                        "finish": generated.finish,
                        "latency_ms": milliseconds(outcome.latency),
                        "batch_size": outcome.batch_size,
                    });
                    say(self.out, &line.to_string())
                } else {
                    say(self.out, &generated.text)
                }
            }
            Err(failure) => {
                self.failed += 1;
                if self.json {
                    let line = json!({
                        "idx": idx,
                        "error": failure.message,
                        "class": failure.class,
                    });
                    say(self.out, &line.to_string())
                } else {
                    eprintln!("prompt {idx}: {}", failure.message);
                    Ok(())
                }
            }
        }
    }

    /// Says what was done, on standard error, and gives the exit code.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn finish(
        self,
        loaded: Duration,
        took: Duration,
        stats: EngineStats,
    ) -> Result<ExitStatus, CliError> {
        self.out.flush().map_err(CliError::from)?;
        let seconds = took.as_secs_f64();
        let failed = match self.failed {
            0 => String::new(),
            count => format!(", {count} failed"),
        };
        eprintln!(
            "{}{failed}: {} tokens in, {} out, in {seconds:.2} s ({:.1} prompts/s; prompts read in {:.2} s, answers written in {:.2} s); the model was loaded in {:.2} s",
            count(self.prompts, "prompt"),
            self.tokens_in,
            self.tokens_out,
            self.prompts as f64 / seconds.max(1e-9),
            stats.prefill_time.as_secs_f64(),
            stats.decode_time.as_secs_f64(),
            loaded.as_secs_f64(),
        );
        Ok(ExitStatus(u8::from(self.failed > 0)))
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Checks that a file can be written.
///
/// # Errors
/// One sentence with its name.
pub fn check_writable(path: &Path) -> Result<(), CliError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map(drop)
        .map_err(|error| {
            CliError::usage(anyhow!(
                "--logits: {} can not be written: {error}",
                path.display()
            ))
        })
}
