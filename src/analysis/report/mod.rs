//! A study on one page, for those who were not there: self-contained HTML
//! without a script, whatever its texts hold.

mod html;
mod plot;
#[cfg(test)]
mod tests;

use super::{Cell, Measured, Table, best, measured::pooled, summary};
use crate::domain::{ExperimentKind, Phase};
use html::{escape, shortened};
use plot::{Estimate, Line, Point, Series};
use std::{collections::BTreeMap, fmt::Write};

/// Configurations shown in a plot; the table has all.
const MOST_SHOWN: usize = 40;

/// Experiments named per cause of failures.
const MOST_NAMED: usize = 50;

/// What a page is made from.
#[derive(Debug, Clone, Default)]
pub struct Report<'a> {
    /// The study's name.
    pub study: &'a str,
    /// When it was made, as people read it.
    pub made: &'a str,
    /// The metric of the plots.
    pub metric: &'a str,
    /// Every metric, for the table.
    pub metrics: &'a [String],
    /// All experiments.
    pub experiments: &'a [Measured],
    /// Questions per second, of those of which it is known, by name.
    pub speeds: BTreeMap<&'a str, f64>,
    /// Why experiments failed, the most frequent first.
    pub failures: &'a [FailureCause],
}

/// Failures with one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureCause {
    /// The error, in one line.
    pub message: String,
    /// Its class.
    pub class: String,
    /// What it means.
    pub meaning: String,
    /// What to change.
    pub advice: Vec<String>,
    /// Who failed of it.
    pub experiments: Vec<String>,
}

