//! What is left: the kinds of exceptions that programs raise at their own
//! code, and noise.

use super::{Rule, RuleClass::Config, RuleClass::Unknown};
use crate::errortrace::advice::{
    CHECK_DATA, CORE_DUMP, FIX_CODE, ONE_WRITER, REPORT_BUG, UPDATE_LIBRARY,
};

/// Tried before all others: words of an error where nothing failed.
pub(super) const NOISE: &[Rule] = &[
    Rule::new("teardown", Unknown, r"(?i)^\S*OSError: handle is closed|can't start new thread at interpreter shutdown|cannot schedule new futures after|Event loop is closed|resource_tracker: |leaked semaphore|Error in atexit|destroy_process_group\(\) was not called|python is shutting down|interpreter shutdown|Exception ignored")
        .noise()
        .low()
        .says("Something complained while the program was already ending.")
        .advice(&[])
        .like(&["OSError: handle is closed", "RuntimeError: cannot schedule new futures after shutdown"]),
    // PyTorch's advice below an error of the device, in records of its own.
    Rule::new("advice", Unknown, r"^(?:CUDA|HIP) kernel errors might be asynchronously reported|^For debugging consider passing |^Compile with `TORCH_USE_\w+` to enable device-side")
        .noise()
        .low()
        .says("A library advised how to find an error; the error stands above it.")
        .advice(&[])
        .like(&["Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."]),
    Rule::new(
        "startup_noise",
        Unknown,
        r"(?i)Unable to register cu\w+ (?:plugin )?factory|computation[_ ]placer already registered|TF-TRT Warning|Could not find TensorRT|^Ignore import error|does not currently take into account all the packages that are installed|Not a git repository|Could not load dynamic library 'libnvinfer|All log messages before absl::InitializeLog|lacks debug info",
    )
    .noise()
    .low()
    .says("A library complained while starting; nothing failed.")
    .advice(&[])
    .like(&[
        "Unable to register cuDNN factory: Attempting to register factory for plugin cuDNN when one has already been registered",
        "pip's dependency resolver does not currently take into account all the packages that are installed. This behaviour is the source of the following dependency conflicts.",
    ]),
];

pub(super) const RULES: &[Rule] = &[
    Rule::new("missing_key", Config, r"^(?:KeyError: '(?:input_ids|labels|attention_mask|inputs?|question|answers?|context|text|prompt|id|title|query|label|messages|content|instruction|output)')")
        .medium()
        .says("The data has no field of this name.")
        .advice(&[CHECK_DATA])
        .like(&["KeyError: 'input_ids'"]),
    Rule::new("missing_key", Unknown, r"^(?:\S+\.)?KeyError\b")
        .low()
        .says("The code looked up a key that is not there.")
        .advice(&[CHECK_DATA, FIX_CODE])
        .like(&["KeyError: 'step'"]),
    Rule::new("not_implemented", Unknown, r"^(?:\S+\.)?NotImplementedError\b")
        .medium()
        .says("The program came to something that is not written yet, or not for this setting.")
        .advice(&[FIX_CODE])
        .like(&["NotImplementedError", "NotImplementedError: Cannot copy out of meta tensor; no data!"]),
    Rule::new("native_assertion", Unknown, r"GGML_ASSERT|runtime error: (?:index out of range|invalid memory address|slice bounds)|^\S+: \S+:\d+: .*Assertion [`'].*' failed")
        .alone()
        .medium()
        .says("A check inside a native library failed, and it ended the process.")
        .advice(&[UPDATE_LIBRARY, CORE_DUMP])
        .like(&[
            "ggml.c:5: GGML_ASSERT(n > 0) failed",
            "panic: runtime error: index out of range [0] with length 0",
            "python: foo.cpp:12: void f(): Assertion `n > 0' failed.",
        ]),
    Rule::new("assertion", Unknown, r"^(?:\S+\.)?AssertionError\b|^panic: assertion|Assertion .{0,200}failed|assertion `?.{0,100} failed")
        .alone()
    .medium()
        .says("A check inside the program failed.")
        .advice(&[FIX_CODE])
        .like(&[
            "AssertionError: Comment line should start with #",
            "panic: assertion `left == right` failed",
        ]),
    Rule::new("recursion", Unknown, r"RecursionError|maximum recursion depth|stack overflow|has overflowed its stack")
        .alone()
        .says("A function called itself without end.")
        .advice(&[FIX_CODE])
        .like(&["RecursionError: maximum recursion depth exceeded", "thread 'main' has overflowed its stack"]),
    Rule::new("database_locked", Config, r"(?i)database (?:table )?is locked")
        .says("Another process holds the database.")
        .advice(&[ONE_WRITER])
        .like(&["sqlite3.OperationalError: database is locked"]),
    Rule::new("database", Unknown, r"(?i)sqlite3\.|DatabaseError|OperationalError|psycopg2?\.|sqlalchemy")
        .medium()
        .says("A database refused a statement.")
        .advice(&[FIX_CODE])
        .like(&["sqlite3.OperationalError: no such column: yolo12s"]),
    Rule::new("pickling", Unknown, r"(?i)PicklingError|cannot pickle|Can't pickle|can't get attribute .{0,80} on <module")
        .says("An object can not be sent to another process.")
        .advice(&[FIX_CODE])
        .like(&["TypeError: cannot pickle '_thread.lock' object"]),
    Rule::new("user_code", Unknown, r"^(?:\S+\.)?(?:AttributeError|NameError|TypeError|IndexError|UnboundLocalError|ZeroDivisionError|ValueError|StopIteration|LookupError|OverflowError|ArithmeticError|BufferError|ReferenceError|UnicodeEncodeError|UnicodeError)\b")
        .low()
        .says("The program's code met a value it does not handle.")
        .advice(&[FIX_CODE])
        .like(&[
            "AttributeError: 'PeftModelForCausalLM' object has no attribute 'backward'",
            "NameError: name 'json' is not defined",
        ]),
    Rule::new("panic", Unknown, r"^panic\b|^(?:\S+\.)?PanicException\b")
        .medium()
        .says("A Rust program met a bug of its own and stopped.")
        .advice(&[REPORT_BUG])
        .like(&["panic: called `Option::unwrap()` on a `None` value", "pyo3_runtime.PanicException: AddedVocabulary bad split"]),
    Rule::new("uncaught", Unknown, r"^(?:[\w]+\.)*\w*(?:Error|Exception)\b")
        .low()
        .says("An exception that nobody handled ended the program.")
        .advice(&[FIX_CODE])
        .like(&["RuntimeError: assigned grad has data of a different type", "OSError: [Errno 36] File name too long"]),
];
