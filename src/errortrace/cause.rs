//! Which incident started it, and which are its echoes.

use super::{
    classify,
    exception::{Link, Raised, Traceback},
    group::{Group, Table},
    header::Level,
    incident::{Incident, Kind},
    phase::{self, ErrorPhase},
    rules::{Role, Rule, RuleClass},
    search,
};

/// What was found out.
pub(super) struct Finding {
    /// The incident that the log shows as the failure.
    pub shown: Option<Incident>,
    /// What started it.
    pub root: Root,
    /// The root's row.
    pub rule: Option<&'static Rule>,
    /// What the program was doing.
    pub phase: ErrorPhase,
    /// What the rest of the log speaks of.
    pub hint: ErrorPhase,
    /// Whether the root was found by searching and not shown by the log.
    pub searched: bool,
}

/// What started it.
#[derive(Debug, Clone, Default)]
pub(super) struct Root {
    /// The exception's type.
    pub exception_type: Option<String>,
    /// The message's first line.
    pub message: String,
    /// The line number, where it is known.
    pub line: Option<u64>,
    /// The key of its group, where it has one.
    pub key: Option<String>,
    /// The traceback that it came with.
    pub traceback: Option<Traceback>,
}

/// How much a row says: a known kind beats an unknown one.
pub(super) fn strength(rule: Option<&Rule>) -> u8 {
    let Some(rule) = rule else {
        return 0;
    };
    match (rule.role, rule.class, rule.subtype) {
        (Role::Noise, ..) => 0,
        (Role::Echo, ..) => 1,
        (_, RuleClass::Oom | RuleClass::Timeout | RuleClass::Cuda, _) => 5,
        (_, RuleClass::Config, _) => 4,
        (_, _, "user_code" | "uncaught" | "missing_key" | "abort" | "killed") => 2,
        _ => 3,
    }
}

/// Whether a row says that nothing failed.
pub(super) fn is_noise(rule: Option<&Rule>) -> bool {
    rule.is_some_and(|rule| rule.role == Role::Noise)
}

fn subject_of(raised: &Raised) -> String {
    let mut subject = raised.headline();
    for note in raised.notes.iter().take(10) {
        subject.push('\n');
        subject.push_str(note);
    }
    subject.chars().take(3000).collect()
}

/// Every exception of a traceback, the first raised first, and the members
/// of its groups.
fn exceptions(traceback: &Traceback) -> Vec<&Raised> {
    let mut out: Vec<&Raised> = Vec::new();
    for raised in &traceback.exceptions {
        for child in &raised.children {
            out.extend(exceptions(child));
        }
        // What another process raised comes before what reports it.
        if raised.link == Some(Link::Remote) && !out.is_empty() {
            out.insert(out.len() - 1, raised);
        } else {
            out.push(raised);
        }
    }
    out
}

/// The exception of a chain that says most, the earliest of equals.
fn best_in_chain(incident: &Incident) -> Option<(Raised, Option<&'static Rule>)> {
    let traceback = incident.traceback.as_ref()?;
    let mut best: Option<(&Raised, Option<&'static Rule>)> = None;
    for raised in exceptions(traceback) {
        if raised.exception_type.is_none() && raised.message.is_empty() {
            continue;
        }
        let rule = classify::find(&subject_of(raised));
        if best.is_none_or(|(_, known)| strength(rule) > strength(known)) {
            best = Some((raised, rule));
        }
    }
    best.map(|(raised, rule)| (raised.clone(), rule))
}

pub(super) fn rule_of(group: &Group) -> Option<&'static Rule> {
    best_in_chain(&group.first)
        .and_then(|(_, rule)| rule)
        .or_else(|| classify::find(&group.first.subject()))
}

fn root_of(group: &Group) -> Root {
    let chain = best_in_chain(&group.first).map(|(raised, _)| raised);
    Root {
        exception_type: chain.as_ref().map_or_else(
            || group.first.exception_type.clone(),
            |raised| raised.exception_type.clone(),
        ),
        message: chain.map_or_else(|| group.first.message.clone(), |raised| raised.message),
        line: Some(group.first.line),
        key: Some(group.key.clone()),
        traceback: group.first.traceback.clone(),
    }
}

