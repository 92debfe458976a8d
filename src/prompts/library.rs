use crate::domain::{Prompt, PromptExample};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::LazyLock};

const FILES: [(&str, &str); 5] = [
    (
        "conf/prompts/default.yaml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conf/prompts/default.yaml"
        )),
    ),
    (
        "conf/prompts/concise.yaml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conf/prompts/concise.yaml"
        )),
    ),
    (
        "conf/prompts/cot.yaml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conf/prompts/cot.yaml"
        )),
    ),
    (
        "conf/prompts/fewshot.yaml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conf/prompts/fewshot.yaml"
        )),
    ),
    (
        "conf/prompts/steps.yaml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conf/prompts/steps.yaml"
        )),
    ),
];

/// Prompt names that other tools' studies hold and that have no template
/// here, each with the reason as one clause.
pub const UNAVAILABLE: [(&str, &str); 2] = [
    (
        "detailed",
        "long answers are not scored by the metrics of this program",
    ),
    (
        "structured",
        "structured answers are not scored by the metrics of this program",
    ),
];

/// Every prompt template that comes with the program.
#[derive(Debug, Clone)]
pub struct Library {
    templates: Vec<(String, TemplateData)>,
    examples: BTreeMap<String, Vec<PromptExample>>,
    steps: BTreeMap<String, StepData>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileData {
    #[serde(default)]
    prompts: serde_yaml::Mapping,
    #[serde(default)]
    examples: BTreeMap<String, Vec<PromptExample>>,
    #[serde(default)]
    steps: BTreeMap<String, StepData>,
}

/// What a model is asked beside the question itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepData {
    /// One sentence about it.
    pub about: String,
    /// Holds `{question}`, and `{context}` and `{answer}` if used.
    pub text: String,
    /// Tokens that a reply may have.
    pub tokens: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateData {
    about: String,
    #[serde(default)]
    shots: usize,
    #[serde(default)]
    system: Option<String>,
    direct: String,
    with_context: String,
    passage: String,
    #[serde(default)]
    example: Option<String>,
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let mut library = Library {
        templates: Vec::new(),
        examples: BTreeMap::new(),
        steps: BTreeMap::new(),
    };
    for (path, text) in FILES {
        // These files are compiled in and a test reads them all, so no user's
        // mistake can end here.
        if let Err(error) = library.read(text) {
            panic!("{path}: {error}");
        }
    }
    library
});

/// The templates that are compiled into the program.
pub fn library() -> &'static Library {
    &LIBRARY
}

impl Library {
    fn read(&mut self, text: &str) -> Result<(), serde_yaml::Error> {
        let mut whole: serde_yaml::Value = serde_yaml::from_str(text)?;
        whole.apply_merge()?;
        let file: FileData = serde_yaml::from_value(whole)?;
        for (name, template) in file.prompts {
            self.templates.push((
                serde_yaml::from_value(name)?,
                serde_yaml::from_value(template)?,
            ));
        }
        self.examples.extend(file.examples);
        self.steps.extend(file.steps);
        Ok(())
    }

    /// The names of all templates, in the order of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(|(name, _)| name.as_str())
    }

    /// A step's prompt. The file that holds them is compiled in, and a test
    /// reads every one.
    pub(super) fn step(&self, name: &str) -> &StepData {
        static NONE: LazyLock<StepData> = LazyLock::new(StepData::default);
        self.steps.get(name).unwrap_or(&NONE)
    }

    /// One sentence about a template or a step, for listings.
    pub fn about(&self, name: &str) -> Option<&str> {
        let template = self.template(name).map(|template| &template.about);
        let about = template.or_else(|| self.steps.get(name).map(|step| &step.about));
        about.map(String::as_str)
    }

    /// The prompt `name` with the examples for `dataset`; datasets without
    /// examples of their own get the general ones. `None` when there is no
    /// such prompt.
    pub fn resolve(&self, name: &str, dataset: &str) -> Option<Prompt> {
        let template = self.template(name)?;
        let examples = self
            .examples
            .get(dataset)
            .or_else(|| self.examples.get("default"))
            .map_or(&[][..], Vec::as_slice);
        Some(Prompt {
            name: name.to_owned(),
            system: template.system.clone(),
            direct: template.direct.clone(),
            with_context: template.with_context.clone(),
            passage: template.passage.clone(),
            example: template.example.clone(),
            examples: examples.iter().take(template.shots).cloned().collect(),
        })
    }

    fn template(&self, name: &str) -> Option<&TemplateData> {
        self.templates
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, template)| template)
    }
}
