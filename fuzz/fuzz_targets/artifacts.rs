//! Any bytes may stand where an artifact belongs: reading them never panics,
//! and only records that are whole count.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ragicamp::artifacts::{ArtifactError, ExperimentDir, StudyDir, examine};
use std::{cell::RefCell, fs};
use tempfile::TempDir;

const FILES: [&str; 8] = [
    "journal/000001.jsonl",
    "state.json",
    "predictions.json",
    "questions.json",
    "results.json",
    "metadata.json",
    "error.log",
    "checksums.json",
];

thread_local! {
    static PLACE: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, content)) = data.split_first() else {
        return;
    };
    PLACE.with_borrow_mut(|place| {
        let root = place.get_or_insert_with(|| {
            let root = tempfile::tempdir().expect("a directory");
            fs::create_dir_all(root.path().join("e/journal")).expect("a directory");
            root
        });
        let file = root
            .path()
            .join("e")
            .join(FILES[usize::from(which) % FILES.len()]);
        fs::write(&file, content).expect("it is written");
        let dir = ExperimentDir::new(root.path().join("e"));
        match dir.records() {
            Ok(records) => {
                for (idx, record) in &records.best {
                    assert_eq!(*idx, record.idx);
                }
            }
            Err(ArtifactError::Newer { .. }) => {}
            Err(error) => panic!("a damaged line is no error: {error}"),
        }
        let _ = (dir.state(), dir.predictions(), dir.questions());
        let _ = (
            dir.results(),
            dir.metadata(),
            dir.error_log(),
            dir.check_seal(),
        );
        if let Some(health) = examine(&dir, true) {
            assert!(
                health.answered <= health.total || !health.lies.is_empty() || health.total == 0
            );
            serde_json::to_string(&health).expect("it is JSON");
        }
        let _ = StudyDir::at(root.path()).experiments();
        fs::remove_file(&file).expect("it is removed");
    });
});
