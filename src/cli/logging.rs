use std::fmt;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// The phase in the worker's log lines.
const PHASE: &str = "Inference";

/// Log lines of the form that `errors` reads: `[2025-12-10 03:58:22] [module]
/// [LEVEL] [Phase] message`, in UTC, on standard error.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let module = metadata.target().rsplit("::").next().unwrap_or("ragicamp");
        let level = match *metadata.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        let mut message = Message(String::new());
        event.record(&mut message);
        let line = crate::artifacts::log_line(module, level, PHASE, &message.0);
        writeln!(writer, "{}", line.trim_end())
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        let separator = if self.0.is_empty() { "" } else { " " };
        let written = if field.name() == "message" {
            write!(self.0, "{separator}{value:?}")
        } else {
            write!(self.0, "{separator}{}={value:?}", field.name())
        };
        // Writing into a String does not fail.
        let _ = written;
    }
}

/// Sets the program's log up; `RUST_LOG` says how much of it.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call would only mean that somebody was first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .event_format(Line)
        .with_writer(std::io::stderr)
        .try_init();
}
