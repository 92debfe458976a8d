//! Plots as SVG.
//!
//! Written by hand and not with plotters: its SVG has every colour fixed in
//! the element, so that one page could not be read in the dark and in the
//! light, and it wants the width of text that only the reader's fonts have.
//! Here colours are classes of the page's style, and long names stand on lines
//! of their own.

use super::html::{escape, shortened};
use std::fmt::Write;

/// Width of every plot in its own units; it scales with the page.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 16.0;
const RIGHT: f64 = 844.0;

/// Which colour a mark has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Series {
    /// Without retrieval.
    Direct,
    /// With retrieval.
    Rag,
    /// Something that failed.
    Failure,
}

impl Series {
    const fn class(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Rag => "rag",
            Self::Failure => "failure",
        }
    }
}

/// A mean with its interval, where there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// What is behind it, for the tooltip.
    pub label: String,
    /// Its colour.
    pub series: Series,
    /// The mean.
    pub mean: f64,
    /// Its 95 % interval.
    pub bounds: Option<(f64, f64)>,
}

/// Estimates under one label.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What they have in common.
    pub label: String,
    /// From top to bottom.
    pub estimates: Vec<Estimate>,
}

/// A point of the plot of quality against speed.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The experiment.
    pub label: String,
    /// Its colour.
    pub series: Series,
    /// Questions per second.
    pub speed: f64,
    /// The metric.
    pub quality: f64,
    /// Its number, where nothing is better and faster.
    pub rank: Option<usize>,
}

/// An SVG of this height, with what it shows said for those who do not see it.
fn svg(height: f64, title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n{body}</svg>\n"
    )
}

/// A linear or logarithmic scale from values to places.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn place(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values on the scale, about `wanted` of them.
    fn ticks(&self, wanted: f64) -> Vec<f64> {
        let raw = (self.high - self.low) / wanted;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= raw)
            .unwrap_or(raw);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|n| n as f64 * step).collect()
    }
}

/// A number with as many digits as say something.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Bounds that hold every estimate, from 0 where that is not far off.
fn range(estimates: &[&Estimate]) -> (f64, f64) {
    let low = |one: &&Estimate| one.bounds.map_or(one.mean, |(low, _)| low.min(one.mean));
    let high = |one: &&Estimate| one.bounds.map_or(one.mean, |(_, high)| high.max(one.mean));
    let low = estimates.iter().map(low).fold(f64::INFINITY, f64::min);
    let high = estimates.iter().map(high).fold(f64::NEG_INFINITY, f64::max);
    if !low.is_finite() || !high.is_finite() {
        return (0.0, 1.0);
    }
    let low = if low > 0.0 && low < 0.7 * high {
        0.0
    } else {
        low
    };
    let room = (high - low).max(0.02) * 0.05;
    let low = if low == 0.0 { 0.0 } else { low - room };
    (low, high + room)
}

/// Means with their intervals, one under the other, each line under its label.
pub fn intervals(title: &str, lines: &[Line]) -> String {
    const LABEL: f64 = 20.0;
    const ROW: f64 = 16.0;
    const GAP: f64 = 8.0;
    const AXIS: f64 = 26.0;
    let all: Vec<&Estimate> = lines.iter().flat_map(|line| &line.estimates).collect();
    let (low, high) = range(&all);
    let scale = Scale {
        low,
        high,
        from: LEFT,
        to: RIGHT - 170.0,
    };
    let height: f64 = lines
        .iter()
        .map(|line| LABEL + ROW * line.estimates.len() as f64 + GAP)
        .sum::<f64>()
        + AXIS;
    let mut body = String::new();
    grid(&mut body, &scale, height - AXIS);
    let mut y = 0.0;
    for line in lines {
        y += LABEL;
        text(
            &mut body,
            LEFT,
            y - 6.0,
            "label",
            &shortened(&line.label, 110),
        );
        for estimate in &line.estimates {
            interval(&mut body, &scale, y + ROW / 2.0, estimate);
            y += ROW;
        }
        y += GAP;
    }
    svg(height, title, &body)
}

fn grid(body: &mut String, scale: &Scale, bottom: f64) {
    for tick in scale.ticks(6.0) {
        let x = scale.place(tick);
        let _ = writeln!(
            body,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>"
        );
        let _ = writeln!(
            body,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            number(tick)
        );
    }
}

