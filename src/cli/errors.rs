//! `ragicamp errors`: from a log, an experiment or a study to a cause.

use crate::errortrace::{
    Context, ErrorClass, ErrorPhase, Explanation, Extractor, Frame, Group, Limits, Report, Status,
    Traceback, explain_failure, mask_secrets, parse_error_log,
};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use jiff::{Span, Timestamp, Zoned};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Which frames of a traceback are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Frames {
    /// Every frame.
    All,
    /// Frames of the program itself; library frames are only counted.
    #[default]
    App,
}

/// Explain what went wrong, from any log.
#[derive(Debug, Clone, clap::Args)]
pub struct ErrorsArgs {
    /// A log, an experiment's directory, a study's directory, or - for stdin.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print JSON in the shape of the HTTP API.
    #[arg(long)]
    pub json: bool,
    /// With --json: add subtype, root cause, chain and every occurrence.
    #[arg(long, requires = "json")]
    pub details: bool,
    /// Go on reading as the log grows; end with Ctrl-C.
    #[arg(long, short, conflicts_with_all = ["json", "copy_report"])]
    pub follow: bool,
    /// Only errors seen since: 30m, 2h, 1d, or 2025-12-10T03:58:22Z.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only errors of this class: oom_eval, oom_training, timeout,
    /// cuda_error, config_error, unknown.
    #[arg(long)]
    pub class: Option<ErrorClass>,
    /// Which frames of the traceback to show.
    #[arg(long, value_enum, default_value_t = Frames::App)]
    pub frames: Frames,
    /// Print Markdown for a bug report, with secrets masked.
    #[arg(long, conflicts_with = "json")]
    pub copy_report: bool,
    /// Polls of --follow before it ends by itself.
    #[arg(long, hide = true, requires = "follow")]
    pub polls: Option<u64>,
}

/// One log or experiment, read.
struct Source {
    name: String,
    status: Status,
    summary: Option<String>,
    report: Report,
}

/// Exit code when nothing is left after filtering.
const NOTHING_SELECTED: u8 = 3;

/// Runs the command; the exit code. 0 means that everything was read, whether
/// or not it held errors, 3 that the filters leave nothing.
///
/// # Errors
/// When a path can not be read or `--since` is not a time.
pub fn run(args: &ErrorsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let since = args.since.as_deref().map(parse_since).transpose()?;
    let colour = Colour::detect();
    if args.follow {
        let [path] = args.paths.as_slice() else {
            bail!("--follow reads one log; give one PATH");
        };
        return follow(path, args, colour, out);
    }
    let mut sources = Vec::new();
    let mut study = false;
    for path in &args.paths {
        study |= load(path, &mut sources)?;
    }
    let many = study || sources.len() > 1;
    let before = sources.len();
    for source in &mut sources {
        filter(source, since, args.class);
    }
    if args.class.is_some() || since.is_some() {
        sources.retain(|source| !source.report.groups.is_empty());
        if sources.is_empty() && before > 0 {
            eprintln!("no error is left after --class and --since");
            return Ok(NOTHING_SELECTED);
        }
    }
    if args.json {
        print_json(&sources, many, args.details, out)?;
    } else if args.copy_report {
        for source in &sources {
            write!(out, "{}", mask_secrets(&markdown(source)))?;
        }
    } else if many {
        print_causes(&sources, colour, out)?;
    } else if let Some(source) = sources.first() {
        print_source(source, args.frames, colour, out)?;
    }
    Ok(0)
}

