//! Looks among the other errors for the one that an error only reports.

use super::{
    cause::strength,
    group::Table,
    incident::{Incident, Kind},
    rules::{Role, Rule, RuleClass},
};

/// Lines between a cause and an error that says nothing of its own.
const NEAR: u64 = 200;

/// Whether a row tells how a process ended or waited and not why.
fn is_weak(rule: Option<&Rule>) -> bool {
    rule.is_some_and(|rule| {
        rule.role == Role::Echo
            || matches!(
                rule.subtype,
                "nccl_timeout" | "nccl" | "abort" | "killed" | "store_timeout"
            )
    })
}

/// What came before `shown` and says more, when that only reports another
/// failure.
pub(super) fn earlier(
    table: &Table,
    rules: &[Option<&'static Rule>],
    counts: &dyn Fn(usize) -> bool,
    shown: &Incident,
    rule: Option<&'static Rule>,
) -> Option<usize> {
    let first = |at: usize| &table.groups[at].first;
    let is_echo = rule.is_some_and(|rule| rule.role == Role::Echo);
    if !is_weak(rule) {
        // It says little: a row that says much, close before it, said why.
        let traced = matches!(shown.kind, Kind::Traceback | Kind::Crash);
        let doubtful = rule.is_none() || strength(rule) <= 2 && !traced;
        return doubtful
            .then(|| {
                best(table, rules, counts, false, |at| {
                    strength(rules[at]) >= 4
                        && first(at).order < shown.order
                        && shown.line.saturating_sub(first(at).line) < NEAR
                })
            })
            .flatten();
    }
    let found = best(table, rules, counts, is_echo, |at| {
        first(at).order < shown.order && (is_echo || first(at).traceback.is_some())
    })
    // The scheduler's word comes after the process's.
    .or_else(|| {
        best(table, rules, counts, false, |at| {
            is_echo
                && rules[at].is_some_and(|rule| {
                    matches!(
                        rule.subtype,
                        "oom_host" | "job_time_limit" | "segfault" | "killed"
                    )
                })
        })
    })?;
    if !is_weak(rules[found]) {
        return Some(found);
    }
    // The rank that waited in vain names no cause; one that failed before does.
    best(table, rules, counts, false, |at| {
        !is_weak(rules[at]) && first(at).order < first(found).order && first(at).traceback.is_some()
    })
    .or(Some(found))
}

/// The error that says most among those that `accept` takes; a traceback
/// before a plain line, the earliest of equals.
fn best(
    table: &Table,
    rules: &[Option<&'static Rule>],
    counts: &dyn Fn(usize) -> bool,
    threads: bool,
    accept: impl Fn(usize) -> bool,
) -> Option<usize> {
    (0..table.groups.len())
        .filter(|at| counts(*at) && (threads || !table.groups[*at].first.thread) && accept(*at))
        .filter(|at| {
            let known = strength(rules[*at]);
            known > 1
                || known == 0
                    && rules[*at].is_none()
                    && table.groups[*at].first.kind != Kind::Record
        })
        .max_by_key(|at| {
            let group = &table.groups[*at];
            let traced = u8::from(group.first.traceback.is_some());
            (
                strength(rules[*at]),
                !group.first.message.is_empty(),
                traced,
                std::cmp::Reverse(group.first.order),
            )
        })
}

/// A line before the exception that says what it only reports: a kernel's
/// assertion, the scheduler's word, the driver's.
pub(super) fn marker(
    table: &Table,
    rules: &[Option<&'static Rule>],
    counts: &dyn Fn(usize) -> bool,
    rule: Option<&'static Rule>,
    order: u64,
) -> Option<usize> {
    let rule = rule?;
    if rule.class != RuleClass::Cuda {
        return None;
    }
    (0..table.groups.len())
        .filter(|at| {
            let group = &table.groups[*at];
            counts(*at)
                && group.first.order < order
                && matches!(group.first.kind, Kind::Line | Kind::Record)
                && rules[*at].is_some_and(|found| {
                    found.class == RuleClass::Cuda
                        && (found.subtype == rule.subtype
                            || found.subtype == "ecc_xid"
                            || rule.subtype == "cuda")
                })
        })
        .min_by_key(|at| table.groups[*at].first.order)
}
