#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::{Dtype, Failure, FailureClass};
use std::{collections::HashMap, fs, time::Instant};

fn spec(provider: Provider, name: &str, revision: Option<&str>) -> ModelSpec {
    ModelSpec {
        provider,
        name: name.to_owned(),
        revision: revision.map(str::to_owned),
        dtype: Dtype::Auto,
        base_url: None,
    }
}

fn settings(cache: &Path, offline: bool) -> HubSettings {
    HubSettings {
        cache: cache.to_path_buf(),
        models: cache.join("by-hand"),
        token: None,
        endpoint: "http://127.0.0.1:9".to_owned(),
        offline,
    }
}

fn write(directory: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(directory).unwrap();
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
}

const SMALL: [(&str, &str); 2] = [("config.json", "{}"), ("tokenizer.json", "{}")];

#[test]
fn the_reader_comes_with_the_program() {
    let model = spec(Provider::Embedded, "reader", None);
    let files = locate(&model, None).unwrap();
    assert!(matches!(files.weights, WeightFiles::Embedded(bytes) if bytes.len() > 1_000_000));
    assert!(files.config.unwrap().read().unwrap().starts_with(b"{"));
    assert_eq!(missing(&model), None);
    assert!(weights_bytes(&model).unwrap() > 1_000_000);
    let other = locate(&spec(Provider::Embedded, "writer", None), None).unwrap_err();
    assert!(other.to_string().contains("embedded:reader"), "{other}");
}

#[test]
fn a_directory_with_one_weights_file_is_found() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &SMALL);
    write(root.path(), &[("model.safetensors", "12345")]);
    let model = spec(Provider::Hf, root.path().to_str().unwrap(), None);
    let files = locate(&model, None).unwrap();
    assert_eq!(files.weights.bytes(), Some(5));
    assert_eq!(files.generation_config, None);
}

#[test]
fn a_relative_directory_is_looked_up_from_the_configuration_too() {
    let root = tempfile::tempdir().unwrap();
    write(&root.path().join("mine"), &SMALL);
    write(&root.path().join("mine"), &[("model.safetensors", "1")]);
    let model = spec(Provider::Hf, "./mine", None);
    assert!(locate(&model, None).is_err());
    assert!(locate(&model, Some(root.path())).is_ok());
}

#[test]
fn every_shard_is_listed_once_and_a_missing_one_is_named() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &SMALL);
    let index = r#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#;
    write(
        root.path(),
        &[
            ("model.safetensors.index.json", index),
            ("m-1.safetensors", "1"),
        ],
    );
    let model = spec(Provider::Hf, root.path().to_str().unwrap(), None);
    let error = locate(&model, None).unwrap_err().to_string();
    assert!(error.contains("m-2.safetensors"), "{error}");
    write(root.path(), &[("m-2.safetensors", "22")]);
    assert_eq!(locate(&model, None).unwrap().weights.bytes(), Some(3));
}

#[test]
fn a_shard_can_not_lead_out_of_the_directory() {
    let error = directory::shard_names(br#"{"weight_map": {"a": "../../etc/passwd"}}"#);
    assert!(error.is_err());
}

#[test]
fn pickle_weights_are_refused() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &SMALL);
    write(root.path(), &[("pytorch_model.bin", "pickle")]);
    let error = locate(
        &spec(Provider::Hf, root.path().to_str().unwrap(), None),
        None,
    )
    .unwrap_err();
    assert!(matches!(error, HubError::PickleOnly { .. }), "{error}");
    assert_eq!(Failure::from(error).class, FailureClass::Permanent);
}

