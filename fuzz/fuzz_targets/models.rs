//! Any bytes may stand where a file of a model belongs: loading it gives a
//! model that can be asked, or one sentence; it never panics, and allocates
//! nothing that the files do not hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ragicamp::{
    domain::{FailureClass, GenerationRequest, GenerationSettings, Generator, TextRole},
    hub::{FileSource, ModelFiles, SentenceFiles, WeightFiles},
    inference::{self, Device, LoadOptions, TextEmbedder},
};
use std::{cell::RefCell, fs, panic, path::Path, sync::Once};
use tempfile::TempDir;

/// A decoder's files, then an encoder's, each with the name of its seed.
const FILES: [(&str, &[u8]); 11] = [
    ("config.json", include_bytes!("../seeds/models/0_config")),
    (
        "model.safetensors",
        include_bytes!("../seeds/models/1_weights"),
    ),
    ("tokenizer.json", include_bytes!("../seeds/models/2_words")),
    (
        "tokenizer_config.json",
        include_bytes!("../seeds/models/3_tokenizer_config"),
    ),
    (
        "generation_config.json",
        include_bytes!("../seeds/models/4_generation_config"),
    ),
    ("encoder.json", include_bytes!("../seeds/models/5_encoder")),
    (
        "encoder.safetensors",
        include_bytes!("../seeds/models/6_encoder_weights"),
    ),
    ("modules.json", include_bytes!("../seeds/models/7_modules")),
    ("pooling.json", include_bytes!("../seeds/models/8_pooling")),
    (
        "sentence_bert_config.json",
        include_bytes!("../seeds/models/9_transformer"),
    ),
    ("prompts.json", include_bytes!("../seeds/models/10_prompts")),
];
/// From here on the files are the encoder's; it shares the tokenizer.
const ENCODER: usize = 5;
const TOKENIZER: usize = 2;

thread_local! {
    static PLACE: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fn files(root: &Path, encoder: bool) -> ModelFiles {
    let file = |name: &str| Some(FileSource::Path(root.join(name)));
    let (config, weights) = match encoder {
        true => ("encoder.json", "encoder.safetensors"),
        false => ("config.json", "model.safetensors"),
    };
    ModelFiles {
        label: "hf:seed".to_owned(),
        config: file(config),
        tokenizer: file("tokenizer.json"),
        tokenizer_config: file("tokenizer_config.json"),
        chat_template: None,
        generation_config: file("generation_config.json"),
        sentence: SentenceFiles {
            modules: file("modules.json"),
            pooling: file("pooling.json"),
            transformer: file("sentence_bert_config.json"),
            prompts: file("prompts.json"),
        },
        weights: WeightFiles::Safetensors(vec![root.join(weights)]),
        revision: None,
    }
}

fn decode(files: &ModelFiles, options: &LoadOptions) {
    let request = GenerationRequest {
        prompt: "t1 t2 t3".to_owned(),
        ..GenerationRequest::default()
    };
    let settings = GenerationSettings {
        max_new_tokens: 2,
        ..GenerationSettings::default()
    };
    match inference::load(files, options) {
        Ok(mut engine) => {
            let _ = engine.generate(&[request], &settings, &mut |_| {});
        }
        Err(failure) => {
            assert_eq!(failure.class, FailureClass::Permanent, "{failure}");
            assert!(
                failure.message.contains("hf:seed") || failure.message.contains("config.json"),
                "{failure}"
            );
        }
    }
    let _ = inference::estimate(files, options, 32, 4096);
}

fn embed(files: &ModelFiles, options: &LoadOptions) {
    match TextEmbedder::load(files, options) {
        Ok(mut embedder) => {
            let _ = embedder.encode(&["t1 t2 t3", "t9"], TextRole::Query, None, &mut |_| {});
        }
        Err(failure) => assert_eq!(failure.class, FailureClass::Permanent, "{failure}"),
    }
}

/// Panics of the tokenizers crate are caught and told as one sentence, but the
/// fuzzer's hook ends the process before that.
fn let_tokenizers_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_theirs = |place: &panic::Location<'_>| place.file().contains("/tokenizers-");
            if !info.location().is_some_and(is_theirs) {
                hook(info);
            }
        }));
    });
}

fuzz_target!(|data: &[u8]| {
    let_tokenizers_panic();
    let Some((&which, content)) = data.split_first() else {
        return;
    };
    PLACE.with_borrow_mut(|place| {
        let root = place.get_or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            let root = match memory.is_dir() {
                true => tempfile::tempdir_in(memory),
                false => tempfile::tempdir(),
            }
            .expect("a directory");
            for (name, seed) in FILES {
                fs::write(root.path().join(name), &seed[1..]).expect("it is written");
            }
            root
        });
        let which = usize::from(which) % FILES.len();
        let (name, seed) = FILES[which];
        let path = root.path().join(name);
        // Mapped files are replaced, never changed.
        let replace = |bytes: &[u8]| {
            fs::remove_file(&path).expect("it is removed");
            fs::write(&path, bytes).expect("it is written");
        };
        replace(content);
        let options = LoadOptions {
            device: Device::Cpu,
            ..LoadOptions::default()
        };
        if which < ENCODER {
            decode(&files(root.path(), false), &options);
        }
        if which >= ENCODER || which == TOKENIZER {
            embed(&files(root.path(), true), &options);
        }
        replace(&seed[1..]);
    });
});
