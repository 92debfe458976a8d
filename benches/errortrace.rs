//! How fast logs are read, and with how much memory: `ragicamp errors` on a
//! log of 1 GB against ripgrep counting `ERROR` in the same file, the
//! extractor alone, and inputs made to be slow.
//!
//! `cargo bench --bench errortrace`. Figures that have a bar are marked PASS
//! or MISS; a MISS ends with exit code 1. ripgrep and grep are compared with
//! where they are installed.

use ragicamp::errortrace::{Extractor, Limits};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Each figure is the best of this many runs.
const RUNS: usize = 3;

const MB: f64 = 1e6;

fn main() -> ExitCode {
    let mut bars = Bars::default();
    let (large, small) = match cfg!(debug_assertions) {
        // Only shows that it works.
        true => (2_000_000, 20_000),
        false => (1_000_000_000, 4_000_000),
    };
    whole_program(&mut bars, large);
    extractor_alone(&mut bars, large.min(200_000_000));
    hostile(&mut bars, small);
    if bars.missed > 0 && !cfg!(debug_assertions) {
        println!("{} bars missed", bars.missed);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Bars {
    missed: usize,
}

impl Bars {
    fn hold(&mut self, what: &str, passed: bool, figure: &str) {
        self.missed += usize::from(!passed);
        let word = if passed { "PASS" } else { "MISS" };
        println!("{word}  {what}: {figure}");
    }
}

// ---------------------------------------------------------------------------
// The program against ripgrep
// ---------------------------------------------------------------------------

fn whole_program(bars: &mut Bars, bytes: u64) {
    println!(
        "a log of {} MB, one error line in a thousand",
        bytes / 1_000_000
    );
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = dir.path().join("job.log");
    write_log(&path, bytes);
    let size = fs::metadata(&path).expect("it was written").len() as f64;
    let file = path.to_str().expect("the name is text");

    // Alternating, so that a busy moment hits all of them.
    let programs: [(&str, &str, &[&str]); 3] = [
        (
            "ragicamp errors",
            env!("CARGO_BIN_EXE_ragicamp"),
            &["errors", "--json", file],
        ),
        (
            "rg -c ERROR",
            "rg",
            &["-c", "-j1", "--no-config", "ERROR", file],
        ),
        ("grep -c ERROR", "grep", &["-c", "ERROR", file]),
    ];
    let mut best = [f64::INFINITY; 3];
    let mut memory = [0; 3];
    for _ in 0..RUNS {
        for (at, (_, program, arguments)) in programs.iter().enumerate() {
            if let Some((seconds, rss)) = measure(program, arguments) {
                best[at] = best[at].min(seconds);
                memory[at] = memory[at].max(rss);
            }
        }
    }
    for (at, (name, ..)) in programs.iter().enumerate() {
        if best[at].is_finite() {
            println!(
                "      {name}: {:.0} MB/s, at most {} MB in memory",
                size / MB / best[at],
                memory[at] / 1_000_000
            );
        } else {
            println!("      {name}: not installed");
        }
    }
    let rate = size / MB / best[0];
    bars.hold(
        "errors, whole program",
        rate >= 400.0,
        &format!("{rate:.0} MB/s (bar 400 MB/s)"),
    );
    bars.hold(
        "its memory",
        memory[0] < 100_000_000,
        &format!("{} MB (bar 100 MB)", memory[0] / 1_000_000),
    );
    if best[1].is_finite() {
        println!(
            "      ratio to ripgrep: {:.2} x its time",
            best[0] / best[1]
        );
    }
}

/// Seconds and peak resident bytes of a program; `None` when it is not there.
fn measure(program: &str, arguments: &[&str]) -> Option<(f64, u64)> {
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let status = format!("/proc/{}/status", child.id());
    let mut rss = 0;
    loop {
        if child.try_wait().expect("it can be waited for").is_some() {
            return Some((begun.elapsed().as_secs_f64(), rss));
        }
        // Gone between the two looks: then the last one stands.
        rss = rss.max(high_water(&status).unwrap_or(0));
        thread::sleep(Duration::from_millis(2));
    }
}

fn high_water(status: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn write_log(path: &Path, bytes: u64) {
    let mut file = BufWriter::new(File::create(path).expect("it can be made"));
    let block = log(100_000, 1000);
    let mut written = 0;
    while written < bytes {
        file.write_all(&block).expect("the disk takes it");
        written += block.len() as u64;
    }
    file.flush().expect("the disk takes it");
}

/// A log of `lines` lines with one failure per `every` lines; 0 means none.
fn log(lines: usize, every: usize) -> Vec<u8> {
    let mut text = String::new();
    for line in 0..lines {
        if every > 0 && line % every == every - 1 {
            let _ = match line / every % 3 {
                0 => writeln!(
                    text,
                    "[2025-12-10 03:58:22] [executor] [ERROR] [Main] CUDA out of memory. Tried to allocate {line}.00 MiB"
                ),
                1 => writeln!(
                    text,
                    "Traceback (most recent call last):\n  File \"/home/x/train.py\", line 5, in main\n    raise ValueError(n)\nValueError: bad value {line}"
                ),
                _ => writeln!(
                    text,
                    "[2025-12-10 03:58:22] [http] [ERROR] [Main] Step {line} failed: connection refused"
                ),
            };
        } else {
            let _ = writeln!(
                text,
                "[2025-12-10 03:58:{:02}] [ragicamp.train.loop] [INFO] [Main] step {line} loss=0.{:04} lr=3.2e-05 tokens/s={} mem=31.2GiB",
                line % 60,
                line * 7919 % 10_000,
                1000 + line % 9000,
            );
        }
    }
    text.into_bytes()
}

// ---------------------------------------------------------------------------
// The extractor
// ---------------------------------------------------------------------------

fn seconds_to_read(bytes: &[u8]) -> f64 {
    let begun = Instant::now();
    let mut extractor = Extractor::new(Limits::default());
    for piece in bytes.chunks(1 << 20) {
        extractor.feed(piece);
    }
    std::hint::black_box(extractor.finish());
    begun.elapsed().as_secs_f64()
}

fn best_of(bytes: &[u8]) -> f64 {
    (0..RUNS)
        .map(|_| seconds_to_read(bytes))
        .fold(f64::INFINITY, f64::min)
}

fn extractor_alone(bars: &mut Bars, bytes: u64) {
    println!("the extractor alone, from memory");
    for (name, every, bar) in [
        ("no errors", 0, Some(400.0)),
        ("one error line in 1000", 1000, Some(400.0)),
        ("one error line in 10", 10, None),
        ("nothing but errors", 1, None),
    ] {
        let lines = match every {
            1 => bytes / 2500,
            10 => bytes / 250,
            _ => bytes / 125,
        };
        let log = log(usize::try_from(lines).unwrap_or(usize::MAX), every);
        let rate = log.len() as f64 / MB / best_of(&log);
        match bar {
            Some(bar) => bars.hold(
                name,
                rate >= bar,
                &format!("{rate:.0} MB/s (bar {bar} MB/s)"),
            ),
            None => println!("      {name}: {rate:.0} MB/s"),
        }
    }
}

// ---------------------------------------------------------------------------
// Inputs made to be slow
// ---------------------------------------------------------------------------

/// Ten times the input may take ten times as long, and some noise.
const LINEAR: f64 = 16.0;

/// So much larger is an input that is read fast.
const FAST: usize = 16;

/// An input of about so many bytes.
type Make = fn(usize) -> Vec<u8>;

fn hostile(bars: &mut Bars, unit: usize) {
    println!("inputs made to be slow: ten times as much against once");
    let inputs: [(&str, Make); 6] = [
        ("one endless line", |n| {
            let mut line = b"[2025-12-10 03:58:22] [m] [ERROR] [Main] ".to_vec();
            line.resize(n, b'x');
            line
        }),
        ("one endless line of brackets", |n| vec![b'['; n]),
        ("different errors only", |n| {
            let mut text = String::new();
            let mut word = 0_u64;
            while text.len() < n {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let letters: String = (0..12)
                    .map(|at| char::from(b'a' + (word >> (5 * at) & 15) as u8))
                    .collect();
                let _ = writeln!(
                    text,
                    "[2025-12-10 03:58:22] [m] [ERROR] [Main] {letters} broke"
                );
            }
            text.into_bytes()
        }),
        ("chained tracebacks", |n| {
            let mut text = String::new();
            while text.len() < n {
                text.push_str(
                    "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nValueError: x\n\nDuring handling of the above exception, another exception occurred:\n\n",
                );
            }
            text.push_str("Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'y'\n");
            text.into_bytes()
        }),
        ("nested exception groups", |n| {
            let mut text = String::from("  + Exception Group Traceback (most recent call last):\n");
            let mut depth = 1;
            while text.len() < n {
                let bars = "  | ".repeat(depth % 40);
                let _ = writeln!(
                    text,
                    "{bars}ExceptionGroup: g (1 sub-exception)\n{bars}+-+---------------- 1 ----------------"
                );
                depth += 1;
            }
            text.into_bytes()
        }),
        ("carriage returns", |n| {
            let mut text = Vec::new();
            while text.len() < n {
                text.extend_from_slice(b" 12%|###   | 12/100 [00:01<00:09, 9.1it/s]\r");
            }
            text
        }),
    ];
    for (name, make) in inputs {
        // What is read as fast as memory must not be compared with what a
        // cache holds.
        let is_fast = name.contains("endless") || name == "carriage returns";
        let unit = if is_fast { FAST * unit } else { unit };
        let (once, ten) = (make(unit), make(10 * unit));
        let (short, long) = (best_of(&once), best_of(&ten));
        let ratio = long / short;
        bars.hold(
            name,
            ratio <= LINEAR,
            &format!(
                "{ratio:.1} x the time for 10 x the bytes, {:.0} MB/s",
                ten.len() as f64 / MB / long
            ),
        );
    }
}