#[test]
fn a_model_that_is_not_fetched_is_told_with_the_way_to_get_it() {
    let cache = tempfile::tempdir().unwrap();
    let model = spec(Provider::Hf, "org/name", Some("v2"));
    let error = locate_with(&settings(cache.path(), false), &model, None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("hf:org/name@v2 is not on this machine"),
        "{error}"
    );
    assert!(error.contains("ragicamp fetch"), "{error}");
    let error = fetch_with(&settings(cache.path(), true), &model, &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn a_cached_snapshot_is_found_by_branch_and_by_commit() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("models--org--name");
    write(&folder.join("refs"), &[("main", "abc123\n")]);
    let snapshot = folder.join("snapshots/abc123");
    write(&snapshot, &SMALL);
    let settings = settings(cache.path(), false);
    let by_branch = spec(Provider::Hf, "org/name", None);
    let error = locate_with(&settings, &by_branch, None).unwrap_err();
    assert!(
        matches!(&error, HubError::PartlyFetched { file, .. } if file == "model.safetensors"),
        "{error}"
    );
    write(&snapshot, &[("model.safetensors", "1")]);
    let files = locate_with(&settings, &by_branch, None).unwrap();
    assert_eq!(files.revision.as_deref(), Some("abc123"));
    let by_commit = spec(Provider::Hf, "org/name", Some("abc123"));
    assert!(locate_with(&settings, &by_commit, None).is_ok());
}

#[test]
fn a_hub_that_does_not_answer_is_an_error_and_not_a_hang() {
    let cache = tempfile::tempdir().unwrap();
    let started = Instant::now();
    // Nothing listens on the discard port.
    let model = spec(Provider::Hf, "org/name", None);
    let error = fetch_with(&settings(cache.path(), false), &model, &mut |_| {}).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    assert!(started.elapsed().as_secs() < 30);
}

#[test]
fn a_name_that_could_leave_the_cache_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    for (name, revision) in [
        ("a/../b", None),
        ("a/b/c", None),
        ("", None),
        ("a/b", Some("../x")),
    ] {
        let error = locate_with(
            &settings(cache.path(), false),
            &spec(Provider::Hf, name, revision),
            None,
        );
        assert!(matches!(error, Err(HubError::BadName { .. })), "{name}");
    }
}

#[test]
fn the_environment_decides_where_the_cache_is() {
    let of = |pairs: &[(&str, &str)]| {
        let map: HashMap<String, String> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        HubSettings::from_variables(&|name| map.get(name).cloned())
    };
    assert_eq!(
        of(&[("HOME", "/h")]).cache,
        Path::new("/h/.cache/huggingface/hub")
    );
    assert_eq!(of(&[("HF_HOME", "/f")]).cache, Path::new("/f/hub"));
    let all = of(&[
        ("HF_HOME", "/f"),
        ("HF_HUB_CACHE", "/c"),
        ("HF_TOKEN", "secret"),
        ("HF_ENDPOINT", "https://mirror/"),
        ("HF_HUB_OFFLINE", "1"),
    ]);
    assert_eq!(all.cache, Path::new("/c"));
    assert_eq!(all.token.as_deref(), Some("secret"));
    assert_eq!(all.endpoint, "https://mirror");
    assert!(all.offline);
}

#[test]
fn cached_models_are_listed_with_what_they_take_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("models--org--name");
    write(&model.join("blobs"), &[("a", "12345"), ("b", "678")]);
    fs::create_dir_all(model.join("snapshots/c0ffee")).unwrap();
    std::os::unix::fs::symlink(
        model.join("blobs/a"),
        model.join("snapshots/c0ffee/model.safetensors"),
    )
    .unwrap();
    write(&root.path().join("datasets--org--data"), &[("x", "y")]);
    let models = cached::cached_in(root.path());
    assert_eq!(models.len(), 1);
    assert_eq!((models[0].name.as_str(), models[0].bytes), ("org/name", 8));
    assert_eq!(cached::cached_in(&root.path().join("nowhere")), []);
}

fn split(revision: Option<&str>, config: Option<&str>, split: &str) -> DatasetSplit {
    DatasetSplit {
        repository: "org/data".to_owned(),
        revision: revision.map(str::to_owned),
        config: config.map(str::to_owned),
        split: split.to_owned(),
    }
}

/// A cached snapshot of `org/data` with these files.
fn cached_dataset(cache: &Path, files: &[&str]) {
    let folder = cache.join("datasets--org--data");
    write(&folder.join("refs"), &[("main", "c0ffee")]);
    for file in files {
        let path = folder.join("snapshots/c0ffee").join(file);
        write(
            path.parent().unwrap(),
            &[(path.file_name().unwrap().to_str().unwrap(), "x")],
        );
    }
}

