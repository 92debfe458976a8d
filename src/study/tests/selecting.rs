use super::*;
use crate::domain::ExperimentSpec;

fn experiments() -> Vec<ExperimentSpec> {
    study(
        "name: s
datasets: [nq, squad]
direct: {models: ['hf:a/b', 'hf:a/c'], quantization: [none, 8bit, 4bit]}
",
    )
    .experiments
}

fn chosen(patterns: &[&str], shard: Option<&str>, limit: Option<usize>) -> Vec<String> {
    let filter = Filter::new(patterns).unwrap();
    let shard = shard.map(|text| text.parse().unwrap());
    let chosen = select(experiments(), &filter, shard, limit);
    chosen
        .into_iter()
        .map(|experiment| experiment.name)
        .collect()
}

#[test]
fn globs_include_and_exclude() {
    assert_eq!(chosen(&[], None, None).len(), 12);
    assert_eq!(chosen(&["*_8bit"], None, None).len(), 4);
    assert_eq!(chosen(&["!*_8bit"], None, None).len(), 8);
    assert_eq!(
        chosen(&["*_8bit", "*_none", "!*squad*"], None, None).len(),
        4
    );
    assert_eq!(chosen(&["*_{8bit,none}", "!*_c_*"], None, None).len(), 4);
    assert_eq!(
        chosen(&["direct_hf_a_b_default_nq"], None, None),
        ["direct_hf_a_b_default_nq"]
    );
    assert!(chosen(&["nothing*"], None, None).is_empty());
}

#[test]
fn a_broken_glob_is_told_with_its_reason() {
    insta::assert_snapshot!(Filter::new(&["[a"]).unwrap_err(), @r"the filter '[a' is no pattern: unclosed character class; missing ']'; write for example '*_8bit' or '!direct_*'");
    insta::assert_snapshot!(Filter::new(&["!"]).unwrap_err(), @r"the filter '!' is no pattern: it is empty; write for example '*_8bit' or '!direct_*'");
}

#[test]
fn shards_are_stretches_that_together_are_everything() {
    for count in [1, 2, 3, 5, 12, 40] {
        let mut together = Vec::new();
        for number in 1..=count {
            together.extend(chosen(&[], Some(&format!("{number}/{count}")), None));
        }
        assert_eq!(together, chosen(&[], None, None), "{count}");
    }
    assert_eq!(chosen(&["*_8bit"], Some("2/2"), Some(1)).len(), 1);
    for broken in ["0/4", "5/4", "1/0", "1", "a/b", ""] {
        assert!(broken.parse::<Shard>().is_err(), "{broken}");
    }
}

#[test]
fn the_order_needs_as_few_loads_as_there_are_models() {
    let mut experiments = experiments();
    experiments.sort_by(|a, b| a.name.len().cmp(&b.name.len()).then(b.name.cmp(&a.name)));
    assert!(model_loads(&experiments) > 6);
    let first = experiments[0].clone();
    order_by_model(&mut experiments);
    assert_eq!(model_loads(&experiments), 6);
    assert_eq!(experiments[0], first);
    assert_eq!(model_loads(&[]), 0);
}
