use super::*;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A copy of a family's model that a test may change.
fn copied(directory: &Path) -> Option<ModelFiles> {
    let mut files = family_files("llama3")?;
    let hub::WeightFiles::Safetensors(paths) = &files.weights else {
        return None;
    };
    let copy = directory.join("model.safetensors");
    fs::copy(&paths[0], &copy).unwrap();
    files.weights = hub::WeightFiles::Safetensors(vec![copy]);
    Some(files)
}

fn logits(files: &ModelFiles, quantization: Quantization, cache: Option<&Path>) -> Vec<Vec<f32>> {
    let options = LoadOptions {
        quantization,
        cache: cache.map(Path::to_owned),
        ..LoadOptions::default()
    };
    let mut engine = load(files, &options).unwrap();
    engine.logits(&[vec![5, 9, 2], vec![7; 40]]).unwrap()
}

fn kept(cache: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cache.join("weights")) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "blocks"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn the_second_load_maps_what_the_first_one_quantised() {
    let place = tempfile::tempdir().unwrap();
    let Some(files) = copied(place.path()) else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let cache = place.path().join("cache");
    for quantization in [Quantization::Int8, Quantization::Int4] {
        let want = logits(&files, quantization, None);
        assert_eq!(logits(&files, quantization, Some(&cache)), want);
        let options = LoadOptions {
            quantization,
            cache: Some(cache.clone()),
            ..LoadOptions::default()
        };
        let name = format!("-{}-", quantization.as_str());
        let path = kept(&cache)
            .into_iter()
            .find(|path| path.to_str().unwrap().contains(&name))
            .unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let mut engine = load(&files, &options).unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.contains(path.to_str().unwrap()), "{maps}");
        assert_eq!(
            engine.logits(&[vec![5, 9, 2], vec![7; 40]]).unwrap(),
            want,
            "{quantization}"
        );
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "not rewritten");
    }
    assert_eq!(kept(&cache).len(), 2);
    logits(&files, Quantization::None, Some(&cache));
    assert_eq!(kept(&cache).len(), 2, "floats are not kept");
}

#[test]
fn a_damaged_cache_is_found_out_and_made_again() {
    let place = tempfile::tempdir().unwrap();
    let Some(files) = copied(place.path()) else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let cache = place.path().join("cache");
    let want = logits(&files, Quantization::Int8, Some(&cache));
    let path = kept(&cache).remove(0);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 4;
    let mut other_table = whole.clone();
    let in_table = other_table.len() - 100;
    other_table[in_table] ^= 1;
    let damaged = [
        flipped,
        other_table,
        whole[..whole.len() / 2].to_vec(),
        whole[..20].to_vec(),
        b"something else".to_vec(),
        Vec::new(),
    ];
    for (case, bytes) in damaged.into_iter().enumerate() {
        // A new file: what is mapped is never changed.
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
        let got = logits(&files, Quantization::Int8, Some(&cache));
        assert_eq!(got, want, "case {case}");
        let inode = fs::metadata(&path).unwrap().ino();
        let again = logits(&files, Quantization::Int8, Some(&cache));
        assert_eq!(again, want, "case {case}");
        let repaired = fs::metadata(&path).unwrap();
        assert_eq!(repaired.ino(), inode, "case {case} is repaired");
        // Its table may count in another order.
        let difference = repaired.len().abs_diff(whole.len() as u64);
        assert!(
            difference < 100,
            "case {case}: all of it, not {difference} off"
        );
    }
}

#[test]
fn changed_weights_are_other_weights() {
    let place = tempfile::tempdir().unwrap();
    let Some(files) = copied(place.path()) else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let cache = place.path().join("cache");
    let before = logits(&files, Quantization::Int8, Some(&cache));
    let weights = place.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let length = bytes.len();
    // Same length, same place, same name.
    for byte in &mut bytes[length - 4000..] {
        *byte &= 0xbf;
    }
    fs::write(&weights, bytes).unwrap();
    let after = logits(&files, Quantization::Int8, Some(&cache));
    assert_ne!(after, before);
    assert_eq!(after, logits(&files, Quantization::Int8, None));
    assert_eq!(kept(&cache).len(), 2);
}

#[test]
fn a_model_loads_where_nothing_can_be_kept() {
    let place = tempfile::tempdir().unwrap();
    let Some(files) = copied(place.path()) else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let blocked = place.path().join("cache");
    fs::write(&blocked, "a file").unwrap();
    assert_eq!(
        logits(&files, Quantization::Int8, Some(&blocked)),
        logits(&files, Quantization::Int8, None)
    );
}

#[test]
fn what_a_killed_process_left_half_written_goes_when_it_is_old() {
    let place = tempfile::tempdir().unwrap();
    let Some(files) = copied(place.path()) else {
        eprintln!("skipped: no fixtures");
        return;
    };
    let cache = place.path().join("cache");
    let directory = cache.join("weights");
    fs::create_dir_all(&directory).unwrap();
    let hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    for (name, is_old) in [
        (".unfinished-a", true),
        (".unfinished-b", false),
        ("c", true),
    ] {
        let file = fs::File::create(directory.join(name)).unwrap();
        if is_old {
            file.set_modified(hours_ago).unwrap();
        }
    }
    logits(&files, Quantization::Int8, Some(&cache));
    let is_there = |name: &str| directory.join(name).exists();
    assert!(!is_there(".unfinished-a"), "nobody writes it any more");
    assert!(is_there(".unfinished-b") && is_there("c"));
    assert_eq!(kept(&cache).len(), 1);
}