fn interval(body: &mut String, scale: &Scale, y: f64, estimate: &Estimate) {
    let class = estimate.series.class();
    let x = scale.place(estimate.mean);
    let (said, end) = match estimate.bounds {
        Some((low, high)) => {
            let (from, to) = (scale.place(low), scale.place(high));
            let _ = writeln!(
                body,
                "<line class=\"whisker {class}\" x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" \
                 y2=\"{y:.1}\"/>"
            );
            let said = format!("{:.3} [{low:.3}, {high:.3}]", estimate.mean);
            (said, to.max(x))
        }
        None => (format!("{:.3}", estimate.mean), x),
    };
    let _ = writeln!(
        body,
        "<circle class=\"mark {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"><title>{}: {said}\
         </title></circle>",
        escape(&estimate.label)
    );
    text(body, end + 10.0, y + 4.0, "value", &said);
}

fn text(body: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = escape(text);
    let _ = writeln!(
        body,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
    );
}

/// Quality against speed; speed on a logarithmic axis. Numbered points are
/// those that nothing beats in both.
pub fn scatter(title: &str, quality: &str, points: &[Point]) -> String {
    const TOP: f64 = 28.0;
    const BOTTOM: f64 = 330.0;
    const HEIGHT: f64 = 380.0;
    const AXIS_LEFT: f64 = 60.0;
    let extent = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    let (slow, fast) = extent(&mut points.iter().map(|point| point.speed.log10()));
    let (worst, best) = extent(&mut points.iter().map(|point| point.quality));
    let room = (best - worst).max(0.02) * 0.1;
    let across = Scale {
        low: slow - 0.1,
        high: fast + 0.1,
        from: AXIS_LEFT,
        to: RIGHT - 20.0,
    };
    let up = Scale {
        low: (worst - room).max(if worst >= 0.0 { 0.0 } else { f64::NEG_INFINITY }),
        high: best + room,
        from: BOTTOM,
        to: TOP,
    };
    let mut body = String::new();
    for tick in up.ticks(6.0) {
        let y = up.place(tick);
        let _ = writeln!(
            body,
            "<line class=\"grid\" x1=\"{AXIS_LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            AXIS_LEFT - 8.0,
            y + 4.0,
            number(tick)
        );
    }
    for speed in speeds(across.low, across.high) {
        let x = across.place(speed.log10());
        let _ = writeln!(
            body,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{BOTTOM}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 18.0,
            number(speed)
        );
    }
    text(&mut body, LEFT, 14.0, "axis", quality);
    let _ = writeln!(
        body,
        "<text class=\"axis\" x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">questions per second, \
         model loading included</text>",
        HEIGHT - 10.0
    );
    for point in points {
        let (x, y) = (across.place(point.speed.log10()), up.place(point.quality));
        let _ = writeln!(
            body,
            "<circle class=\"mark {}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{}: {:.3}, {} \
             questions per second</title></circle>",
            point.series.class(),
            escape(&point.label),
            point.quality,
            number(point.speed)
        );
        if let Some(rank) = point.rank {
            text(&mut body, x + 8.0, y - 6.0, "value", &rank.to_string());
        }
    }
    svg(HEIGHT, title, &body)
}

/// Round speeds between two logarithms.
fn speeds(low: f64, high: f64) -> Vec<f64> {
    let factors: &[f64] = if high - low > 2.5 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let powers = low.floor() as i32..=high.ceil() as i32;
    powers
        .flat_map(|power| {
            factors
                .iter()
                .map(move |factor| factor * 10_f64.powi(power))
        })
        .filter(|speed| (low..=high).contains(&speed.log10()))
        .collect()
}

/// Bars, each under its label.
pub fn bars(title: &str, bars: &[(String, usize)]) -> String {
    const ROW: f64 = 44.0;
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let scale = Scale {
        low: 0.0,
        high: most as f64,
        from: LEFT,
        to: RIGHT - 60.0,
    };
    let mut body = String::new();
    for (i, (label, count)) in bars.iter().enumerate() {
        let top = i as f64 * ROW;
        text(&mut body, LEFT, top + 14.0, "label", &shortened(label, 110));
        let end = scale.place(*count as f64);
        let _ = writeln!(
            body,
            "<rect class=\"bar {}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" rx=\"2\"/>",
            Series::Failure.class(),
            top + 20.0,
            end - LEFT
        );
        text(
            &mut body,
            end + 8.0,
            top + 32.0,
            "value",
            &count.to_string(),
        );
    }
    svg(ROW * bars.len() as f64, title, &body)
}
