//! How fast MiniLM embeds, beside sentence-transformers on the same texts
//! where Python has it.
//!
//! `cargo bench --bench encoders`, with further texts as an argument: JSON
//! lines with the key `text`. Python is `RAGICAMP_PYTHON`, else `python3`.
//! MiniLM comes with `make fixtures-minilm`.

use ragicamp::{
    domain::{Embedder, TextRole, embedding_model},
    hub::{self, FileSource},
    inference::{LoadOptions, TextEmbedder, threads},
};
use serde_json::Value;
use std::{path::Path, process::Command, time::Instant};

/// Each figure is the best of this many runs.
const RUNS: usize = 3;

/// Texts of a file at most.
const MOST: usize = 512;

fn main() {
    let model = embedding_model("minilm").unwrap_or_else(|error| panic!("{error}"));
    let files = match hub::locate(&model, None) {
        Ok(files) => files,
        Err(error) => {
            println!("skipped: {error}; or run `make fixtures-minilm`");
            return;
        }
    };
    let Some(FileSource::Path(config)) = &files.config else {
        panic!("MiniLM is on disk");
    };
    let directory = config.parent().unwrap_or(Path::new("."));
    let mut embedder = TextEmbedder::load(&files, &LoadOptions::default())
        .unwrap_or_else(|failure| panic!("{failure}"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/data/quickstart");
    let mut sources = vec![root.join("encyclopedia.jsonl")];
    sources.extend(
        std::env::args()
            .skip(1)
            .filter(|argument| !argument.starts_with("--"))
            .map(Into::into),
    );
    for source in sources {
        let texts = read(&source);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let tokens: usize = texts
            .iter()
            .map(|text| {
                embedder
                    .tokens(text, TextRole::Passage)
                    .map_or(0, |t| t.len())
            })
            .sum();
        println!(
            "{}: {} texts, {:.0} tokens on average, {} threads",
            source.display(),
            texts.len(),
            tokens as f64 / texts.len() as f64,
            threads()
        );
        let mut vectors = Vec::new();
        let ours = (0..RUNS)
            .map(|_| {
                let started = Instant::now();
                vectors = embedder
                    .embed(&texts, TextRole::Passage)
                    .unwrap_or_else(|failure| panic!("{failure}"));
                texts.len() as f64 / started.elapsed().as_secs_f64()
            })
            .fold(0.0, f64::max);
        println!("  ragicamp: {ours:.1} texts/s");
        match peer(directory, &texts) {
            Ok((theirs, theirs_vectors)) => {
                let lowest = vectors
                    .iter()
                    .zip(&theirs_vectors)
                    .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>())
                    .fold(1.0, f32::min);
                println!("  sentence-transformers: {theirs:.1} texts/s");
                println!(
                    "  ratio {:.2}; the lowest cosine is {lowest:.7}",
                    ours / theirs
                );
            }
            Err(why) => println!("  sentence-transformers: skipped, {why}"),
        }
    }
}

/// The rate and the vectors of sentence-transformers.
fn peer(model: &Path, texts: &[&str]) -> Result<(f64, Vec<Vec<f32>>), String> {
    let python = std::env::var("RAGICAMP_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/encoders.py");
    let input = std::env::temp_dir().join(format!("ragicamp-bench-{}.json", std::process::id()));
    let text = serde_json::to_string(texts).map_err(|error| error.to_string())?;
    std::fs::write(&input, text).map_err(|error| error.to_string())?;
    let output = Command::new(&python)
        .arg(&script)
        .args([model, &input])
        .arg(RUNS.to_string())
        .output();
    let _ = std::fs::remove_file(&input);
    let output = output.map_err(|error| format!("{python}: {error}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(error.lines().last().unwrap_or("it failed").to_owned());
    }
    let result: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let vectors = serde_json::from_value(result["vectors"].clone());
    Ok((
        result["rate"].as_f64().ok_or("no rate")?,
        vectors.map_err(|error| error.to_string())?,
    ))
}

fn read(path: &Path) -> Vec<String> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line["text"].as_str()?.to_owned())
        })
        .take(MOST)
        .collect()
}