#[test]
fn the_files_of_a_split_are_its_shards_and_no_others() {
    for (config, name, files, wanted) in [
        (
            Some("one"),
            "test",
            &[
                "one/test-00000-of-00002.parquet",
                "one/test-00001-of-00002.parquet",
                "one/test_hard-00000-of-00001.parquet",
                "two/test-00000-of-00001.parquet",
                "README.md",
            ][..],
            &[
                "one/test-00000-of-00002.parquet",
                "one/test-00001-of-00002.parquet",
            ][..],
        ),
        (
            None,
            "test",
            &["data/test-00000-of-00001.parquet", "test.csv"],
            &["data/test-00000-of-00001.parquet"],
        ),
        (
            None,
            "train",
            &["corpus.zip", "train.json", "train.json.md5"],
            &["train.json"],
        ),
        (None, "test", &["test.tsv"], &["test.tsv"]),
    ] {
        let cache = tempfile::tempdir().unwrap();
        cached_dataset(cache.path(), files);
        let found = dataset::locate_with(&settings(cache.path(), true), &split(None, config, name))
            .unwrap();
        let snapshot = cache.path().join("datasets--org--data/snapshots/c0ffee");
        let names: Vec<&Path> = found
            .paths
            .iter()
            .map(|path| path.strip_prefix(&snapshot).unwrap())
            .collect();
        assert_eq!(names, wanted.iter().map(Path::new).collect::<Vec<_>>());
        assert_eq!(found.revision, "c0ffee");
    }
}

#[test]
fn a_missing_shard_of_a_dataset_is_named_with_the_way_to_get_it() {
    let cache = tempfile::tempdir().unwrap();
    let asked = split(None, Some("one"), "test");
    let said = |offline: bool| {
        let error = dataset::locate_with(&settings(cache.path(), offline), &asked).unwrap_err();
        error.to_string()
    };
    assert!(
        said(false).contains("one/test* is missing below"),
        "{}",
        said(false)
    );
    cached_dataset(
        cache.path(),
        &[
            "one/test-00000-of-00003.parquet",
            "one/test-00002-of-00003.parquet",
        ],
    );
    assert!(
        said(true).contains("one/test-00001-of-00003.parquet is missing"),
        "{}",
        said(true)
    );
    assert!(
        said(true).contains("HF_HUB_OFFLINE is set"),
        "{}",
        said(true)
    );
    assert!(said(false).contains("ragicamp fetch"), "{}", said(false));
    let other = split(Some("v2"), Some("one"), "test");
    let error = dataset::locate_with(&settings(cache.path(), true), &other).unwrap_err();
    assert!(error.to_string().contains("org/data@v2"), "{error}");
}

#[test]
fn a_model_put_there_by_hand_is_taken_before_the_cache_and_has_no_revisions() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(root.path(), true);
    let directory = settings.models.join("camp/encoder");
    write(&directory, &SMALL);
    write(&directory, &[("model.safetensors", "123")]);
    write(&directory, &[("modules.json", "[]")]);
    write(&directory.join("1_Pooling"), &[("config.json", "{}")]);
    let files = locate_with(&settings, &spec(Provider::Hf, "camp/encoder", None), None).unwrap();
    assert_eq!(files.weights.bytes(), Some(3));
    assert_eq!(files.revision, None);
    assert!(files.sentence.modules.is_some() && files.sentence.pooling.is_some());
    assert!(files.sentence.prompts.is_none());
    let pinned = spec(Provider::Hf, "camp/encoder", Some("abc"));
    let error = locate_with(&settings, &pinned, None).unwrap_err();
    assert!(matches!(error, HubError::NotFetched { .. }), "{error}");
}

#[test]
fn models_by_hand_lie_where_the_environment_says() {
    let of = |pairs: &[(&str, &str)]| {
        let map: HashMap<&str, &str> = pairs.iter().copied().collect();
        HubSettings::from_variables(&|name| map.get(name).map(|value| (*value).to_owned())).models
    };
    assert_eq!(
        of(&[("RAGICAMP_MODELS", "/m"), ("HOME", "/h")]),
        Path::new("/m")
    );
    let usual = Path::new("/h/.cache/ragicamp/models");
    assert_eq!(of(&[("HOME", "/h")]), usual);
    assert_eq!(
        of(&[("XDG_CACHE_HOME", "/c")]),
        Path::new("/c/ragicamp/models")
    );
}
