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
