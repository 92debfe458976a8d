//! Tells the program which revision it is built from, where that is known:
//! it goes into the record of every experiment.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RAGICAMP_GIT_REVISION");
    // Development builds change too often to be built anew for each commit.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if std::env::var_os("RAGICAMP_GIT_REVISION").is_some() || !is_release {
        return;
    }
    // It grows with every commit; what is missing would count as changed always.
    let log = ".git/logs/HEAD";
    if std::path::Path::new(log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=40"])
        .output();
    if let Ok(output) = described
        && output.status.success()
        && let Ok(revision) = String::from_utf8(output.stdout)
    {
        println!("cargo:rustc-env=RAGICAMP_GIT_REVISION={}", revision.trim());
    }
}
