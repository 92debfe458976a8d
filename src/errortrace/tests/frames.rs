use super::super::{exception, frame};

#[test]
fn a_frame_names_a_place_and_nothing_else() {
    let found = |line: &str| {
        let frame = frame::python(line)?;
        Some((frame.file, frame.line, frame.function))
    };
    let place =
        |function: Option<&str>| Some(("x.py".to_owned(), Some(3), function.map(str::to_owned)));
    assert_eq!(found("  File \"x.py\", line 3, in f"), place(Some("f")));
    assert_eq!(found("> File \"x.py\", line 3 in f \n"), place(Some("f")));
    assert_eq!(found("  File \"x.py\", line 3"), place(None));
    for text in [
        "  File \"x.py\", line 3 and more",
        "  File \"x.py\", line x, in f",
        "  File x.py, line 3, in f",
    ] {
        assert_eq!(found(text), None, "{text}");
    }
    // What there is none of is not written down.
    let mut frame = frame::python("  File \"x.py\", line 3").unwrap();
    let keys = |frame: &frame::Frame| serde_json::to_value(frame).unwrap();
    assert_eq!(keys(&frame).get("repeated"), None);
    frame.repeated = 3;
    assert_eq!(keys(&frame)["repeated"], 3);
}

#[test]
fn a_frame_of_ipython_or_rich_names_a_place_and_nothing_else() {
    let told = |frame: Option<frame::Frame>| {
        let frame = frame?;
        Some((frame.file, frame.line, frame.function))
    };
    let place = |file: &str, line: Option<u64>, function: Option<&str>| {
        Some((file.to_owned(), line, function.map(str::to_owned)))
    };
    for (text, wanted) in [
        ("Cell In[1], line 7", place("Cell In[1]", Some(7), None)),
        (
            "Cell In[12], line 7, in f(x)",
            place("Cell In[12]", Some(7), Some("f")),
        ),
        (
            "Input In [3], in <cell line: 1>()",
            place("Cell In [3]", None, None),
        ),
        (
            "File ~/x.py:906, in f(a, b)",
            place("~/x.py", Some(906), Some("f")),
        ),
        ("File ~/x.py:906", place("~/x.py", Some(906), None)),
        (
            "<ipython-input-3-ab> in <module>",
            place("<ipython-input-3-ab>", None, Some("<module>")),
        ),
        ("/x/y.py in f(a)", place("/x/y.py", None, Some("f"))),
        ("~/y.py in f", place("~/y.py", None, Some("f"))),
        ("x.py in f", None),
        ("/x/y in f", None),
        ("/x y.py in f", None),
        ("<ipython-input-3 ab> in f", None),
        ("what is in it", None),
        ("File x", None),
        ("Cell In[1]", None),
    ] {
        assert_eq!(told(frame::ipython(text)), wanted, "{text}");
    }
    for (text, wanted) in [
        (
            " /x/y.py:55 in <module> ",
            place("/x/y.py", Some(55), Some("<module>")),
        ),
        ("/x/y.py:55 in", place("/x/y.py", Some(55), Some(""))),
        (":5 in f", None),
        ("3x:5 in f", None),
        ("/x/y.py in f", None),
        ("/x/y.py:z in f", None),
        ("/x/y.py:5", None),
    ] {
        assert_eq!(told(frame::rich(text)), wanted, "{text}");
    }
}

#[test]
fn the_exception_that_ends_a_test_is_told_from_other_words() {
    for (line, name) in [
        ("tests/test_x.py:5: AssertionError", Some("AssertionError")),
        ("test_x.py:5: a.b.TypeError", Some("a.b.TypeError")),
        ("test_x.py:5: _OwnError", Some("_OwnError")),
        ("test_x.py:5: Own_Error", Some("Own_Error")),
        ("test_x.py:5: ownError", None),
        ("test_x.py:5: Own-Error", None),
        ("test_x.py:5: Error", None),
        ("test_x.py:5: UserWarning", None),
        ("test_x.py:x: TypeError", None),
        ("test_x.rs:5: TypeError", None),
        ("test_x.py: TypeError", None),
        ("test_x.py:5: Something", None),
    ] {
        assert_eq!(exception::pytest(line).as_deref(), name, "{line}");
    }
}
