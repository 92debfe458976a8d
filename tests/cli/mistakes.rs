//! A user's mistakes.

use super::place::{FULL, Place};
use std::fs;

#[test]
fn a_file_that_is_no_study_gets_one_sentence() {
    let place = Place::new();
    fs::create_dir(place.path("directory")).unwrap();
    fs::write(place.path("binary.yaml"), [0xff, 0xfe, 0x00, 0x9f]).unwrap();
    place.write("empty.yaml", "");
    place.write("list.yaml", "- a\n- b\n");
    let said: Vec<String> = [
        "nowhere.yaml",
        "directory",
        "binary.yaml",
        "empty.yaml",
        "list.yaml",
    ]
    .iter()
    .map(|name| place.exits(2, &["run", name]).err)
    .collect();
    insta::assert_snapshot!(said.concat(), @r"
    error: cannot read the study nowhere.yaml: No such file or directory (os error 2)
    error: directory: it is no study's directory: run the study's YAML with `ragicamp run STUDY.yaml`
    error: cannot read the study binary.yaml: it is no text in UTF-8 (line 1); name a study's YAML file
    error: empty.yaml:1: the file is empty; a study needs at least name, datasets and direct, rag or experiments
    1 problem; nothing was run
    error: list.yaml:1: a study is a mapping of keys, and this is a list; begin with name: my_study
    1 problem; nothing was run
    ");
    assert!(!place.path("outputs").exists());
}

#[test]
fn a_broken_study_is_told_every_problem_at_once() {
    let place = Place::new();
    place.write(
        "broken.yaml",
        "name: s
num_question: 10
datasets: [quikstart, nq]
direct:
  models: [hf:google/gemma-2b-it, gpt-4o]
  prompts: [defualt]
  quantization: [8bits]
metrics: [f1, exact_mach]
batch_size: many
",
    );
    let done = place.exits(2, &["run", "broken.yaml"]);
    assert_eq!(done.out, "");
    insta::assert_snapshot!(done.err, @r"
    error: broken.yaml:2: num_question: unknown key; did you mean 'num_questions'?
    broken.yaml:3: datasets[0]: unknown dataset 'quikstart'; known are nq, triviaqa, hotpotqa, techqa, pubmedqa, squad and popqa
    broken.yaml:5: direct.models[1]: the model 'gpt-4o' does not say where it comes from; did you mean 'openai:gpt-4o'?
    broken.yaml:6: direct.prompts[0]: unknown prompt 'defualt'; did you mean 'default'?
    broken.yaml:7: direct.quantization[0]: unknown value '8bits'; did you mean '8bit'?
    broken.yaml:8: metrics[1]: unknown metric 'exact_mach'; did you mean 'exact_match'?
    broken.yaml:9: batch_size: expected a whole number or auto, found 'many'
    7 problems; nothing was run
    ");
    assert!(!place.path("outputs").exists());
    // The same without running anything.
    let validated = place.exits(2, &["run", "broken.yaml", "--validate"]);
    assert_eq!(validated.err, done.err);
}

#[test]
fn an_unknown_dataset_gets_a_suggestion() {
    let place = Place::new();
    place.write(
        "unknown.yaml",
        "name: s\ndatasets: [trivaqa]\ndirect: {models: ['embedded:reader'], quantization: [none]}\n",
    );
    let done = place.exits(2, &["run", "unknown.yaml"]);
    assert!(
        done.err.contains(
            "unknown.yaml:2: datasets[0]: unknown dataset 'trivaqa'; did you mean 'triviaqa'?"
        ),
        "{}",
        done.err
    );
}

#[test]
fn a_yaml_that_no_parser_reads_is_told_with_its_line() {
    let place = Place::new();
    place.write("torn.yaml", "name: s\ndatasets: [nq\ndirect: }\n");
    let done = place.exits(2, &["run", "torn.yaml"]);
    assert!(done.err.contains("torn.yaml:"), "{}", done.err);
    assert!(done.err.contains("not valid YAML"), "{}", done.err);
}

#[test]
fn values_that_make_no_sense_on_the_command_line_are_refused() {
    let place = Place::new();
    for (arguments, why) in [
        (["--batch-size", "0"], "write a number from 1 on, or auto"),
        (["--timeout", "soon"], "write seconds, or 90m, 2h, 1d"),
        (["--shard", "5/4"], "is no shard"),
        (["--filter", "[a"], "[a"),
        (["--device", "tpu"], "tpu"),
        (["--limit", "few"], "write a whole number"),
        (["--workers", "0"], "write a whole number from 1 on"),
    ] {
        let done = place.exits(2, &["run", "study.yaml", arguments[0], arguments[1]]);
        assert!(done.err.contains(why), "{arguments:?}: {}", done.err);
    }
    assert!(!place.path("outputs").exists());
}

#[test]
fn a_filter_that_selects_nothing_exits_3_and_shows_names() {
    let place = Place::new();
    let done = place.exits(3, &["run", "study.yaml", "--filter", "*_16bit"]);
    assert!(
        done.err
            .contains("nothing is selected of the 2 experiments"),
        "{}",
        done.err
    );
    assert!(done.err.contains(FULL), "{}", done.err);
    assert!(!place.path("outputs").exists());
    let none = place.exits(3, &["run", "study.yaml", "--limit", "0"]);
    assert!(
        none.err.contains("--limit 0 selects nothing"),
        "{}",
        none.err
    );
}
