use super::*;

#[test]
fn home_and_variables_are_replaced_in_every_path() {
    let study = study(
        "name: s
output_dir: $DATA/${DATA}x/~/$1
datasets: [{path: ~/q.jsonl}, $DATA/nq.csv]
direct: {models: ['hf:~/model', 'gguf:${DATA}/m.gguf', {path: $DATA/m}], quantization: [none]}
rag:
  models: ['hf:~/model']
  quantization: [none]
  corpus: ~/corpus
  retrievers: [{type: dense, name: d, embedding_model: ~/embedder}]
  reranker: {name: own, model: $DATA/reranker}
bertscore: {model: ~/bert, layer: 3}
nli: {model: ~/nli}
",
    );
    assert_eq!(study.output_dir, "/data//datax/~/$1");
    let datasets: std::collections::BTreeSet<_> = study
        .experiments
        .iter()
        .filter_map(|spec| spec.dataset.path.as_deref())
        .collect();
    assert_eq!(
        Vec::from_iter(datasets),
        ["/data/nq.csv", "/home/me/q.jsonl"]
    );
    let paths: Vec<&str> = study
        .local_paths
        .iter()
        .map(|local| local.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "/home/me/q.jsonl",
            "/data/nq.csv",
            "/home/me/model",
            "/data/m.gguf",
            "/data/m",
            "/home/me/corpus",
            "/home/me/embedder",
            "/home/me/model",
            "/data/reranker",
            "/home/me/bert",
            "/home/me/nli",
        ]
    );
}

#[test]
fn a_variable_that_is_not_set_is_told_with_its_key() {
    insta::assert_snapshot!(problems(
        "name: s
output_dir: $NOWHERE/out
datasets: [{path: '${EMPTY}/q.jsonl'}]
direct: {models: ['hf:$MY_MODELS/m', 'hf:./${A-B}/$'], quantization: [none]}
"
    ), @r"
    s.yaml:2: output_dir: the environment variable NOWHERE in '$NOWHERE/out' is not set; set it, or write the path out
    s.yaml:3: datasets[0].path: the environment variable EMPTY in '${EMPTY}/q.jsonl' is not set; set it, or write the path out
    s.yaml:4: direct.models[0]: the environment variable MY_MODELS in '$MY_MODELS/m' is not set; set it, or write the path out
    ");
}

/// A catalog that knows as little as one can.
struct Bare;

impl Catalog for Bare {
    fn datasets(&self) -> Vec<KnownName> {
        TestCatalog.datasets()
    }

    fn metrics(&self) -> Vec<KnownName> {
        TestCatalog.metrics()
    }

    fn prompts(&self) -> Vec<KnownName> {
        TestCatalog.prompts()
    }

    fn prompt(&self, name: &str, dataset: &str) -> Option<Prompt> {
        TestCatalog.prompt(name, dataset)
    }
}

#[test]
fn a_catalog_that_says_nothing_of_variables_has_none() {
    let source = "name: s\ndatasets: [~/q.jsonl]\ndirect: {models: ['hf:a/b']}\n";
    let told = parse(source, "s.yaml", &Bare).unwrap_err().to_string();
    assert!(told.contains("variable HOME in"), "{told}");
}

#[test]
fn only_what_is_on_this_machine_has_to_be_there() {
    let study = study(
        "name: s
datasets: [{path: q.jsonl}]
direct: {models: ['hf:a/b', 'openai:./not-a-file', 'gguf:m.gguf', 'hf:./dir'], quantization: [none]}
",
    );
    let paths: Vec<&str> = study.local_paths.iter().map(|one| &*one.path).collect();
    assert_eq!(paths, ["q.jsonl", "m.gguf", "./dir"]);
    let told = |severity| {
        let fix = Some("put it there".to_owned());
        let absent = "there is no such file".to_owned();
        let told = study.local_paths[0].diagnostic(absent, fix, severity);
        told.to_string()
    };
    assert_eq!(
        told(Severity::Error),
        "s.yaml:2: datasets[0].path: there is no such file; put it there"
    );
    assert!(told(Severity::Warning).contains("warning: "));
}

#[test]
fn what_no_experiment_uses_need_not_be_there() {
    let study = study(
        "name: s
models: ['hf:./unused']
datasets: [nq]
direct: {models: ['hf:./used']}
rag: {enabled: false, models: ['gguf:off.gguf'], retrievers: [{type: bm25, corpus: ./off}]}
",
    );
    let paths: Vec<&str> = study
        .local_paths
        .iter()
        .map(|local| local.path.as_str())
        .collect();
    assert_eq!(paths, ["./used"]);
    let study = super::study(
        "name: s
datasets: [unused.csv]
rag: {models: [], retrievers: [{name: a, type: bm25, corpus: ./a}, {name: b, type: bm25, corpus: ./b}]}
experiments: [{name: x, model: 'gguf:m.gguf', dataset: used.csv, retriever: b}]
",
    );
    let paths: Vec<&str> = study.local_paths.iter().map(|one| &*one.path).collect();
    assert_eq!(paths, ["./b", "m.gguf", "used.csv"]);
}
