//! Campaigns that try to break what the program promises: kills, power cuts,
//! every failure at every moment, disks that fail, ten thousand experiments.
//!
//! Each prints its figures in a table. Here they are short; `make campaign`
//! runs them at length, by `RAGICAMP_KILLS`, `_POWER`, `_FAULTS`, `_DISK` and
//! `_SOAK`. `RAGICAMP_SEED` repeats the choices of a run.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used)]

#[path = "../faults/bench.rs"]
#[allow(dead_code)]
mod bench;
mod disk;
mod faults;
mod kills;
mod power;
mod shim;
mod soak;
mod stage;

/// How large a campaign is to be, by its environment variable.
fn size(variable: &str, short: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        _ => short,
    }
}

/// Prints a campaign's figures, whatever is asserted about them afterwards.
fn print(title: &str, header: &[&str], rows: &[Vec<String>]) {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::ASCII_MARKDOWN)
        .set_content_arrangement(comfy_table::ContentArrangement::Disabled)
        .set_header(header.to_vec())
        .add_rows(rows.iter().cloned());
    println!("\n{title}\n\n{table}\n");
}
