//! `compare`, `report` and `export` over a study with known scores.

use super::{
    place::Place,
    scored::{DIRECT, FAILED, OTHER, RAG_1, RAG_5, study},
};
use serde_json::Value;

fn json(place: &Place, arguments: &[&str]) -> Value {
    let arguments = [&["compare", "outputs/made", "--json"], arguments].concat();
    serde_json::from_str(&place.ok(&arguments).out).unwrap()
}

#[test]
fn the_ranking_is_best_first_and_only_of_complete_experiments() {
    let place = study();
    let done = place.ok(&["compare", "outputs/made"]);
    insta::assert_snapshot!(done.out, @r"
    exact_match, best first

    experiment                          exact_match  answered  coverage
    rag_m1_bm25_k5_default_nq  0.750 [0.650, 0.850]        40    1.0000
    rag_m1_bm25_k1_default_nq  0.500 [0.400, 0.600]        40    1.0000
    rag_m2_bm25_k5_default_nq  0.375 [0.275, 0.475]        40    1.0000
    direct_m1_default_nq       0.250 [0.150, 0.350]        40    1.0000

    Means over complete experiments; in brackets the 95 % bootstrap interval over questions.
    ");
    assert_eq!(
        done.err,
        format!("left out: {FAILED}: it is failed, not complete\n")
    );
    let top = place.ok(&["compare", "outputs/made", "--top", "1", "--csv"]);
    let lines: Vec<&str> = top.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", top.out);
    assert!(lines[0].contains("exact_match,exact_match_low,exact_match_high"));
    assert!(lines[1].starts_with(RAG_5), "{}", top.out);
    let markdown = place.ok(&["compare", "outputs/made", "--markdown"]);
    assert!(markdown.out.starts_with("| experiment"), "{}", markdown.out);
}

#[test]
fn groups_and_pivots_have_means_with_intervals_over_questions() {
    let place = study();
    insta::assert_snapshot!(
        place.ok(&["compare", "outputs/made", "--group-by", "type"]).out, @r"
    exact_match by type

    type    experiments      mean exact_match      best exact_match  best experiment
    rag               3  0.542 [0.417, 0.650]  0.750 [0.650, 0.850]  rag_m1_bm25_k5_default_nq
    direct            1  0.250 [0.150, 0.350]  0.250 [0.150, 0.350]  direct_m1_default_nq

    Means over complete experiments; in brackets the 95 % bootstrap interval over questions.
    ");
    insta::assert_snapshot!(
        place.ok(&["compare", "outputs/made", "--pivot", "model", "top_k"]).out, @r"
    exact_match by model and top_k

    model \ top_k                     -                     1                     5
    m1             0.250 [0.150, 0.350]  0.500 [0.400, 0.600]  0.750 [0.650, 0.850]
    m2                                -                     -  0.375 [0.275, 0.475]

    Means over complete experiments; in brackets the 95 % bootstrap interval over questions.
    ");
    let groups = json(&place, &["--group-by", "top_k"]);
    assert_eq!(groups["metric"], "exact_match");
    assert_eq!(groups["rows"].as_array().unwrap().len(), 3);
    assert_eq!(groups["left_out"][0]["experiment"], FAILED);
}

#[test]
fn against_a_baseline_every_other_is_tested_on_the_questions_that_both_have() {
    let place = study();
    let against = json(&place, &["--baseline", DIRECT]);
    assert_eq!(against["baseline"], DIRECT);
    let rows = against["rows"].as_array().unwrap();
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row["experiment"].as_str().unwrap())
        .collect();
    assert_eq!(names, [RAG_5, RAG_1, OTHER]);
    assert_eq!(rows[0]["questions"], 40);
    assert_eq!(rows[0]["verdict"], "better");
    assert_eq!(rows[0]["only_here"], 20);
    assert_eq!(rows[0]["only_baseline"], 0);
    assert_eq!(rows[0]["difference"], 0.5);
    // Ten questions only here and five only there may be chance.
    assert_eq!(rows[2]["verdict"], "no difference shown");
    let text = place
        .ok(&["compare", "outputs/made", "--baseline", DIRECT])
        .out;
    insta::assert_snapshot!(text, @r"
    exact_match against direct_m1_default_nq (0.2500)

    experiment                 questions  exact_match             difference  p_holm  p_mcnemar_holm  verdict
    rag_m1_bm25_k5_default_nq         40       0.7500   0.500 [0.350, 0.650]  0.0003         <0.0001  better
    rag_m1_bm25_k1_default_nq         40       0.5000   0.250 [0.125, 0.375]  0.0024          0.0039  better
    rag_m2_bm25_k5_default_nq         40       0.3750  0.125 [-0.050, 0.300]  0.3020          0.3018  no difference shown

    On the questions that both have: the difference with its 95 % bootstrap interval, p of the
    permutation test, and p_holm, which is p for having looked at so many experiments. The verdict
    is by p_holm < 0.05.
    ");
    // The same numbers every time, and by the path of the directory too.
    let by_path = format!("outputs/made/{DIRECT}/");
    assert_eq!(
        json(&place, &["--baseline", &by_path])["rows"],
        against["rows"]
    );
}

#[test]
fn what_can_not_be_compared_gets_one_sentence() {
    let place = study();
    place.write("empty/readme", "");
    let said: Vec<String> = [
        &["compare", "nowhere"][..],
        &["compare", "study.yaml"],
        &["compare", "empty"],
        &["compare", "outputs/made", "--metric", "f2"],
        &[
            "compare",
            "outputs/made",
            "--baseline",
            "direct_m1_default_n",
        ],
        &["compare", "outputs/made", "--baseline", FAILED],
        &["compare", &format!("outputs/made/{FAILED}")],
        &["report", "nowhere"],
        &["report", "outputs/made", "--metric", "f2"],
        &["report", "outputs/made", "-o", "nowhere/report.html"],
        &["export", "nowhere"],
        &["export", "outputs/made", "-o", "empty"],
        &["export", "outputs/made", "-o", "nowhere/x.csv"],
    ]
    .iter()
    .map(|arguments| {
        let done = place.exits(2, arguments);
        assert_eq!(done.out, "", "{arguments:?}");
        done.err
    })
    .collect();
    insta::assert_snapshot!(said.concat(), @r"
    error: nowhere: there is no such directory; name a study's directory, like outputs/STUDY
    error: study.yaml: it is a file; name a study's directory, like outputs/STUDY
    error: empty holds no experiment: name a study's directory, like outputs/STUDY
    error: no experiment in outputs/made has the metric 'f2'; they have exact_match; nobody knows it
    error: outputs/made has no experiment 'direct_m1_default_n'; did you mean 'direct_m1_default_nq'?
    error: rag_m3_bm25_k5_default_nq can not be the baseline: it is failed, not complete
    error: no experiment in outputs/made/rag_m3_bm25_k5_default_nq has scores yet: `ragicamp resume outputs/made/rag_m3_bm25_k5_default_nq` finishes them, `ragicamp metrics outputs/made/rag_m3_bm25_k5_default_nq -m f1` scores what is answered
    error: nowhere: there is no such directory; name a study's directory, like outputs/STUDY
    error: no experiment in outputs/made has the metric 'f2'; they have exact_match; nobody knows it
    error: cannot write nowhere/report.html: No such file or directory (os error 2)
    error: nowhere: there is no such directory; name a study's directory, like outputs/STUDY
    error: empty is a directory: name a file in it
    error: cannot write nowhere/x.csv: No such file or directory (os error 2)
    ");
    for (arguments, why) in [
        (&["--group-by", "topk"][..], "'topk' is nothing to group by"),
        (&["--pivot", "model"], "2 values required"),
        (&["--top", "0"], "--top"),
        (&["--json", "--csv"], "cannot be used with"),
        (
            &["--group-by", "type", "--baseline", DIRECT],
            "cannot be used with",
        ),
    ] {
        let arguments = [&["compare", "outputs/made"], arguments].concat();
        let done = place.exits(2, &arguments);
        assert!(done.err.contains(why), "{arguments:?}: {}", done.err);
    }
}

#[test]
fn a_report_is_one_page_that_asks_for_nothing_else() {
    let place = study();
    let done = place.ok(&["report", "outputs/made"]);
    assert_eq!(done.out, "outputs/made/report.html: 5 experiments\n");
    let html = place.text("outputs/made/report.html");
    for part in [
        "Scores by configuration",
        "With and without retrieval",
        "Quality against speed",
        "Failures by cause",
        "All experiments",
        "out of memory",
        FAILED,
    ] {
        assert!(html.contains(part), "{part}");
    }
    for reference in ["<script", "src=", "href=", "url("] {
        assert!(!html.contains(reference), "{reference}");
    }
    place.ok(&["report", "outputs/made", "-o", "elsewhere.html"]);
    assert!(place.text("elsewhere.html").contains("</html>"));
    // A page among the experiments is none of them.
    place.ok(&["compare", "outputs/made"]);
}

#[test]
fn an_export_has_a_row_per_prediction_and_no_error_as_an_answer() {
    let place = study();
    let csv = place.ok(&["export", "outputs/made"]).out;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 4 * 40 + 2);
    let failed: Vec<&csv::StringRecord> = rows
        .iter()
        .filter(|row| &row[column("experiment")] == FAILED)
        .collect();
    assert_eq!(&failed[1][column("outcome")], "failed");
    assert_eq!(&failed[1][column("prediction")], "");
    assert_eq!(&failed[1][column("exact_match")], "");
    assert_eq!(&failed[1][column("error")], "CUDA_ERROR_OUT_OF_MEMORY");
    let first = &rows[0];
    assert_eq!(&first[column("experiment")], DIRECT);
    assert_eq!(&first[column("expected")], "[\"yes\"]");
    assert_eq!(&first[column("exact_match")], "1");
    assert_eq!(&first[column("top_k")], "");

    place.ok(&[
        "export",
        "outputs/made",
        "--format",
        "csv",
        "-o",
        "rows.csv",
    ]);
    assert_eq!(place.text("rows.csv"), csv);
    // The ending of the name says it as well, and may not contradict.
    let named = place.ok(&["export", "outputs/made", "-o", "named.parquet"]);
    assert_eq!(named.err, "named.parquet: 162 rows\n");
    let bytes = std::fs::read(place.path("named.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1"));
    let torn = place.exits(
        2,
        &["export", "outputs/made", "-f", "csv", "-o", "x.parquet"],
    );
    assert!(
        torn.err
            .contains("--format csv: the name x.parquet says parquet"),
        "{}",
        torn.err
    );
    let done = place.ok(&[
        "export",
        "outputs/made",
        "-f",
        "parquet",
        "-o",
        "rows.parquet",
    ]);
    assert_eq!(done.err, "rows.parquet: 162 rows\n");
    let bytes = std::fs::read(place.path("rows.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}
