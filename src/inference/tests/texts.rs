use super::{
    super::{
        sequence::StreamedText,
        template::{self, ChatTemplate},
        text::TextModel,
    },
    *,
};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

static READER: LazyLock<TextModel> =
    LazyLock::new(|| TextModel::load(&reader_files(), &[], 4096).unwrap());

fn chat(source: &str) -> ChatTemplate {
    ChatTemplate::new(source.to_owned(), "<s>".to_owned(), "</s>".to_owned()).unwrap()
}

const CHATML: &str = "{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message['content'].strip() + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}";

const GEMMA: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}<start_of_turn>{{ message['role'] }}
{{ message['content'] | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}";

#[test]
fn a_template_renders_as_the_reference_does() {
    assert_eq!(
        chat(CHATML).render(Some("Be brief."), " Who? ").unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn a_template_that_refuses_a_system_message_gets_it_before_the_users() {
    assert_eq!(
        chat(GEMMA).render(Some("Be brief."), "Who?").unwrap(),
        "<s><start_of_turn>user\nBe brief.\n\nWho?<end_of_turn>\n<start_of_turn>model\n"
    );
}

#[test]
fn a_template_that_refuses_everything_says_why() {
    let error = chat("{{ raise_exception('not today') }}")
        .render(None, "x")
        .unwrap_err();
    assert!(error.contains("not today"), "{error}");
}

#[test]
fn a_template_can_not_run_for_ever() {
    let endless =
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
    assert!(chat(endless).render(None, "x").is_err());
}

#[test]
fn a_template_is_told_the_same_day_every_day() {
    let text = chat("{{ strftime_now('%d %b %Y') }}")
        .render(None, "x")
        .unwrap();
    assert_eq!(text, "26 Jul 2024");
}

#[test]
fn templates_and_tokens_are_found_in_all_their_forms() {
    let listed = json!({"chat_template": [
        {"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}
    ], "bos_token": {"content": "<s>"}, "eos_token": "</s>"});
    assert_eq!(template::of_tokenizer_config(&listed).as_deref(), Some("b"));
    assert_eq!(
        template::special_token(&listed, "bos_token").as_deref(),
        Some("<s>")
    );
    assert_eq!(
        template::special_token(&listed, "eos_token").as_deref(),
        Some("</s>")
    );
    assert_eq!(template::special_token(&listed, "pad_token"), None);
}

#[test]
fn a_model_without_template_gets_the_system_text_first_and_one_bos() {
    let request = |system: Option<&str>, prompt: &str| GenerationRequest {
        idx: 0,
        system: system.map(str::to_owned),
        prompt: prompt.to_owned(),
        raw: false,
        passages: Vec::new(),
    };
    let plain = READER.encode(&request(None, "Hello there.")).unwrap();
    assert_eq!(plain[0], 1, "the reader's tokenizer begins with <s>");
    assert_ne!(plain[1], 1);
    let twice = READER.encode(&request(None, "<s>Hello there.")).unwrap();
    assert_ne!(
        twice[1], 1,
        "a prompt that brings its own gets no second one"
    );
    let with_system = READER
        .encode(&request(Some("Be brief."), "Hello there."))
        .unwrap();
    let joined = READER
        .encode(&request(None, "Be brief.\n\nHello there."))
        .unwrap();
    assert_eq!(with_system, joined);
}

#[test]
fn a_torn_character_is_left_out() {
    let tokens = READER
        .encode(&GenerationRequest {
            idx: 0,
            system: None,
            prompt: "x \u{1F980}".to_owned(),
            raw: true,
            passages: Vec::new(),
        })
        .unwrap();
    let whole = READER.decode(&tokens);
    assert!(whole.ends_with('\u{1F980}'), "{whole:?}");
    let torn = READER.decode(&tokens[..tokens.len() - 1]);
    assert!(!torn.contains(char::REPLACEMENT_CHARACTER), "{torn:?}");
}

proptest! {
    /// Piece by piece gives the same text as all at once.
    #[test]
    fn streamed_text_is_the_whole_text(tokens in prop::collection::vec(3_u32..1800, 0..40)) {
        let mut streamed = StreamedText::default();
        let mut complete = true;
        for end in 1..=tokens.len() {
            complete = streamed.push(&tokens[..end], &READER);
        }
        if complete {
            prop_assert_eq!(streamed.text(), READER.decode_raw(&tokens));
        }
    }
}
