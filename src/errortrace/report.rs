//! What is known of a log once it is read.

use super::{
    cause::{self, Finding},
    classify::Confidence,
    exception::Traceback,
    explain::{self, Context, Explanation},
    frame::Frame,
    group::{Group, Table},
    key::key_text,
    phase::ErrorPhase,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It ended with an error.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// It ended well.
    Completed,
    /// It is still at work.
    Running,
}

/// What started a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootCause {
    /// The exception's type, where it has one.
    pub exception_type: Option<String>,
    /// The first line of the message.
    pub message: String,
    /// The line of the log, from 1.
    pub line: Option<u64>,
    /// The key of its group.
    pub dedupe_key: Option<String>,
    /// The innermost frame: in the program itself where there is one.
    pub place: Option<Frame>,
}

/// What is known of a log.
#[derive(Debug, Clone)]
pub struct Report {
    /// Lines read.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Errors and warnings, deduplicated: the root cause first, the others in
    /// the order in which they were first seen.
    pub groups: Vec<Group>,
    /// Errors that were counted and not kept, because there were too many
    /// different ones.
    pub dropped: u64,
    /// The traceback that the log shows as the failure.
    pub traceback: Option<Traceback>,
    /// The same as it stands in the log.
    pub raw_traceback: Option<String>,
    /// What started it.
    pub root_cause: Option<RootCause>,
    /// What it means; `None` when nothing failed.
    pub analysis: Option<Explanation>,
}

/// An error in the shape that existing consumers read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct ContractError {
    /// First time, RFC 3339; `null` when the log does not say it.
    pub timestamp: Option<String>,
    /// `error` or `warning`.
    pub level: String,
    /// The log's own word.
    pub phase: Option<String>,
    /// The message.
    pub message: String,
    /// The key.
    pub dedupe_key: String,
    /// How many.
    pub count: u64,
}

/// A frame in the shape that existing consumers read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct ContractFrame {
    /// The file.
    pub file: String,
    /// The line; `null` where only an address is known.
    pub line: Option<u64>,
    /// The function.
    pub function: Option<String>,
    /// The source text.
    pub code: Option<String>,
}

/// A traceback in the shape that existing consumers read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct ContractTraceback {
    /// As it stands in the log.
    pub raw: String,
    /// The frames of the last exception.
    pub frames: Vec<ContractFrame>,
    /// The exception's type.
    pub exception_type: Option<String>,
    /// The exception's message.
    pub exception_message: Option<String>,
}

/// The analysis in the shape that existing consumers read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Summary {
    /// The class.
    pub error_type: String,
    /// The phase.
    pub error_phase: String,
    /// In words.
    pub description: String,
    /// `high`, `medium` or `low`.
    pub confidence: Confidence,
    /// What to change.
    pub suggestions: Vec<String>,
}

/// A report in the shape that existing consumers read: these keys, no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Contract {
    /// The job.
    pub job_id: String,
    /// How it stands.
    pub status: Status,
    /// The error in one line.
    pub error_summary: Option<String>,
    /// Errors and warnings.
    pub errors: Vec<ContractError>,
    /// The traceback.
    pub traceback: Option<ContractTraceback>,
    /// What it means.
    pub analysis: Option<Summary>,
}

impl Report {
    pub(super) fn new(table: Table, lines: u64, bytes: u64, context: &Context) -> Self {
        let finding = cause::find(&table);
        let dropped = table.dropped;
        let mut groups = table.groups;
        let (phase, hint) = finding
            .as_ref()
            .map_or((ErrorPhase::Unknown, ErrorPhase::Unknown), |finding| {
                (context.phase.unwrap_or(finding.phase), finding.hint)
            });
        for group in &mut groups {
            if let Some(rule) = cause::rule_of(group) {
                // Loggers call it an error; nothing failed.
                group.is_error &= !cause::is_noise(Some(rule)) || group.traceback().is_some();
                group.class = explain::class_of(rule, phase, hint);
                group.subtype = rule.subtype;
            }
        }
        groups.sort_by_key(|group| (group.first.line, group.first.order));
        let mut report = Self {
            lines,
            bytes,
            groups,
            dropped,
            traceback: None,
            raw_traceback: None,
            root_cause: None,
            analysis: None,
        };
        if let Some(finding) = finding {
            report.settle(finding, context);
        }
        report
    }