impl Report<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let title = escape(self.study);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n\
             <header>\n<h1>{title}</h1>\n<p class=\"quiet\">{}</p>\n</header>\n<main>\n{}</main>\n\
             </body>\n</html>\n",
            include_str!("style.css"),
            escape(&self.counts()),
            [
                self.by_configuration(),
                self.retrieval(),
                self.speed(),
                self.causes(),
                self.table(),
            ]
            .concat(),
        )
    }

    fn counts(&self) -> String {
        let count = |phase| {
            let experiments = self.experiments.iter();
            experiments.filter(|one| one.row.phase == phase).count()
        };
        let (complete, failed) = (count(Phase::Complete), count(Phase::Failed));
        let unfinished = self.experiments.len() - complete - failed;
        format!(
            "{} experiment{}: {complete} complete, {failed} failed, {unfinished} unfinished. Made by \
             ragicamp {} on {}.",
            self.experiments.len(),
            if self.experiments.len() == 1 { "" } else { "s" },
            env!("CARGO_PKG_VERSION"),
            self.made
        )
    }

    fn by_configuration(&self) -> String {
        let ranked = best(self.experiments, self.metric);
        if ranked.is_empty() {
            return section("Scores", "<p>No experiment is complete yet.</p>\n");
        }
        let lines: Vec<Line> = ranked
            .iter()
            .take(MOST_SHOWN)
            .filter_map(|one| {
                let label = one.row.name.clone();
                let estimates = vec![estimate(
                    &label,
                    one.row.kind,
                    &one.row.metric_cell(self.metric),
                )?];
                Some(Line { label, estimates })
            })
            .collect();
        let shown = if ranked.len() > MOST_SHOWN {
            format!("the best {MOST_SHOWN} of {} experiments", ranked.len())
        } else {
            "best first".to_owned()
        };
        let caption = format!(
            "{}, {shown}. A dot is the mean over the questions, the bar its 95 % bootstrap \
             interval.",
            self.metric
        );
        let svg = plot::intervals(&caption, &lines);
        section("Scores by configuration", &figure(&svg, &caption, true))
    }

    /// The same model and prompt with and without retrieval.
    fn retrieval(&self) -> String {
        type Key<'k> = (&'k str, Option<&'k str>, &'k str, &'k str);
        let mut groups: BTreeMap<Key<'_>, [Vec<&Measured>; 2]> = BTreeMap::new();
        for one in best(self.experiments, self.metric) {
            let row = &one.row;
            let key = (
                row.model.as_str(),
                row.quantization.as_deref(),
                row.prompt.as_str(),
                row.dataset.as_str(),
            );
            let side = usize::from(row.kind == ExperimentKind::Rag);
            groups.entry(key).or_default()[side].push(one);
        }
        let lines: Vec<Line> = groups
            .into_iter()
            .filter(|(_, sides)| sides.iter().all(|side| !side.is_empty()))
            .take(MOST_SHOWN)
            .map(
                |((model, quantization, prompt, dataset), [direct, rag])| Line {
                    label: [Some(model), quantization, Some(prompt), Some(dataset)]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join(" · "),
                    estimates: self.sides(&direct, &rag),
                },
            )
            .collect();
        if lines.is_empty() {
            return String::new();
        }
        let caption = format!(
            "{} of one model and prompt on one dataset, without retrieval, with retrieval in the \
             mean over its retrievers and top k, and with the best of them.",
            self.metric
        );
        let svg = plot::intervals(&caption, &lines);
        section("With and without retrieval", &figure(&svg, &caption, true))
    }

    fn sides(&self, direct: &[&Measured], rag: &[&Measured]) -> Vec<Estimate> {
        let mut estimates = Vec::new();
        estimates.extend(estimate(
            "without retrieval",
            ExperimentKind::Direct,
            &pooled(direct, self.metric),
        ));
        if let [first, _, ..] = rag {
            let label = format!("mean of {} with retrieval", rag.len());
            estimates.extend(estimate(
                &label,
                ExperimentKind::Rag,
                &pooled(rag, self.metric),
            ));
            let label = format!("the best with retrieval, {}", first.row.name);
            estimates.extend(estimate(
                &label,
                ExperimentKind::Rag,
                &first.row.metric_cell(self.metric),
            ));
        } else {
            estimates.extend(estimate(
                "with retrieval",
                ExperimentKind::Rag,
                &pooled(rag, self.metric),
            ));
        }
        estimates
    }

    fn speed(&self) -> String {
        let mut points: Vec<Point> = best(self.experiments, self.metric)
            .into_iter()
            .filter_map(|one| {
                Some(Point {
                    label: one.row.name.clone(),
                    series: series(one.row.kind),
                    speed: *self
                        .speeds
                        .get(one.row.name.as_str())
                        .filter(|s| **s > 0.0)?,
                    quality: one.row.metric(self.metric)?,
                    rank: None,
                })
            })
            .collect();
        if points.len() < 2 {
            return String::new();
        }
        // Best first, of equal ones the fastest: whoever is faster than all
        // before is beaten by none.
        points.sort_by(|a, b| {
            let by_quality = b.quality.total_cmp(&a.quality);
            by_quality.then_with(|| b.speed.total_cmp(&a.speed))
        });
        let mut fastest = 0.0;
        let mut frontier = String::new();
        let mut rank = 0;
        for point in &mut points {
            if point.speed > fastest {
                fastest = point.speed;
                rank += 1;
                point.rank = Some(rank);
                let _ = writeln!(
                    frontier,
                    "<li>{}: {:.3}, {} questions per second</li>",
                    escape(&point.label),
                    point.quality,
                    plot::number(point.speed)
                );
            }
        }
        let caption = format!(
            "{} against questions answered per second. Nothing is both better and faster than a \
             numbered point. Times are those of the machine that ran each experiment.",
            self.metric
        );
        let svg = plot::scatter(&caption, self.metric, &points);
        let list = format!(
            "<details><summary>The numbered points</summary>\n<ol>\n{frontier}</ol></details>\n"
        );
        section(
            "Quality against speed",
            &(figure(&svg, &caption, true) + &list),
        )
    }

    fn causes(&self) -> String {
        if self.failures.is_empty() {
            return String::new();
        }
        let bars: Vec<(String, usize)> = self
            .failures
            .iter()
            .take(MOST_SHOWN)
            .map(|cause| {
                let label = format!("{}: {}", cause.class, cause.message);
                (label, cause.experiments.len())
            })
            .collect();
        let caption = "Experiments that failed, by cause; numbers and paths aside.";
        let mut body = figure(&plot::bars(caption, &bars), caption, false);
        for cause in self.failures {
            body.push_str(&cause_details(cause));
        }
        section("Failures by cause", &body)
    }

    fn table(&self) -> String {
        let mut rows: Vec<_> = self.experiments.iter().map(|one| one.row.clone()).collect();
        rows.sort_by(|a, b| {
            let value = |row: &super::ExperimentRow| row.metric(self.metric).unwrap_or(f64::MIN);
            let by_score = value(b).total_cmp(&value(a));
            by_score.then_with(|| a.name.cmp(&b.name))
        });
        let (constants, table) = summary(&rows, self.metrics).without_constant_columns();
        let same: Vec<String> = constants
            .iter()
            .map(|(header, text)| format!("{header}: {text}"))
            .collect();
        let said = match same.is_empty() {
            true => String::new(),
            false => format!(
                "<p class=\"quiet\">The same in all: {}.</p>\n",
                escape(&same.join(", "))
            ),
        };
        // Scores stand beside the name, where they are seen without scrolling.
        let (first, others): (Vec<&str>, Vec<&str>) = table
            .headers
            .iter()
            .map(String::as_str)
            .partition(|header| {
                *header == "experiment" || self.metrics.iter().any(|metric| metric == header)
            });
        let table = table.columns(&[first, others].concat());
        section("All experiments", &(said + &html_table(&table)))
    }
}