/// `30m`, `2h`, `1d`, or a time; a time without a zone is UTC.
fn parse_since(text: &str) -> anyhow::Result<Timestamp> {
    let wrong = || {
        format!("--since {text:?} is no time; write 30m, 2h, 1d or 2025-12-10T03:58:22Z")
    };
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        return Ok(jiff::tz::Offset::UTC.to_timestamp(time)?);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return Ok(jiff::tz::Offset::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight()))?);
    }
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let number: i64 = number.parse().with_context(wrong)?;
    let seconds = match unit {
        "s" => number,
        "m" | "min" => number.saturating_mul(60),
        "h" => number.saturating_mul(3600),
        "d" => number.saturating_mul(86_400),
        _ => bail!(wrong()),
    };
    let span = Span::new().try_seconds(seconds).with_context(wrong)?;
    Ok(Zoned::now().timestamp().checked_sub(span).with_context(wrong)?)
}

/// Keeps the groups that were asked for.
fn filter(source: &mut Source, since: Option<Timestamp>, class: Option<ErrorClass>) {
    if since.is_none() && class.is_none() {
        return;
    }
    let report = &mut source.report;
    let root = report
        .root_cause
        .as_ref()
        .and_then(|root| root.dedupe_key.clone());
    let of_report = report.analysis.as_ref().map(|analysis| analysis.class);
    report.groups.retain(|group| {
        // What started it has the class of the whole failure.
        let own = if Some(&group.key) == root.as_ref() {
            of_report.unwrap_or(group.class)
        } else {
            group.class
        };
        // A log without times can not tell; its errors stay.
        since.is_none_or(|since| group.last_seen.is_none_or(|last| last >= since))
            && class.is_none_or(|class| own == class)
    });
    if root.is_some_and(|root| report.groups.iter().all(|group| group.key != root)) {
        report.analysis = None;
        report.root_cause = None;
        report.traceback = None;
        report.raw_traceback = None;
    }
}

/// Reads what `path` is; true for a study, whose experiments are grouped.
fn load(path: &Path, sources: &mut Vec<Source>) -> anyhow::Result<bool> {
    if path == Path::new("-") {
        let mut extractor = Extractor::new(Limits::default());
        feed(&mut io::stdin().lock(), &mut extractor).context("reading stdin")?;
        sources.push(from_log("stdin".to_owned(), extractor.finish()));
        return Ok(false);
    }
    let shown = path.display();
    if path.is_file() {
        sources.push(load_file(path)?);
        return Ok(false);
    }
    if !path.is_dir() {
        bail!("{shown} does not exist; give a log, an experiment's or a study's directory, or -");
    }
    if is_experiment(path) {
        sources.push(load_experiment(path)?);
        return Ok(false);
    }
    let mut found = false;
    for entry in sorted(path)? {
        if entry.is_dir() && is_experiment(&entry) {
            sources.push(load_experiment(&entry)?);
            found = true;
        } else if entry.extension().is_some_and(|extension| extension == "log") {
            sources.push(load_file(&entry)?);
            found = true;
        }
    }
    if !found {
        bail!("{shown} holds neither experiments (state.json, error.log) nor *.log files");
    }
    Ok(true)
}

