//! The program from outside: what it prints, what it exits with, and what it
//! leaves on disk. Every test has a directory of its own, and no network.

use assert_cmd::Command;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The two cells of the study that [`Place::new`] writes.
const FULL: &str = "direct_embedded_reader_default_quick_none";
const EIGHT: &str = "direct_embedded_reader_default_quick_8bit";

/// A directory to run the program in, with a study of two cells.
struct Place {
    dir: TempDir,
}

/// What a call came to.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.write("study.yaml", &study(4, "exact_match", 0.0));
        place
    }

    /// The study, run once.
    fn ran() -> Self {
        let place = Self::new();
        place.ok(&["run", "study.yaml"]);
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    /// The program, with nothing of the environment that could tell on it.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ragicamp"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if [
                "RAGICAMP_",
                "HF_",
                "NO_COLOR",
                "CLICOLOR",
                "FAILPOINTS",
                "RUST_",
            ]
            .iter()
            .any(|start| name.starts_with(start))
            {
                command.env_remove(&name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("HF_HUB_OFFLINE", "1")
            // A panic or a backtrace would show.
            .env("RUST_BACKTRACE", "1");
        command
    }

    fn call(&self, arguments: &[&str]) -> Done {
        done(&mut self.command(arguments))
    }

    fn ok(&self, arguments: &[&str]) -> Done {
        self.exits(0, arguments)
    }

    fn exits(&self, code: i32, arguments: &[&str]) -> Done {
        let done = self.call(arguments);
        assert_eq!(done.code, code, "{arguments:?}: {done:#?}");
        done
    }

    /// The idx of every line of a journal segment.
    fn journal(&self, experiment: &str, segment: &str) -> Vec<u64> {
        self.text(&format!("outputs/s/{experiment}/journal/{segment}.jsonl"))
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["idx"].as_u64().unwrap()
            })
            .collect()
    }

    fn segments(&self, experiment: &str) -> usize {
        fs::read_dir(self.path(&format!("outputs/s/{experiment}/journal")))
            .unwrap()
            .count()
    }

    /// Every file below a directory with its contents.
    fn files(&self, below: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut directories = vec![self.path(below)];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    files.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        files
    }
}

fn done(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    let done = Done {
        code: output.status.code().expect("it was not killed"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    for telltale in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
        assert!(!done.err.contains(telltale), "{done:#?}");
    }
    done
}

fn shipped(below: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    path.to_str().unwrap().to_owned()
}

fn study(questions: usize, metrics: &str, temperature: f64) -> String {
    format!(
        "name: s
num_questions: {questions}
datasets: [{{name: quick, path: {data}}}]
direct: {{models: ['embedded:reader'], prompts: [default], quantization: [none, 8bit]}}
generation: {{max_new_tokens: 4, temperature: {temperature}, seed: 1, stop: [\"\\n\"]}}
metrics: [{metrics}]
batch_size: 4
",
        data = shipped("conf/data/quickstart/questions.jsonl"),
    )
}

/// JSON lines, each of which has to be an object.
fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            assert!(value.is_object(), "{line}");
            value
        })
        .collect()
}

/// What a dry run says of every experiment, in words.
fn plan(place: &Place, arguments: &[&str]) -> Vec<String> {
    let arguments = [arguments, &["--dry-run", "--json"]].concat();
    objects(&place.ok(&arguments).out)
        .iter()
        .map(|planned| {
            let text = |key: &str| planned[key].as_str().unwrap().to_owned();
            let total = &planned["total"];
            format!(
                "{} {} {}/{total}",
                text("name"),
                text("action"),
                planned["answered"]
            )
        })
        .collect()
}

// ---------------------------------------------------------------------------
// Help
// ---------------------------------------------------------------------------

#[test]
fn help_teaches() {
    let place = Place::new();
    insta::assert_snapshot!(place.ok(&["--help"]).out);
}

#[test]
fn every_subcommand_helps_and_those_that_are_typed_daily_show_examples() {
    let place = Place::new();
    for command in [
        "run",
        "resume",
        "health",
        "show",
        "fetch",
        "schema",
        "completions",
        "man",
    ] {
        let help = place.ok(&[command, "--help"]).out;
        assert!(help.contains("Usage: ragicamp"), "{help}");
        if ["run", "resume", "health", "show"].contains(&command) {
            assert!(help.contains("Examples:\n  ragicamp "), "{help}");
        }
    }
    let nothing = place.exits(2, &[]);
    assert!(
        nothing.err.contains("Usage: ragicamp <COMMAND>"),
        "{}",
        nothing.err
    );
    let typo = place.exits(2, &["runn"]);
    assert!(typo.err.contains("'run'"), "{}", typo.err);
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.ok(&["completions", shell]).out;
        assert!(
            script.contains("ragicamp") && script.contains("dry-run"),
            "{shell}"
        );
    }
    let page = place.ok(&["man"]).out;
    assert!(page.contains(".TH ragicamp"), "{page}");
    assert!(page.contains("Exit codes"), "{page}");
}

