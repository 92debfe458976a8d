use super::{Where, found::Finding};
use crate::{
    cli::{CliError, ExitStatus, run::say},
    index::Query,
};
use clap::Args;
use serde_json::json;
use std::io::Write;

/// Characters of a passage that are shown.
const SHOWN: usize = 160;

#[derive(Debug, Args)]
pub struct SearchArgs {
    /// A retriever's name, or the beginning of a directory's name.
    name: String,
    /// The question.
    query: String,
    /// Passages to show.
    #[arg(short = 'k', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top_k: u32,
    /// As a list in JSON, with whole texts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    finding: Finding,
    #[command(flatten)]
    place: Where,
}

pub fn run(args: &SearchArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let top_k = args.top_k as usize;
    let query = [Query::plain(&args.query)];
    let found = args
        .finding
        .find(&args.name, &query, top_k, top_k, &args.place)?;
    let mut passages = Vec::new();
    for ranking in &found.rankings {
        passages.extend(found.passages(ranking, top_k)?);
    }
    if args.json {
        let directories = found.index.directories();
        let rows: Vec<_> = passages
            .iter()
            .map(|passage| {
                json!({
                    "id": passage.id,
                    "score": passage.score,
                    "title": passage.title,
                    "text": passage.text,
                    "directories": directories,
                })
            })
            .collect();
        say(out, &format!("{:#}", json!(rows)))?;
        return Ok(ExitStatus::OK);
    }
    if passages.is_empty() {
        say(out, "nothing is found")?;
    }
    for (rank, passage) in passages.iter().enumerate() {
        let title = passage.title.as_deref().unwrap_or("");
        say(
            out,
            format!(
                "{}. {:.4}  {}  {title}",
                rank + 1,
                passage.score,
                passage.id
            )
            .trim_end(),
        )?;
        let text: Vec<&str> = passage.text.split_whitespace().collect();
        let text = text.join(" ");
        let shown: String = text.chars().take(SHOWN).collect();
        let more = if shown.len() < text.len() { "..." } else { "" };
        say(out, &format!("   {shown}{more}"))?;
    }
    Ok(ExitStatus::OK)
}
