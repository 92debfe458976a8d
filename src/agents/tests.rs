#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    domain::{AgentKind, Passage, Prompt},
    prompts::{StepPrompt, library},
};
use proptest::prelude::*;

fn plan(kind: AgentKind) -> AgentPlan {
    AgentPlan {
        kind,
        transform: None,
        top_k: 2,
        max_iterations: 3,
        stop_on_sufficient: true,
        retrieval_threshold: 0.5,
        verify_answer: false,
        fallback_to_direct: false,
    }
}

fn passage(id: &str) -> Passage {
    Passage {
        id: id.to_owned(),
        title: None,
        text: format!("Text of {id}."),
        score: 1.0,
    }
}

fn prompt() -> Prompt {
    library().resolve("default", "").unwrap()
}

/// Runs an agent to its answer. `reply` plays the model, `find` the index.
/// Gives the words of the trace and the answer with its prompt.
fn run(
    plan: AgentPlan,
    mut reply: impl FnMut(Role) -> String,
    mut find: impl FnMut(&str) -> Vec<&'static str>,
) -> (Vec<String>, String, Ask) {
    let prompt = prompt();
    let mut agent = Agent::new(plan, &prompt, "Who?");
    let mut trace = Vec::new();
    let mut result = None;
    for _ in 0..100 {
        match agent.next(result.take()) {
            Step::Generate(ask) => {
                trace.push(ask.role.as_str().to_owned());
                result = Some(StepResult::Generated(reply(ask.role)));
            }
            Step::Retrieve { query, top_k } => {
                assert_eq!(top_k, 2);
                trace.push(format!("retrieve {query}"));
                let found = find(&query).into_iter().map(passage).collect();
                result = Some(StepResult::Retrieved(found));
            }
            Step::Answer { text, ask } => return (trace, text, ask),
        }
    }
    panic!("it never ends: {trace:?}");
}

fn ids(ask: &Ask) -> Vec<&str> {
    ask.passages
        .iter()
        .map(|passage| passage.id.as_str())
        .collect()
}

#[test]
fn the_simple_agents_take_one_generation_and_at_most_one_search() {
    let (trace, text, ask) = run(plan(AgentKind::DirectLlm), |_| "x".into(), |_| vec![]);
    assert_eq!((trace.join(", ").as_str(), text.as_str()), ("answer", "x"));
    assert!(ask.passages.is_empty());
    let (trace, _, ask) = run(
        plan(AgentKind::FixedRag),
        |_| "x".into(),
        |_| vec!["b", "a"],
    );
    assert_eq!(trace, ["retrieve Who?", "answer"]);
    assert_eq!(ids(&ask), ["b", "a"]);
    assert!(ask.prompt.text.contains("Text of b."));
    assert!(plan(AgentKind::FixedRag).is_single_step());
}

#[test]
fn iterative_rag_searches_exactly_max_iterations_times() {
    for rounds in 1..=4 {
        for stop_on_sufficient in [true, false] {
            let mut plan = plan(AgentKind::IterativeRag);
            plan.max_iterations = rounds;
            plan.stop_on_sufficient = stop_on_sufficient;
            let mut asked = 0;
            let (trace, _, _) = run(
                plan,
                |role| match role {
                    Role::Inner(StepPrompt::Sufficiency) => "No.".into(),
                    Role::Inner(_) => {
                        asked += 1;
                        format!("query {asked}\nand more")
                    }
                    Role::Answer => "x".into(),
                },
                |_| vec!["a"],
            );
            let searches: Vec<&String> = trace
                .iter()
                .filter(|step| step.starts_with("retrieve"))
                .collect();
            assert_eq!(searches.len(), rounds, "{trace:?}");
            let checks = trace.iter().filter(|step| *step == "sufficiency").count();
            assert_eq!(checks, if stop_on_sufficient { rounds - 1 } else { 0 });
            assert_eq!(searches[0], "retrieve Who?");
            assert!(
                searches[1..]
                    .iter()
                    .enumerate()
                    .all(|(i, step)| **step == format!("retrieve query {}", i + 1))
            );
            assert_eq!(trace.last().unwrap(), "answer");
        }
    }
}

#[test]
fn iterative_rag_stops_when_the_passages_suffice_and_fuses_what_it_found() {
    let (trace, _, _) = run(
        plan(AgentKind::IterativeRag),
        |_| "Yes".into(),
        |_| vec!["a"],
    );
    assert_eq!(trace, ["retrieve Who?", "sufficiency", "answer"]);
    let mut checks = 0;
    let (trace, _, ask) = run(
        plan(AgentKind::IterativeRag),
        |role| match role {
            Role::Inner(StepPrompt::Sufficiency) => {
                checks += 1;
                if checks == 2 {
                    "yes, they do".into()
                } else {
                    "no".into()
                }
            }
            _ => "who is it".into(),
        },
        |query| {
            if query == "Who?" {
                vec!["a", "b"]
            } else {
                vec!["c", "b"]
            }
        },
    );
    assert_eq!(
        trace,
        [
            "retrieve Who?",
            "sufficiency",
            "query",
            "retrieve who is it",
            "sufficiency",
            "answer"
        ]
    );
    // b stands in both rankings; of the rest the smaller id goes first.
    assert_eq!(ids(&ask), ["b", "a"]);
    // Nothing found can not suffice, so nobody is asked.
    let (trace, _, ask) = run(plan(AgentKind::IterativeRag), |_| "yes".into(), |_| vec![]);
    assert!(!trace.contains(&"sufficiency".to_owned()), "{trace:?}");
    assert!(ask.prompt.text.starts_with("Question:"));
}