#[test]
fn the_schema_is_the_file_in_the_repository() {
    let place = Place::new();
    let printed = place.ok(&["schema"]).out;
    let kept = fs::read_to_string(shipped("conf/schema/study.schema.json")).unwrap();
    assert!(
        printed == kept,
        "conf/schema/study.schema.json is old: `ragicamp schema > conf/schema/study.schema.json`"
    );
}

// ---------------------------------------------------------------------------
// Mistakes
// ---------------------------------------------------------------------------

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
    error: cannot read the study directory: Is a directory (os error 21)
    error: cannot read the study binary.yaml: stream did not contain valid UTF-8
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
        (["--limit", "few"], "--limit"),
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
    place.exits(3, &["run", "study.yaml", "--limit", "0"]);
}

// ---------------------------------------------------------------------------
// Looking before running
// ---------------------------------------------------------------------------

#[test]
fn validate_says_that_nothing_is_wrong_and_does_nothing() {
    let place = Place::new();
    let done = place.ok(&["run", "study.yaml", "--validate"]);
    assert_eq!(done.out, "study.yaml: 2 experiments, nothing is wrong\n");
    assert!(!place.path("outputs").exists());
}

#[test]
fn a_dry_run_of_a_fresh_study_shows_everything_as_new_and_leaves_nothing() {
    let place = Place::new();
    let before = place.files(".");
    let done = place.ok(&["run", "study.yaml", "--dry-run"]);
    assert!(
        done.out.contains(
            "s: 2 experiments in outputs/s; 2 to run, 2 model loads, 8 questions to answer"
        ),
        "{}",
        done.out
    );
    let plan = plan(&place, &["run", "study.yaml"]);
    assert_eq!(
        plan,
        [format!("{FULL} new 0/4"), format!("{EIGHT} new 0/4")]
    );
    assert!(place.files(".") == before, "a dry run wrote something");
}

#[test]
fn a_dry_run_of_a_half_done_study_tells_what_is_left_of_it() {
    let place = Place::new();
    place.ok(&["run", "study.yaml", "--filter", "*_none"]);
    let before = place.files("outputs");
    let expected = [format!("{FULL} complete 4/4"), format!("{EIGHT} new 0/4")];
    assert_eq!(plan(&place, &["run", "study.yaml"]), expected);
    assert_eq!(plan(&place, &["resume", "outputs/s"]), expected);
    let done = place.ok(&["run", "study.yaml", "--dry-run"]);
    assert!(
        done.out
            .contains("1 to run, 1 model loads, 4 questions to answer"),
        "{}",
        done.out
    );
    assert!(
        place.files("outputs") == before,
        "a dry run wrote something"
    );
}

// ---------------------------------------------------------------------------
// Running, and running again
// ---------------------------------------------------------------------------

#[test]
fn a_study_that_is_complete_is_left_alone() {
    let place = Place::ran();
    let results = place.text(&format!("outputs/s/{FULL}/results.json"));
    let done = place.ok(&["run", "study.yaml"]);
    assert!(
        done.out
            .contains("s: 2 complete, 0 failed, 0 left, of 2; 0 model loads"),
        "{}",
        done.out
    );
    assert_eq!(
        place.text(&format!("outputs/s/{FULL}/results.json")),
        results
    );
    assert_eq!(place.segments(FULL), 1);
}

