//! Any text is a study or a list of what is wrong with it, each with a place;
//! what is a study gives names and hashes that nothing else has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ragicamp::{runner::ProgramCatalog, study};
use std::collections::HashSet;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match study::parse(text, "s.yaml", &ProgramCatalog) {
        Ok(study) => {
            let mut names = HashSet::new();
            let mut hashes = HashSet::new();
            for spec in &study.experiments {
                assert!(names.insert(&spec.name), "{} twice", spec.name);
                assert!(hashes.insert(spec.hash()), "{} is another's", spec.name);
                // No name leaves the study's directory.
                assert!(!spec.name.contains(['/', '\0']) && !spec.name.starts_with('.'));
            }
        }
        Err(problems) => {
            assert!(problems.errors() > 0);
            assert!(
                problems
                    .diagnostics
                    .iter()
                    .all(|one| one.line > 0 && one.column > 0)
            );
            assert!(!problems.to_string().is_empty());
        }
    }
});
