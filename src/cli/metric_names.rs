use super::CliError;
use crate::{
    metrics::{self, Availability},
    study::nearest,
};
use anyhow::anyhow;

/// Checks that every metric is one that can be computed; each once.
///
/// # Errors
/// The first that is not: unknown, or known and why not.
pub fn checked(names: &[String]) -> Result<Vec<String>, CliError> {
    let mut checked: Vec<String> = Vec::new();
    for name in names.iter().map(|name| name.trim()) {
        if is_family(name) {
            let example = name.replace("@k", "@5");
            return Err(CliError::usage(anyhow!(
                "the metric {name} wants a number for k: write for example {example}"
            )));
        }
        match metrics::find(name).map(|metric| metric.availability) {
            Some(Availability::Unavailable { reason }) => {
                return Err(CliError::usage(anyhow!(
                    "the metric {name} is not computed: {reason}"
                )));
            }
            Some(_) if checked.iter().any(|one| one == name) => {}
            Some(_) => checked.push(name.to_owned()),
            None => return Err(unknown(name)),
        }
    }
    Ok(checked)
}

/// `recall@k` stands for one metric per k.
fn is_family(name: &str) -> bool {
    let mut known = metrics::known().iter();
    name.ends_with("@k") && known.any(|metric| metric.name == name)
}

fn unknown(name: &str) -> CliError {
    let known = || {
        let known = metrics::known().iter();
        known
            .filter(|metric| metric.availability == Availability::Available)
            .map(|metric| metric.name)
    };
    let hint = match nearest(name, known()) {
        Some(meant) => format!("did you mean '{meant}'?"),
        None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
    };
    CliError::usage(anyhow!("unknown metric '{name}'; {hint}"))
}
