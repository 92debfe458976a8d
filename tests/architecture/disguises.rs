//! That the rules can fail.

use crate::{
    code::Source,
    package::{is_of_module, test_files},
    rules::{confined_crates, forbidden_imports, impurities, unwraps},
};

fn imports_of(path: &str, text: &str) -> Vec<String> {
    forbidden_imports(&Source::new(path, text))
}

#[test]
fn a_forbidden_import_is_found_in_every_disguise() {
    for text in [
        "use crate::runner::StudyRun;",
        "pub use crate::runner::StudyRun;",
        "use crate::{domain::Phase, runner::{self, Plan}};",
        "use crate::{\n    domain::{Event, Phase},\n    runner,\n};",
        "use crate::{{runner}, domain};",
        "fn f() { crate::runner::plan(); }",
        "fn f(plan: &crate :: runner::Plan) {}",
        "type A = Vec<crate::runner::Plan>;",
        "macro_rules! m { () => { $crate::runner::plan() } }",
        "fn f<'a>(x: &'a str) -> char { crate::runner::x(); 'a' }",
        "const Q: char = '\"'; use crate::runner; const R: char = '\"';",
        "use crate::*;",
        "use crate as house;",
        "use ragicamp::runner;",
        "#[cfg(test)] mod tests { use crate::runner; }",
        "use super::super::runner;",
        "mod inner { use super::super::super::runner; }",
    ] {
        assert_eq!(imports_of("artifacts/journal.rs", text).len(), 1, "{text}");
    }
    assert_eq!(
        imports_of("artifacts/mod.rs", "use super::runner;").len(),
        1
    );
    assert_eq!(
        imports_of("main.rs", "use ragicamp::{cli::Cli, runner};").len(),
        1
    );
}

#[test]
fn what_is_allowed_or_only_talked_about_is_not_found() {
    for text in [
        "use crate::{artifacts::{Lease, runner}, domain::Phase};",
        "// use crate::runner;\n/* crate::runner /* crate::runner */ */",
        "/// See [`crate::runner`].",
        "const A: &str = \"crate::runner\";",
        "const A: &str = \"\\\"crate::runner\";",
        "const A: &str = r#\"crate::\"runner\"#;",
        "pub(crate) fn runner() {}",
        "use super::runner;",
        "mod inner { use super::super::runner; }",
        "fn f() { other::crate_::runner(); }",
    ] {
        assert_eq!(imports_of("artifacts/journal.rs", text), [""; 0], "{text}");
    }
    assert_eq!(
        imports_of("cli/run.rs", "use crate::{runner, study};"),
        [""; 0]
    );
    assert_eq!(
        imports_of("artifacts/tests/files.rs", "use super::super::x;"),
        [""; 0]
    );
    assert_eq!(
        imports_of("cli/show_tests.rs", "use super::super::x;"),
        [""; 0]
    );
}

#[test]
fn a_large_dependency_in_another_room_is_found() {
    let count = |path, text| confined_crates(&Source::new(path, text)).len();
    assert_eq!(count("worker/serve.rs", "use candle_core::Tensor;"), 1);
    assert_eq!(
        count("worker/serve.rs", "fn f(x: &candle_nn::Linear) {}"),
        1
    );
    assert_eq!(
        count("runner/plan.rs", "#[derive(clap::Args)] struct A;"),
        1
    );
    assert_eq!(count("cli/mod.rs", "fn f() { tokio::spawn(g()); }"), 1);
    assert_eq!(count("inference/engine.rs", "use candle_core::Tensor;"), 0);
    assert_eq!(count("cli/run.rs", "use clap::Args;"), 0);
    assert_eq!(count("worker/serve.rs", "// candle_core::Tensor"), 0);
}

#[test]
fn an_unwrap_counts_only_outside_of_tests() {
    let count = |text| unwraps(&Source::new("hub/mod.rs", text)).len();
    assert_eq!(count("fn f() { g().unwrap(); }"), 1);
    assert_eq!(count("#[cfg(not(test))] fn f() { g().unwrap(); }"), 1);
    assert_eq!(
        count("#[cfg(test)] mod tests { fn f() { g().unwrap(); } }"),
        0
    );
    assert_eq!(
        count("#[cfg(all(test, unix))]\n#[allow(x)]\nfn f() { g().unwrap(); }"),
        0
    );
    assert_eq!(count("#[cfg(test)] mod tests; fn f() { g().unwrap(); }"), 1);
    assert_eq!(count("fn f() { g().unwrap_or(1); } // .unwrap()"), 0);
    assert_eq!(
        count("#[allow(clippy::unwrap_used, reason = \"A constant.\")]\nstatic A: B = C.unwrap();"),
        0
    );
    assert_eq!(
        count("#[allow(clippy::unwrap_used)]\nstatic A: B = C.unwrap();"),
        1
    );
}

#[test]
fn a_file_in_a_pure_room_is_found() {
    let count = |path, text| impurities(&Source::new(path, text)).len();
    assert!(count("study/reader.rs", "use std::{fmt, fs};") > 0);
    assert!(count("study/reader.rs", "fn f() { std::fs::read(p); }") > 0);
    assert!(count("execution/executor.rs", "let now = Instant::now();") > 0);
    assert_eq!(count("study/reader.rs", "use std::{fmt, ops};"), 0);
    assert_eq!(
        count("study/reader.rs", "#[cfg(test)] mod t { use std::fs; }"),
        0
    );
    assert_eq!(count("artifacts/journal.rs", "use std::fs;"), 0);
}

#[test]
fn test_modules_in_files_of_their_own_are_known() {
    let sources = [
        Source::new(
            "execution/mod.rs",
            "#[cfg(test)]\nmod model_worker;\nmod executor;",
        ),
        Source::new(
            "cli/show.rs",
            "#[cfg(test)]\n#[path = \"show_tests.rs\"]\nmod tests;",
        ),
    ];
    let modules = test_files(&sources);
    let is_test = |path: &str| modules.iter().any(|module| is_of_module(path, module));
    assert!(is_test("execution/model_worker.rs"));
    assert!(is_test("cli/show_tests.rs"));
    assert!(is_test("cli/show/tests/more.rs"));
    assert!(!is_test("execution/executor.rs"));
}
