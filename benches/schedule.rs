//! How well the scheduler keeps devices busy: eight devices, a mixed grid of
//! five hundred experiments, in simulated time. Prints the busy share, the
//! loads and what they could be at best; ends with 1 when a promise is broken.
//!
//! `cargo bench --bench schedule`

use ragicamp::runner::{Cell, Schedule, Seen, Turn};
use std::process::ExitCode;

const DEVICES: usize = 8;

/// Seconds per question, seconds to load, experiments: from small models in
/// many quantisations to one that takes most of the time.
const MODELS: [(f64, f64, usize); 14] = [
    (0.05, 8.0, 48),
    (0.05, 9.0, 48),
    (0.08, 12.0, 40),
    (0.08, 14.0, 40),
    (0.12, 15.0, 36),
    (0.15, 20.0, 36),
    (0.20, 25.0, 36),
    (0.25, 30.0, 36),
    (0.30, 40.0, 36),
    (0.35, 45.0, 36),
    (0.45, 60.0, 32),
    (0.60, 75.0, 28),
    (0.90, 90.0, 26),
    (1.40, 120.0, 22),
];

/// Questions per experiment, by dataset.
const QUESTIONS: [f64; 3] = [100.0, 250.0, 500.0];

struct Case {
    name: &'static str,
    /// Factor by which an experiment differs from what is expected of it.
    noise: f64,
    /// Whether the scheduler knows anything but the kind of experiment.
    known: bool,
    /// How much slower the last device is.
    slow: f64,
    /// Whether the promises are held against it.
    promised: bool,
}

struct Figures {
    busy: f64,
    answering: f64,
    loads: usize,
    hours: f64,
    overlaps: usize,
    unfinished: usize,
}

fn main() -> ExitCode {
    let cases = [
        Case {
            name: "costs known",
            noise: 0.0,
            known: true,
            slow: 1.0,
            promised: true,
        },
        Case {
            name: "costs known within a third",
            noise: 0.3,
            known: true,
            slow: 1.0,
            promised: true,
        },
        Case {
            name: "costs guessed",
            noise: 0.3,
            known: false,
            slow: 1.0,
            promised: true,
        },
        Case {
            name: "one device three times slower",
            noise: 0.3,
            known: true,
            slow: 3.0,
            promised: false,
        },
    ];
    let experiments: usize = MODELS.iter().map(|model| model.2).sum();
    let bound = MODELS.len() + DEVICES - 1;
    println!(
        "{experiments} experiments, {} models, {DEVICES} devices; loads at most {bound}",
        MODELS.len()
    );
    println!(
        "{:<32}{:>8}{:>12}{:>8}{:>8}",
        "", "busy", "answering", "loads", "hours"
    );
    let mut kept = true;
    for case in &cases {
        let figures = simulate(case);
        println!(
            "{:<32}{:>7.1}%{:>11.1}%{:>8}{:>8.2}",
            case.name,
            100.0 * figures.busy,
            100.0 * figures.answering,
            figures.loads,
            figures.hours
        );
        let whole = figures.overlaps == 0 && figures.unfinished == 0;
        let promised = figures.busy >= 0.92 && figures.loads <= bound;
        if !whole || (case.promised && !promised) {
            println!(
                "  not as promised: {} overlaps, {} unfinished",
                figures.overlaps, figures.unfinished
            );
            kept = false;
        }
    }
    ExitCode::from(u8::from(!kept))
}

fn simulate(case: &Case) -> Figures {
    let mut dice = Dice(7);
    let mut cells = Vec::new();
    let mut truth = Vec::new();
    let mut place = 0usize;
    for (model, &(per_question, _, count)) in MODELS.iter().enumerate() {
        for _ in 0..count {
            let questions = QUESTIONS[place % QUESTIONS.len()];
            // Every second one retrieves, and has a longer prompt.
            let kind = if place.is_multiple_of(2) { 1.0 } else { 1.8 };
            place += 1;
            let seconds = questions * per_question * kind;
            let guess = questions * 0.5 * if kind > 1.0 { 2.0 } else { 1.0 };
            cells.push(Cell {
                model: Some(model),
                seconds: if case.known { seconds } else { guess },
            });
            truth.push(seconds * (1.0 + case.noise * (2.0 * dice.roll() - 1.0)));
        }
    }
    let mut schedule = Schedule::new(cells.clone(), DEVICES);
    let mut free_at = [0.0_f64; DEVICES];
    let mut doing: [Option<(usize, Seen)>; DEVICES] = [None; DEVICES];
    let mut model = [None; DEVICES];
    let mut over = [false; DEVICES];
    let mut running = vec![false; cells.len()];
    let mut finished = vec![0usize; cells.len()];
    let (mut busy, mut answering, mut loads, mut overlaps, mut end) = (0.0, 0.0, 0, 0, 0.0_f64);
    while let Some(lane) = (0..DEVICES)
        .filter(|&lane| !over[lane])
        .min_by(|&a, &b| free_at[a].total_cmp(&free_at[b]))
    {
        let now = free_at[lane];
        if let Some((cell, seen)) = doing[lane].take() {
            schedule.done(lane, now, seen);
            running[cell] = false;
            finished[cell] += 1;
            end = end.max(now);
        }
        match schedule.next(lane, now) {
            Turn::Run(cell) => {
                overlaps += usize::from(running[cell]);
                running[cell] = true;
                let wanted = cells[cell].model;
                let load = match wanted {
                    Some(wanted) if model[lane] != Some(wanted) => Some(MODELS[wanted].1),
                    _ => None,
                };
                model[lane] = wanted;
                loads += usize::from(load.is_some());
                let slow = if lane == DEVICES - 1 { case.slow } else { 1.0 };
                let seconds = truth[cell] * slow;
                answering += seconds;
                busy += seconds + load.unwrap_or(0.0);
                free_at[lane] = now + seconds + load.unwrap_or(0.0);
                let seen = Seen {
                    load_seconds: load,
                    started: true,
                    is_complete: true,
                };
                doing[lane] = Some((cell, seen));
            }
            Turn::Wait => free_at[lane] = now + 0.1,
            Turn::Over => over[lane] = true,
        }
    }
    let capacity = end * DEVICES as f64;
    Figures {
        busy: busy / capacity,
        answering: answering / capacity,
        loads,
        hours: end / 3600.0,
        overlaps,
        unfinished: finished.iter().filter(|&&times| times != 1).count(),
    }
}

/// Splitmix64, so that a case is the same on every machine.
struct Dice(u64);

impl Dice {
    /// From 0 to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
