//! Any bytes may stand where a GGUF file belongs: loading it gives a model
//! that can be asked, or one sentence about the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ragicamp::{
    domain::{FailureClass, GenerationRequest, GenerationSettings, Generator},
    hub::{ModelFiles, SentenceFiles, WeightFiles},
    inference::{self, Device, LoadOptions},
};
use std::{cell::RefCell, fs, path::Path};
use tempfile::TempDir;

thread_local! {
    static PLACE: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    PLACE.with_borrow_mut(|place| {
        let root = place.get_or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            match memory.is_dir() {
                true => tempfile::tempdir_in(memory),
                false => tempfile::tempdir(),
            }
            .expect("a directory")
        });
        let path = root.path().join("model.gguf");
        fs::write(&path, data).expect("it is written");
        let files = ModelFiles {
            label: "gguf:seed".to_owned(),
            config: None,
            tokenizer: None,
            tokenizer_config: None,
            chat_template: None,
            generation_config: None,
            sentence: SentenceFiles::default(),
            weights: WeightFiles::Gguf(path.clone()),
            revision: None,
        };
        let options = LoadOptions {
            device: Device::Cpu,
            ..LoadOptions::default()
        };
        let request = GenerationRequest {
            prompt: "t1 t2 t3".to_owned(),
            ..GenerationRequest::default()
        };
        let settings = GenerationSettings {
            max_new_tokens: 2,
            ..GenerationSettings::default()
        };
        match inference::load(&files, &options) {
            Ok(mut engine) => {
                let _ = engine.generate(&[request], &settings, &mut |_| {});
            }
            Err(failure) => assert_eq!(failure.class, FailureClass::Permanent, "{failure}"),
        }
        let _ = inference::estimate(&files, &options, 32, 4096);
        // Mapped files are replaced, never changed.
        fs::remove_file(&path).expect("it is removed");
    });
});
