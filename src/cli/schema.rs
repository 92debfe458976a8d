use super::{CliError, ExitStatus};
use std::io::Write;

/// Prints the schema as it stands in `conf/schema/study.schema.json`.
pub fn run(out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let schema =
        serde_json::to_string_pretty(&crate::study::schema()).map_err(anyhow::Error::from)?;
    writeln!(out, "{schema}")?;
    Ok(ExitStatus::OK)
}
