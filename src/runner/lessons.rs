use crate::domain::ExperimentSpec;
use std::collections::BTreeMap;

/// Batch sizes that were found to fit, per model, quantisation, device and
/// length of the prompts, so that the next experiment starts there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lessons(BTreeMap<String, usize>);

impl Lessons {
    /// Lessons as [`Lessons::to_value`] wrote them; whatever else is ignored.
    pub fn from_value(value: Option<&serde_json::Value>) -> Self {
        Self(
            value
                .and_then(|value| serde_json::from_value(value.clone()).ok())
                .unwrap_or_default(),
        )
    }

    /// For `manifest.json`.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    /// The size that fitted before. `longest` is the length of the longest
    /// prompt in characters; prompts within a power of two share a lesson.
    pub fn recall(&self, spec: &ExperimentSpec, device: &str, longest: usize) -> Option<usize> {
        self.0.get(&key(spec, device, longest)).copied()
    }

    /// Remembers a size, or that the full one fits again.
    pub fn learn(
        &mut self,
        spec: &ExperimentSpec,
        device: &str,
        longest: usize,
        size: Option<usize>,
    ) {
        let key = key(spec, device, longest);
        match size {
            Some(size) => self.0.insert(key, size),
            None => self.0.remove(&key),
        };
    }
}

fn key(spec: &ExperimentSpec, device: &str, longest: usize) -> String {
    let length = longest.max(1).next_power_of_two();
    format!("{} {} {device} <={length}", spec.model, spec.quantization)
}
