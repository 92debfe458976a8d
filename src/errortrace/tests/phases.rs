use super::super::{
    ErrorClass, ErrorPhase, Extractor, Limits, advice, explain,
    explain::Context,
    read,
    rules::{self, RuleClass},
};
use std::fmt::Write;

const OOM: &str = "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\n";

/// The phase and the class of a log.
fn told(pieces: &[&str]) -> (ErrorPhase, ErrorClass) {
    let mut extractor = Extractor::new(Limits::default());
    for piece in pieces {
        extractor.feed(piece.as_bytes());
    }
    let analysis = extractor.finish().analysis.unwrap();
    (analysis.phase, analysis.class)
}

#[test]
fn the_text_just_before_an_error_tells_the_phase() {
    let far = "step\n".repeat(200);
    for (before, phase, class) in [
        (
            "Evaluating 7 questions",
            ErrorPhase::Evaluation,
            ErrorClass::OomEval,
        ),
        ("epoch 3", ErrorPhase::Training, ErrorClass::OomTraining),
        (
            "evaluating, then epoch 3",
            ErrorPhase::Training,
            ErrorClass::OomTraining,
        ),
        (
            "epoch 3, then evaluating",
            ErrorPhase::Evaluation,
            ErrorClass::OomEval,
        ),
        ("generating", ErrorPhase::Inference, ErrorClass::OomEval),
        ("nothing", ErrorPhase::Unknown, ErrorClass::OomEval),
    ] {
        let line = format!("{before}\n");
        assert_eq!(told(&[&format!("{line}{OOM}")]), (phase, class), "{before}");
        assert_eq!(
            told(&[&line, OOM]),
            (phase, class),
            "{before} in two pieces"
        );
        assert_eq!(
            told(&[&format!("{line}{far}{OOM}")]).0,
            ErrorPhase::Unknown,
            "{before} far"
        );
        assert_eq!(
            told(&[&line, &far, OOM]).0,
            ErrorPhase::Unknown,
            "{before} far off"
        );
    }
}

#[test]
fn the_logs_own_word_tells_the_phase() {
    for (word, phase) in [
        ("Evaluation", ErrorPhase::Evaluation),
        ("Test", ErrorPhase::Evaluation),
        ("Training", ErrorPhase::Training),
        ("Serving", ErrorPhase::Inference),
        ("Watchdog", ErrorPhase::Monitoring),
        ("Setup", ErrorPhase::Initialization),
        ("Main", ErrorPhase::Unknown),
    ] {
        let log = format!("[2025-12-10 03:58:22] [app.run] [ERROR] [{word}] {OOM}");
        assert_eq!(told(&[&log]).0, phase, "{word}");
    }
}

#[test]
fn the_innermost_telling_frame_tells_the_phase() {
    use ErrorPhase::{Evaluation, Inference, Initialization, Monitoring, Training, Unknown};
    let rows: [(&[(&str, &str)], ErrorPhase); 17] = [
        (&[("/w/x.py", "evaluate")], Evaluation),
        (&[("/w/x.py", "train_step"), ("/w/y.py", "f")], Training),
        (
            &[("/w/x.py", "evaluate"), ("/w/y.py", "generate")],
            Inference,
        ),
        (
            &[("/w/x.py", "generate"), ("/w/y.py", "evaluate")],
            Evaluation,
        ),
        (
            &[("/w/x.py", "train_step"), ("/w/y.py", "generate")],
            Training,
        ),
        (
            &[("/w/x.py", "train_step"), ("/w/y.py", "evaluate")],
            Evaluation,
        ),
        (&[("/w/eval.py", "go")], Evaluation),
        (&[("/w/eval.py/a/x.py", "go")], Unknown),
        (&[("/lib/wandb/sdk.py", "send")], Monitoring),
        (&[("C:\\w\\run_sft.py", "go"), ("/w/y.py", "f")], Training),
        (&[("/w/dpo.py", "go"), ("/w/y.py", "f")], Training),
        (&[("/w/finetune_it.py", "go"), ("/w/y.py", "f")], Training),
        (&[("/w/serve.py", "go"), ("/w/y.py", "f")], Inference),
        (
            &[("/w/a.py", "<module>"), ("/w/b.py", "<module>")],
            Initialization,
        ),
        (
            &[("/w/a.py", "<module>"), ("<frozen importlib>", "f")],
            Initialization,
        ),
        (&[("/w/a.py", "<module>"), ("/w/b.py", "go")], Unknown),
        (&[("/w/sft/a.py", "go")], Unknown),
    ];
    for (frames, phase) in rows {
        let mut log = "Traceback (most recent call last):\n".to_owned();
        for (file, function) in frames {
            let _ = writeln!(log, "  File \"{file}\", line 3, in {function}");
        }
        assert_eq!(told(&[&log, OOM]).0, phase, "{frames:?}");
    }
}

