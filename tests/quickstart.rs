//! The quickstart, whole: what a newcomer runs first does what the README
//! says.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::{fs, path::Path, process::Command};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_quickstart_shows_that_retrieval_helps_and_what_quantisation_costs() {
    let dir = tempfile::tempdir().unwrap();
    let study = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/study/quickstart.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_ragicamp"))
        .arg("run")
        .arg(study)
        .current_dir(dir.path())
        .env("XDG_CACHE_HOME", dir.path().join("cache"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("quickstart: 12 complete, 0 failed, 0 left, of 12; 3 model loads"),
        "{said}"
    );
    assert!(said.contains("Scores are means over n questions"), "{said}");

    let experiment = |name: String| dir.path().join("outputs/quickstart").join(name);
    let score = |name: String| {
        let results = read(&experiment(name).join("results.json"));
        assert_eq!(results["metrics"]["n_scored"], 100);
        assert_eq!(results["metrics"]["n_failed"], 0);
        results["metrics"]["exact_match"].as_f64().unwrap()
    };
    for (suffix, kind, slack) in [
        ("_none", "F32", 0.0),
        ("_8bit", "Q8_0", 0.01),
        ("", "Q4_K", 0.05),
    ] {
        let direct = format!("direct_embedded_reader_default_quickstart{suffix}");
        let metadata = read(&experiment(direct.clone()).join("metadata.json"));
        let tensors = metadata["model"]["tensors"].as_object().unwrap();
        let linear: Vec<_> = tensors
            .iter()
            .filter(|(name, _)| name.contains("mlp"))
            .collect();
        assert!(!linear.is_empty());
        for (name, stored) in linear {
            assert_eq!(stored, kind, "{name} of {direct}");
        }
        assert!(score(direct) <= 0.05, "it can not know without reading");
        for top_k in [1, 3, 5] {
            let name = |suffix: &str| {
                format!("rag_embedded_reader_encyclopedia_bm25_k{top_k}_default_quickstart{suffix}")
            };
            let (full, this) = (score(name("_none")), score(name(suffix)));
            assert!(full >= 0.85, "top_k {top_k}: {full}");
            assert!(
                this >= full - slack - 1e-9,
                "{}: {this} against {full}",
                name(suffix)
            );
        }
    }
}
