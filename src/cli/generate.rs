//! `ragicamp generate`: the engine by itself.

mod batches;
mod output;
mod prompts;

use super::{
    CliError, ExitStatus,
    cache_dir::CacheDir,
    model_name::{dtype, local_model, quantization},
    run::switch,
};
use crate::{
    domain::{
        Dtype, Failure, FailureClass, GenerationRequest, GenerationSettings, ModelSpec,
        Quantization,
    },
    hub,
    inference::{self, Device, Engine, LoadOptions},
};
use anyhow::anyhow;
use batches::Outcome;
use clap::Args;
use output::Output;
use prompts::{Prompt, PromptText};
use std::{io::Write, path::PathBuf, time::Instant};

/// Complete prompts with a model on this machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp generate --model embedded:reader --prompt \\
    $'Context:\\nNora plays the harp.\\n\\nQuestion: What does Nora play?\\nAnswer:'
  ragicamp generate --model gguf:model.gguf --prompts prompts.jsonl --json > answers.jsonl
  ragicamp generate --model hf:org/name --quantization 8bit --seed 3 - < prompts.jsonl

A line of JSONL is {\"prompt\": \"text\"} or {\"token_ids\": [1, 2, 3]}. Texts go through the model's
chat template, unless --raw leaves it out; token ids are taken as they are.

The model runs in this process, with the decoder that studies use: a batch that does not fit into
memory is halved, a prompt that can not be completed fails alone, and a crash of the device ends
the command. A draw depends on --seed and the prompt's number only, not on the batch.

Exit codes: 0 all completed; 1 some prompt failed; 2 usage, or the model can not be loaded;
4 the device failed.")]
pub struct GenerateArgs {
    /// The model: hf:org/name[@revision], hf:./directory, gguf:file.gguf or embedded:reader.
    #[arg(long, value_name = "SPEC", value_parser = local_model)]
    model: ModelSpec,
    /// How its weights are quantised: none, 8bit or 4bit.
    #[arg(long, default_value = "none", value_name = "Q", value_parser = quantization)]
    quantization: Quantization,
    /// What its weights are computed in: auto, f32, f16 or bf16. On a processor that is f32, or bf16
    /// where it was asked for and the processor multiplies it.
    #[arg(long, default_value = "auto", value_name = "TYPE", value_parser = dtype)]
    dtype: Dtype,
    /// Where it runs: cpu, cuda, cuda:N or auto.
    #[arg(long, default_value = "auto", env = "RAGICAMP_DEVICE")]
    device: Device,
    /// The prompt.
    #[arg(long, value_name = "TEXT", group = "source")]
    prompt: Option<String>,
    /// A file of prompts, one JSON object a line.
    #[arg(long, value_name = "FILE.jsonl", group = "source")]
    prompts: Option<PathBuf>,
    /// `-`: prompts from standard input, one JSON object a line.
    #[arg(value_name = "-", group = "source", value_parser = ["-"])]
    stdin: Option<String>,
    /// A system message, for all prompts that are texts.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Leave the chat template out.
    #[arg(long)]
    raw: bool,
    /// Prompts at once; what fits into the memory that is free where it is not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    batch_size: Option<u32>,
    /// Tokens at most per answer.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        allow_negative_numbers = true
    )]
    max_new_tokens: u32,
    /// 0 takes the likeliest token each time.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature, allow_negative_numbers = true)]
    temperature: f64,
    /// Draw from the likeliest tokens that together have this probability.
    #[arg(long, value_name = "P", value_parser = probability, allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Decides what is drawn.
    #[arg(long, value_name = "S", default_value_t = 42, value_parser = seed, allow_negative_numbers = true)]
    seed: u64,
    /// An answer ends before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// One JSON object per prompt, in the order of the prompts.
    #[arg(long, env = "RAGICAMP_JSON", value_parser = switch)]
    json: bool,
    /// Write the logits after each prompt's last token to this safetensors file:
    /// `logits` [prompts, vocabulary] in f32, NaN for a prompt that failed.
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheDir,
}