/// Finds what the log shows as the failure, and what started it. `None` when
/// nothing failed.
pub(super) fn find(table: &Table) -> Option<Finding> {
    let rules: Vec<Option<&'static Rule>> = table.groups.iter().map(rule_of).collect();
    let counts = |at: usize| {
        let group = &table.groups[at];
        group.is_error && !group.first.ignored
    };
    let shown = table
        .last_typed
        .clone()
        .or_else(|| strongest_trace(table))
        .or_else(|| {
            table
                .last_any
                .clone()
                .filter(|last| last.level == Level::Error && !last.ignored)
        });
    let mut finding = match shown {
        Some(shown) => from_shown(shown, table, &rules, &counts),
        None => from_groups(table, &rules, &counts)?,
    };
    let evidence = finding.shown.as_ref();
    finding.hint = hint(table, evidence);
    finding.phase = find_phase(table, &finding);
    Some(finding)
}

/// A crash or a panic, when no Python traceback is shown: the first one.
fn strongest_trace(table: &Table) -> Option<Incident> {
    table
        .groups
        .iter()
        .filter(|group| group.is_error && !group.first.ignored && !group.first.thread)
        .find(|group| matches!(group.first.kind, Kind::Crash | Kind::Chain))
        .map(|group| group.first.clone())
}

