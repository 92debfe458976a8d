use super::*;
use crate::domain::{
    AgentKind, BatchSize, Dtype, Provider, Quantization, RetrieverKind, Threshold,
};
use serde_json::json;

#[test]
fn names_are_those_of_existing_studies() {
    let names = names(
        "name: s
datasets: [nq]
direct: {models: ['hf:google/gemma-2b-it'], prompts: [concise], quantization: [4bit, none]}
rag:
  models: ['hf:Qwen/Qwen2.5-7B-Instruct']
  retrievers: [simple_minilm_recursive_1024]
  top_k_values: [10]
  quantization: [8bit]
",
    );
    assert_eq!(
        names,
        [
            "direct_hf_google_gemma2bit_concise_nq",
            "direct_hf_google_gemma2bit_concise_nq_none",
            "rag_hf_Qwen_Qwen2.57BInstruct_simple_minilm_recursive_1024_k10_default_nq_8bit",
        ]
    );
}

#[test]
fn remote_and_gguf_models_make_one_cell_and_the_others_one_per_quantization() {
    let names = names(
        "name: s
datasets: [nq]
direct:
  models: ['openai:gpt-4o', 'gguf:models/x.gguf', 'embedded:reader', 'hf:a/b']
  quantization: [none, 8bit, 4bit]
",
    );
    assert_eq!(
        names,
        [
            "direct_openai_gpt4o_default_nq",
            "direct_gguf_models_x.gguf_default_nq",
            "direct_embedded_reader_default_nq_none",
            "direct_embedded_reader_default_nq_8bit",
            "direct_embedded_reader_default_nq",
            "direct_hf_a_b_default_nq_none",
            "direct_hf_a_b_default_nq_8bit",
            "direct_hf_a_b_default_nq",
        ]
    );
}

#[test]
fn a_grid_that_says_nothing_about_quantization_runs_in_4bit_as_it_always_did() {
    let study = study("name: s\ndatasets: [nq]\ndirect: {models: ['hf:a/b']}\n");
    assert_eq!(study.experiments[0].quantization, Quantization::Int4);
    assert_eq!(study.experiments[0].name, "direct_hf_a_b_default_nq");
}

#[test]
fn models_are_read_in_every_form() {
    for (entry, provider, name, revision, dtype, cell) in [
        (
            "'hf:a/b@main'",
            Provider::Hf,
            "a/b",
            Some("main"),
            Dtype::Auto,
            "direct_hf_a_b@main_default_nq",
        ),
        (
            "'hf:./some/dir'",
            Provider::Hf,
            "./some/dir",
            None,
            Dtype::Auto,
            "direct_hf_._some_dir_default_nq",
        ),
        (
            "'hf:/abs/x@y'",
            Provider::Hf,
            "/abs/x@y",
            None,
            Dtype::Auto,
            "direct_hf__abs_x@y_default_nq",
        ),
        (
            "{name: 'hf:a/b', dtype: bf16}",
            Provider::Hf,
            "a/b",
            None,
            Dtype::Bf16,
            "direct_hf_a_b_bf16_default_nq",
        ),
        (
            "{provider: hf, name: a/b, revision: v1}",
            Provider::Hf,
            "a/b",
            Some("v1"),
            Dtype::Auto,
            "direct_hf_a_b@v1_default_nq",
        ),
        (
            "{provider: hf, name: 'hf:a/b'}",
            Provider::Hf,
            "a/b",
            None,
            Dtype::Auto,
            "direct_hf_a_b_default_nq",
        ),
        (
            "{path: local/dir}",
            Provider::Hf,
            "./local/dir",
            None,
            Dtype::Auto,
            "direct_hf_._local_dir_default_nq",
        ),
        (
            "{path: x.gguf}",
            Provider::Gguf,
            "x.gguf",
            None,
            Dtype::Auto,
            "direct_gguf_x.gguf_default_nq",
        ),
        (
            "{id: 'openai:org/m:free', base_url: 'http://localhost:8000/v1'}",
            Provider::Openai,
            "org/m:free",
            None,
            Dtype::Auto,
            "direct_openai_org_m_free_default_nq",
        ),
    ] {
        let source = format!(
            "name: s\ndatasets: [nq]\ndirect: {{models: [{entry}], quantization: [4bit]}}\n"
        );
        let experiment = study(&source).experiments.remove(0);
        assert_eq!(experiment.model.provider, provider, "{entry}");
        assert_eq!(experiment.model.name, name, "{entry}");
        assert_eq!(experiment.model.revision.as_deref(), revision, "{entry}");
        assert_eq!(experiment.model.dtype, dtype, "{entry}");
        assert_eq!(experiment.name, cell, "{entry}");
    }
}

