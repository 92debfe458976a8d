use super::*;

fn shipped(name: &str, source: &str) -> Study {
    parse(source, name, &TestCatalog).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_quickstart_has_twelve_experiments_that_all_run() {
    let study = shipped(
        "quickstart.yaml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conf/study/quickstart.yaml"
        )),
    );
    assert_eq!(study.experiments.len(), 12);
    assert_eq!(model_loads(&study.experiments), 3);
    assert_eq!(study.settings.num_questions, Some(100));
    assert!(study.unavailable.is_empty(), "{:?}", study.unavailable);
    assert!(study.warnings.is_empty(), "{:?}", study.warnings);
}

#[test]
fn the_first_study_with_models_from_the_hub_runs_wholly() {
    let study = shipped(
        "simple_hf.yaml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conf/study/simple_hf.yaml"
        )),
    );
    assert_eq!(study.experiments.len(), 16);
    assert!(study.unavailable.is_empty());
    assert!(study.warnings.is_empty(), "{:?}", study.warnings);
}

#[test]
fn the_comprehensive_baseline_has_the_size_it_says() {
    let study = shipped(
        "comprehensive_baseline.yaml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conf/study/comprehensive_baseline.yaml"
        )),
    );
    let direct = study
        .experiments
        .iter()
        .filter(|e| e.name.starts_with("direct_"))
        .count();
    assert_eq!((direct, study.experiments.len()), (135, 567));
    assert_eq!(model_loads(&study.experiments), 15);
    assert!(study.experiments.iter().any(|e| e.name
        == "rag_hf_Qwen_Qwen2.57BInstruct_simple_minilm_recursive_1024_k10_default_nq_8bit"));
}

#[test]
fn the_committed_schema_is_the_one_of_the_program() {
    let committed = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/conf/schema/study.schema.json"
    ));
    let current = serde_json::to_string_pretty(&schema()).unwrap();
    assert!(
        committed.trim_end() == current,
        "conf/schema/study.schema.json is out of date: run `ragicamp schema > conf/schema/study.schema.json`"
    );
}

#[test]
fn every_definition_that_the_schema_refers_to_is_there() {
    let schema = schema();
    let text = schema.to_string();
    let names: Vec<&str> = text
        .split("#/$defs/")
        .skip(1)
        .map(|rest| &rest[..rest.find('"').unwrap()])
        .collect();
    assert!(names.len() > 10);
    for name in names {
        assert_eq!(schema["$defs"][name]["type"], "object", "{name}");
    }
    assert_eq!(schema["required"], serde_json::json!(["name"]));
}
