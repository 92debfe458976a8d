use super::*;

const GRID: &str = "name: s\ndatasets: [nq]\n";

#[test]
fn every_problem_is_told_in_one_go_with_line_key_value_and_fix() {
    insta::assert_snapshot!(problems(
        "name: s
num_question: 100
datasets: [nq, trivaqa]
direct:
  models:
    - hf:google/gemma-2b-it
    - hg:google/gemma-2b-it
    - gpt-4o-mini
    - embedded:readr
  prompts: [defualt]
  quantization: [none, 8bits]
  top_k_values: [3]
rag:
  models: []
  retrievers:
    - simple_minlm_recursive_512
    - nonsense
    - {type: bm25, corpus: simple, embedding_model: minilm}
    - {type: dense, name: d, chunk_size: 100, overlap: 100}
metrics: [f1, exact_mach]
batch_size: many
min_batch_size: 0
max_consecutive_failures: nevr
batch_timeout: soon
generation: {temperature: -1, max_new_tokens: '64'}
options: {skip_existing: maybe}
"
    ), @r"
    s.yaml:2: num_question: unknown key; did you mean 'num_questions'?
    s.yaml:3: datasets[1]: unknown dataset 'trivaqa'; did you mean 'triviaqa'?
    s.yaml:7: direct.models[1]: unknown provider 'hg' in 'hg:google/gemma-2b-it'; did you mean 'hf:google/gemma-2b-it'?
    s.yaml:8: direct.models[2]: the model 'gpt-4o-mini' does not say where it comes from; did you mean 'openai:gpt-4o-mini'?
    s.yaml:9: direct.models[3]: unknown model 'embedded:readr'; did you mean 'embedded:reader'?
    s.yaml:10: direct.prompts[0]: unknown prompt 'defualt'; did you mean 'default'?
    s.yaml:11: direct.quantization[1]: unknown value '8bits'; did you mean '8bit'?
    s.yaml:12: direct.top_k_values: unknown key; 'top_k_values' belongs under rag
    s.yaml:14: rag.models: the list is empty; give it models, or write enabled: false
    s.yaml:16: rag.retrievers[0]: unknown embedding 'minlm' in the retriever 'simple_minlm_recursive_512'; did you mean 'minilm'?
    s.yaml:17: rag.retrievers[1]: unknown retriever 'nonsense'; describe it under rag.retrievers, or write a name of the form {corpus}_{embedding}_{strategy}_{chunk_size}
    s.yaml:18: rag.retrievers[2].embedding_model: bm25 has no embeddings; remove the key, or write type: dense
    s.yaml:19: rag.retrievers[3].corpus: 'corpus' is missing; write simple, en or a path, here or under rag
    s.yaml:19: rag.retrievers[3].embedding_model: 'embedding_model' is missing; write minilm, mpnet, e5 or a model on the hub
    s.yaml:19: rag.retrievers[3].overlap: chunks of 100 characters can not share 100; the most is 99
    s.yaml:20: metrics[1]: unknown metric 'exact_mach'; did you mean 'exact_match'?
    s.yaml:21: batch_size: expected a whole number or auto, found 'many'
    s.yaml:22: min_batch_size: 0 is too small; the least is 1
    s.yaml:23: max_consecutive_failures: expected a whole number or never, found 'nevr'
    s.yaml:24: batch_timeout: expected a time, found 'soon'; write seconds, or '90s', '30m', '2h', '1h30m'
    s.yaml:25: generation.temperature: -1 is out of range; it has to be between 0 and 100
    s.yaml:25: generation.max_new_tokens: expected a whole number, found '64'; remove the quotes
    s.yaml:26: options.skip_existing: expected true or false, found 'maybe'
    ");
}

#[test]
fn what_is_known_but_unavailable_warns_once_and_fails_its_own_cells_only() {
    let study = study(
        "name: s
datasets: [nq, musique]
judgment_type: binary
models: &models ['vllm:a/b', 'hf:a/c', 'vllm:a/d']
corpus: simple
direct: {models: *models, prompts: [default, detailed], quantization: [none]}
metrics: [f1, bleurt]
llm_judge: {model: 'openai:gpt-4o-mini', judgment_type: binary}
",
    );
    assert_eq!(study.experiments.len(), 12);
    assert_eq!(study.unavailable.len(), 11);
    assert!(
        !study
            .unavailable
            .contains_key("direct_hf_a_c_default_nq_none")
    );
    assert_eq!(study.llm_judge.unwrap().judgment_type, "binary");
    let warnings: Vec<String> = study.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"), @r"
    s.yaml:2: warning: datasets[1]: the dataset 'musique' is known but not available: it has no loader yet; its experiments fail, the others run
    s.yaml:3: warning: judgment_type: the key is known from other tools and ignored: it belongs under llm_judge
    s.yaml:4: warning: models[0]: the provider 'vllm' is known but not available: models behind vllm: are served by another tool; hf: runs the same weights here; its experiments fail, the others run
    s.yaml:6: warning: direct.prompts[1]: the prompt 'detailed' is known but not available: it was never written; its experiments fail, the others run
    s.yaml:7: warning: metrics[1]: the metric 'bleurt' is known but not available: it needs another runtime; it stays uncomputed, the others are computed
    ");
}

/// A catalog of a program that can do less, and judge.
struct Limited;

impl Catalog for Limited {
    fn datasets(&self) -> Vec<KnownName> {
        TestCatalog.datasets()
    }

    fn metrics(&self) -> Vec<KnownName> {
        vec![
            KnownName::available("f1"),
            KnownName::available("llm_judge"),
        ]
    }

    fn prompts(&self) -> Vec<KnownName> {
        TestCatalog.prompts()
    }

    fn prompt(&self, name: &str, dataset: &str) -> Option<Prompt> {
        TestCatalog.prompt(name, dataset)
    }

    fn retriever_kinds(&self) -> Vec<KnownName> {
        vec![
            KnownName::available("bm25"),
            KnownName::unavailable("dense", "it was built without"),
        ]
    }

    fn agents(&self) -> Vec<KnownName> {
        vec![
            KnownName::available("direct_llm"),
            KnownName::available("fixed_rag"),
            KnownName::unavailable("self_rag", "it was built without"),
        ]
    }

    fn rerankers(&self) -> Vec<KnownName> {
        vec![KnownName::unavailable("bge", "it was built without")]
    }
}

#[test]
fn agents_and_rerankers_that_are_not_there_fail_their_own_cells_only() {
    let source = format!(
        "{GRID}models: ['hf:a/b']
rag: {{models: [], corpus: c.jsonl, retrievers: [{{name: r, type: bm25}}]}}
experiments:
  - {{name: a, agent: direct}}
  - {{name: b, retriever: r, agent: fixed_rag}}
  - {{name: c, retriever: r, agent: self_rag}}
  - {{name: d, retriever: r, agent: iterative_rag}}
  - {{name: e, retriever: r, reranker: bge}}
  - {{name: f, retriever: r, reranker: org/cross}}
  - {{name: g, retriever: r, reranker: none}}
metrics: [f1]
"
    );
    let limited = parse(&source, "s.yaml", &Limited).unwrap().unavailable;
    let trouble: Vec<(&str, &str)> = limited
        .iter()
        .map(|(name, why)| (name.as_str(), why.as_str()))
        .collect();
    assert_eq!(
        trouble,
        [
            (
                "c",
                "the agent 'self_rag' is not available: it was built without"
            ),
            ("d", "the agent 'iterative_rag' is not available"),
            (
                "e",
                "the reranker 'bge' is not available: it was built without"
            ),
            ("f", "it was built without"),
        ]
    );
    assert!(study(&source).unavailable.is_empty());
}

#[test]
fn a_kind_of_search_that_is_not_there_fails_its_own_cells_only() {
    let source = format!(
        "{GRID}rag:
  models: ['hf:a/b']
  quantization: [none]
  retrievers:
    - {{name: words, type: bm25, corpus: c.jsonl}}
    - simple_e5_fixed_256
    - {{name: both, type: hybrid, corpus: c.jsonl, embedding: e5}}
metrics: [f1]
"
    );
    let study = parse(&source, "s.yaml", &Limited).unwrap();
    let trouble: Vec<(&str, &str)> = study
        .unavailable
        .iter()
        .map(|(name, why)| (name.as_str(), why.as_str()))
        .collect();
    assert_eq!(
        trouble,
        [
            (
                "rag_hf_a_b_both_k5_default_nq_none",
                "'hybrid' retrievers are not available"
            ),
            (
                "rag_hf_a_b_simple_e5_fixed_256_k5_default_nq_none",
                "the retriever type 'dense' is not available: it was built without"
            ),
        ]
    );
}

#[test]
fn a_judge_that_is_no_server_or_not_there_leaves_its_metric_uncomputed() {
    let told = |judge: &str| {
        let source =
            format!("{GRID}direct: {{models: ['hf:a/b']}}\nmetrics: [f1, llm_judge]\n{judge}");
        let study = parse(&source, "s.yaml", &Limited).unwrap();
        study.unavailable_metrics.get("llm_judge").cloned()
    };
    assert!(told("").unwrap().starts_with("nobody is there to judge"));
    let local = told("llm_judge: {model: 'hf:c/d'}\n").unwrap();
    assert!(local.starts_with("hf:c/d can not judge"), "{local}");
    assert_eq!(told("llm_judge: {model: 'openai:judge'}\n"), None);
}

#[test]
fn what_is_switched_off_is_checked_and_warns_of_nothing() {
    let source = |enabled: bool| {
        format!(
            "{GRID}direct: {{models: ['hf:a/b']}}
rag: {{enabled: {enabled}, models: ['vllm:a/b'], prompts: [detailed], retrievers: [simple_e5_fixed_256]}}
"
        )
    };
    assert_eq!(study(&source(false)).warnings, []);
    assert_eq!(study(&source(true)).warnings.len(), 2);
    let broken = source(false).replace("simple_e5_fixed_256", "nonsense");
    assert!(problems(&broken).contains("unknown retriever 'nonsense'"));
}

#[test]
fn the_models_of_metrics_are_named_or_the_usual_ones() {
    let usual = study("name: s\ndatasets: [nq]\ndirect: {models: ['hf:a/b']}\n").scoring;
    assert_eq!(usual.tokens.model.name, "FacebookAI/roberta-large");
    assert_eq!(usual.tokens.layer, 17);
    let named = study(
        "name: s
datasets: [nq]
direct: {models: ['hf:a/b']}
bertscore: {model: 'hf:./mine', layer: 2}
nli: {model: roberta-large}
",
    )
    .scoring;
    assert_eq!(named.tokens.model.name, "./mine");
    assert_eq!(named.tokens.layer, 2);
    assert_eq!(named.inference.name, "FacebookAI/roberta-large-mnli");
    insta::assert_snapshot!(problems(
        "name: s
datasets: [nq]
direct: {models: ['hf:a/b']}
bertscore: {model: 'hf:./mine', layers: 2}
nli: {model: deberta}
"
    ), @r"
    s.yaml:4: bertscore.model: nobody has said which layer of hf:./mine agrees best with people: write a layer too, such as two thirds of how many it has
    s.yaml:4: bertscore.layers: unknown key; did you mean 'layer'?
    s.yaml:5: nli.model: there is no model of inference 'deberta': write minilm, roberta-base, roberta-large, hf:org/name, hf:org/name@revision or hf:./directory
    ");
}

#[test]
fn two_cells_of_one_name_are_told_once_with_both_places() {
    insta::assert_snapshot!(problems(
        "name: s
datasets: [nq, squad]
direct:
  models:
    - hf:x/a-b
    - hf:x/ab
"
    ), @r"s.yaml:6: direct.models[1]: two different experiments are both named 'direct_hf_x_ab_default_nq', one by model 'hf:x/a-b' (direct.models[0], line 5) and one by model 'hf:x/ab' (direct.models[1], line 6); remove one of them, or give it another name");
    insta::assert_snapshot!(problems(
        "name: s
datasets: [nq, {name: nq, path: other.jsonl}]
direct: {models: ['hf:a/b']}
experiments:
  - {name: same, model: 'hf:a/b', dataset: squad}
  - {name: same, model: 'hf:a/b', dataset: squad, generation: {seed: 1}}
"
    ), @r"
    s.yaml:2: datasets[1]: two different experiments are both named 'direct_hf_a_b_default_nq', one by dataset 'nq' (datasets[0], line 2) and one by dataset 'nq' from other.jsonl (datasets[1], line 2); remove one of them, or give it another name
    s.yaml:6: experiments[1]: two different experiments are both named 'same', one by its generation settings (experiments[0], line 5) and one by its generation settings (experiments[1], line 6); remove one of them, or give it another name
    ");
}

#[test]
fn values_of_the_wrong_kind_are_named() {
    insta::assert_snapshot!(problems(
        "name: 2024
datasets: nq
num_questions: ten
direct:
  enabled: 1
  models: {a: b}
  prompts: []
  quantization: [8, ~]
rag: true
experiments:
  - just a name
  - {name: x, model: 'hf:a/b', dataset: nq, top_k: 3}
  - {name: study.yaml, model: 'hf:a/b', dataset: nq}
  - {name: y, model: {name: a/b, base_url: 'http://x'}, dataset: {split: test}}
"
    ), @r"
    s.yaml:1: name: expected text, found the number 2024; put it in quotes: '2024'
    s.yaml:2: datasets: expected a list, found 'nq'; write it as a list: [nq]
    s.yaml:3: num_questions: expected a whole number, found 'ten'
    s.yaml:5: direct.enabled: expected true or false, found the number 1
    s.yaml:6: direct.models: expected a list, found a mapping
    s.yaml:7: direct.prompts: the list is empty; give it items, or remove the key
    s.yaml:8: direct.quantization[0]: expected a word, found the number 8; the words are none, 8bit and 4bit
    s.yaml:8: direct.quantization[1]: expected a word, found an empty value; remove the key, or write one of the words
    s.yaml:9: rag: expected a mapping of keys, found the boolean true
    s.yaml:11: experiments[0]: expected a mapping of keys, found 'just a name'
    s.yaml:12: experiments[1].top_k: without a retriever this means nothing; remove it, or write retriever
    s.yaml:13: experiments[2].name: 'study.yaml' is a file of the study's own; choose another name
    s.yaml:14: experiments[3].model.name: the model 'a/b' does not say where it comes from; did you mean 'hf:a/b'?
    s.yaml:14: experiments[3].dataset: the dataset has neither name nor path; write name: nq, or path: a file
    ");
}

#[test]
fn models_that_can_not_be_meant_are_told_with_what_could_be() {
    let told = |model: &str| {
        problems(&format!(
            "{GRID}direct: {{models: ['{model}'], quantization: [none]}}\n"
        ))
    };
    for (model, meant) in [
        ("dir/x.gguf", "gguf:dir/x.gguf"),
        ("org/name", "hf:org/name"),
        ("reader", "embedded:reader"),
        ("gpt", "openai:gpt"),
    ] {
        let told = told(model);
        assert!(told.contains(&format!("did you mean '{meant}'?")), "{told}");
    }
    for model in ["hf:a b/c", "hf:a//b", "hf:a/b/c", "hf:a/", "hf:a/ü"] {
        let told = told(model);
        assert!(told.contains("is no name on the hub"), "{told}");
    }
    assert!(told("hf:").contains("has no name behind the colon"));
    assert!(told("hf:a/b@").contains("has no revision behind the @"));
}

#[test]
fn what_is_missing_is_named() {
    insta::assert_snapshot!(problems(""), @r"s.yaml:1: the file is empty; a study needs at least name, datasets and direct, rag or experiments");
    insta::assert_snapshot!(problems("- a\n- b\n"), @r"s.yaml:1: a study is a mapping of keys, and this is a list; begin with name: my_study");
    insta::assert_snapshot!(problems("name: s\n"), @r"s.yaml:1: there is nothing to run; write direct, rag or experiments");
    insta::assert_snapshot!(problems("direct: {}\n"), @r"
    s.yaml:1: name: 'name' is missing; it names the output directory
    s.yaml:1: datasets: 'datasets' is missing; write for example datasets: [nq]
    s.yaml:1: direct.models: 'models' is missing; write for example models: [embedded:reader]
    ");
    insta::assert_snapshot!(problems("name: s\ndatasets: [nq]\nrag: {models: ['hf:a/b']}\n"), @r"s.yaml:3: rag.retrievers: 'retrievers' is missing; write for example retrievers: [simple_minilm_recursive_512]");
    insta::assert_snapshot!(problems("name: s\ndatasets: [nq]\ndirect: {enabled: false}\n"), @r"s.yaml:3: direct: nothing is left to run; enable direct or rag, or write experiments");
    insta::assert_snapshot!(problems("name: a/b\ndatasets: [nq]\ndirect: {models: ['hf:a/b']}\n"), @r"s.yaml:1: name: 'a/b' can not name a directory; use letters, digits, dots, dashes and underscores");
}

#[test]
fn yaml_that_can_not_be_read_is_told_with_its_line() {
    insta::assert_snapshot!(problems("name: s\ndirect:\n\t- x\n"), @r"s.yaml:3: this is not valid YAML: tabs disallowed within this context (block indentation)");
    insta::assert_snapshot!(problems("name: s\nname: t\ndatasets: [nq]\ndirect: {models: ['hf:a/b']}\n"), @r"s.yaml:2: name: the key is given twice, first on line 1; keep one of them");
    insta::assert_snapshot!(problems("name: s\n---\nname: t\n"), @r"s.yaml:2: a second document begins here, and a file holds one study; put it into a file of its own");
    assert!(problems("---\n---\nname: s\n").contains("s.yaml:2: a second document begins here"));
    insta::assert_snapshot!(problems("name: &a [*a]\n"), @r"s.yaml:1: this alias stands inside the value that it stands for; a value can not contain itself");
    insta::assert_snapshot!(problems("name: *nowhere\n"), @r"s.yaml:1: this is not valid YAML: while parsing node, found unknown anchor");
    insta::assert_snapshot!(problems("name: !!python/object:os.system x\n"), @r"
    s.yaml:1: there is nothing to run; write direct, rag or experiments
    s.yaml:1: the YAML tag '!!python/object:os.system' means nothing here; remove it
    ");
    insta::assert_snapshot!(problems("name: s\ndirect: {<<: 1}\n"), @r"
    s.yaml:1: datasets: 'datasets' is missing; write for example datasets: [nq]
    s.yaml:2: direct.models: 'models' is missing; write for example models: [embedded:reader]
    s.yaml:2: <<: a merge key needs a mapping, or a list of mappings; write <<: *anchor
    ");
}

#[test]
fn words_of_yaml_are_told_from_texts() {
    let told = |name: &str| problems(&format!("name: {name}\ndirect: {{}}\n"));
    for name in ["false", "False", "FALSE"] {
        let told = told(name);
        assert!(told.contains("found the boolean false"), "{told}");
    }
    for name in ["1.5", ".5", "-1e3", ".inf", "-.INF", ".nan", "0x1F", "0o17"] {
        let told = told(name);
        assert!(told.contains(&format!("found the number {name}")), "{told}");
    }
    // A plain ! says that it is a text, and another tag nothing.
    for name in ["inf", "nan", "1.5.0", "! s", "!!str s", "'1.5'", "..."] {
        let told = told(name);
        assert!(!told.contains("number"), "{told}");
        assert!(!told.contains("YAML tag"), "{told}");
    }
    for name in ["!x s", "!<x> s", "!!map s"] {
        let told = told(name);
        assert!(told.contains("YAML tag"), "{name}: {told}");
    }
}

#[test]
fn columns_count_from_one() {
    let place = |source: &str| {
        let problems = parse(source, "s.yaml", &TestCatalog).unwrap_err();
        let first = &problems.diagnostics[0];
        (first.line, first.column)
    };
    assert_eq!(place("nam: s\n"), (1, 1));
    assert_eq!(place("name: *nowhere\n"), (1, 7));
    let model = format!("{GRID}direct: {{models: ['hg:a/b']}}\n");
    assert_eq!(place(&model), (3, 19));
}

#[test]
fn aliases_inside_each_other_are_as_deep_as_they_are_written_out() {
    let chain = |length: usize| {
        let mut text = String::from("x-0: &a0 [x]\n");
        for i in 1..length {
            text.push_str(&format!("x-{i}: &a{i} [*a{}]\n", i - 1));
        }
        problems(&text)
    };
    assert!(!chain(60).contains("would be enormous"));
    assert!(chain(70).contains("would be enormous"));
}

#[test]
fn an_alias_bomb_is_refused_quickly() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let before = format!("*a{}", i - 1);
        let row = vec![before; 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{row}]\n"));
    }
    let text = problems(&bomb);
    assert!(text.contains("would be enormous"), "{text}");
    let deep = format!("name: {}\n", "- ".repeat(5000));
    assert!(problems(&deep).contains("s.yaml:1"), "{}", problems(&deep));
    let nested = format!("name:\n {}x", "- ".repeat(5000));
    assert!(problems(&nested).contains("nested more than 64 deep"));
    assert!(problems(&"[".repeat(5000)).contains("s.yaml:1"));
}

#[test]
fn a_grid_over_the_cap_is_refused_before_it_is_built() {
    let many: Vec<String> = (1..=500).map(|k| k.to_string()).collect();
    let models: Vec<String> = (0..500).map(|i| format!("'hf:a/m{i}'")).collect();
    let source = format!(
        "{GRID}rag: {{models: [{}], top_k_values: [{}], retrievers: [simple_e5_fixed_256]}}\n",
        models.join(","),
        many.join(",")
    );
    insta::assert_snapshot!(problems(&source), @r"
    s.yaml:3: rag: with 250,000 experiments here the study has more than 100,000; shorten some lists, or split the study
    ");
    let more = source.replace(
        "{models",
        "{quantization: [none, 8bit], prompts: [default, concise], models",
    );
    let told = problems(&more);
    assert!(told.contains("with 1,000,000 experiments here"), "{told}");
}

#[test]
fn a_key_in_the_wrong_place_is_told_where_it_belongs() {
    insta::assert_snapshot!(problems(&format!(
        "{GRID}direct: {{models: ['hf:a/b'], reranker: bge, skip_existing: true}}\ntemperature: 0\nTop_K: 3\nwhatever: 1\n"
    )), @r"
    s.yaml:3: direct.reranker: unknown key; 'reranker' belongs under rag
    s.yaml:3: direct.skip_existing: unknown key; 'skip_existing' belongs under options
    s.yaml:4: temperature: unknown key; 'temperature' belongs under generation
    s.yaml:5: Top_K: unknown key; 'top_k' belongs under rag
    s.yaml:6: whatever: unknown key; `ragicamp schema` lists the keys
    ");
}

#[test]
fn prompts_written_out_have_to_hold_their_placeholders() {
    insta::assert_snapshot!(problems(&format!(
        "{GRID}direct: {{models: ['hf:a/b'], prompts: [{{name: mine, direct: 'Q {{query}}', examples: [{{question: a}}]}}]}}\n"
    )), @r"
    s.yaml:3: warning: direct.prompts[0].direct: nothing is put in for {query}, the model reads it as it is; what is put in here is {question}, {examples} and {context}
    s.yaml:3: direct.prompts[0].direct: the text does not hold {question}; write {question} where it belongs
    s.yaml:3: direct.prompts[0].examples: the direct text does not hold {examples}; write {examples} where they belong
    s.yaml:3: direct.prompts[0].examples[0].answer: 'answer' is missing; an example has a question and an answer
    ");
    let study = study(&format!(
        "{GRID}direct: {{models: ['hf:a/b'], prompts: [{{name: mine, direct: 'Q {{question}}'}}]}}\n"
    ));
    assert_eq!(study.experiments[0].prompt.direct, "Q {question}");
    assert_eq!(
        study.experiments[0].prompt.with_context,
        "default {context} {question}"
    );
    assert_eq!(study.experiments[0].name, "direct_hf_a_b_mine_nq");
}

#[test]
fn a_problem_under_an_alias_is_told_once() {
    let text = problems(&format!(
        "{GRID}models: &m ['hf:']\ndirect: {{models: *m}}\nrag: {{models: *m, retrievers: [simple_e5_fixed_256]}}\n"
    ));
    assert_eq!(text.matches("'hf:'").count(), 1, "{text}");
}

#[test]
fn problems_are_counted_without_warnings_and_a_hundred_are_shown() {
    let source = |count: usize| {
        let unknown: String = (0..count).map(|i| format!("unknown{i}: 1\n")).collect();
        format!("{GRID}sampling: {{n_experiments: 1}}\ndirect: {{models: ['hf:a/b']}}\n{unknown}")
    };
    let told = |count: usize| parse(&source(count), "s.yaml", &TestCatalog).unwrap_err();
    assert_eq!(told(3).errors(), 3);
    // The warning is one of them.
    let shown = |count: usize| {
        let text = told(count).to_string();
        (
            text.lines().count(),
            text.lines().last().unwrap().to_owned(),
        )
    };
    let (lines, last) = shown(99);
    assert_eq!(lines, 100);
    assert!(last.contains("unknown98"), "{last}");
    assert_eq!(shown(100), (101, "... and 1 more".to_owned()));
    assert_eq!(shown(120), (101, "... and 21 more".to_owned()));
}

#[test]
fn near_words_are_found_and_far_ones_are_not() {
    for (word, want) in [
        ("8bits", Some("8bit")),
        ("8-bit", Some("8bit")),
        ("None", Some("none")),
        ("fp16", None),
        ("", None),
    ] {
        assert_eq!(nearest(word, ["none", "8bit", "4bit"]), want, "{word}");
    }
    assert_eq!(nearest(&"x".repeat(5000), ["none"]), None);
    let long = "x".repeat(100);
    assert_eq!(nearest(&long, [&*long]), Some(&*long));
    assert_eq!(nearest(&"x".repeat(101), [&*long]), None);
}

#[test]
fn a_retriever_of_the_form_of_names_has_a_size_above_nothing() {
    for name in ["simple_minilm_recursive_0", "simple_minilm_recursive_x"] {
        let source =
            format!("name: s\ndatasets: [nq]\nrag: {{models: ['hf:a/b'], retrievers: [{name}]}}\n");
        let told = problems(&source);
        assert!(told.contains("does not end with a chunk size"), "{told}");
    }
}

#[test]
fn a_placeholder_with_a_slip_is_refused_and_other_braces_are_not() {
    insta::assert_snapshot!(problems(
        "name: s
datasets: [nq]
direct:
  models: ['hf:a/b']
  quantization: [none]
  prompts:
    - name: p
      direct: '{question} {contxt} {passages} {\"answer\": 1} \\boxed{answer}'
      with_context: '{contxt} {question}'
      passage: '{text} {titel}'
"
    ), @r"
    s.yaml:8: direct.prompts[0].direct: nothing is put in for {contxt}; did you mean {context}?
    s.yaml:8: warning: direct.prompts[0].direct: nothing is put in for {passages}, the model reads it as it is; what is put in here is {question}, {examples} and {context}
    s.yaml:9: direct.prompts[0].with_context: nothing is put in for {contxt}; did you mean {context}?
    s.yaml:10: direct.prompts[0].passage: nothing is put in for {titel}; did you mean {title}?
    ");
}

#[test]
fn what_is_ignored_or_stands_at_the_wrong_place_is_told_with_its_place() {
    insta::assert_snapshot!(problems(
        "name: s
datasets: [nq]
sampling: {n_experiments: 1}
direct:
  models: [{name: 'hf:a/b', quantization: 8bit, prompts: [default]}]
metrics: [{name: bertscore, model: roberta-base}, {f1: {}}]
batch_size: 0
min_batch_size: 64
"
    ), @r"
    s.yaml:3: warning: sampling: ignored: it takes cells of the grid under rag, and there is none; remove the key, or write rag
    s.yaml:5: direct.models[0].quantization: unknown key; 'quantization' belongs under direct
    s.yaml:5: direct.models[0].prompts: unknown key; 'prompts' belongs under direct
    s.yaml:6: metrics[0]: expected a name, found a mapping; write bertscore alone, and its model under the top-level key bertscore:
    s.yaml:6: metrics[1]: expected a name, found a mapping; write f1 alone: it has no settings
    s.yaml:7: batch_size: 0 is too small; the least is 1
    ");
    insta::assert_snapshot!(problems(
        "name: s\ndatasets: [nq]\ndirect: {models: ['hf:a/b']}\nmetrics: f1\n"
    ), @"s.yaml:4: metrics: expected a list, found 'f1'; write it as a list: [f1]");
}