#[test]
fn unsafe_and_long_names_become_directories_and_stay_different() {
    for safe in ["direct_hf_x_default_nq", "a@b", "x+y=z", "1.5"] {
        assert_eq!(safe_name(safe), safe);
    }
    let long = "x".repeat(300);
    let other = format!("{}y", "x".repeat(299));
    let all = [
        "a b", "a_b", "a\tb", "a/b", "..", ".", "-rf", "", "ä", "ö", &long, &other,
    ];
    let mut made: Vec<String> = all.iter().map(|name| safe_name(name)).collect();
    for name in &made {
        assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES, "{name}");
        assert!(
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-@+=".contains(c)),
            "{name}"
        );
        assert!(!name.starts_with(['.', '-']), "{name}");
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), all.len());
}

#[test]
fn retriever_names_say_corpus_embedding_strategy_and_size() {
    for (name, kind, embedding) in [
        (
            "simple_minilm_recursive_512",
            RetrieverKind::Dense,
            Some("sentence-transformers/all-MiniLM-L6-v2"),
        ),
        (
            "en_mpnet_sentence_1024",
            RetrieverKind::Dense,
            Some("sentence-transformers/all-mpnet-base-v2"),
        ),
        (
            "simple_e5_fixed_256",
            RetrieverKind::Dense,
            Some("intfloat/e5-small-v2"),
        ),
        ("simple_bm25_recursive_512", RetrieverKind::Bm25, None),
    ] {
        let source =
            format!("name: s\ndatasets: [nq]\nrag: {{models: ['hf:a/b'], retrievers: [{name}]}}\n");
        let study = study(&source);
        let retriever = study.experiments[0].retriever.clone().unwrap();
        assert_eq!(retriever.name, name);
        assert_eq!(retriever.kind, kind, "{name}");
        assert_eq!(retriever.embedding.as_deref(), embedding, "{name}");
        assert_eq!(retriever.chunk_overlap, 50);
        assert_eq!(
            retriever.chunk_size.to_string(),
            name.rsplit('_').next().unwrap()
        );
        assert_eq!(study.experiments[0].top_k, Some(5));
        assert!(study.unavailable.is_empty(), "{name}");
    }
}

#[test]
fn small_chunks_share_less_and_what_is_not_cut_has_no_size() {
    let cut = |retriever: &str| {
        let study = study(&format!(
            "name: s\ndatasets: [nq]\nrag: {{models: ['hf:a/b'], retrievers: [{retriever}]}}\n"
        ));
        let retriever = study.experiments[0].retriever.clone().unwrap();
        (retriever.chunk_size, retriever.chunk_overlap)
    };
    assert_eq!(cut("simple_bm25_fixed_30"), (30, 29));
    assert_eq!(cut("simple_bm25_none_512"), (0, 0));
    let described = |keys: &str| cut(&format!("{{type: bm25, corpus: c.jsonl, {keys}}}"));
    assert_eq!(described("chunking: fixed, chunk_size: 30"), (30, 29));
    assert_eq!(described("chunking: fixed, chunk_size: 51"), (51, 50));
    assert_eq!(described("chunking: fixed"), (512, 50));
    assert_eq!(
        described("chunking: fixed, chunk_size: 30, overlap: 0"),
        (30, 0)
    );
}

#[test]
fn retrievers_are_named_without_being_described() {
    let names = names(
        "name: s
datasets: [nq]
rag: {models: ['hf:a/b'], retriever_names: [simple_e5_fixed_256], quantization: [none]}
",
    );
    assert_eq!(names, ["rag_hf_a_b_simple_e5_fixed_256_k5_default_nq_none"]);
}

#[test]
fn a_retriever_without_a_name_is_called_after_its_parts() {
    let names = names(
        "name: s
datasets: [nq]
rag:
  models: ['hf:a/b']
  retrievers:
    - {type: dense, embedding_model: sentence-transformers/all-MiniLM-L6-v2, corpus: c.jsonl}
    - {type: dense, embedding_model: 'hf:org/Other-Model', corpus: c.jsonl}
  reranker: [none, org/cross]
",
    );
    assert!(
        names.iter().any(|name| name.contains("_minilm")),
        "{names:?}"
    );
    assert!(
        names.iter().any(|name| name.contains("Other-Model")),
        "{names:?}"
    );
}

