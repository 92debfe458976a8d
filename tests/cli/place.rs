//! A directory to run the program in, and ways to run and look at it.

use assert_cmd::Command;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The two cells of the study that [`Place::new`] writes.
pub const FULL: &str = "direct_embedded_reader_default_quick_none";
pub const EIGHT: &str = "direct_embedded_reader_default_quick_8bit";

/// A directory to run the program in, with a study of two cells.
pub struct Place {
    pub dir: TempDir,
}

/// What a call came to.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.write("study.yaml", &study(4, "exact_match", 0.0));
        place
    }

    /// The study, run once.
    pub fn ran() -> Self {
        let place = Self::new();
        place.ok(&["run", "study.yaml"]);
        place
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    /// The program, with nothing of the environment that could tell on it.
    pub fn command(&self, arguments: &[&str]) -> Command {
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

    pub fn call(&self, arguments: &[&str]) -> Done {
        done(&mut self.command(arguments))
    }

    pub fn ok(&self, arguments: &[&str]) -> Done {
        self.exits(0, arguments)
    }

    pub fn exits(&self, code: i32, arguments: &[&str]) -> Done {
        let done = self.call(arguments);
        assert_eq!(done.code, code, "{arguments:?}: {done:#?}");
        done
    }

    /// The idx of every line of a journal segment.
    pub fn journal(&self, experiment: &str, segment: &str) -> Vec<u64> {
        self.text(&format!("outputs/s/{experiment}/journal/{segment}.jsonl"))
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["idx"].as_u64().unwrap()
            })
            .collect()
    }

    pub fn segments(&self, experiment: &str) -> usize {
        fs::read_dir(self.path(&format!("outputs/s/{experiment}/journal")))
            .unwrap()
            .count()
    }

    /// Every file below a directory with its contents.
    pub fn files(&self, below: &str) -> BTreeMap<PathBuf, Vec<u8>> {
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

pub fn done(command: &mut Command) -> Done {
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

pub fn shipped(below: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    path.to_str().unwrap().to_owned()
}

pub fn study(questions: usize, metrics: &str, temperature: f64) -> String {
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
pub fn objects(text: &str) -> Vec<Value> {
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
pub fn plan(place: &Place, arguments: &[&str]) -> Vec<String> {
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