const fn series(kind: ExperimentKind) -> Series {
    match kind {
        ExperimentKind::Direct => Series::Direct,
        ExperimentKind::Rag => Series::Rag,
    }
}

fn estimate(label: &str, kind: ExperimentKind, cell: &Cell) -> Option<Estimate> {
    let bounds = match cell {
        Cell::Estimate { low, high, .. } => Some((*low, *high)),
        _ => None,
    };
    Some(Estimate {
        label: label.to_owned(),
        series: series(kind),
        mean: cell.value()?,
        bounds,
    })
}

fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{body}</section>\n", escape(title))
}

fn figure(svg: &str, caption: &str, has_key: bool) -> String {
    let key = if has_key {
        "<span class=\"key direct\"></span>without retrieval\
         <span class=\"key rag\"></span>with retrieval"
    } else {
        ""
    };
    format!(
        "<figure>\n{svg}<figcaption>{}{key}</figcaption>\n</figure>\n",
        escape(caption)
    )
}

fn cause_details(cause: &FailureCause) -> String {
    let mut items = String::new();
    for name in cause.experiments.iter().take(MOST_NAMED) {
        let _ = writeln!(items, "<li>{}</li>", escape(name));
    }
    if cause.experiments.len() > MOST_NAMED {
        let more = cause.experiments.len() - MOST_NAMED;
        let _ = writeln!(items, "<li>and {more} more</li>");
    }
    let advice: String = cause
        .advice
        .iter()
        .map(|advice| format!("<p>{}</p>\n", escape(advice)))
        .collect();
    format!(
        "<details>\n<summary>{} × {}: {}</summary>\n<p>{}</p>\n{advice}<ul>\n{items}</ul>\n\
         </details>\n",
        cause.experiments.len(),
        escape(&cause.class),
        escape(&shortened(&cause.message, 400)),
        escape(&cause.meaning),
    )
}

fn html_table(table: &Table) -> String {
    let is_number: Vec<bool> = (0..table.headers.len())
        .map(|column| {
            let cells = table.rows.iter().filter_map(|row| row.get(column));
            cells.clone().all(|cell| !matches!(cell, Cell::Text(_)))
        })
        .collect();
    let class = |column: usize| match is_number.get(column) {
        Some(true) => " class=\"number\"",
        _ => "",
    };
    let mut html = String::from("<div class=\"scroll\">\n<table>\n<thead><tr>");
    for (column, header) in table.headers.iter().enumerate() {
        let _ = write!(html, "<th{}>{}</th>", class(column), escape(header));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(
                html,
                "<td{}>{}</td>",
                class(column),
                escape(&cell.to_string())
            );
        }
        html.push_str("</tr>\n");
    }
    html + "</tbody>\n</table>\n</div>\n"
}