#[test]
fn gold_passages_make_one_cell_however_others_are_searched() {
    let study = study(
        "name: s
datasets: [{path: data/q.jsonl, fields: {context: passage}}]
rag:
  models: ['embedded:reader']
  retrievers: [gold, {type: bm25, name: words, corpus: data/encyclopedia.jsonl}]
  top_k_values: [1, 3]
  query_transform: [none, hyde]
  reranker: {configs: [{enabled: false}, {enabled: true, name: bge}]}
  fetch_k: 20
",
    );
    let gold: Vec<_> = study
        .experiments
        .iter()
        .filter(|spec| spec.reads_own_passages())
        .collect();
    assert_eq!((study.experiments.len(), gold.len()), (2 + 8, 2));
    assert_eq!(gold[0].name, "rag_embedded_reader_gold_k1_default_q");
    assert_eq!(gold[0].dataset.fields.context.as_deref(), Some("passage"));
    assert!(gold[0].options.is_empty(), "{:?}", gold[0].options);
    assert!(study.unavailable.is_empty());
}

#[test]
fn a_bm25_retriever_over_a_local_file_is_available_and_cuts_nothing() {
    let study = study(
        "name: s
datasets: [{path: data/my.questions.jsonl}]
rag:
  models: ['embedded:reader']
  retrievers: [{type: bm25, corpus: data/encyclopedia.jsonl, k1: 1.5}]
",
    );
    let retriever = study.experiments[0].retriever.clone().unwrap();
    assert_eq!(
        study.experiments[0].name,
        "rag_embedded_reader_encyclopedia_bm25_k5_default_my"
    );
    assert_eq!(retriever.corpus, "data/encyclopedia.jsonl");
    assert_eq!(
        (retriever.chunking.as_str(), retriever.chunk_size),
        ("none", 0)
    );
    assert_eq!(retriever.options["k1"], json!(1.5));
    assert!(study.unavailable.is_empty() && study.warnings.is_empty());
}

#[test]
fn anchors_and_merge_keys_work() {
    let study = study(
        "name: s
datasets: [nq]
models: &models ['hf:a/b', 'hf:a/c']
x-shared: &shared
  prompts: [concise]
  quantization: [8bit]
direct:
  <<: *shared
  models: *models
  prompts: [default]
",
    );
    let names: Vec<&str> = study.experiments.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "direct_hf_a_b_default_nq_8bit",
            "direct_hf_a_c_default_nq_8bit"
        ]
    );
}

#[test]
fn each_model_is_loaded_once_and_the_order_is_otherwise_that_of_the_file() {
    let study = study(
        "name: s
datasets: [nq]
direct: {models: ['hf:a/b', 'hf:a/c'], quantization: [none, 8bit]}
rag: {models: ['hf:a/c', 'hf:a/b'], quantization: [8bit], retrievers: [simple_e5_fixed_256], top_k_values: [1, 2]}
",
    );
    assert_eq!(model_loads(&study.experiments), 4);
    let names: Vec<&str> = study.experiments.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "direct_hf_a_b_default_nq_none",
            "direct_hf_a_b_default_nq_8bit",
            "rag_hf_a_b_simple_e5_fixed_256_k1_default_nq_8bit",
            "rag_hf_a_b_simple_e5_fixed_256_k2_default_nq_8bit",
            "direct_hf_a_c_default_nq_none",
            "direct_hf_a_c_default_nq_8bit",
            "rag_hf_a_c_simple_e5_fixed_256_k1_default_nq_8bit",
            "rag_hf_a_c_simple_e5_fixed_256_k2_default_nq_8bit",
        ]
    );
}

