#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::Value;

/// Made by `tests/fixtures/statistics/make.py` with SciPy, statsmodels and
/// NumPy.
const REFERENCE: &str = include_str!("../../tests/fixtures/statistics/reference.json");

fn reference() -> Value {
    serde_json::from_str(REFERENCE).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|number| number.as_f64().unwrap()).collect()
}

fn near(ours: f64, theirs: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() < 1e-6, "{ours} is not {theirs}");
}

#[test]
fn differences_equal_scipy_on_the_reference_cases() {
    let reference = reference();
    let cases = reference["paired"].as_array().unwrap();
    assert!(cases.len() >= 8);
    for case in cases {
        let resamples = case["resamples"].as_u64().unwrap() as usize;
        let seed = case["seed"].as_u64().unwrap();
        let lists = [numbers(&case["differences"])];
        let ours = paired_differences(&lists, resamples, seed)[0].unwrap();
        assert_eq!(ours.n, lists[0].len());
        near(ours.mean, &case["mean"]);
        near(ours.low, &case["low"]);
        near(ours.high, &case["high"]);
        near(ours.p_value, &case["p"]);
    }
    let exact = |case: &&Value| case["exact"].as_bool().unwrap();
    assert!(cases.iter().filter(exact).count() >= 4);
}

#[test]
fn mcnemar_equals_statsmodels() {
    let reference = reference();
    for case in reference["mcnemar"].as_array().unwrap() {
        let count = |key: &str| case[key].as_u64().unwrap() as usize;
        let test = mcnemar_exact(count("only_first"), count("only_second"));
        near(test.p_value, &case["p"]);
    }
}

#[test]
fn holm_equals_statsmodels() {
    let reference = reference();
    for case in reference["holm"].as_array().unwrap() {
        let ours = holm(&numbers(&case["p"]));
        for (ours, theirs) in ours.iter().zip(case["adjusted"].as_array().unwrap()) {
            near(*ours, theirs);
        }
    }
    assert!(holm(&[]).is_empty());
}

#[test]
fn a_large_mcnemar_does_not_overflow() {
    // 2 * sum of C(n, i) / 2^n in rational arithmetic.
    let p = mcnemar_exact(700, 800).p_value;
    assert!((p - 0.010_559_255_466_711_544).abs() < 1e-9, "{p}");
    assert_eq!(mcnemar_exact(0, 0).p_value, 1.0);
}

#[test]
fn a_constant_advantage_is_certain_and_none_at_all_is_not() {
    let better: Vec<f64> = (0..50).map(|i| 0.1 + f64::from(i) / 1e3).collect();
    let equal = vec![0.0; 50];
    let found = paired_differences(&[better, equal, Vec::new()], 2_000, 1);
    let certain = found[0].unwrap();
    assert!(certain.low > 0.0 && certain.p_value < 0.001, "{certain:?}");
    assert!(certain.low <= certain.mean && certain.mean <= certain.high);
    let equal = found[1].unwrap();
    assert_eq!(
        (equal.mean, equal.low, equal.high, equal.p_value),
        (0.0, 0.0, 0.0, 1.0)
    );
    assert_eq!(found[2], None);
    assert_eq!(paired_differences(&[vec![1.0]], 0, 1), [None]);
}

#[test]
fn what_is_compared_beside_does_not_change_a_number() {
    let list = |shift: usize, n: usize| -> Vec<f64> {
        (0..n)
            .map(|i| ((i + shift) % 7) as f64 / 7.0 - 0.4)
            .collect()
    };
    let alone = paired_differences(&[list(0, 70)], 500, 3)[0];
    let mut many: Vec<Vec<f64>> = (1..21).map(|shift| list(shift, 70)).collect();
    many.insert(9, list(0, 70));
    many.push(list(0, 71));
    assert_eq!(paired_differences(&many, 500, 3)[9], alone);
}

#[test]
fn the_permutation_test_agrees_with_mcnemar_on_right_and_wrong() {
    let mut differences = vec![1.0; 30];
    differences.extend([-1.0; 45]);
    differences.extend([0.0; 100]);
    let exact = mcnemar_exact(30, 45).p_value;
    let sampled = paired_differences(&[differences], 20_000, 7)[0]
        .unwrap()
        .p_value;
    assert!((sampled - exact).abs() < 0.01, "{sampled} {exact}");
}
