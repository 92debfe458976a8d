use super::super::{
    Confidence, Context, ErrorClass, classify, dedupe_key, explain_failure,
    extractor::find_telling, mask_secrets, native, normalize::normalize, parse_error_log, read,
    rules, secrets,
};
use crate::domain::FailureClass;
use std::path::Path;

#[test]
fn every_example_of_a_rule_is_classified_by_that_rule() {
    let mut wrong = Vec::new();
    for rule in rules::all() {
        assert!(!rule.examples.is_empty(), "{} has no example", rule.subtype);
        assert!(
            !rule.description.is_empty(),
            "{} has no description",
            rule.subtype
        );
        assert!(regex::Regex::new(rule.pattern).is_ok(), "{}", rule.pattern);
        for example in rule.examples {
            let found = classify::find(example);
            if found.map(|found| found.pattern) != Some(rule.pattern) {
                wrong.push(format!(
                    "{example:?}: wanted {}, got {:?}",
                    rule.subtype,
                    found.map(|found| found.subtype)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_rule_that_stands_alone_finds_its_examples_in_a_log_of_plain_lines() {
    let mut wrong = Vec::new();
    for rule in rules::all().filter(|rule| rule.alone) {
        for example in rule.examples {
            let log = format!("loading\nstep 1\n{example}\nstep 2\n");
            let report = read(log.as_bytes());
            let right = find_telling(example.as_bytes()).is_some()
                && report.groups.len() == 1
                && report.groups[0].lines == [3]
                && report.has_failed();
            if !right {
                wrong.push(*example);
            }
        }
    }
    assert!(wrong.is_empty(), "not found: {wrong:#?}");
}

#[test]
fn every_word_of_a_death_is_seen_in_a_log_of_plain_lines() {
    for word in native::DEATHS {
        let line = format!("{word} (core dumped)");
        assert!(native::is_death(word), "{word}");
        assert!(find_telling(line.as_bytes()).is_some(), "{line}");
        let report = read(format!("step 1\n{line}\n").as_bytes());
        assert!(report.has_failed(), "{line}");
    }
}

#[test]
fn what_a_shell_or_a_library_prints_when_a_process_dies_is_a_death() {
    for line in [
        "Killed",
        "  Killed.",
        "Segmentation fault (core dumped)",
        "*** Process received signal ***",
        "Fatal Python error: Aborted",
        "Windows fatal exception: access violation",
        "terminate called without an active exception",
        "*** SIGABRT (@0x1) received",
        "!!!!!!! Segfault encountered !!!!!!!",
        "double free or corruption (out)",
        "free(): invalid pointer",
        "corrupted size vs. prev_size in fastbins",
        "munmap_chunk(): invalid pointer",
        "malloc(): memory corruption",
        "*** stack smashing detected ***: terminated",
        "*** Error in `python': double free",
        "run.sh: line 12:  4242 Killed                  python train.py",
        "run.sh: line 12: 4242 Killed",
    ] {
        assert!(native::is_death(line), "{line}");
    }
    for line in [
        "Killed it",
        "run.sh: 4242 Killed python",
        "run.sh: line 12: command not found",
        "an error in free(): invalid",
        "",
    ] {
        assert!(!native::is_death(line), "{line}");
    }
}

#[test]
fn words_of_a_failure_in_names_and_settings_are_no_failure() {
    for line in [
        "tests/test_errors.py::test_cuda_out_of_memory PASSED",
        "Config: Namespace(kill_signal='SIGKILL', resume=True)",
        "on_stop: SIGKILL, then exit",
        "registered handlers for SIGTERM, SIGBUS and SIGSEGV",
        "CUDA out of memory. Tried to allocate 20 GiB. Decreasing batch size to 32.",
        "gradient overflow 0, killed 0, aborted 0",
        "the search is not sufficient for exit",
    ] {
        let report = read(format!("{line}\n").as_bytes());
        assert!(!report.has_failed(), "{line}: {:?}", report.headline());
    }
}

#[test]
fn what_a_program_did_to_the_device_is_not_the_devices_fault() {
    for (code, subtype) in [
        (13, "xid_application"),
        (31, "xid_application"),
        (43, "xid_application"),
        (45, "xid_application"),
        (48, "ecc_xid"),
        (79, "ecc_xid"),
        (131, "ecc_xid"),
    ] {
        let line = format!("NVRM: Xid (PCI:0000:07:00): {code}, pid=12, name=python");
        assert_eq!(classify::find(&line).unwrap().subtype, subtype, "{line}");
    }
}

#[test]
fn statuses_of_the_hub_say_what_to_do() {
    for (status, subtype) in [
        (401, "auth"),
        (403, "auth"),
        (404, "missing_model"),
        (429, "rate_limit"),
        (500, "network"),
        (503, "network"),
    ] {
        let line = format!(
            "Error: request error: https://huggingface.co/x/y/resolve/main/config.json: status code {status}"
        );
        assert_eq!(classify::find(&line).unwrap().subtype, subtype, "{line}");
    }
}

#[test]
fn advice_below_an_error_says_nothing_of_it() {
    for hint in [
        "CUDA kernel errors might be asynchronously reported at some other API call",
        "For debugging consider passing CUDA_LAUNCH_BLOCKING=1",
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
    ] {
        let log = format!(
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nFooError: it ended\n{hint}\n"
        );
        let analysis = read(log.as_bytes()).analysis.unwrap();
        assert_eq!(analysis.subtype, "uncaught", "{hint}");
        // No row takes it for a cause, whatever stands before it.
        for said in [
            "it ended",
            "CUDA error: unknown error",
            "HIP error: unknown error",
        ] {
            let alone = classify::find(said).map(|rule| rule.pattern);
            let advised = classify::find(&format!("{said}\n{hint}")).map(|rule| rule.pattern);
            assert_eq!(advised, alone, "{said} {hint}");
        }
    }
}

#[test]
fn words_of_a_failure_that_somebody_quotes_are_no_failure() {
    const WORDS: &str = "CUDA out of memory. Tried to allocate 2.00 GiB";
    let groups = |line: String| read(format!("{line}\n").as_bytes()).groups.len();
    assert_eq!(groups(WORDS.to_owned()), 1);
    for before in [
        "# ",
        "\"",
        "'",
        "| ",
        "* ",
        "> ",
        "  # ",
        "Ignore ",
        "ignoring ",
        "If ",
        "Note: ",
        "UserWarning ",
        "a.py:3: Warning: ",
        "a.c:3: warning: ",
    ] {
        assert_eq!(groups(format!("{before}{WORDS}")), 0, "{before}");
    }
    for after in [". Decreasing batch size", ". Reducing batch size"] {
        assert_eq!(groups(format!("{WORDS}{after}")), 0, "{after}");
    }
}

#[test]
fn a_list_of_possible_causes_is_not_the_cause() {
    let rule = classify::find(
        "ray.exceptions.RayActorError: The actor died unexpectedly.\nThere are some potential root causes. (1) The process is killed by SIGKILL by OOM killer due to high memory usage.",
    )
    .unwrap();
    assert_eq!(rule.subtype, "worker_died");
}

#[test]
fn keys_are_stable_across_versions() {
    // A key is stored by other programs: a change here breaks their history.
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dedupe_keys.tsv");
    let Ok(text) = std::fs::read_to_string(&golden) else {
        panic!("{} is missing", golden.display());
    };
    let mut checked = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.splitn(3, '\t');
        let (key, phase, message) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let phase = Some(phase).filter(|phase| !phase.is_empty());
        assert_eq!(dedupe_key(phase, message), key, "{message:?}");
        checked += 1;
    }
    assert!(checked >= 15, "{checked} keys");
}

#[test]
fn what_differs_between_occurrences_does_not_change_the_key() {
    let pairs = [
        (
            "CUDA out of memory. Tried to allocate 86.00 MiB. GPU 0 has",
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 13 has",
        ),
        ("GPU \u{1} has a total", "GPU 4 has a total"),
        (
            "item 87cf143e-2a40-47ff-8b7b-fb171d2e7d1f failed",
            "item 00000000-2a40-47ff-8b7b-fb171d2e7d1f failed",
        ),
        (
            "can not open /data/a/b.txt now",
            "can not open /mnt/x/y/z.txt now",
        ),
        (
            "at 2025-12-10 03:58:22 it ended",
            "at 2024-01-01 00:00:00 it ended",
        ),
        (
            "[PG ID 0 PG GUID 0 Rank 0] Process group watchdog thread terminated with exception: CUDA error: unknown error",
            "[PG ID 7 PG GUID 9 Rank 31] Process group watchdog thread terminated with exception: CUDA error: unknown error",
        ),
        ("rank 3 pid 4242 at 0x7f00deadbeef", "rank 9 pid 1 at 0x1"),
        (
            "NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
            "NVRM: Xid (PCI:0000:af:00): 79, pid=22",
        ),
        ("blob 1a2b3c4d5e6f is gone", "blob feedface0123 is gone"),
        (
            "shapes cannot be multiplied (4x768 and 1024x512)",
            "shapes cannot be multiplied (12x768 and 1024x9)",
        ),
        (
            "no access (Request ID: Root=1-661471eb-38c6ceb05c22;54f54e0f-18d7)",
            "no access (Request ID: Root=1-66147333-48c6ceb05c22;64f54e0f-18d8)",
        ),
        (
            "worker (pid(s) 12, 13) exited",
            "worker (pid(s) 14, 15, 16) exited",
        ),
        (
            "can not open object </torch_310_3681426278_102> now",
            "can not open object </torch_311_2681426279_7> now",
        ),
    ];
    for (a, b) in pairs {
        assert_eq!(dedupe_key(None, a), dedupe_key(None, b), "{a:?} {b:?}");
    }
}

#[test]
fn who_said_it_does_not_change_the_key() {
    let key = |before: &str| dedupe_key(None, &format!("{before}the net is down"));
    for before in [
        "[PG ID 0 PG GUID 0(default_pg) Rank 3] ",
        "[Rank 3] ",
        "[rank3]: ",
        "[PG ID 1] [Rank 2]: ",
    ] {
        assert_eq!(key(before), key(""), "{before}");
    }
    for before in ["[Ran 3] ", "[other] "] {
        assert_ne!(key(before), key(""), "{before}");
    }
}

#[test]
fn codes_that_say_what_went_wrong_stay_apart() {
    for (a, b) in [
        ("exit code 137", "exit code 1"),
        ("[Errno 2] no", "[Errno 28] no"),
        ("Signal 11 received", "Signal 9 received"),
        ("Xid 79", "Xid 31"),
        (
            "NVRM: Xid (PCI:0000:3b:00): 79, pid=1",
            "NVRM: Xid (PCI:0000:3b:00): 31, pid=1",
        ),
        ("status 404", "status 503"),
        ("llama_7 is missing", "llama_8 is missing"),
    ] {
        assert_ne!(dedupe_key(None, a), dedupe_key(None, b), "{a:?} {b:?}");
    }
    assert_eq!(normalize("load 8bit"), "load 8bit");
}

#[test]
fn each_kind_of_difference_has_its_word() {
    for (message, masked) in [
        ("3 of 4,096 files", "<n> of <n> files"),
        ("took 1.5 s", "took <duration>"),
        ("took 12ms", "took <duration>"),
        ("took 3 minutes", "took <duration>"),
        ("took 3 steps", "took <n> steps"),
        ("12 GiB and 7.5MB", "<size> and <size>"),
        ("lr 1e-05 or 3E+4", "lr <n> or <n>"),
        ("lr 1e5", "lr 1e5"),
        ("version 2.6.0, then", "version <n>, then"),
        ("shape 4x768x2 or 4x", "shape <n> or 4x"),
        ("at 0x7fff, not 0x or 0X1F", "at <hex>, not 0x or <hex>"),
        ("id 1a2b3c4 and face123", "id <hex> and <hex>"),
        ("id deadbeef and 1a2b3c", "id deadbeef and 1a2b3c"),
        ("id 1a2b3c4_x", "id <id>"),
        ("id 9zyxwvu and 9zyxwv", "id <id> and 9zyxwv"),
        ("at 10.0.0.1:8080 or 10.0.0.1", "at <ip> or <ip>"),
        ("at 10.0.0.1: no", "at <ip>: no"),
        ("at 1000.0.0.1", "at <n>"),
        ("at 192.168.100.1", "at <ip>"),
        ("at 10.0.0.1.2", "at <n>"),
        ("on 2025-12-10 at 03:58:22", "on <time> at <time>"),
        ("on 2025-12-10", "on <time>"),
        ("on 2025-12-1", "on <n>-<n>-<n>"),
        ("see https://a.b/c?d=1, then", "see <url>, then"),
        ("see abcdefghijklm://x", "see abcdefghijklm:<path>"),
        ("in /a/b/c.txt: no", "in <path>: no"),
        ("in ~/x and ./y and ../z", "in <path> and <path> and <path>"),
        ("in /tmp or /a.b", "in /tmp or <path>"),
        ("and/or", "and/or"),
        ("in C:\\a\\b and D:/x", "in <path> and D:/x"),
        ("to a.b+c@d.org now", "to <email> now"),
        ("to a@b now", "to a@b now"),
        ("GPU 0000:3b:00.0 and 0000:3b:00", "GPU <n> and <n>"),
        ("GPU 000:3b:00.0", "GPU <n>:3b:<n>"),
        (
            "of 87cf143e-2a40-47ff-8b7b-fb171d2e7d1f now",
            "of <uuid> now",
        ),
        ("Root=1-661471eb;x", "<id>x"),
        ("Root=1-66", "Root=<n>-<n>"),
        ("rank3 layer_12 gpu7x", "rank<n> layer_<n> gpu7x"),
        ("llama3 llama_7", "llama3 llama_7"),
        ("torch_310_36", "torch_<n>_<n>"),
        ("exit code 3 of 4", "exit code 3 of <n>"),
        ("Errno 28", "Errno 28"),
        ("HTTP 503", "HTTP 503"),
        ("a \t\n b", "a b"),
        ("GPU \u{1} x", "GPU <n> x"),
        ("naïve 3 ü", "naïve <n> ü"),
        ("x3 3x", "x3 3x"),
        ("tasks (pid(s) 1, 2, 3)", "tasks (pid(s) <n>)"),
    ] {
        assert_eq!(normalize(message), masked, "{message}");
    }
    // A key needs the start only, and no character is cut.
    let long = normalize(&"ü".repeat(500));
    assert_eq!(long, "ü".repeat(300));
    assert_eq!(normalize(&format!("x{}", "ü".repeat(500))).len(), 599);
}

#[test]
fn the_phase_and_the_message_can_be_read_in_the_key() {
    let key = dedupe_key(
        Some("Main"),
        "CUDA out of memory. Tried to allocate 20.00 GiB",
    );
    assert!(key.starts_with("main_cuda_out_of_memory_"), "{key}");
    assert_eq!(key.len(), "main_cuda_out_of_memory_".len() + 8);
}

#[test]
fn every_failure_class_is_explained_and_never_contradicted() {
    let context = Context {
        model: Some("hf:Qwen/Qwen2.5-7B-Instruct".to_owned()),
        quantization: Some("none".to_owned()),
        batch_size: Some(32),
        ..Context::default()
    };
    for class in FailureClass::ALL {
        let explained = explain_failure("something odd", class, None, &context);
        assert!(!explained.suggestions.is_empty(), "{class}");
        let wanted = match class {
            FailureClass::Oom => ErrorClass::OomEval,
            FailureClass::Transient | FailureClass::DeviceLost => ErrorClass::CudaError,
            FailureClass::Hang | FailureClass::Timeout => ErrorClass::Timeout,
            FailureClass::WorkerDied => ErrorClass::Unknown,
            _ => ErrorClass::ConfigError,
        };
        assert_eq!(explained.class, wanted, "{class}");
    }
    let oom = explain_failure(
        "CUDA_ERROR_OUT_OF_MEMORY",
        FailureClass::Oom,
        None,
        &context,
    );
    assert_eq!(oom.subtype, "oom_gpu");
    assert_eq!(oom.confidence, Confidence::High);
    assert_eq!(oom.suggestions[0], "Lower batch_size from 32 to 16.");
    assert!(
        oom.suggestions[1]
            .contains("hf:Qwen/Qwen2.5-7B-Instruct with quantization 8bit instead of none")
    );
}

#[test]
fn a_server_is_not_taken_for_a_device_or_the_hub() {
    let context = Context {
        model: Some("openai:m".to_owned()),
        batch_size: Some(8),
        ..Context::default()
    };
    let explained = |said: &str, class| {
        let explained = explain_failure(
            &format!("openai:m at http://10.0.0.1/v1{said}"),
            class,
            None,
            &context,
        );
        let advice = explained.suggestions.join(" ");
        for other in ["HF_", "launch", "quantization", "nvidia-smi", "licence"] {
            assert!(!advice.contains(other), "{said}: {advice}");
        }
        assert_ne!(explained.class, ErrorClass::CudaError, "{said}");
        (explained.subtype, advice)
    };
    let (transient, permanent) = (FailureClass::Transient, FailureClass::Permanent);
    for (said, class, subtype, advice) in [
        (
            ": 503 Service Unavailable (5 tries)",
            transient,
            "network",
            "from 8 to 4",
        ),
        (
            ": 429 Too Many Requests (5 tries)",
            transient,
            "rate_limit",
            "from 8 to 4",
        ),
        (
            ": no answer in time (2 tries)",
            transient,
            "server",
            "base_url",
        ),
        (
            " does not accept the key (401 Unauthorized: x): correct OPENAI_API_KEY",
            permanent,
            "auth",
            "Set OPENAI_API_KEY",
        ),
        (
            " can not be reached (connection refused, 5 tries): start the server",
            permanent,
            "network",
            "base_url",
        ),
        (
            " refuses the requests (400 Bad Request: n is 2): change the model",
            permanent,
            "server",
            "Correct the setting",
        ),
    ] {
        let (told, advised) = explained(said, class);
        assert_eq!(told, subtype, "{said}");
        assert!(advised.contains(advice), "{said}: {advised}");
    }
    // What it asks a server for has no part in a full disk.
    let disk = explain_failure("No space left", FailureClass::Environment, None, &context);
    assert_eq!(disk.class, ErrorClass::ConfigError);
}

#[test]
fn a_dead_worker_is_explained_by_the_tail_of_its_log() {
    let explained = explain_failure(
        "the worker was killed by signal 9",
        FailureClass::WorkerDied,
        Some("loading\nOut of memory: Killed process 4242 (ragicamp)\n"),
        &Context::default(),
    );
    assert_eq!(explained.subtype, "oom_host");
    assert_eq!(explained.class, ErrorClass::OomEval);
    assert_eq!(
        explained.confidence,
        Confidence::Medium.min(explained.confidence)
    );
}

#[test]
fn an_error_log_of_ours_gives_the_studys_values() {
    let log = parse_error_log(
        "Error: Error invalid configuration argument at line 380\n\nExperiment: direct_x\nModel: hf:a/b\nQuantization: 8bit\nTop-K: 10\nBatch size: 16\nFailure class: device_lost\n\nTraceback:\none\ntwo\n",
    )
    .unwrap();
    assert_eq!(log.context.batch_size, Some(16));
    assert_eq!(log.context.top_k, Some(10));
    assert_eq!(log.failure_class, Some(FailureClass::DeviceLost));
    assert_eq!(log.traceback.as_deref(), Some("one\ntwo"));
    assert!(parse_error_log("Error: but nothing else\n").is_none());
}

#[test]
fn secrets_are_masked_and_the_rest_stays() {
    let (compiled, written) = secrets::compiled_patterns();
    assert_eq!(compiled, written);
    let text = "token=abcd1234efgh Authorization: Bearer abcdefghijkl https://u:pw12@h/x /home/alice/a.py C:\\Users\\bob\\x /auto/home/users/d/a/dora/y hf_ABCDEFGHIJKLMNOPQRST sk-proj-ABCDEFGHIJKLMNOPQRST /root/.cache";
    let masked = mask_secrets(text);
    for secret in [
        "abcd1234efgh",
        "abcdefghijkl",
        "pw12",
        "alice",
        "dora",
        "bob",
        "hf_ABC",
        "sk-proj",
        "/root",
    ] {
        assert!(!masked.contains(secret), "{secret} in {masked}");
    }
    let hex = "0123456789abcdef0123456789abcdef01234567";
    let spoken = format!(
        "--api-key abcd1234 --password 'hunter22 tail' --token tok_98765 Authorization: Token {hex}; wandb login {hex} password=\"first second\" 'secret': 'third fourth'"
    );
    let masked_too = mask_secrets(&spoken);
    for secret in [
        "abcd1234",
        "hunter22",
        "tail",
        "tok_98765",
        "01234567",
        "first",
        "second",
        "third",
        "fourth",
    ] {
        assert!(!masked_too.contains(secret), "{secret} in {masked_too}");
    }
    for plain in [
        "--max-tokens 4096 --key --verbose",
        "the token is missing",
        "log in with wandb login first",
    ] {
        assert_eq!(mask_secrets(plain), plain);
    }
    assert!(masked.contains("~/a.py"));
    assert_eq!(mask_secrets("12 tokens per second"), "12 tokens per second");
}
