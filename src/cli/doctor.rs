//! `ragicamp doctor`: what this machine has for running studies.

mod machine;

#[cfg(feature = "inference")]
use super::model_name::{local_model, quantization};
use super::{CliError, ExitStatus, run::switch};
use crate::hub;
use clap::Args;
use serde_json::{Map, Value, json};
use std::{io::Write, path::PathBuf};

/// Say what this machine has for running studies, and what a model would need.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp doctor
  ragicamp doctor --model hf:Qwen/Qwen2.5-7B-Instruct --quantization 4bit
  ragicamp doctor --json

What can not be found out is said, and is no failure: the exit code is 0, or 2 for a mistake in
the arguments. Measuring takes about two seconds.")]
pub struct DoctorArgs {
    /// Say what this model would need: hf:org/name[@revision], hf:./directory, gguf:file.gguf
    /// or embedded:reader.
    #[cfg(feature = "inference")]
    #[arg(long, value_name = "SPEC", value_parser = local_model)]
    model: Option<crate::domain::ModelSpec>,
    /// How its weights would be quantised: none, 8bit or 4bit.
    #[cfg(feature = "inference")]
    #[arg(long, default_value = "none", value_name = "Q", value_parser = quantization)]
    quantization: crate::domain::Quantization,
    /// Tokens per sequence, prompt and answer together.
    #[cfg(feature = "inference")]
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Where the model would run: cpu, cuda, cuda:N or auto.
    #[cfg(feature = "inference")]
    #[arg(long, default_value = "auto", env = "RAGICAMP_DEVICE")]
    device: crate::inference::Device,
    /// Where artifacts would go.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "outputs",
        env = "RAGICAMP_OUTPUT"
    )]
    output: PathBuf,
    /// Do not measure.
    #[arg(long)]
    no_measure: bool,
    /// One JSON object.
    #[arg(long, env = "RAGICAMP_JSON", value_parser = switch)]
    json: bool,
}

/// Prints what was found.
pub fn run(args: &DoctorArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let mut report = Map::new();
    report.insert("ragicamp".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    report.insert("processor".to_owned(), machine::processor());
    report.insert("memory".to_owned(), machine::memory());
    report.insert("gpus".to_owned(), machine::gpus());
    report.insert("speed".to_owned(), speed(args));
    report.insert("outputs".to_owned(), machine::outputs(&args.output));
    report.insert("cached_models".to_owned(), cached());
    report.insert("settings".to_owned(), machine::settings());
    if let Some(model) = model(args) {
        report.insert("model".to_owned(), model);
    }
    let report = Value::Object(report);
    let text = if args.json {
        report.to_string()
    } else {
        machine::print(&report)
    };
    out.write_all(text.trim_end().as_bytes())?;
    out.write_all(b"\n")?;
    Ok(ExitStatus::OK)
}

fn cached() -> Value {
    hub::cached_models()
        .into_iter()
        .map(|model| json!({"name": model.name, "bytes": model.bytes}))
        .collect()
}

#[cfg(feature = "inference")]
fn speed(args: &DoctorArgs) -> Value {
    if args.no_measure {
        return json!({"problem": "not measured (--no-measure)"});
    }
    let speed = crate::inference::measure_speed(std::time::Duration::from_secs(1));
    json!({
        "memory_gb_per_second": (speed.bandwidth / 1e8).round() / 10.0,
        "f32_gemm_gflop_per_second": (speed.gemm / 1e8).round() / 10.0,
        "q8_0_gemm_gop_per_second": (speed.blocks / 1e8).round() / 10.0,
    })
}

#[cfg(not(feature = "inference"))]
fn speed(_: &DoctorArgs) -> Value {
    json!({"problem": "this build has no inference"})
}

/// What a model would need; a model that can not be looked at is a finding,
/// not a failure.
#[cfg(feature = "inference")]
fn model(args: &DoctorArgs) -> Option<Value> {
    use crate::{
        domain::Failure,
        inference::{LoadOptions, estimate},
    };
    let model = args.model.as_ref()?;
    let tokens = args.tokens as usize;
    let options = LoadOptions {
        quantization: args.quantization,
        dtype: model.dtype,
        device: args.device,
        ..LoadOptions::default()
    };
    let look = || {
        let files = hub::locate(model, None).map_err(Failure::from)?;
        estimate(&files, &options, 1, tokens)
    };
    let mut found = json!({
        "name": model.to_string(),
        "quantization": args.quantization.as_str(),
        "tokens_per_sequence": tokens,
    });
    match look() {
        Ok(forecast) => {
            found["architecture"] = json!(forecast.config.family);
            found["context"] = json!(forecast.config.max_positions);
            found["layers"] = json!(forecast.config.layers.len());
            found["weights_bytes"] = json!(forecast.memory.weights);
            found["cache_bytes_per_sequence"] = json!(forecast.memory.cache);
            found["available_bytes"] = json!(forecast.available);
            let fits = forecast
                .available
                .is_none_or(|available| forecast.memory.total() <= available);
            found["fits"] = json!(fits);
            found["batch_size"] = if fits {
                json!(forecast.batch_size)
            } else {
                Value::Null
            };
        }
        Err(failure) => found["problem"] = json!(failure.message),
    }
    Some(found)
}

#[cfg(not(feature = "inference"))]
fn model(_: &DoctorArgs) -> Option<Value> {
    None
}