#[test]
fn a_changed_spec_is_refused_with_the_difference_until_force_moves_the_old_one_aside() {
    let place = Place::ran();
    let before = place.files("outputs");
    place.write("study.yaml", &study(4, "exact_match", 0.5));
    let refused = place.exits(2, &["run", "study.yaml"]);
    for name in [FULL, EIGHT] {
        let difference = format!("{name}: generation.temperature: 0 -> 0.5");
        assert!(refused.err.contains(&difference), "{}", refused.err);
    }
    assert!(refused.err.contains("--force"), "{}", refused.err);
    assert!(
        place.files("outputs") == before,
        "a refused run changed something"
    );
    assert_eq!(
        plan(&place, &["run", "study.yaml"]),
        [
            format!("{FULL} changed 4/4"),
            format!("{EIGHT} changed 4/4")
        ]
    );

    place.ok(&["run", "study.yaml", "--force", "--filter", "*_none"]);
    let aside: Vec<_> = fs::read_dir(place.path("outputs/.aside/s"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [aside] = &aside[..] else {
        panic!("one directory was to move: {aside:?}");
    };
    for file in [
        "predictions.json",
        "results.json",
        "journal/000001.jsonl",
        "metadata.json",
    ] {
        let old = &before[&place.path(&format!("outputs/s/{FULL}/{file}"))];
        assert_eq!(&fs::read(aside.join(file)).unwrap(), old, "{file}");
    }
    let metadata = place.json(&format!("outputs/s/{FULL}/metadata.json"));
    assert_eq!(metadata["spec"]["generation"]["temperature"], json!(0.5));
    assert_eq!(
        place.json(&format!("outputs/s/{FULL}/state.json"))["phase"],
        "complete"
    );
}

#[test]
fn more_questions_extend_a_study_without_asking_the_old_ones_again() {
    let place = Place::ran();
    let first = place.text(&format!("outputs/s/{FULL}/journal/000001.jsonl"));
    place.write("study.yaml", &study(10, "exact_match", 0.0));
    assert_eq!(
        plan(&place, &["run", "study.yaml"]),
        [
            format!("{FULL} extend 4/10"),
            format!("{EIGHT} extend 4/10")
        ]
    );
    place.ok(&["run", "study.yaml"]);
    assert_eq!(
        place.text(&format!("outputs/s/{FULL}/journal/000001.jsonl")),
        first
    );
    let mut added = place.journal(FULL, "000002");
    added.sort_unstable();
    assert_eq!(added, [4, 5, 6, 7, 8, 9]);
    let predictions = place.json(&format!("outputs/s/{FULL}/predictions.json"));
    let idx: Vec<_> = predictions["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["idx"].as_u64().unwrap())
        .collect();
    assert_eq!(idx, (0..10).collect::<Vec<_>>());
    assert_eq!(
        place.json(&format!("outputs/s/{FULL}/results.json"))["num_examples"],
        10
    );
}

#[test]
fn a_metric_that_is_added_is_computed_without_a_model() {
    let place = Place::ran();
    let journal = place.text(&format!("outputs/s/{FULL}/journal/000001.jsonl"));
    place.write("study.yaml", &study(4, "exact_match, f1", 0.0));
    assert_eq!(
        plan(&place, &["run", "study.yaml"]),
        [format!("{FULL} score 4/4"), format!("{EIGHT} score 4/4")]
    );
    let done = place.ok(&["run", "study.yaml"]);
    assert!(
        done.out
            .contains("2 complete, 0 failed, 0 left, of 2; 0 model loads"),
        "{}",
        done.out
    );
    for name in [FULL, EIGHT] {
        let results = place.json(&format!("outputs/s/{name}/results.json"));
        assert!(results["metrics"]["f1"].is_number(), "{results}");
        assert!(results["metrics"]["exact_match"].is_number(), "{results}");
        assert_eq!(place.segments(name), 1);
    }
    assert_eq!(
        place.text(&format!("outputs/s/{FULL}/journal/000001.jsonl")),
        journal
    );
}

#[test]
fn environment_variables_set_flags_and_the_command_line_wins() {
    let place = Place::new();
    let plan = |name: &str, value: &str, more: &[&str]| {
        let arguments = [&["run", "study.yaml", "--dry-run", "--json"], more].concat();
        let done = done(place.command(&arguments).env(name, value));
        assert_eq!(done.code, 0, "{name}={value}: {done:#?}");
        objects(&done.out).len()
    };
    assert_eq!(plan("RAGICAMP_LIMIT", "1", &[]), 1);
    assert_eq!(plan("RAGICAMP_LIMIT", "1", &["--limit", "2"]), 2);
    assert_eq!(plan("RAGICAMP_FILTER", "*_8bit", &[]), 1);
    assert_eq!(plan("RAGICAMP_SHARD", "1/2", &[]), 1);

    // Flags without a value: what people write for yes and no.
    for (value, is_json) in [
        ("1", true),
        ("true", true),
        ("yes", true),
        ("0", false),
        ("false", false),
        ("", false),
    ] {
        let arguments = ["run", "study.yaml", "--dry-run"];
        let done = done(place.command(&arguments).env("RAGICAMP_JSON", value));
        assert_eq!(done.code, 0, "RAGICAMP_JSON={value}: {done:#?}");
        assert_eq!(
            done.out.starts_with('{'),
            is_json,
            "RAGICAMP_JSON={value}: {}",
            done.out
        );
    }
    let nonsense = done(
        place
            .command(&["health", "."])
            .env("RAGICAMP_JSON", "perhaps"),
    );
    assert_eq!(nonsense.code, 2);
    let dry = done(
        place
            .command(&["run", "study.yaml"])
            .env("RAGICAMP_DRY_RUN", "1"),
    );
    assert!(dry.out.contains("2 to run"), "{dry:#?}");

    let elsewhere = done(
        place
            .command(&["run", "study.yaml", "--limit", "1"])
            .env("RAGICAMP_OUTPUT", "elsewhere")
            .env("RAGICAMP_BATCH_SIZE", "2"),
    );
    assert_eq!(elsewhere.code, 0, "{elsewhere:#?}");
    let predictions = place.json(&format!("elsewhere/{FULL}/predictions.json"));
    assert_eq!(predictions["predictions"][0]["batch_size"], 2);
    assert!(!place.path("outputs").exists());
}

#[test]
fn every_flag_of_run_names_its_environment_variable() {
    let place = Place::new();
    for command in ["run", "resume", "health"] {
        // A description may go over several lines: join them.
        let help = place.ok(&[command, "--help"]).out;
        let flags: Vec<&str> = help
            .split("      --")
            .skip(1)
            .map(|rest| rest.split("\n  -h").next().unwrap())
            .collect();
        assert!(flags.len() > 2, "{help}");
        for flag in flags {
            let name = flag.split_whitespace().next().unwrap();
            let variable = format!("RAGICAMP_{}=", name.to_uppercase().replace('-', "_"));
            assert!(flag.contains(&variable), "{command} --{name}: {flag}");
        }
    }
}

// ---------------------------------------------------------------------------
// Resuming
// ---------------------------------------------------------------------------

#[test]
fn resume_of_what_is_no_study_says_so() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    let said: Vec<String> = ["empty", "nowhere", "study.yaml"]
        .iter()
        .map(|name| place.exits(2, &["resume", name]).err)
        .collect();
    insta::assert_snapshot!(said.concat(), @r"
    error: empty: it is no study's directory: run the study's YAML with `ragicamp run STUDY.yaml`
    error: nowhere: there is no such directory
    error: study.yaml: it is a file: run a study's YAML with `ragicamp run STUDY.yaml`
    ");
    assert_eq!(place.files("empty").len(), 0);
}

#[test]
fn resume_needs_no_yaml_and_works_from_another_directory() {
    let place = Place::new();
    // The dataset is named relative to where the study was first run.
    let questions = fs::read_to_string(shipped("conf/data/quickstart/questions.jsonl")).unwrap();
    place.write("data/questions.jsonl", &questions);
    let yaml = study(4, "exact_match", 0.0);
    let yaml = yaml.replace(
        &shipped("conf/data/quickstart/questions.jsonl"),
        "data/questions.jsonl",
    );
    place.write("study.yaml", &yaml);
    place.ok(&["run", "study.yaml", "--filter", "*_none"]);
    fs::remove_file(place.path("study.yaml")).unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let directory = place.path("outputs/s");
    let mut command = place.command(&["resume", directory.to_str().unwrap()]);
    let done = done(command.current_dir(elsewhere.path()));
    assert_eq!(done.code, 0, "{done:#?}");
    assert!(
        done.out
            .contains("2 complete, 0 failed, 0 left, of 2; 1 model loads"),
        "{}",
        done.out
    );
    assert_eq!(place.journal(EIGHT, "000001").len(), 4);
    assert_eq!(place.segments(FULL), 1);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_run_that_was_cut_off_goes_on_where_it_stopped() {
    let place = Place::ran();
    // As after a power cut: two answers of the journal, the second line torn
    // behind them, and a state that still says generating.
    let experiment = format!("outputs/s/{FULL}");
    let journal = place.text(&format!("{experiment}/journal/000001.jsonl"));
    let lines: Vec<&str> = journal.lines().collect();
    let torn = format!(
        "{}\n{}\n{}",
        lines[0],
        lines[1],
        &lines[2][..lines[2].len() / 2]
    );
    place.write(&format!("{experiment}/journal/000001.jsonl"), &torn);
    let mut state = place.json(&format!("{experiment}/state.json"));
    state["phase"] = json!("generating");
    state["predictions_complete"] = json!(2);
    place.write(&format!("{experiment}/state.json"), &state.to_string());
    fs::remove_file(place.path(&format!("{experiment}/predictions.json"))).unwrap();
    fs::remove_file(place.path(&format!("{experiment}/results.json"))).unwrap();
    let kept = [&lines[0], &lines[1]].map(|line| {
        serde_json::from_str::<Value>(line).unwrap()["idx"]
            .as_u64()
            .unwrap()
    });

    let plan = plan(&place, &["resume", "outputs/s"]);
    assert_eq!(plan[0], format!("{FULL} resume 2/4"));
    place.ok(&["resume", "outputs/s"]);
    let mut asked = place.journal(FULL, "000002");
    asked.sort_unstable();
    let expected: Vec<u64> = (0..4).filter(|idx| !kept.contains(idx)).collect();
    assert_eq!(asked, expected);
    assert_eq!(
        place.json(&format!("{experiment}/state.json"))["phase"],
        "complete"
    );
}

// ---------------------------------------------------------------------------
// Looking at what is there
// ---------------------------------------------------------------------------

#[test]
fn show_prints_one_question_with_its_prompt_answer_and_gold() {
    let place = Place::ran();
    let directory = format!("outputs/s/{FULL}");
    let done = place.ok(&["show", &directory, "--idx", "3"]);
    assert!(
        done.out
            .starts_with("Question 3: How many titles has Harmouth Athletic taken?\n")
    );
    assert!(
        done.out.contains("    | Question: How many titles"),
        "{}",
        done.out
    );
    assert!(done.out.contains("  Gold:    648"), "{}", done.out);
    let shown = done
        .out
        .lines()
        .filter(|line| line.starts_with("Question "));
    assert_eq!(shown.count(), 1, "{}", done.out);
    let all = place.ok(&["show", &directory]);
    assert_eq!(all.out.matches("  Gold: ").count(), 4);
    let none = place.ok(&["show", &directory, "--failed"]);
    assert_eq!(none.out, "Every question has an answer.\n");

    let too_far = place.exits(2, &["show", &directory, "--idx", "33"]);
    assert!(
        too_far
            .err
            .contains("has no question 33: its questions are 0 to 3"),
        "{}",
        too_far.err
    );
    let nothing = place.exits(2, &["show", "outputs"]);
    assert!(
        nothing.err.contains("is no experiment's directory"),
        "{}",
        nothing.err
    );
    let json: Value =
        serde_json::from_str(&place.ok(&["show", &directory, "--idx", "1", "--json"]).out).unwrap();
    assert_eq!(json[0]["idx"], 1);
}

#[test]
fn health_exits_0_when_all_is_well_1_when_something_failed_2_when_nothing_is_there() {
    let place = Place::ran();
    let well = place.ok(&["health", "outputs/s"]);
    assert!(
        well.out.contains("2 experiments: 2 complete"),
        "{}",
        well.out
    );
    // Without a directory it looks at ./outputs, and moved-aside ones are not there.
    assert_eq!(place.ok(&["health"]).out, well.out);

    let path = format!("outputs/s/{FULL}/state.json");
    let mut state = place.json(&path);
    state["phase"] = json!("failed");
    state["error"] = json!("CUDA error: out of memory");
    place.write(&path, &state.to_string());
    let failed = place.exits(1, &["health", "outputs/s", "--show-failed"]);
    assert!(
        failed.out.contains("CUDA error: out of memory"),
        "{}",
        failed.out
    );
    let json: Value = serde_json::from_str(&place.exits(1, &["health", "--json"]).out).unwrap();
    assert_eq!(
        json["studies"][0]["experiments"].as_array().unwrap().len(),
        2
    );

    let nowhere = place.exits(2, &["health", "nowhere"]);
    assert!(
        nowhere.err.contains("there is no directory nowhere"),
        "{}",
        nowhere.err
    );
}

#[test]
fn a_directory_of_another_version_is_read_by_health_show_and_resume() {
    let place = Place::new();
    place.write("outputs/s/study.yaml", &study(4, "exact_match", 0.0));
    let questions = fs::read_to_string(shipped("conf/data/quickstart/questions.jsonl")).unwrap();
    let question = |idx: usize| {
        let line: Value = serde_json::from_str(questions.lines().nth(idx).unwrap()).unwrap();
        line["question"].as_str().unwrap().to_owned()
    };
    let experiment = format!("outputs/s/{FULL}");
    // No schema_version, no journal, `query`, one idx twice, one failed.
    let record = |idx: usize, prediction: &str, error: Value| json!({"idx": idx, "query": question(idx), "prediction": prediction, "expected": ["x"], "error": error});
    let predictions = json!({"experiment": FULL, "predictions": [
        record(0, "[ERROR: out of memory]", json!("out of memory")),
        record(0, "tea", Value::Null),
        record(1, "a town", Value::Null),
        record(2, "[ERROR: out of memory]", json!("out of memory")),
    ]});
    place.write(
        &format!("{experiment}/predictions.json"),
        &predictions.to_string(),
    );
    let state = json!({"phase": "failed", "error": "out of memory", "predictions_complete": 3,
        "total_questions": 4, "started_at": "2025-12-10T03:58:22.123456",
        "metrics_requested": ["exact_match"], "metrics_computed": null});
    place.write(&format!("{experiment}/state.json"), &state.to_string());

    let health = place.exits(1, &["health", "outputs/s", "--deep"]);
    let row = health
        .out
        .lines()
        .find(|line| line.starts_with(FULL))
        .unwrap();
    assert!(row.contains("failed") && row.contains("2/4"), "{row}");
    assert!(
        health
            .out
            .contains("state.json says 3 answers, predictions.json holds 2"),
        "{}",
        health.out
    );
    place.exits(1, &["health", "outputs/s"]);
    let shown = place.ok(&["show", &experiment, "--idx", "0"]);
    assert!(shown.out.contains("Answer:  tea"), "{}", shown.out);
    assert!(shown.out.contains(&question(0)), "{}", shown.out);
    let lost = place.ok(&["show", &experiment, "--failed", "--json"]);
    let lost: Value = serde_json::from_str(&lost.out).unwrap();
    assert!(
        lost.as_array().unwrap().iter().any(|item| item["idx"] == 2),
        "{lost}"
    );
    assert!(
        lost.as_array().unwrap().iter().all(|item| item["idx"] != 0),
        "{lost}"
    );

    place.ok(&["resume", "outputs/s", "--filter", FULL]);
    let predictions = place.json(&format!("{experiment}/predictions.json"));
    let records = predictions["predictions"].as_array().unwrap();
    assert_eq!(records.len(), 4);
    assert_eq!(records[0]["prediction"], "tea");
    assert_eq!(records[1]["prediction"], "a town");
    assert!(records[2]["error"].is_null(), "{}", records[2]);
    assert_eq!(
        place.json(&format!("{experiment}/state.json"))["phase"],
        "complete"
    );
    place.ok(&["health", "outputs/s"]);
}

// ---------------------------------------------------------------------------
// Output for programs
// ---------------------------------------------------------------------------

#[test]
fn json_is_one_object_per_line_and_nothing_else() {
    let place = Place::new();
    let planned = objects(&place.ok(&["run", "study.yaml", "--dry-run", "--json"]).out);
    assert_eq!(planned.len(), 2);
    let events = objects(&place.ok(&["run", "study.yaml", "--json"]).out);
    let kind = |event: &Value| event["event"].as_str().unwrap().to_owned();
    assert_eq!(kind(&events[0]), "study_started");
    assert_eq!(kind(events.last().unwrap()), "study_finished");
    let finished = events
        .iter()
        .filter(|event| kind(event) == "experiment_finished");
    assert_eq!(finished.count(), 2);
    // The same lines are kept.
    let kept = objects(&place.text("outputs/s/events.jsonl"));
    assert_eq!(kept.len(), events.len());
}

#[test]
fn piped_output_has_no_colours_and_no_moving_lines() {
    let place = Place::new();
    for arguments in [
        &["run", "study.yaml"][..],
        &["run", "study.yaml", "--dry-run"],
        &["health"],
        &["health", "outputs/s", "--show-failed"],
        &["--help"],
        &["run", "nowhere.yaml"],
    ] {
        for no_color in [None, Some("1")] {
            let mut command = place.command(arguments);
            if let Some(value) = no_color {
                command.env("NO_COLOR", value);
            }
            let done = done(command.env("TERM", "xterm-256color"));
            for text in [&done.out, &done.err] {
                assert!(
                    !text.contains('\x1b') && !text.contains('\r'),
                    "{arguments:?}: {text:?}"
                );
            }
        }
    }
}

#[test]
fn an_output_that_is_closed_early_is_no_error() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_ragicamp");
    for arguments in [
        "run study.yaml --dry-run",
        "schema",
        "man",
        "completions bash",
    ] {
        let script = format!("'{program}' {arguments} | true; echo ${{PIPESTATUS[0]}}");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(place.dir.path());
        let done = done(&mut command);
        assert!(
            ["0\n", "141\n"].contains(&done.out.as_str()),
            "{arguments}: {done:#?}"
        );
        assert_eq!(done.err, "", "{arguments}");
    }
}

// ---------------------------------------------------------------------------
// The studies that are shipped
// ---------------------------------------------------------------------------

#[test]
fn the_baseline_study_can_be_looked_at_without_its_models() {
    let place = Place::new();
    let yaml = shipped("conf/study/comprehensive_baseline.yaml");
    let done = place.ok(&["run", &yaml, "--dry-run"]);
    assert!(
        done.out
            .contains("comprehensive_baseline: 567 experiments in "),
        "{}",
        done.out
    );
    assert_eq!(
        objects(&place.ok(&["run", &yaml, "--dry-run", "--json"]).out).len(),
        567
    );
    assert!(!place.path("outputs").exists());
}

#[test]
fn what_is_not_on_this_machine_fails_its_cells_with_one_sentence_each() {
    let place = Place::new();
    let yaml = shipped("conf/study/comprehensive_baseline.yaml");
    let no_data = place.exits(1, &["run", &yaml, "--limit", "3"]);
    assert!(
        no_data.out.contains("0 complete, 3 failed, 0 left, of 3"),
        "{}",
        no_data.out
    );
    for dataset in ["nq", "triviaqa", "hotpotqa"] {
        let name = format!("direct_hf_google_gemma2bit_default_{dataset}_8bit");
        let directory = format!("outputs/comprehensive_baseline/{name}");
        let state = place.json(&format!("{directory}/state.json"));
        assert_eq!(state["phase"], "failed");
        let error = state["error"].as_str().unwrap();
        assert!(error.contains(dataset) && !error.contains('\n'), "{error}");
        assert!(
            place
                .text(&format!("{directory}/error.log"))
                .starts_with(&format!("Error: {error}\n"))
        );
    }

    // With the data, it is the model that is missing.
    let questions = fs::read_to_string(shipped("conf/data/quickstart/questions.jsonl")).unwrap();
    for dataset in ["nq", "triviaqa", "hotpotqa"] {
        place.write(&format!("data/{dataset}.jsonl"), &questions);
    }
    let no_model = place.exits(
        1,
        &["resume", "outputs/comprehensive_baseline", "--limit", "3"],
    );
    assert!(
        no_model.out.contains("0 complete, 3 failed, 0 left, of 3"),
        "{}",
        no_model.out
    );
    for dataset in ["nq", "triviaqa", "hotpotqa"] {
        let name = format!("direct_hf_google_gemma2bit_default_{dataset}_8bit");
        let state = place.json(&format!("outputs/comprehensive_baseline/{name}/state.json"));
        let error = state["error"].as_str().unwrap();
        for part in [
            "google/gemma-2b-it",
            "not on this machine",
            "ragicamp fetch",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
    place.exits(
        1,
        &["health", "outputs/comprehensive_baseline", "--show-failed"],
    );
}

#[test]
fn every_shipped_study_is_valid() {
    let place = Place::new();
    for entry in fs::read_dir(shipped("conf/study")).unwrap() {
        let path = entry.unwrap().path();
        place.ok(&["run", path.to_str().unwrap(), "--validate"]);
    }
}