#[test]
fn a_phase_that_is_known_decides_which_memory_ran_out() {
    use ErrorPhase::{Evaluation, Inference, Initialization, Monitoring, Training, Unknown};
    let rule = rules::all()
        .find(|rule| rule.class == RuleClass::Oom)
        .unwrap();
    for (phase, hint, class) in [
        (Training, Inference, ErrorClass::OomTraining),
        (Training, Unknown, ErrorClass::OomTraining),
        (Evaluation, Training, ErrorClass::OomEval),
        (Inference, Training, ErrorClass::OomEval),
        (Unknown, Training, ErrorClass::OomTraining),
        (Initialization, Training, ErrorClass::OomTraining),
        (Unknown, Inference, ErrorClass::OomEval),
        (Unknown, Unknown, ErrorClass::OomEval),
        (Initialization, Unknown, ErrorClass::OomEval),
    ] {
        assert_eq!(
            explain::class_of(rule, phase, hint),
            class,
            "{phase:?} {hint:?}"
        );
    }
    for phase in [
        Evaluation,
        Training,
        Inference,
        Monitoring,
        Initialization,
        Unknown,
    ] {
        let word = serde_json::to_value(phase).unwrap();
        assert_eq!(word, phase.as_str());
    }
}

#[test]
fn advice_names_the_values_of_the_study_and_halves_what_can_be_halved() {
    let context = Context {
        model: Some("hf:a/b".to_owned()),
        quantization: Some("8bit".to_owned()),
        batch_size: Some(7),
        dataset: Some("nq".to_owned()),
        retriever: Some("bm25".to_owned()),
        top_k: Some(10),
        ..Context::default()
    };
    for (template, text) in [
        ("{batch_size} {half_batch}", "7 3"),
        ("{top_k} {half_top_k}", "10 5"),
        ("of {model} on {dataset}.", "of hf:a/b on nq."),
        ("{retriever}", "bm25"),
        ("{quantization} {smaller_quantization}", "8bit 4bit"),
        ("plain", "plain"),
    ] {
        let filled = advice::fill(template, &context);
        assert_eq!(filled.as_deref(), Some(text), "{template}");
        if template != "plain" {
            assert_eq!(
                advice::fill(template, &Context::default()),
                None,
                "{template}"
            );
        }
    }
    assert_eq!(advice::fill("{other}", &context), None);
    let least = Context {
        quantization: Some("4bit".to_owned()),
        batch_size: Some(1),
        top_k: Some(2),
        ..context
    };
    assert_eq!(advice::fill("{half_batch}", &least), None);
    assert_eq!(advice::fill("{smaller_quantization}", &least), None);
    assert_eq!(advice::fill("{half_top_k}", &least).as_deref(), Some("1"));
    let none = Context {
        quantization: Some("none".to_owned()),
        ..Context::default()
    };
    let smaller = advice::fill("{smaller_quantization}", &none);
    assert_eq!(smaller.as_deref(), Some("8bit"));
    assert!(!read(b"nothing failed\n").has_failed());
}