fn temperature(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|value| value.is_finite() && *value >= 0.0)
        .ok_or_else(|| "write a number from 0 on".to_owned())
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "write a whole number from 0 on".to_owned())
}

fn probability(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|value| *value > 0.0 && *value <= 1.0)
        .ok_or_else(|| "write a number above 0, at most 1".to_owned())
}

/// Completes the prompts; exit code 1 when one of them failed.
pub fn run(args: &GenerateArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let prompts = prompts(args)?;
    if let Some(path) = &args.logits {
        // Found out before minutes of work, not after.
        output::check_writable(path)?;
    }
    let start = Instant::now();
    let files = hub::locate(&args.model, None).map_err(CliError::usage)?;
    let options = LoadOptions {
        quantization: args.quantization,
        dtype: args.dtype,
        device: args.device,
        cache: Some(args.cache.path()),
        ..LoadOptions::default()
    };
    let mut engine = inference::load(&files, &options).map_err(failed)?;
    let loaded = start.elapsed();
    let settings = GenerationSettings {
        max_new_tokens: args.max_new_tokens as usize,
        temperature: args.temperature,
        top_p: args.top_p,
        seed: args.seed,
        stop: args.stop.clone(),
    };
    let tokens: Vec<Result<Vec<u32>, Failure>> = prompts
        .into_iter()
        .enumerate()
        .map(|(idx, prompt)| tokens(&engine, args, idx, prompt))
        .collect();
    let ceiling = match args.batch_size {
        Some(size) => size as usize,
        None => {
            let lengths: Vec<usize> = tokens.iter().flatten().map(Vec::len).collect();
            engine.auto_batch_size(&lengths, &settings)
        }
    };
    let start = Instant::now();
    let mut output = Output::new(out, args.json, tokens.len());
    if let Some(path) = &args.logits {
        let rows = batches::logits(&mut engine, &tokens, ceiling).map_err(failed)?;
        inference::save_logits(path, &rows, engine.config().vocab).map_err(failed)?;
    }
    batches::complete(&mut engine, tokens, &settings, ceiling, &mut |outcome| {
        output.take(outcome)
    })?;
    let status = output.finish(loaded, start.elapsed(), engine.stats())?;
    Ok(status)
}

fn prompts(args: &GenerateArgs) -> Result<Vec<Prompt>, CliError> {
    let all = match (&args.prompt, &args.prompts, &args.stdin) {
        (Some(text), _, _) => vec![Prompt::Text(PromptText::plain(text))],
        (_, Some(path), _) => prompts::of_file(path)?,
        (_, _, Some(_)) => prompts::of_stdin()?,
        _ => {
            return Err(CliError::usage(anyhow!(
                "there is no prompt: give --prompt TEXT, --prompts FILE.jsonl, or - and JSONL on standard input"
            )));
        }
    };
    if all.is_empty() {
        return Err(CliError::usage(anyhow!(
            "there is no prompt in {}",
            args.prompts
                .as_ref()
                .map_or("the input".to_owned(), |path| path.display().to_string())
        )));
    }
    Ok(all)
}

fn tokens(
    engine: &Engine,
    args: &GenerateArgs,
    idx: usize,
    prompt: Prompt,
) -> Result<Vec<u32>, Failure> {
    match prompt {
        Prompt::Tokens(tokens) => Ok(tokens),
        Prompt::Text(text) => engine.tokens(&GenerationRequest {
            idx,
            system: text.system.or_else(|| args.system.clone()),
            prompt: text.prompt,
            raw: args.raw,
            passages: Vec::new(),
        }),
    }
}

/// A failure that ends the command, with the exit code of its class.
fn failed(failure: Failure) -> CliError {
    let message = anyhow!("{}", failure.message);
    match failure.class {
        FailureClass::Permanent | FailureClass::BadItem => CliError::usage(message),
        _ => CliError::environment(message),
    }
}