#[test]
fn a_model_that_repeats_a_query_ends_the_rounds_and_counts_it_once() {
    let mut queries = ["who is it", "WHO IS IT", "never asked for"].iter();
    let (trace, _, ask) = run(
        plan(AgentKind::IterativeRag),
        |role| match role {
            Role::Inner(StepPrompt::Sufficiency) => "no".into(),
            Role::Inner(_) => (*queries.next().unwrap()).into(),
            Role::Answer => "x".into(),
        },
        |query| {
            if query == "Who?" {
                vec!["a", "b"]
            } else {
                vec!["c", "d"]
            }
        },
    );
    let searches = trace.iter().filter(|step| step.starts_with("retrieve"));
    assert_eq!(searches.count(), 2, "{trace:?}");
    assert_eq!(trace.last().unwrap(), "answer");
    // Each ranking has one voice: both first passages are in.
    assert_eq!(ids(&ask), ["a", "c"]);
}

#[test]
fn self_rag_looks_up_what_the_model_is_not_sure_of() {
    for (said, looks_up) in [
        ("0.9", false),
        ("Confidence: 80%", false),
        ("95", false),
        ("0.2", true),
        ("10 %", true),
        ("0.5", false),
        ("I do not know", true),
        ("", true),
    ] {
        let reply = |role| match role {
            Role::Inner(_) => said.to_owned(),
            Role::Answer => "x".to_owned(),
        };
        let (trace, _, ask) = run(plan(AgentKind::SelfRag), reply, |_| vec!["a"]);
        assert_eq!(
            trace.contains(&"retrieve Who?".to_owned()),
            looks_up,
            "{said}: {trace:?}"
        );
        assert_eq!(ask.passages.len(), usize::from(looks_up));
    }
}

#[test]
fn self_rag_replaces_an_unsupported_answer_only_where_it_is_told_to() {
    for (fallback, supported, steps, answer) in [
        (
            false,
            "no",
            "confidence, retrieve Who?, answer, support",
            "with",
        ),
        (
            true,
            "yes",
            "confidence, retrieve Who?, answer, support",
            "with",
        ),
        (
            true,
            "no",
            "confidence, retrieve Who?, answer, support, answer",
            "without",
        ),
    ] {
        let mut plan = plan(AgentKind::SelfRag);
        plan.verify_answer = true;
        plan.fallback_to_direct = fallback;
        let mut answers = ["with", "without"].into_iter();
        let (trace, text, ask) = run(
            plan,
            |role| match role {
                Role::Inner(StepPrompt::Support) => supported.into(),
                Role::Inner(_) => "0".into(),
                Role::Answer => answers.next().unwrap().into(),
            },
            |_| vec!["a"],
        );
        assert_eq!((trace.join(", ").as_str(), text.as_str()), (steps, answer));
        assert_eq!(ask.passages.is_empty(), answer == "without");
    }
}

#[test]
fn a_query_transform_searches_with_the_question_and_with_what_the_model_wrote() {
    let mut hyde = plan(AgentKind::FixedRag);
    hyde.transform = Some(QueryTransform::Hyde);
    assert!(!hyde.is_single_step());
    let (trace, _, ask) = run(
        hyde,
        |role| {
            if role == Role::Answer {
                "x".into()
            } else {
                "It was Ada.\nShe was.".into()
            }
        },
        |query| {
            if query == "Who?" {
                vec!["a", "b"]
            } else {
                vec!["c", "a"]
            }
        },
    );
    assert_eq!(
        trace,
        [
            "hyde",
            "retrieve Who?",
            "retrieve It was Ada.\nShe was.",
            "answer"
        ]
    );
    assert_eq!(ids(&ask), ["a", "c"]);
    let mut multiquery = plan(AgentKind::FixedRag);
    multiquery.transform = Some(QueryTransform::Multiquery);
    let (trace, _, _) = run(
        multiquery,
        |_| "1. Which one?\n\n- \"Who?\"\n2) Whose?\nWhich one?\n3 men\nfive".into(),
        |_| vec!["a"],
    );
    let searches: Vec<&String> = trace
        .iter()
        .filter(|step| step.starts_with("retrieve"))
        .collect();
    assert_eq!(
        searches,
        ["retrieve Who?", "retrieve Which one?", "retrieve Whose?"]
    );
}

proptest! {
    #[test]
    fn whatever_a_model_replies_every_agent_ends_and_a_replay_is_the_same(
        kind in prop::sample::select(vec![AgentKind::DirectLlm, AgentKind::FixedRag, AgentKind::IterativeRag, AgentKind::SelfRag]),
        transform in prop::sample::select(vec![None, Some(QueryTransform::Hyde), Some(QueryTransform::Multiquery)]),
        flags in prop::array::uniform3(any::<bool>()),
        rounds in 1..4_usize,
        replies in prop::collection::vec("(yes|no|0\\.[0-9]|[0-9]{1,3}%|\\PC{0,12})(\n\\PC{0,8})?", 40),
        found in prop::collection::vec(prop::sample::subsequence(vec!["a", "b", "c", "d"], 0..=2), 30),
    ) {
        let mut plan = plan(kind);
        plan.transform = transform;
        plan.max_iterations = rounds;
        plan.stop_on_sufficient = flags[0];
        plan.verify_answer = flags[1];
        plan.fallback_to_direct = flags[2];
        let once = || {
            let (mut replies, mut found) = (replies.iter(), found.iter());
            run(plan.clone(), |_| replies.next().unwrap().clone(), |_| found.next().unwrap().clone())
        };
        let (trace, text, ask) = once();
        prop_assert!(ask.passages.len() <= 2);
        prop_assert_eq!(&trace.iter().filter(|step| *step == "answer").count().min(1), &1);
        let again = once();
        prop_assert_eq!((trace, text, ask), again);
    }
}