    fn settle(&mut self, finding: Finding, context: &Context) {
        if let Some(key) = &finding.root.key
            && let Some(at) = self.groups.iter().position(|group| &group.key == key)
        {
            let root = self.groups.remove(at);
            self.groups.insert(0, root);
        }
        let place = finding
            .root
            .traceback
            .as_ref()
            .and_then(|traceback| place_of(traceback, &finding.root.message));
        let root = RootCause {
            exception_type: finding.root.exception_type.clone(),
            message: finding.root.message.clone(),
            line: finding.root.line,
            dedupe_key: finding.root.key.clone(),
            place,
        };
        let mut context = context.clone();
        let phase = context.phase.unwrap_or(finding.phase);
        context.phase = Some(phase);
        self.analysis = Some(explanation(&finding, &root, phase, &context));
        self.root_cause = Some(root);
        if let Some(shown) = finding.shown {
            self.traceback = shown.traceback;
            self.raw_traceback = Some(shown.raw);
            if self.traceback.is_none() {
                // A headline without frames is still an exception.
                self.traceback = Some(Traceback {
                    exceptions: vec![super::exception::Raised {
                        exception_type: shown.exception_type,
                        message: shown.message,
                        notes: shown.detail,
                        ..super::exception::Raised::default()
                    }],
                    exceptions_dropped: 0,
                });
                self.raw_traceback = self.traceback.as_ref().and_then(|traceback| {
                    traceback
                        .exceptions
                        .first()
                        .map(super::exception::Raised::headline)
                });
            }
        }
    }

    /// Puts an experiment's own word above what its whole log says, which tells
    /// of earlier attempts too: `error` is what ended the last one, which began
    /// at `begun`.
    pub fn settle_on(&mut self, error: &str, analysis: Explanation, begun: Option<Timestamp>) {
        self.analysis = Some(analysis);
        let said = key_text(error);
        let found = self
            .groups
            .iter()
            .rposition(|group| group.is_error && key_text(&group.message) == said);
        let Some(at) = found else {
            if self.root_cause.is_none() || self.is_rooted_before(begun) {
                self.forget_root(error);
            }
            return;
        };
        let group = self.groups.remove(at);
        let is_known = |root: &&mut RootCause| root.dedupe_key.as_ref() == Some(&group.key);
        if let Some(root) = self.root_cause.as_mut().filter(is_known) {
            // Its own words, without what the logger put before them.
            if root.exception_type.is_none() {
                error.clone_into(&mut root.message);
            }
        } else {
            self.forget_root(error);
            self.traceback = group.traceback().cloned();
            self.raw_traceback = self
                .traceback
                .is_some()
                .then(|| group.first.raw.clone())
                .filter(|raw| !raw.is_empty());
            self.root_cause = Some(RootCause {
                exception_type: None,
                message: error.to_owned(),
                line: group.lines.last().copied(),
                dedupe_key: Some(group.key.clone()),
                place: group
                    .traceback()
                    .and_then(|traceback| place_of(traceback, error)),
            });
        }
        self.groups.insert(0, group);
    }

    /// Whether what started it was last seen before `begun`.
    fn is_rooted_before(&self, begun: Option<Timestamp>) -> bool {
        // Logs tell whole seconds.
        let begun = begun.map(|begun| begun.as_second());
        let seen = self.root_group().and_then(|group| group.last_seen);
        matches!((seen, begun), (Some(seen), Some(begun)) if seen.as_second() < begun)
    }

    fn forget_root(&mut self, error: &str) {
        self.traceback = None;
        self.raw_traceback = None;
        self.root_cause = Some(RootCause {
            exception_type: None,
            message: error.to_owned(),
            line: None,
            dedupe_key: None,
            place: None,
        });
    }

    /// The group of what started it, where the log has it.
    pub fn root_group(&self) -> Option<&Group> {
        let key = self.root_cause.as_ref()?.dedupe_key.as_ref()?;
        self.groups.iter().find(|group| &group.key == key)
    }

    /// Whether anything failed.
    pub fn has_failed(&self) -> bool {
        self.analysis.is_some()
    }

    /// The failure in one line.
    pub fn headline(&self) -> Option<String> {
        let root = self.root_cause.as_ref()?;
        let text = match &root.exception_type {
            Some(name) if root.message.is_empty() => name.clone(),
            Some(name) => format!("{name}: {}", root.message),
            None => root.message.clone(),
        };
        Some(shorten(&text, 300))
    }

