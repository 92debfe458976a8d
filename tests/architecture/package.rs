//! The files of the package, with what is only compiled for tests.

use crate::code::{Source, test_item, words};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

pub fn package() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut sources: Vec<Source> = files
        .iter()
        .map(|path| {
            let below = path.strip_prefix(&root).expect("it is below src");
            let below = below.to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(path).expect("a source file can be read");
            Source::new(&below, &text)
        })
        .collect();
    let tests = test_files(&sources);
    for source in &mut sources {
        if tests.iter().any(|test| is_of_module(&source.path, test)) {
            source.shipped.clear();
        }
    }
    assert!(
        sources.len() > 50,
        "the package was not found in {}",
        root.display()
    );
    sources
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src can be listed") {
        let path = entry.expect("src can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Modules in files of their own that are declared under `#[cfg(test)]`, as
/// paths without `.rs`.
pub fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for source in sources {
        let directory = source
            .path
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        let stem = source.path.trim_end_matches(".rs");
        let own = if stem.ends_with("mod") || matches!(stem, "lib" | "main") {
            directory
        } else {
            stem
        };
        let mut rest = source.code.clone();
        while let Some((from, to)) = test_item(&rest) {
            let item: Vec<_> = words(&rest[from..to])
                .map(|(_, word)| word.to_owned())
                .collect();
            if let Some(at) = item.iter().position(|word| word == "mod")
                && rest[from..to].ends_with(';')
                && let Some(name) = item.get(at + 1)
            {
                modules.insert(format!("{own}/{name}"));
                // The usual name of a `#[path]`, whose literal is blanked.
                modules.insert(format!("{own}_{name}"));
            }
            rest.replace_range(from..to, &" ".repeat(to - from));
        }
    }
    modules
}

pub fn is_of_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}
