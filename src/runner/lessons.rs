use crate::domain::ExperimentSpec;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Batch sizes that were found to fit, per model, quantisation, device and
/// length of the prompts, so that the next experiment starts there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lessons(BTreeMap<String, BTreeMap<usize, usize>>);

impl Lessons {
    /// Lessons as [`Lessons::to_value`] wrote them; whatever else is ignored.
    pub fn from_value(value: Option<&Value>) -> Self {
        Self(
            value
                .and_then(|value| serde_json::from_value(value.clone()).ok())
                .unwrap_or_default(),
        )
    }

    /// For `manifest.json`.
    pub fn to_value(&self) -> Value {
        json!(self.0)
    }

    /// Takes over what others know of their models and devices.
    pub fn learn_from(&mut self, others: &Self) {
        let others = others.0.iter();
        self.0
            .extend(others.map(|(key, sizes)| (key.clone(), sizes.clone())));
    }

    /// The size that fitted before. `longest` is the length of the longest
    /// prompt in characters. What did not fit with shorter prompts does not
    /// fit with longer ones, so their lessons count too.
    pub fn recall(&self, spec: &ExperimentSpec, device: &str, longest: usize) -> Option<usize> {
        self.0
            .get(&key(spec, device))?
            .range(..=length(longest))
            .map(|(_, &size)| size)
            .min()
    }

    /// Remembers a size; `None`: the full one fits.
    pub fn learn(
        &mut self,
        spec: &ExperimentSpec,
        device: &str,
        longest: usize,
        size: Option<usize>,
    ) {
        let sizes = self.0.entry(key(spec, device)).or_default();
        match size {
            Some(size) => {
                sizes.insert(length(longest), size);
            }
            // What fits with these prompts fits with shorter ones.
            None => sizes.retain(|&known, _| known > length(longest)),
        }
    }
}

fn key(spec: &ExperimentSpec, device: &str) -> String {
    format!("{} {} {device}", spec.model, spec.quantization)
}

/// Prompts within a power of two share a lesson.
fn length(longest: usize) -> usize {
    longest.max(1).next_power_of_two()
}
