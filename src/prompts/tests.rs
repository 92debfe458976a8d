#![allow(clippy::unwrap_used)]
use super::*;
use crate::domain::Passage;
use proptest::prelude::*;

fn passage(title: Option<&str>, text: &str) -> Passage {
    Passage {
        id: "p".to_owned(),
        title: title.map(str::to_owned),
        text: text.to_owned(),
        score: 0.0,
    }
}

fn prompt(name: &str) -> crate::domain::Prompt {
    library().resolve(name, "nq").unwrap()
}

#[test]
fn the_default_prompt_with_passages_is_the_form_the_reader_was_trained_on() {
    let passages = [
        passage(None, "Ada lives in Rome."),
        passage(None, "Bo sings."),
    ];
    let rendered = render(&prompt("default"), "Where does Ada live?", &passages);
    assert_eq!(
        rendered.text,
        "Context:\n[1] Ada lives in Rome.\n[2] Bo sings.\n\nQuestion: Where does Ada live?\nAnswer:"
    );
    assert_eq!(
        rendered.system.as_deref(),
        Some("Answer the question with the fewest words possible, using the context.")
    );
}

#[test]
fn without_passages_the_direct_form_is_taken_and_no_context_is_spoken_of() {
    let rendered = render(&prompt("default"), " Where does Ada live? ", &[]);
    assert_eq!(rendered.text, "Question: Where does Ada live?\nAnswer:");
    assert_eq!(
        rendered.system.as_deref(),
        Some("Answer the question with the fewest words possible.")
    );
}

#[test]
fn placeholders_in_questions_and_passages_are_never_expanded() {
    let question = "What does {context} mean, {question}, {examples}?";
    let passages = [passage(
        Some("{rank}"),
        "A text with {question} and {title}.",
    )];
    let text = render(&prompt("fewshot_1"), question, &passages).text;
    assert!(
        text.contains(&format!("Question: {question}\nAnswer:")),
        "{text}"
    );
    assert!(
        text.contains("[1] {rank}: A text with {question} and {title}."),
        "{text}"
    );
}

#[test]
fn a_title_is_shown_only_where_the_first_sentence_does_not_name_it() {
    for (title, text, want) in [
        (
            "Rome",
            "It is the capital of Italy.",
            "[1] Rome: It is the capital of Italy.",
        ),
        ("Rome", "Rome is old.", "[1] Rome is old."),
        (
            "The Warbora",
            "The river Warbora is long.",
            "[1] The river Warbora is long.",
        ),
        ("Rome", "Romeo is a lover.", "[1] Rome: Romeo is a lover."),
        (
            "Rome",
            "It is old. Rome has hills.",
            "[1] Rome: It is old. Rome has hills.",
        ),
        ("  ", "It is old.", "[1] It is old."),
    ] {
        let text = render(&prompt("default"), "?", &[passage(Some(title), text)]).text;
        assert!(
            text.starts_with(&format!("Context:\n{want}\n")),
            "{title}: {text}"
        );
    }
}

#[test]
fn fewshot_takes_its_examples_from_the_dataset_and_else_from_the_general_list() {
    for (name, shots) in [
        ("fewshot", 5),
        ("fewshot_1", 1),
        ("fewshot_3", 3),
        ("fewshot_5", 5),
    ] {
        for dataset in [
            "nq",
            "triviaqa",
            "hotpotqa",
            "squad",
            "popqa",
            "pubmedqa",
            "techqa",
            "bamboogle",
            "quickstart",
        ] {
            let own = library().resolve(name, dataset).unwrap();
            let general = library().resolve(name, "no such dataset").unwrap();
            assert_eq!(own.examples.len(), shots, "{name} {dataset}");
            assert_eq!(general.examples.len(), shots);
            assert_ne!(own.examples, general.examples, "{name} {dataset}");
        }
    }
    let text = render(&prompt("fewshot_1"), "who is it", &[]).text;
    assert_eq!(
        text,
        "Question: who painted the starry night\nAnswer: Vincent van Gogh\n\nQuestion: who is it\nAnswer:"
    );
}