fn sorted(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .with_context(|| format!("reading {}", directory.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    entries.sort();
    Ok(entries)
}

fn is_experiment(directory: &Path) -> bool {
    ["state.json", "error.log", "experiment.log"]
        .iter()
        .any(|name| directory.join(name).is_file())
}

fn feed(reader: &mut dyn Read, extractor: &mut Extractor) -> io::Result<u64> {
    let mut buffer = vec![0u8; 1 << 20];
    let mut total = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read == 0 {
            return Ok(total);
        }
        total += read as u64;
        extractor.feed(&buffer[..read]);
    }
}

fn feed_file(path: &Path, extractor: &mut Extractor) -> anyhow::Result<()> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    feed(&mut file, extractor).with_context(|| format!("reading {}", path.display()))?;
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn from_log(name: String, report: Report) -> Source {
    Source {
        name,
        status: if report.has_failed() {
            Status::Failed
        } else {
            Status::Completed
        },
        summary: None,
        report,
    }
}

/// A log, or an `error.log` of ours.
fn load_file(path: &Path) -> anyhow::Result<Source> {
    if path.file_name().is_some_and(|name| name == "error.log")
        && let Some(directory) = path.parent()
        && directory.join("state.json").is_file()
    {
        return load_experiment(directory);
    }
    let mut extractor = Extractor::new(Limits::default());
    feed_file(path, &mut extractor)?;
    Ok(from_log(path.display().to_string(), extractor.finish()))
}

/// The text of a file of a bounded size, `None` when there is none.
fn text_of(path: &Path) -> Option<String> {
    const MAX: u64 = 16 << 20;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `experiment.log`, `error.log` and `state.json` together.
fn load_experiment(directory: &Path) -> anyhow::Result<Source> {
    let error_text = text_of(&directory.join("error.log"));
    let error_log = error_text.as_deref().and_then(parse_error_log);
    let state: Option<Value> = text_of(&directory.join("state.json"))
        .and_then(|text| serde_json::from_str(&text).ok());
    let field = |name: &str| state.as_ref().and_then(|state| state.get(name));
    let phase = field("phase").and_then(Value::as_str).unwrap_or("");
    let interrupted = field("interrupted").and_then(Value::as_bool) == Some(true);
    let status = match phase {
        "complete" => Status::Completed,
        "failed" => Status::Failed,
        _ if interrupted => Status::Cancelled,
        "" if error_log.is_some() => Status::Failed,
        _ => Status::Running,
    };
    let mut context = error_log
        .as_ref()
        .map(|log| log.context.clone())
        .unwrap_or_default();
    context.phase = Some(ErrorPhase::Evaluation);
    let mut extractor = Extractor::new(Limits::default());
    extractor.set_context(context.clone());
    let log = directory.join("experiment.log");
    if log.is_file() {
        feed_file(&log, &mut extractor)?;
    }
    let mut report = extractor.finish();
    if !report.has_failed()
        && let Some(text) = &error_text
    {
        let mut extractor = Extractor::new(Limits::default());
        extractor.set_context(context.clone());
        extractor.feed(text.as_bytes());
        report = extractor.finish();
    }
    let mut summary = field("error").and_then(Value::as_str).map(str::to_owned);
    if let Some(log) = error_log {
        if let Some(class) = log.failure_class {
            report.analysis = Some(explain_failure(
                &log.message,
                class,
                log.traceback.as_deref(),
                &context,
            ));
        }
        summary = summary.or(Some(log.message));
    }
    Ok(Source {
        name: name_of(directory),
        status,
        summary,
        report,
    })
}

fn contract(source: &Source, details: bool) -> anyhow::Result<Value> {
    let contract = source
        .report
        .contract(&source.name, source.status, source.summary.as_deref());
    let mut value = serde_json::to_value(contract)?;
    if details && let Some(object) = value.as_object_mut() {
        object.insert("details".to_owned(), source.report.details());
    }
    Ok(value)
}

fn print_json(
    sources: &[Source],
    many: bool,
    details: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut values = sources
        .iter()
        .map(|source| contract(source, details))
        .collect::<anyhow::Result<Vec<Value>>>()?;
    let value = if many {
        let causes: Vec<Value> = causes(sources)
            .into_iter()
            .map(|cause| {
                json!({
                    "error_type": cause.class,
                    "subtype": cause.subtype,
                    "message": cause.message,
                    "count": cause.count,
                    "jobs": cause.names,
                    "suggestions": cause.suggestions,
                })
            })
            .collect();
        json!({ "causes": causes, "jobs": values })
    } else {
        values.pop().unwrap_or(Value::Null)
    };
    serde_json::to_writer_pretty(&mut *out, &value)?;
    writeln!(out)?;
    Ok(())
}

/// One cause over several sources.
struct Cause {
    class: ErrorClass,
    subtype: String,
    message: String,
    description: String,
    suggestions: Vec<String>,
    count: u64,
    names: Vec<String>,
}

/// Failures grouped by what started them, the most frequent first.
fn causes(sources: &[Source]) -> Vec<Cause> {
    let mut by_key: BTreeMap<String, Cause> = BTreeMap::new();
    for source in sources {
        if source.status == Status::Completed {
            continue;
        }
        let Some(analysis) = &source.report.analysis else {
            continue;
        };
        let message = source
            .report
            .headline()
            .or_else(|| source.summary.clone())
            .unwrap_or_else(|| analysis.description.clone());
        let key = format!(
            "{}/{}",
            analysis.subtype,
            crate::errortrace::dedupe_key(None, &message)
        );
        let count = source.report.groups.first().map_or(1, |group| group.count);
        let cause = by_key.entry(key).or_insert_with(|| Cause {
            class: analysis.class,
            subtype: analysis.subtype.clone(),
            message,
            description: analysis.description.clone(),
            suggestions: analysis.suggestions.clone(),
            count: 0,
            names: Vec::new(),
        });
        cause.count += count;
        cause.names.push(source.name.clone());
    }
    let mut causes: Vec<Cause> = by_key.into_values().collect();
    causes.sort_by(|a, b| b.names.len().cmp(&a.names.len()).then(b.count.cmp(&a.count)));
    causes
}

/// Colours, when a person looks.
#[derive(Debug, Clone, Copy)]
struct Colour(bool);

impl Colour {
    fn detect() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(wanted && io::stdout().is_terminal())
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// `text` in one line of a bounded length that a terminal can not trip over.
fn printable(text: &str, max: usize) -> String {
    let mut out: String = text
        .chars()
        .take(max)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    if text.chars().count() > max {
        out.push('…');
    }
    out
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn print_causes(sources: &[Source], colour: Colour, out: &mut dyn Write) -> anyhow::Result<()> {
    let causes = causes(sources);
    let failed: usize = causes.iter().map(|cause| cause.names.len()).sum();
    writeln!(
        out,
        "{} failed of {}, {}",
        failed,
        plural(sources.len(), "log", "logs"),
        plural(causes.len(), "cause", "causes"),
    )?;
    for (number, cause) in causes.iter().enumerate() {
        writeln!(out)?;
        writeln!(
            out,
            "{}. {} {} in {}",
            number + 1,
            colour.red(cause.class.as_str()),
            colour.dim(&format!("({})", cause.subtype)),
            plural(cause.names.len(), "experiment", "experiments"),
        )?;
        writeln!(out, "   {}", colour.bold(&printable(&cause.message, 200)))?;
        writeln!(out, "   {}", printable(&cause.description, 300))?;
        for suggestion in cause.suggestions.iter().take(3) {
            writeln!(out, "   - {}", printable(suggestion, 300))?;
        }
        for name in cause.names.iter().take(5) {
            writeln!(out, "     {}", printable(name, 200))?;
        }
        if cause.names.len() > 5 {
            writeln!(out, "     and {} more", cause.names.len() - 5)?;
        }
    }
    Ok(())
}

fn print_source(
    source: &Source,
    frames: Frames,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let report = &source.report;
    let name = printable(&source.name, 300);
    let Some(analysis) = &report.analysis else {
        writeln!(out, "{name}: no failure found in {} lines", report.lines)?;
        return print_groups(report, &[], colour, out);
    };
    writeln!(
        out,
        "{name}: {} {}, {} confidence, phase {}",
        colour.red(analysis.class.as_str()),
        colour.dim(&format!("({})", analysis.subtype)),
        analysis.confidence.as_str(),
        analysis.phase.as_str(),
    )?;
    writeln!(out)?;
    print_cause(source, analysis, colour, out)?;
    if let Some(traceback) = &report.traceback {
        print_traceback(traceback, frames, colour, out)?;
    }
    let root: Vec<&str> = report
        .root_cause
        .iter()
        .filter_map(|root| root.dedupe_key.as_deref())
        .collect();
    print_groups(report, &root, colour, out)
}

fn print_cause(
    source: &Source,
    analysis: &Explanation,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let report = &source.report;
    let headline = report
        .headline()
        .or_else(|| source.summary.clone())
        .unwrap_or_default();
    writeln!(out, "  Cause  {}", colour.bold(&printable(&headline, 300)))?;
    if let Some(root) = &report.root_cause {
        if let Some(place) = &root.place {
            writeln!(out, "  Where  {}", printable(&place_text(place), 300))?;
        }
        if let Some(group) = root
            .dedupe_key
            .as_ref()
            .and_then(|key| report.groups.iter().find(|group| &group.key == key))
        {
            writeln!(out, "  Seen   {}", seen(group))?;
        }
    }
    writeln!(out, "  What   {}", printable(&analysis.description, 600))?;
    for (number, suggestion) in analysis.suggestions.iter().enumerate() {
        let label = if number == 0 { "Try" } else { "" };
        writeln!(out, "  {label:<5}  {}. {}", number + 1, printable(suggestion, 400))?;
    }
    Ok(())
}

fn place_text(place: &Frame) -> String {
    let mut text = place.file.clone();
    if let Some(line) = place.line {
        text.push_str(&format!(":{line}"));
    }
    if let Some(function) = &place.function {
        text.push_str(&format!(" in {function}"));
    }
    text
}

/// `7 times, lines 3, 9, 12 ..., since 2025-12-10T03:58:22Z`.
fn seen(group: &Group) -> String {
    let mut text = if group.count == 1 {
        "once".to_owned()
    } else {
        format!("{} times", group.count)
    };
    let lines: Vec<String> = group.lines.iter().take(5).map(u64::to_string).collect();
    let more = group.lines.len() > 5 || group.lines_dropped > 0;
    text.push_str(&format!(
        ", {} {}{}",
        if lines.len() == 1 { "line" } else { "lines" },
        lines.join(", "),
        if more { " ..." } else { "" },
    ));
    if !group.ranks.is_empty() {
        let ranks: Vec<String> = group.ranks.iter().take(8).map(u32::to_string).collect();
        text.push_str(&format!(", ranks {}", ranks.join(", ")));
    }
    match (group.first_seen, group.last_seen) {
        (Some(first), Some(last)) if first != last => {
            text.push_str(&format!(", from {first} to {last}"));
        }
        (Some(first), _) => text.push_str(&format!(", at {first}")),
        _ => {}
    }
    text
}

fn print_traceback(
    traceback: &Traceback,
    frames: Frames,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if traceback.exceptions.iter().all(|raised| raised.frames.is_empty()) {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "  Traceback")?;
    for raised in &traceback.exceptions {
        let mut hidden = 0;
        let any_app = raised.frames.iter().any(Frame::is_app);
        for (at, frame) in raised.frames.iter().enumerate() {
            let last = at + 1 == raised.frames.len();
            if frames == Frames::App && any_app && !frame.is_app() && !last {
                hidden += 1;
                continue;
            }
            if hidden > 0 {
                writeln!(out, "    {}", colour.dim(&format!("... {hidden} library frames")))?;
                hidden = 0;
            }
            writeln!(out, "    {}", printable(&place_text(frame), 300))?;
            if let Some(code) = frame.code.as_deref().and_then(|code| code.lines().next()) {
                writeln!(out, "      {}", colour.dim(&printable(code, 200)))?;
            }
            if frame.repeated > 0 {
                writeln!(out, "      {}", colour.dim(&format!("repeated {} more times", frame.repeated)))?;
            }
        }
        writeln!(out, "    {}", colour.bold(&printable(&raised.headline(), 300)))?;
    }
    Ok(())
}

fn print_groups(
    report: &Report,
    known: &[&str],
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    const MAX: usize = 10;
    let others: Vec<&Group> = report
        .groups
        .iter()
        .filter(|group| !known.contains(&group.key.as_str()))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "  Also seen")?;
    for group in others.iter().take(MAX) {
        let level = if group.is_error { "" } else { "warning: " };
        writeln!(
            out,
            "    {:>5}x  line {:<7} {}{}",
            group.count,
            group.lines.first().copied().unwrap_or(0),
            colour.dim(level),
            printable(&group.message, 140),
        )?;
    }
    if others.len() > MAX {
        writeln!(out, "    and {} more kinds", others.len() - MAX)?;
    }
    if report.dropped > 0 {
        writeln!(
            out,
            "    {} further errors were too different to keep apart and are not listed",
            report.dropped
        )?;
    }
    Ok(())
}

/// A bug report. A fence is longer than any in the text, so that a log can
/// not end it.
fn markdown(source: &Source) -> String {
    let report = &source.report;
    let mut text = format!("## {}\n\n", printable(&source.name, 200));
    let Some(analysis) = &report.analysis else {
        text.push_str(&format!("No failure found in {} lines.\n", report.lines));
        return text;
    };
    text.push_str(&format!(
        "- class: `{}` (`{}`), {} confidence\n- phase: {}\n",
        analysis.class,
        analysis.subtype,
        analysis.confidence.as_str(),
        analysis.phase.as_str(),
    ));
    if let Some(group) = report.groups.first() {
        text.push_str(&format!("- seen: {}\n", seen(group)));
    }
    if let Some(headline) = report.headline() {
        text.push_str(&format!("\n{}\n", fenced(&headline)));
    }
    text.push_str(&format!("\n{}\n", printable(&analysis.description, 600)));
    if let Some(raw) = &report.raw_traceback {
        text.push_str(&format!("\n### Traceback\n\n{}\n", fenced(raw)));
    }
    if report.groups.len() > 1 {
        text.push_str("\n### Also seen\n\n");
        for group in report.groups.iter().skip(1).take(20) {
            text.push_str(&format!(
                "- {}x `{}`\n",
                group.count,
                printable(&group.message, 160).replace('`', "'"),
            ));
        }
    }
    text.push_str(&format!("\nragicamp {}\n\n", env!("CARGO_PKG_VERSION")));
    text
}

fn fenced(text: &str) -> String {
    let longest = text
        .lines()
        .map(|line| line.trim_start().bytes().take_while(|byte| *byte == b'`').count())
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}", text.trim_end())
}

/// Reads a growing log and prints each kind of error when it first shows.
fn follow(
    path: &Path,
    args: &ErrorsArgs,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let path = if path.is_dir() {
        path.join("experiment.log")
    } else {
        path.to_owned()
    };
    let mut extractor = Extractor::new(Limits::default());
    extractor.set_context(Context::default());
    let mut position = 0u64;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut polls = 0;
    loop {
        // The file may not be there yet, or be replaced by a shorter one.
        if let Ok(mut file) = File::open(&path) {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            if length < position {
                extractor = Extractor::new(Limits::default());
                counts.clear();
                position = 0;
            }
            if length > position {
                file.seek(SeekFrom::Start(position))?;
                position += feed(&mut file, &mut extractor)?;
                print_new(&extractor.report(), args, &mut counts, colour, out)?;
                out.flush()?;
            }
        }
        polls += 1;
        if args.polls.is_some_and(|max| polls >= max) {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn print_new(
    report: &Report,
    args: &ErrorsArgs,
    counts: &mut BTreeMap<String, u64>,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for group in &report.groups {
        if args.class.is_some_and(|class| class != group.class) {
            continue;
        }
        let known = counts.insert(group.key.clone(), group.count).unwrap_or(0);
        if known == group.count {
            continue;
        }
        let line = group.lines.last().copied().unwrap_or(0);
        writeln!(
            out,
            "line {line}: {} {} {}",
            colour.red(group.class.as_str()),
            printable(&group.message, 200),
            colour.dim(&format!("({}x)", group.count)),
        )?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
