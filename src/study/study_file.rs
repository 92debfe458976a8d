use super::{
    catalog::{Catalog, Names},
    diagnostic::{Diagnostic, Problems},
    fields::At,
    keys,
    paths::LocalPath,
    reader::Reader,
    report::Report,
    search::Search,
    yaml,
};
use crate::domain::{ExperimentSpec, ModelSpec, RunSettings, ScoringModels};
use std::collections::BTreeMap;

/// A study that can run.
#[derive(Debug, Clone)]
pub struct Study {
    /// Its name, fit for a directory.
    pub name: String,
    /// What it is about; may be empty.
    pub description: String,
    /// Where artifacts go.
    pub output_dir: String,
    /// Every experiment, each name once, ordered so that each model is loaded
    /// as seldom as possible.
    pub experiments: Vec<ExperimentSpec>,
    /// What steers the run. Its metrics are those that can be computed.
    pub settings: RunSettings,
    /// Settings of hand-written experiments that differ from the study's.
    pub overrides: BTreeMap<String, RunSettings>,
    /// What hand-written experiments are to show, by name.
    pub hypotheses: BTreeMap<String, String>,
    /// The grid that is searched while the study runs, if one is: of its cells
    /// only some are to be run.
    pub search: Option<Search>,
    /// The judge, for metrics that need one.
    pub llm_judge: Option<LlmJudge>,
    /// The models of metrics that are not judged, the usual ones where the study
    /// names none.
    pub scoring: ScoringModels,
    /// Experiments that can not run in this version, with one sentence each.
    pub unavailable: BTreeMap<String, String>,
    /// Requested metrics that this version does not have, with the reason.
    pub unavailable_metrics: BTreeMap<String, String>,
    /// Paths of this machine that the experiments need, in no special order:
    /// whoever has files can look whether they are there.
    pub local_paths: Vec<LocalPath>,
    /// What is ignored or stays undone, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

impl Study {
    /// What steers the run of one experiment.
    pub fn settings_for(&self, experiment: &str) -> &RunSettings {
        self.overrides.get(experiment).unwrap_or(&self.settings)
    }

    /// How many experiments a run over all of them comes to: of a searched
    /// grid only those that the search tries.
    pub fn to_run(&self) -> usize {
        self.to_run_of(&self.experiments)
    }

    /// As [`Study::to_run`], over some of them.
    pub fn to_run_of(&self, experiments: &[ExperimentSpec]) -> usize {
        let Some(search) = &self.search else {
            return experiments.len();
        };
        let searched = experiments
            .iter()
            .filter(|spec| search.cells.contains(&spec.name))
            .count();
        experiments.len() - searched + searched.min(search.number)
    }
}

/// The model that judges answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LlmJudge {
    /// The model.
    pub model: ModelSpec,
    /// `binary` or `ternary`.
    pub judgment_type: String,
    /// Requests to it at once.
    pub concurrency: usize,
}

/// Reads a study. `file` is only the name that problems are reported under.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file; warnings stand
/// between the errors.
pub fn parse(source: &str, file: &str, catalog: &dyn Catalog) -> Result<Study, Problems> {
    let report = Report::new(file);
    let names = Names::of(catalog);
    let study = yaml::read(source, &report).and_then(|root| {
        let at = At {
            node: &root,
            path: String::new(),
            report: &report,
        };
        let fields = match &root.value {
            yaml::Value::Map(_) => at.fields(keys::STUDY)?,
            other => {
                at.error(
                    format!(
                        "a study is a mapping of keys, and this is {}",
                        other.describe()
                    ),
                    Some("begin with name: my_study".to_owned()),
                );
                return None;
            }
        };
        Reader {
            fields: &fields,
            names: &names,
            report: &report,
        }
        .study()
    });
    let failed = report.has_errors();
    let diagnostics = report.finish();
    match study {
        Some(mut study) if !failed => {
            study.warnings = diagnostics;
            Ok(study)
        }
        study => Err(Problems {
            diagnostics,
            local_paths: study.map(|study| study.local_paths).unwrap_or_default(),
        }),
    }
}