    /// Errors, without warnings.
    pub fn errors(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.is_error)
    }

    /// The report in the shape that existing consumers read. A job that has
    /// not failed carries no error, no traceback and no analysis.
    pub fn contract(&self, job_id: &str, status: Status, summary: Option<&str>) -> Contract {
        let empty = matches!(status, Status::Completed | Status::Running);
        let error_summary = summary.map(str::to_owned).or_else(|| self.headline());
        if empty {
            return Contract {
                job_id: job_id.to_owned(),
                status,
                error_summary: None,
                errors: Vec::new(),
                traceback: None,
                analysis: None,
            };
        }
        Contract {
            job_id: job_id.to_owned(),
            status,
            error_summary,
            errors: self.groups.iter().map(contract_error).collect(),
            traceback: self.contract_traceback(),
            analysis: self.analysis.as_ref().map(|analysis| Summary {
                error_type: analysis.class.as_str().to_owned(),
                error_phase: analysis.phase.as_str().to_owned(),
                description: analysis.description.clone(),
                confidence: analysis.confidence,
                suggestions: analysis.suggestions.clone(),
            }),
        }
    }

    fn contract_traceback(&self) -> Option<ContractTraceback> {
        let traceback = self.traceback.as_ref()?;
        let last = traceback.last()?;
        Some(ContractTraceback {
            raw: self.raw_traceback.clone().unwrap_or_default(),
            frames: last
                .frames
                .iter()
                .map(|frame| ContractFrame {
                    file: frame.file.clone(),
                    line: frame.line,
                    function: frame.function.clone(),
                    code: frame.code.clone(),
                })
                .collect(),
            exception_type: last.exception_type.clone(),
            exception_message: (last.exception_type.is_some() || !last.message.is_empty())
                .then(|| last.message.clone()),
        })
    }

    /// What the contract has no place for: subtype, root cause, the chain,
    /// every occurrence.
    pub fn details(&self) -> Value {
        json!({
            "lines": self.lines,
            "bytes": self.bytes,
            "dropped": self.dropped,
            "subtype": self.analysis.as_ref().map(|analysis| &analysis.subtype),
            "root_cause": self.root_cause,
            "chain": self.traceback,
            "errors": self.groups.iter().map(|group| json!({
                "dedupe_key": group.key,
                "first_seen": group.first_seen.map(rfc3339),
                "last_seen": group.last_seen.map(rfc3339),
                "module": group.module,
                "exception_type": group.exception_type,
                "lines": group.lines,
                "times": group.times.iter().map(|time| time.map(rfc3339)).collect::<Vec<_>>(),
                "lines_dropped": group.lines_dropped,
                "ranks": group.ranks,
                "class": group.class,
                "subtype": group.subtype,
            })).collect::<Vec<_>>(),
        })
    }
}

/// RFC 3339, in UTC.
fn rfc3339(time: Timestamp) -> String {
    time.to_string()
}

fn contract_error(group: &Group) -> ContractError {
    ContractError {
        timestamp: group.first_seen.map(rfc3339),
        level: if group.is_error { "error" } else { "warning" }.to_owned(),
        phase: group.phase.clone(),
        message: group.message.clone(),
        dedupe_key: group.key.clone(),
        count: group.count,
    }
}

/// The innermost frame of the exception with this message, in the program
/// itself where there is one.
fn place_of(traceback: &Traceback, message: &str) -> Option<Frame> {
    let raised = traceback
        .exceptions
        .iter()
        .find(|raised| raised.message == message)
        .or_else(|| traceback.last())?;
    let app = raised.frames.iter().rev().find(|frame| frame.is_app());
    app.or(raised.frames.last()).cloned()
}

pub(super) fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn explanation(
    finding: &Finding,
    root: &RootCause,
    phase: ErrorPhase,
    context: &Context,
) -> Explanation {
    let said = match &root.exception_type {
        Some(name) if root.message.is_empty() => name.clone(),
        Some(name) => format!("{name}: {}", root.message),
        None => root.message.clone(),
    };
    let said = shorten(&said, 200);
    let mut description = match finding.rule {
        Some(rule) => format!("{} It said: {said}", rule.description),
        None => format!("An error that no rule knows. It said: {said}"),
    };
    if let Some(shown) = &finding.shown
        && (finding.searched || shown.message != root.message)
    {
        description.push_str(&format!(
            " The last error, {}, is its echo.",
            shorten(&shown.headline(), 120)
        ));
    }
    let Some(rule) = finding.rule else {
        return Explanation {
            class: super::ErrorClass::Unknown,
            subtype: "unknown".to_owned(),
            phase,
            description,
            confidence: Confidence::Low,
            suggestions: vec![explain_nothing()],
        };
    };
    let class = explain::class_of(rule, phase, finding.hint);
    let mut confidence = rule.confidence;
    if finding.searched {
        confidence = confidence.min(Confidence::Medium);
    }
    let is_memory = rule.class == super::rules::RuleClass::Oom;
    if is_memory && phase == ErrorPhase::Unknown && finding.hint == ErrorPhase::Unknown {
        // Which of the two memory classes it is, is a guess then.
        confidence = Confidence::Low;
    }
    let mut suggestions = explain::suggestions(rule, &root.message, context);
    if suggestions.is_empty() {
        suggestions.push(explain_nothing());
    }
    Explanation {
        class,
        subtype: rule.subtype.to_owned(),
        phase,
        description,
        confidence,
        suggestions,
    }
}

fn explain_nothing() -> String {
    "Read the log from the first error on; what follows it is often its consequence.".to_owned()
}