#[test]
fn every_step_is_described_bounded_and_holds_what_it_needs() {
    use StepPrompt::{Confidence, Hyde, Multiquery, Query, Sufficiency, Support};
    let passages = [passage(None, "Ada lives in Rome.")];
    for (step, has_context) in [
        (Confidence, false),
        (Hyde, false),
        (Multiquery, false),
        (Sufficiency, true),
        (Query, true),
        (Support, true),
    ] {
        let name = step.as_str();
        assert!(!library().about(name).unwrap().is_empty(), "{name}");
        assert!(step.tokens() > 0, "{name}");
        let rendered = render_step(
            step,
            &prompt("default"),
            "Who {answer}?",
            &passages,
            "{context}",
        );
        assert!(rendered.text.contains("Who {answer}?"), "{name}");
        assert_eq!(
            rendered.text.contains("[1] Ada lives in Rome."),
            has_context,
            "{name}"
        );
        assert_eq!(rendered.passages.len(), usize::from(has_context), "{name}");
        assert_eq!(
            rendered.text.contains("{context}"),
            step == Support,
            "{name}"
        );
    }
}

#[test]
fn a_prompt_can_lose_its_last_passages_and_is_then_as_if_they_had_not_been_found() {
    let passages: Vec<Passage> = ["One.", "Zwei und ½.", "Three."]
        .map(|text| passage(Some("T"), text))
        .into();
    for name in library().names() {
        let request = |passages: &[Passage]| {
            let rendered = render(&prompt(name), "Q?", passages);
            crate::domain::GenerationRequest {
                prompt: rendered.text,
                passages: rendered.passages,
                ..Default::default()
            }
        };
        let whole = request(&passages);
        for kept in 1..=3 {
            assert_eq!(
                whole.without_last(3 - kept),
                request(&passages[..kept]),
                "{name}"
            );
        }
        let bare = whole.without_last(3);
        assert!(!bare.prompt.contains("One."), "{name}: {}", bare.prompt);
        assert!(bare.prompt.contains("Q?"), "{name}: {}", bare.prompt);
        assert_eq!(whole.without_last(9), bare);
    }
    // A context that stands in a text twice stays whole.
    let mut twice = prompt("default");
    twice.with_context = "{context} {question} {context}".to_owned();
    assert!(render(&twice, "Q?", &passages).passages.is_empty());
}

#[test]
fn every_template_is_listed_described_and_holds_what_it_needs() {
    let names: Vec<&str> = library().names().collect();
    for expected in [
        "default",
        "concise",
        "concise_strict",
        "extractive",
        "extractive_quoted",
        "cot",
        "cot_final",
        "fewshot",
        "fewshot_1",
        "fewshot_3",
        "fewshot_5",
    ] {
        assert!(names.contains(&expected), "{expected}");
    }
    for name in names {
        let prompt = prompt(name);
        assert!(!library().about(name).unwrap().is_empty());
        assert!(prompt.direct.contains("{question}"), "{name}");
        assert!(prompt.with_context.contains("{question}"), "{name}");
        assert!(prompt.with_context.contains("{context}"), "{name}");
        assert!(prompt.passage.contains("{text}"), "{name}");
        assert_eq!(
            prompt.example.is_some(),
            prompt.direct.contains("{examples}"),
            "{name}"
        );
        let rendered = render(&prompt, "Q?", &[passage(Some("T"), "Some text.")]);
        for text in [Some(rendered.text), rendered.system].into_iter().flatten() {
            assert!(!text.contains('{'), "{name} leaves a placeholder: {text}");
        }
    }
    assert_eq!(library().resolve("detailed", "nq"), None);
}

#[test]
fn the_quickstart_passages_keep_the_form_without_titles() {
    let encyclopedia = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/conf/data/quickstart/encyclopedia.jsonl"
    ));
    for line in encyclopedia.lines() {
        let passage: Passage = serde_json::from_str(line).unwrap();
        let text = render(&prompt("default"), "?", std::slice::from_ref(&passage)).text;
        assert!(
            text.starts_with(&format!("Context:\n[1] {}", passage.text)),
            "{text}"
        );
    }
}

proptest! {
    #[test]
    fn a_question_always_arrives_verbatim(question in "\\PC{0,40}", text in "\\PC{0,40}", braces in "[{}a-z]{0,20}") {
        let question = format!("{question}{braces}");
        let rendered = render(&prompt("default"), &question, &[passage(Some(&braces), &text)]);
        let ending = format!("\n\nQuestion: {}\nAnswer:", question.trim());
        prop_assert!(rendered.text.ends_with(&ending));
    }
}
