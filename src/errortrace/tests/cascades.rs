use super::super::{Report, read};

/// The finer class and the headline of what started it; empty when nothing
/// failed.
fn told(log: &str) -> (String, String) {
    let report: Report = read(log.as_bytes());
    (
        report
            .analysis
            .as_ref()
            .map(|analysis| analysis.subtype.clone())
            .unwrap_or_default(),
        report.headline().unwrap_or_default(),
    )
}

fn check(rows: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (log, subtype, root) in rows {
        let (found, said) = told(log);
        let right = found == *subtype && said.contains(root) && root.is_empty() == said.is_empty();
        if !right {
            wrong.push(format!(
                "{log}wanted {subtype} {root:?}, got {found} {said:?}\n"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A traceback that ends with `last`.
fn raised(last: &str) -> String {
    format!(
        "Traceback (most recent call last):\n  File \"/w/eval.py\", line 7, in main\n    run()\n{last}\n"
    )
}

#[test]
fn pytorchs_advice_below_an_error_is_not_the_error() {
    for (said, subtype) in [
        (
            "an illegal memory access was encountered",
            "illegal_memory_access",
        ),
        ("unspecified launch failure", "launch_failure"),
        ("invalid device ordinal", "no_gpu"),
        (
            "CUDA-capable device(s) is/are busy or unavailable",
            "device_busy",
        ),
        ("device-side assert triggered", "device_assert"),
        ("unknown error", "cuda"),
    ] {
        for library in ["CUDA", "HIP"] {
            let log = raised(&format!(
                "RuntimeError: {library} error: {said}\n{library} kernel errors might be asynchronously reported at some other call.\nFor debugging consider passing {library}_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_{library}_DSA` to enable device-side assertions."
            ));
            check(&[(&log, subtype, said)]);
        }
    }
}

#[test]
fn what_follows_an_exception_does_not_say_what_it_was() {
    let leaked = "/x/resource_tracker.py:22: UserWarning: resource_tracker: There appear to be 2 leaked semaphore objects";
    check(&[
        (
            &raised(&format!(
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.\n{leaked}"
            )),
            "oom_gpu",
            "CUDA out of memory",
        ),
        (
            &raised(&format!("ValueError: no such split here\n{leaked}")),
            "user_code",
            "no such split here",
        ),
        (
            &raised("RuntimeError: the queue is gone\nresource_tracker: leaked semaphore"),
            "uncaught",
            "the queue is gone",
        ),
        // A headline that leaves it open is explained by the lines after it.
        (
            &raised("RuntimeError: worker 3 said:\n  CUDA out of memory. Tried to allocate 2 GiB."),
            "oom_gpu",
            "worker 3 said",
        ),
        // One that does not is not.
        (
            &raised(
                "FileNotFoundError: [Errno 2] No such file or directory: '/x'\nretrying after CUDA out of memory",
            ),
            "missing_file",
            "No such file",
        ),
    ]);
}

#[test]
fn a_record_does_not_swallow_the_failure_that_follows_it() {
    let warning = "2025-10-10 10:00:01,202 - server - WARNING - the cache is off";
    let error = "2025-10-10 10:00:01,202 - server - ERROR - a probe gave no answer";
    let oom = "ggml_backend: allocating 9000 MiB on device 0: cudaMalloc failed: out of memory";
    for before in [warning, error] {
        check(&[
            (
                &format!("{before}\n{oom}\n"),
                "oom_gpu",
                "cudaMalloc failed",
            ),
            (
                &format!(
                    "{before}\n{}",
                    raised("RuntimeError: index and corpus disagree")
                ),
                "uncaught",
                "index and corpus disagree",
            ),
            (
                &format!("{before}\n  File \"/w/a.py\", line 3, in f\n    g()\nKeyError: 'step'\n"),
                "missing_key",
                "KeyError: 'step'",
            ),
        ]);
    }
    // What a record announces is its own.
    let report = read(format!("{error}; it said:\n{oom}\n").as_bytes());
    assert_eq!(report.groups.len(), 1);
    assert_eq!(report.analysis.unwrap().subtype, "oom_gpu");
}

#[test]
fn only_a_loggers_record_goes_on_without_an_indentation() {
    let logged = "2025-10-10 10:00:01,202 - server - ERROR - it failed";
    check(&[
        (
            "ERROR: it failed\nthe database is locked\n",
            "unknown",
            "it failed",
        ),
        (
            "ERROR: it failed\n  the database is locked\n",
            "database_locked",
            "it failed",
        ),
        (
            "ERROR: it failed\n\n  the database is locked\n",
            "database_locked",
            "it failed",
        ),
        (
            &format!("{logged}\nthe database is locked\n"),
            "database_locked",
            "it failed",
        ),
    ]);
}

#[test]
fn what_stands_before_a_second_colon_of_a_plain_error_is_said_too() {
    check(&[(
        "Error: database: it is gone\n",
        "unknown",
        "database: it is gone",
    )]);
}

#[test]
fn a_traceback_that_a_warning_carried_is_a_failure_only_if_the_program_ends() {
    let logged = "2025-11-25 10:00:00,100 WARNING judge: attempt 1 failed\nTraceback (most recent call last):\n  File \"/w/judge.py\", line 40, in call\n    post()\nhttpx.ReadTimeout: timed out\n";
    let goes_on = "2025-11-25 10:00:10,100 INFO judge: attempt 2 is well\n";
    check(&[
        (logged, "timeout", "timed out"),
        (&format!("{logged}{goes_on}"), "", ""),
        // One that starts where the program starts ended it, whoever else logs.
        (
            &format!("{}{goes_on}", logged.replace("in call", "in <module>")),
            "timeout",
            "timed out",
        ),
    ]);
}

#[test]
fn what_python_ignores_is_no_failure() {
    let ignored = format!(
        "{{'train_loss': 1.9, 'epoch': 1.0}}\nException ignored in: <function Loader.__del__ at 0x7f0e>\n{}",
        raised("AssertionError: can only test a child process")
    );
    check(&[(&ignored, "", "")]);
}

#[test]
fn a_traceback_of_a_logger_leaves_plain_lines_to_others() {
    check(&[(
        "ERROR 02-07 11:28:26 engine.py:389]   File \"/x/build.py\", line 50, in _build\nERROR 02-07 11:28:26 engine.py:389]     check_call(command)\nMemory cgroup out of memory: Killed process 99 (cc1plus)\nsubprocess.CalledProcessError: Command 'gcc' returned non-zero exit status 1.\n",
        "oom_host",
        "Memory cgroup out of memory",
    )]);
}

#[test]
fn what_stands_behind_a_progress_bar_is_read() {
    let bar = "  0%|          | 6/1281167 [00:00<11:48:39, 30.13it/s, loss=0.3]";
    let fault = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n  File \"/w/train.py\", line 77 in main\n";
    check(&[
        (
            &format!("{bar}{fault}"),
            "segfault",
            "Fatal Python error: Segmentation fault",
        ),
        (
            &format!("{bar}ERROR: Unexpected segmentation fault encountered in worker.\n"),
            "segfault",
            "Unexpected segmentation fault",
        ),
        (&format!("{bar}\n{bar}{bar}\n"), "", ""),
    ]);
}

#[test]
fn the_rank_that_failed_is_told_and_not_the_one_that_waited_for_it() {
    let failed = "[rank2]: Traceback (most recent call last):\n[rank2]:   File \"/w/data.py\", line 58, in get\n[rank2]: IndexError: list index out of range\n";
    let waited = "[rank0]:[E1210 03:58:22.0 ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7) ran for 600024 milliseconds before timing out.\n";
    let crash = "terminate called after throwing an instance of 'c10::DistBackendError'\n  what():  [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)\n\n";
    let launcher = raised("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ");
    for end in [launcher.as_str(), crash, &format!("{crash}{launcher}")] {
        check(&[
            (
                &format!("{failed}{waited}{end}"),
                "user_code",
                "list index out of range",
            ),
            (&format!("{waited}{end}"), "nccl_timeout", "Watchdog caught"),
        ]);
    }
}

#[test]
fn an_error_that_says_nothing_is_explained_by_the_one_before_it() {
    let segfault = "ERROR: Unexpected segmentation fault encountered in worker.\n";
    let cudnn = "2024-08-20 16:26:58.037892: E xla/cuda_dnn.cc:439] Could not create cudnn handle: CUDNN_STATUS_INTERNAL_ERROR\n";
    let tensor = "2025-04-23T03:14:07.8Z ERROR backend: could not start: cannot find tensor embeddings.weight\n";
    let chain = "Error: could not create the backend\n\nCaused by:\n    nothing was suitable\n";
    let thread = format!(
        "Exception in thread Thread-3 (loader):\n{}",
        raised("OSError: [Errno 28] No space left on device")
    );
    check(&[
        (
            &format!("{segfault}{}", raised("EOFError")),
            "segfault",
            "segmentation fault",
        ),
        (
            &format!(
                "{cudnn}{}",
                raised("XlaRuntimeError: FAILED_PRECONDITION: look at the errors above for more.")
            ),
            "cudnn",
            "CUDNN_STATUS_INTERNAL_ERROR",
        ),
        (
            &format!("{tensor}{chain}"),
            "bad_weights",
            "cannot find tensor",
        ),
        (chain, "unknown", "nothing was suitable"),
        (
            &format!(
                "{thread}{}",
                raised("RuntimeError: Pin memory thread exited unexpectedly")
            ),
            "disk_full",
            "No space left",
        ),
        // A thread that died does not explain what says its own cause.
        (
            &format!("{thread}{}", raised("ValueError: no such split here")),
            "user_code",
            "no such split",
        ),
        // Neither does what was said long before.
        (
            &format!("{tensor}{}{chain}", "step\n".repeat(500)),
            "unknown",
            "nothing was suitable",
        ),
    ]);
}

#[test]
fn a_launchers_command_is_not_its_message() {
    let log = |code: i32| {
        format!(
            "[2023-07-19 10:43:12,503] [ERROR] [launch.py:321:sigkill_handler] ['/usr/bin/python', '-u', 'x.py', '--local_rank=1'] exits with return code = {code}\n"
        )
    };
    check(&[
        (&log(-9), "killed", "exits with return code = -9"),
        (&log(-11), "segfault", "exits with return code = -11"),
        (&log(1), "child_failed", "exits with return code = 1"),
    ]);
    let report = read(log(-9).as_bytes());
    assert!(report.root_cause.unwrap().message.starts_with("exits"));
}