#[test]
fn settings_have_defaults_and_can_all_be_said() {
    let plain = study("name: s\ndatasets: [nq]\ndirect: {models: ['hf:a/b']}\n");
    assert_eq!(plain.output_dir, "outputs/s");
    assert_eq!(plain.settings.batch_size, BatchSize::Fixed(8));
    assert_eq!(plain.settings.num_questions, None);
    assert_eq!(plain.settings.metrics, ["exact_match", "f1"]);
    assert!(plain.settings.skip_existing && plain.settings.save_intermediate);
    let said = study(
        "name: s
description: All of it
output_dir: elsewhere/s
num_questions: 20
datasets: [nq]
direct: {models: ['hf:a/b'], generation: {max_new_tokens: 7}}
metrics: [f1, bleurt]
batch_size: auto
min_batch_size: 4
max_consecutive_failures: never
batch_timeout: 90
load_timeout: 1h30m
experiment_timeout: 2h
seed: 7
generation: {max_new_tokens: 20, temperature: 0.5, top_p: 0.9, stop: \"\\n\"}
options: {skip_existing: no, save_intermediate: off}
",
    );
    assert_eq!(said.description, "All of it");
    assert_eq!(said.output_dir, "elsewhere/s");
    let settings = &said.settings;
    assert_eq!(settings.num_questions, Some(20));
    assert_eq!(settings.batch_size, BatchSize::Auto);
    assert_eq!(settings.min_batch_size, 4);
    assert_eq!(settings.max_consecutive_failures, Threshold::Never);
    assert_eq!(settings.batch_timeout_s, 90.0);
    assert_eq!(settings.load_timeout_s, 5400.0);
    assert_eq!(settings.experiment_timeout_s, Some(7200.0));
    assert!(!settings.skip_existing && !settings.save_intermediate);
    assert_eq!(settings.metrics, ["f1"]);
    assert!(said.unavailable_metrics.contains_key("bleurt"));
    let generation = &said.experiments[0].generation;
    assert_eq!((generation.max_new_tokens, generation.seed), (7, 7));
    assert_eq!((generation.temperature, generation.top_p), (0.5, Some(0.9)));
    assert_eq!(generation.stop, ["\n"]);
}

#[test]
fn a_key_without_a_value_is_as_if_it_were_not_there() {
    let plain = study("name: s\ndatasets: [nq]\ndirect: {models: ['hf:a/b']}\n");
    let empty = study(
        "name: s
datasets: [nq]
direct: {models: ['hf:a/b'], prompts: ~, quantization: null}
num_questions:
metrics: ~
batch_timeout: ~
generation: ~
",
    );
    assert_eq!(empty.experiments, plain.experiments);
    assert_eq!(empty.settings, plain.settings);
}

#[test]
fn a_whole_number_may_be_written_with_a_point() {
    let asked = |number: &str| {
        format!(
            "name: s\ndatasets: [nq]\ndirect: {{models: ['hf:a/b']}}\nnum_questions: {number}\n"
        )
    };
    for (number, count) in [("100", 100), ("100.0", 100), ("1e2", 100), ("1_000", 1000)] {
        let study = study(&asked(number));
        assert_eq!(study.settings.num_questions, Some(count), "{number}");
    }
    for number in ["1.5", "1e15", ".inf", ".nan"] {
        let told = problems(&asked(number));
        assert!(told.contains("expected a whole number"), "{told}");
    }
}

#[test]
fn times_are_read_in_every_unit() {
    let source = |time: &str| {
        format!("name: s\ndatasets: [nq]\ndirect: {{models: ['hf:a/b']}}\nbatch_timeout: {time}\n")
    };
    for (time, seconds) in [
        ("90", 90.0),
        ("0.5", 0.5),
        ("90s", 90.0),
        ("30m", 1_800.0),
        ("2 hours", 7_200.0),
        ("1d", 86_400.0),
        ("2 days", 172_800.0),
        ("1h 30m", 5_400.0),
        ("1d2h3m4.5s", 93_784.5),
    ] {
        assert_eq!(
            study(&source(time)).settings.batch_timeout_s,
            seconds,
            "{time}"
        );
    }
    for time in [
        "0", "0s", "-1", ".inf", ".nan", "soon", "3 weeks", "h", "[1]",
    ] {
        assert!(problems(&source(time)).contains("batch_timeout"), "{time}");
    }
}

#[test]
fn hand_written_cells_take_what_they_do_not_say_from_the_study() {
    let study = study(
        "name: s
datasets: [nq, squad]
models: ['hf:a/b']
rag:
  models: []
  corpus: data/c.jsonl
  retrievers: [{name: mine, type: bm25}]
experiments:
  - {name: plain, hypothesis: It works.}
  - {name: mine_k3, retriever: mine, top_k: 3, dataset: squad, quant: 8bit, batch_size: 2}
  - {name: careful, retriever: mine, agent_type: iterative_rag, dataset: nq, max_iterations: 2, reranker: bge, fetch_k: 20, query_transform: hyde}
",
    );
    let by_name = |name: &str| {
        let found = study.experiments.iter().find(|e| e.name == name);
        found.unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!(study.experiments.len(), 4);
    assert_eq!(by_name("plain_nq").quantization, Quantization::None);
    assert_eq!(by_name("plain_squad").agent, AgentKind::DirectLlm);
    assert_eq!(study.hypotheses["plain_squad"], "It works.");
    let mine = by_name("mine_k3");
    assert_eq!(mine.retriever.unwrap().corpus, "data/c.jsonl");
    assert_eq!(
        (mine.top_k, mine.quantization),
        (Some(3), Quantization::Int8)
    );
    assert_eq!(
        study.settings_for("mine_k3").batch_size,
        BatchSize::Fixed(2)
    );
    assert_eq!(
        study.settings_for("plain_nq").batch_size,
        BatchSize::Fixed(8)
    );
    let careful = by_name("careful");
    assert_eq!(careful.agent, AgentKind::IterativeRag);
    assert_eq!(
        json!(careful.options),
        json!({"fetch_k": 20, "max_iterations": 2, "query_transform": "hyde", "reranker": {"name": "bge", "model": "bge"}})
    );
    assert!(study.unavailable.is_empty(), "{:?}", study.unavailable);
}

#[test]
fn transforms_and_rerankers_are_axes_and_stand_in_the_name() {
    let names = names(
        "name: s
datasets: [nq]
rag:
  models: ['hf:a/b']
  corpus: {source: wikimedia/wikipedia, version: 20231101.en, max_docs: 1000, streaming: false}
  retrievers: [{type: dense, name: d, embedding_model: BAAI/bge-m3, index_type: hnsw}]
  query_transform: [none, hyde]
  reranker: {configs: [{enabled: false, name: no_rerank}, {enabled: true, name: rr, model: bge}]}
  quantization: [none]
",
    );
    assert_eq!(
        names,
        [
            "rag_hf_a_b_d_k5_default_nq_none",
            "rag_hf_a_b_d_k5_rr_default_nq_none",
            "rag_hf_a_b_d_k5_hyde_default_nq_none",
            "rag_hf_a_b_d_k5_hyde_rr_default_nq_none",
        ]
    );
}

#[test]
fn identity_does_not_depend_on_settings_of_the_run() {
    let grid = "name: s\ndatasets: [nq]\ndirect: {models: ['hf:a/b']}\n";
    let one = study(grid);
    let other = study(&format!(
        "{grid}num_questions: 7\nbatch_size: 3\nmetrics: [f1]\nbatch_timeout: 1h\n"
    ));
    assert_eq!(one.experiments[0].hash(), other.experiments[0].hash());
    let hotter = study(&format!("{grid}generation: {{temperature: 0.7}}\n"));
    assert_ne!(one.experiments[0].hash(), hotter.experiments[0].hash());
}

#[test]
fn sampling_takes_every_stratum_first_and_grows_without_dropping_a_cell() {
    let sampled = |number: usize, mode: &str| {
        names(&format!(
            "name: s
datasets: [nq, squad]
rag:
  models: ['hf:a/b', 'hf:a/c', 'hf:a/d']
  retrievers: [simple_e5_fixed_256, en_e5_fixed_256]
  top_k_values: [1, 2, 3, 4]
  sampling: {{mode: {mode}, n_experiments: {number}, seed: 1}}
"
        ))
    };
    for mode in ["random", "stratified"] {
        let (few, more, all) = (sampled(6, mode), sampled(13, mode), sampled(1000, mode));
        assert_eq!((few.len(), more.len(), all.len()), (6, 13, 48));
        assert!(few.iter().all(|name| more.contains(name)), "{mode}");
    }
    let six = sampled(6, "stratified");
    for model in ["a_b", "a_c", "a_d"] {
        for retriever in ["simple", "en"] {
            let start = format!("rag_hf_{model}_{retriever}_");
            assert_eq!(
                six.iter().filter(|name| name.starts_with(&start)).count(),
                1,
                "{six:?}"
            );
        }
    }
}

#[test]
fn a_study_of_another_tool_runs_with_warnings() {
    let study = study(
        "name: s
datasets: [nq]
models: &models ['vllm:a/b', 'hf:a/c']
direct: {enabled: true, models: *models, prompts: [concise], quantization: [none]}
rag:
  enabled: true
  models: *models
  sampling: {mode: stratified, n_experiments: 20, seed: 42, stratify_by: [model, retriever]}
  corpus: {source: wikimedia/wikipedia, version: 20231101.en, max_docs: 1000, wikirank_top_k: 1000, num_proc: 128, doc_batch_size: 50}
  embedding: {backend: vllm}
  retrievers:
    - {type: dense, name: d, embedding_model: BAAI/bge-m3, embedding_backend: vllm, chunk_size: 512, chunk_overlap: 50, chunking_strategy: recursive}
    - {type: hybrid, name: h, embedding_model: BAAI/bge-m3, sparse_method: tfidf, alpha: 0.7, chunk_size: 256}
    - {type: hierarchical, name: t, embedding_model: BAAI/bge-m3, parent_chunk_size: 1024, child_chunk_size: 256}
  retriever_names: [d, t]
  top_k_values: [3, 5]
  query_transform: [none, hyde, multiquery]
  reranker: {configs: [{enabled: false, name: none}, {enabled: true, name: bge-v2}]}
  fetch_k_multiplier: 5
  prompts: [concise]
  quantization: [none]
experiments:
  - {name: one, hypothesis: h, model: 'vllm:a/b', agent_type: self_rag, retriever: h, top_k: 5, retrieval_threshold: 0.5, verify_answer: true, fallback_to_direct: true, prompt: concise}
llm_judge: {model: 'openai:m', type: binary}
options: {batch_size: 8, quantization: 4bit, build_index_if_missing: true, cache_embeddings: true, skip_existing: true}
",
    );
    assert_eq!(study.experiments.len(), 2 + 20 + 1);
    assert_eq!(study.unavailable.len(), 22);
    let tree = study
        .experiments
        .iter()
        .filter_map(|e| e.retriever.as_ref());
    let tree = tree.clone().find(|r| r.name == "t").unwrap();
    assert_eq!(tree.chunk_size, 256);
    assert_eq!(tree.options["parent_chunk_size"], json!(1024));
    assert_eq!(tree.options["max_docs"], json!(1000));
    assert!(
        study
            .warnings
            .iter()
            .all(|w| w.severity == Severity::Warning)
    );
}

#[test]
fn equal_cells_of_a_grid_and_by_hand_are_one() {
    let study = study(
        "name: s
datasets: [nq, nq]
direct: {models: ['hf:a/b', 'hf:a/b'], quantization: [8bit, 8bit]}
",
    );
    assert_eq!(study.experiments.len(), 1);
}

#[test]
fn ten_thousand_cells_take_no_time() {
    let models: Vec<String> = (0..100).map(|i| format!("'hf:org/m{i}'")).collect();
    let source = format!(
        "name: s\ndatasets: [nq, squad]\nrag: {{models: [{}], retrievers: [simple_e5_fixed_256], top_k_values: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17], prompts: [default, concise, fewshot]}}\n",
        models.join(",")
    );
    let start = std::time::Instant::now();
    let study = study(&source);
    let parsed = start.elapsed();
    let hashes: std::collections::HashSet<String> =
        study.experiments.iter().map(|e| e.hash()).collect();
    eprintln!(
        "10,200 cells: parsed {parsed:?}, hashed too {:?}",
        start.elapsed()
    );
    assert_eq!(hashes.len(), 10_200);
}

#[test]
fn a_sample_by_agent_has_every_agent() {
    for seed in 0..12 {
        let study = study(&format!(
            "name: s
datasets: [nq]
rag:
  models: ['hf:a/b']
  quantization: [none]
  retrievers: [simple_e5_fixed_256]
  agents: [fixed_rag, iterative_rag, self_rag]
  top_k_values: [1, 2, 3, 4, 5]
  sampling: {{mode: stratified, n_experiments: 3, seed: {seed}, stratify_by: [agent]}}
"
        ));
        let mut agents: Vec<String> = study
            .experiments
            .iter()
            .map(|spec| format!("{:?}", spec.agent))
            .collect();
        agents.sort();
        assert_eq!(agents, ["FixedRag", "IterativeRag", "SelfRag"], "{seed}");
    }
}
