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
direct: {models: ['hf:$MODELS/m'], quantization: [none]}
"
    ), @r"
    s.yaml:2: output_dir: the environment variable NOWHERE in '$NOWHERE/out' is not set; set it, or write the path out
    s.yaml:3: datasets[0].path: the environment variable EMPTY in '${EMPTY}/q.jsonl' is not set; set it, or write the path out
    s.yaml:4: direct.models[0]: the environment variable MODELS in '$MODELS/m' is not set; set it, or write the path out
    ");
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
}