fn from_shown(
    shown: Incident,
    table: &Table,
    rules: &[Option<&'static Rule>],
    counts: &dyn Fn(usize) -> bool,
) -> Finding {
    let key = super::key::dedupe_key(shown.phase.as_deref(), &shown.key_source());
    let key = table
        .groups
        .iter()
        .find(|group| group.key == key)
        .map(|group| group.key.clone());
    let (chain, rule) = match best_in_chain(&shown) {
        Some((raised, rule)) => (Some(raised), rule),
        None => (None, classify::find(&shown.subject())),
    };
    let rule = rule.or_else(|| classify::find(&shown.subject()));
    let own = Root {
        exception_type: chain.as_ref().map_or_else(
            || shown.exception_type.clone(),
            |raised| raised.exception_type.clone(),
        ),
        message: chain.map_or_else(|| shown.message.clone(), |raised| raised.message),
        line: Some(shown.line),
        key,
        traceback: shown.traceback.clone(),
    };
    let mut finding = Finding {
        root: own,
        rule,
        phase: ErrorPhase::Unknown,
        hint: ErrorPhase::Unknown,
        searched: false,
        shown: Some(shown),
    };
    let Some(shown) = finding.shown.as_ref() else {
        return finding;
    };
    let is_echo = rule.is_some_and(|rule| rule.role == Role::Echo);
    let found = search::earlier(table, rules, counts, shown, rule)
        .or_else(|| search::marker(table, rules, counts, rule, shown.order));
    if let Some(at) = found {
        finding.root = root_of(&table.groups[at]);
        finding.rule = rules[at];
        finding.searched = true;
        return finding;
    }
    // The record that the traceback came with: the kernel's own word, or what
    // an echo only repeats.
    if let Some((line, found)) = shown.preface.iter().find_map(|line| {
        let found = match rule {
            Some(rule) if rule.class == RuleClass::Cuda => {
                classify::find_alone(line).filter(|found| found.class == RuleClass::Cuda)
            }
            _ if is_echo => classify::find(line).filter(|found| strength(Some(found)) > 2),
            _ => None,
        };
        Some((line, found?))
    }) {
        finding.root.exception_type = None;
        finding.root.message.clone_from(line);
        finding.rule = Some(found);
        return finding;
    }
    if is_echo && let Some(child) = shown.children.iter().find(|child| child.first) {
        let chain = child.traceback.as_ref().and_then(Traceback::last);
        let message = chain
            .map(|raised| raised.message.clone())
            .or_else(|| child.message.clone())
            .or_else(|| child.exit_code.map(|code| format!("exit code {code}")));
        if let Some(message) = message {
            let exception_type = chain
                .and_then(|raised| raised.exception_type.clone())
                .or_else(|| child.signal.clone());
            let rule = match chain {
                Some(raised) => classify::find(&subject_of(raised)),
                None => classify::find(&message),
            };
            finding.root = Root {
                exception_type,
                message,
                line: Some(shown.line),
                key: finding.root.key.take(),
                traceback: child.traceback.clone(),
            };
            finding.rule = rule.or(finding.rule);
        }
    }
    finding
}

/// Without any traceback: the error that says most.
fn from_groups(
    table: &Table,
    rules: &[Option<&'static Rule>],
    counts: &dyn Fn(usize) -> bool,
) -> Option<Finding> {
    let at = (0..table.groups.len())
        .filter(|at| counts(*at) && !is_noise(rules[*at]))
        .max_by_key(|at| {
            let group = &table.groups[*at];
            (strength(rules[*at]), std::cmp::Reverse(group.first.order))
        })?;
    Some(Finding {
        shown: None,
        root: root_of(&table.groups[at]),
        rule: rules[at],
        phase: ErrorPhase::Unknown,
        hint: ErrorPhase::Unknown,
        searched: false,
    })
}

fn find_phase(table: &Table, finding: &Finding) -> ErrorPhase {
    let group = finding
        .root
        .key
        .as_ref()
        .and_then(|key| table.groups.iter().find(|group| &group.key == key));
    let mut found = group
        .and_then(|group| group.phase.as_deref())
        .map_or(ErrorPhase::Unknown, phase::from_word);
    let tracebacks = [
        finding.root.traceback.as_ref(),
        finding
            .shown
            .as_ref()
            .and_then(|shown| shown.traceback.as_ref()),
    ];
    for traceback in tracebacks.into_iter().flatten() {
        if found == ErrorPhase::Unknown {
            found = phase::of_traceback(traceback);
        }
    }
    let starting = finding.rule.is_some_and(|rule| {
        matches!(
            rule.subtype,
            "dependency" | "syntax_error" | "arguments" | "no_gpu" | "port_in_use"
        )
    });
    if starting && group.is_none_or(|group| group.phase.is_none()) {
        return ErrorPhase::Initialization;
    }
    if found == ErrorPhase::Unknown
        && let Some(group) = group
    {
        found = phase::of_text(&group.first.subject());
        if found == ErrorPhase::Unknown {
            found = phase::of_text(&group.first.before);
        }
    }
    found
}

/// What the paths and the text around all errors speak of.
fn hint(table: &Table, shown: Option<&Incident>) -> ErrorPhase {
    let mut training = 0usize;
    let mut inference = 0usize;
    let mut look = |text: &str| {
        let text = text.to_ascii_lowercase();
        let count = |words: &[&str]| words.iter().filter(|word| text.contains(**word)).count();
        training += count(&[
            "train",
            "epoch",
            "'loss'",
            "optimizer",
            "backward",
            "megatron",
            "finetun",
            "deepspeed",
            "grad_norm",
        ]);
        inference += count(&[
            "infer",
            "generat",
            "evaluat",
            "predict",
            "vllm",
            "sglang",
            "llama_",
            "ggml",
            "serving",
            "pipeline",
            "kv cache",
            "answer",
            "drivererror",
            "candle",
            "ollama",
            "llama runner",
            "llama-server",
            "llama.cpp",
        ]);
    };
    for incident in shown
        .into_iter()
        .chain(table.groups.iter().take(20).map(|group| &group.first))
    {
        look(&incident.before);
        look(&incident.subject());
        for raised in incident
            .traceback
            .iter()
            .flat_map(|traceback| &traceback.exceptions)
        {
            for frame in &raised.frames {
                look(&frame.file);
                look(frame.function.as_deref().unwrap_or(""));
            }
        }
    }
    match training.cmp(&inference) {
        std::cmp::Ordering::Greater => ErrorPhase::Training,
        std::cmp::Ordering::Less => ErrorPhase::Inference,
        std::cmp::Ordering::Equal => ErrorPhase::Unknown,
    }
}
