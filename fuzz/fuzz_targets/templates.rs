//! Any text is a chat template or an error: it ends, takes no more memory than
//! its fuel pays for, and gets at nothing but the messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ragicamp::inference::ChatTemplate;

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    let (bos, eos) = ("<s>".to_owned(), "</s>".to_owned());
    match ChatTemplate::new(source.to_owned(), bos, eos) {
        Ok(template) => {
            for system in [None, Some("Be short.")] {
                match template.render(system, "Where does the river rise?") {
                    Ok(prompt) => assert!(prompt.len() <= 256 << 20),
                    Err(error) => assert!(!error.is_empty()),
                }
            }
        }
        Err(error) => assert!(!error.is_empty()),
    }
});
