//! Holds the house rules by reading the code: which room may know which,
//! where the large dependencies may be named, what pure means, how long a
//! file may be.
//!
//! The reading is of tokens, not of types: comments and string contents are
//! blanked first, then every path that starts at `crate` is followed, in
//! `use`, `pub use`, groups, types and expressions alike.

#[path = "architecture/code.rs"]
mod code;
#[path = "architecture/dependencies.rs"]
mod dependencies;
#[path = "architecture/disguises.rs"]
mod disguises;
#[path = "architecture/package.rs"]
mod package;
#[path = "architecture/rules.rs"]
mod rules;

use code::Source;
use package::package;
use rules::{confined_crates, forbidden_imports, impurities, lines_of_code, unwraps};
use std::collections::{BTreeMap, BTreeSet};

/// A row of the table: a room, its floor (0 is the ground), and the rooms it
/// may know. Every room may know the ground, whose words all of them share.
struct Room {
    name: &'static str,
    floor: u8,
    knows: Knows,
}

#[derive(Clone, Copy)]
enum Knows {
    /// Every room on a lower floor.
    AllBelow,
    /// These, and the ground.
    Only(&'static [&'static str]),
}

const GROUND: u8 = 0;
const PURE: u8 = 1;
const ADAPTERS: u8 = 2;
const ORCHESTRATION: u8 = 3;
const FACES: u8 = 4;

/// The table. Rooms of one floor do not know each other, unless it says so.
const HOUSE: &[Room] = &[
    room("cli", FACES, Knows::AllBelow),
    room(
        "server",
        FACES,
        Knows::Only(&["analysis", "artifacts", "diagnosis", "errortrace"]),
    ),
    room("runner", ORCHESTRATION, Knows::AllBelow),
    room(
        "cluster",
        ORCHESTRATION,
        Knows::Only(&["study", "artifacts"]),
    ),
    // The worker serves whatever answers: a local model, whose files the hub
    // finds, or a remote one.
    room(
        "worker",
        ADAPTERS,
        Knows::Only(&["inference", "hub", "remote"]),
    ),
    room("inference", ADAPTERS, Knows::Only(&["hub"])),
    room("remote", ADAPTERS, Knows::Only(&[])),
    // Questions and documents may both lie in tables.
    room("index", ADAPTERS, Knows::Only(&["records", "retrieval"])),
    room("datasets", ADAPTERS, Knows::Only(&["hub", "records"])),
    room("records", ADAPTERS, Knows::Only(&[])),
    room("artifacts", ADAPTERS, Knows::Only(&[])),
    // Which attempt an error is of, and whether its process lives, the lease
    // tells.
    room(
        "diagnosis",
        ADAPTERS,
        Knows::Only(&["artifacts", "errortrace"]),
    ),
    room("hub", ADAPTERS, Knows::Only(&[])),
    room("study", PURE, Knows::Only(&[])),
    room("execution", PURE, Knows::Only(&[])),
    // What several queries find is fused.
    room("agents", PURE, Knows::Only(&["prompts", "retrieval"])),
    room("prompts", PURE, Knows::Only(&[])),
    room("retrieval", PURE, Knows::Only(&[])),
    room("metrics", PURE, Knows::Only(&["statistics"])),
    room("errortrace", PURE, Knows::Only(&[])),
    room("analysis", PURE, Knows::Only(&["statistics"])),
    room("statistics", PURE, Knows::Only(&[])),
    room("domain", GROUND, Knows::Only(&[])),
];

/// Beside a lower floor, the one face that is only another way in.
const BESIDE: &[(&str, &str)] = &[("cli", "server")];

/// The program itself: parses, calls, maps to an exit code.
const MAIN_KNOWS: &[&str] = &["cli"];

/// Crates that may be named in one place only: the crate, or the start of a
/// family's names, and the rooms. `main` is `main.rs`.
const CONFINED: &[(&str, &[&str])] = &[
    ("candle_*", &["inference"]),
    ("clap", &["cli", "main"]),
    ("clap_*", &["cli"]),
    ("tokio*", &["server"]),
    ("axum", &["server"]),
];

/// What a pure room does not touch outside its tests: files, clocks, threads,
/// the network, processes and their environment.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::net",
    "std::process",
    "std::env",
    "fs::",
    "thread::",
    "env::",
    "File::",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
];

/// No file is longer, without its inline tests.
const LONGEST_FILE: usize = 700;

/// Longer files, and why.
const LONG_ON_PURPOSE: &[(&str, &str)] = &[(
    "study/keys.rs",
    "a table: one entry per key of a study file, with its help text",
)];

const fn room(name: &'static str, floor: u8, knows: Knows) -> Room {
    Room { name, floor, knows }
}

/// Whether `from` may know `to`; rooms that are not in the table may know
/// nothing and are known by nobody.
fn may_know(from: &str, to: &str) -> bool {
    if from == to || BESIDE.contains(&(from, to)) {
        return true;
    }
    let find = |name: &str| HOUSE.iter().find(|room| room.name == name);
    let (Some(from), Some(to)) = (find(from), find(to)) else {
        return false;
    };
    match from.knows {
        Knows::AllBelow => to.floor < from.floor,
        Knows::Only(rooms) => to.floor == GROUND || rooms.contains(&to.name),
    }
}

fn none_of(rule: impl Fn(&Source) -> Vec<String>) {
    let wrong: Vec<String> = package().iter().flat_map(rule).collect();
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn rooms_know_only_what_the_table_allows() {
    none_of(forbidden_imports);
}

#[test]
fn every_room_is_in_the_table() {
    let rooms: BTreeSet<String> = package()
        .iter()
        .filter(|source| source.path.contains('/'))
        .map(|source| source.room().to_owned())
        .collect();
    let unknown: Vec<_> = rooms
        .iter()
        .filter(|room| HOUSE.iter().all(|row| row.name != **room))
        .collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

#[test]
fn the_table_points_down_and_has_no_circle() {
    for row in HOUSE {
        if let Knows::Only(rooms) = row.knows {
            for name in rooms {
                let known = HOUSE.iter().find(|room| room.name == *name);
                let known = known.unwrap_or_else(|| panic!("{} knows no room {name}", row.name));
                assert!(
                    known.floor <= row.floor,
                    "{} knows {name} above it",
                    row.name
                );
            }
        }
    }
    // Repeatedly leave out rooms that know none of those that are left.
    let mut left: BTreeMap<&str, &Room> = HOUSE.iter().map(|room| (room.name, room)).collect();
    while !left.is_empty() {
        let free: Vec<&str> = left
            .keys()
            .copied()
            .filter(|from| left.keys().all(|to| from == to || !may_know(from, to)))
            .collect();
        assert!(!free.is_empty(), "a circle among {:?}", left.keys());
        left.retain(|name, _| !free.contains(name));
    }
}

#[test]
fn large_dependencies_stay_in_their_rooms() {
    none_of(confined_crates);
}

#[test]
fn nothing_unwraps_outside_of_tests() {
    none_of(unwraps);
}

#[test]
fn pure_rooms_touch_no_files_clocks_or_threads() {
    none_of(impurities);
}

#[test]
fn no_file_is_too_long() {
    let sources = package();
    let too_long: Vec<String> = sources
        .iter()
        .filter(|source| LONG_ON_PURPOSE.iter().all(|(path, _)| *path != source.path))
        .map(|source| (lines_of_code(source), source))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, source)| format!("src/{}: {lines} lines", source.path))
        .collect();
    assert!(too_long.is_empty(), "too long:\n{}", too_long.join("\n"));
    for (path, _) in LONG_ON_PURPOSE {
        let long = sources
            .iter()
            .any(|source| source.path == *path && lines_of_code(source) > LONGEST_FILE);
        assert!(
            long,
            "{path} is not too long any more: take it off the list"
        );
    }
}

#[test]
fn every_dependency_has_a_licence_that_is_let_in() {
    let Some(packages) = dependencies::packages() else {
        eprintln!("skipped: cargo does not have the manifests of all dependencies here");
        return;
    };
    assert!(packages.len() > 200, "{} packages", packages.len());
    let policy = dependencies::Policy::of_deny_toml();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !policy.lets_in(package))
        .map(|package| format!("{}: {}", package.name, package.license))
        .collect();
    assert!(
        refused.is_empty(),
        "not let in by deny.toml:\n{}",
        refused.join("\n")
    );
}

#[test]
fn every_dependency_is_from_the_registry_and_has_a_checksum() {
    let locked = dependencies::locked();
    assert!(locked.len() > 200, "{} packages", locked.len());
    let wrong: Vec<&String> = locked
        .iter()
        .filter(|(name, package)| *name != "ragicamp" && !package.is_sound())
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "from elsewhere: {wrong:?}");
    for name in dependencies::denied() {
        assert!(!locked.contains_key(&name), "{name} is banned by deny.toml");
    }
}

#[test]
fn a_licence_is_let_in_only_as_a_whole() {
    let policy = dependencies::Policy::of_deny_toml();
    let lets_in = |license: &str| {
        policy.lets_in(&dependencies::Package {
            name: "some-crate".to_owned(),
            license: license.to_owned(),
        })
    };
    assert!(lets_in("MIT/Apache-2.0") && lets_in("MIT OR GPL-3.0-only"));
    assert!(lets_in("(GPL-2.0-only OR MIT) AND Unicode-3.0"));
    assert!(lets_in("Apache-2.0 WITH LLVM-exception"));
    assert!(!lets_in("GPL-3.0-only") && !lets_in("MIT AND GPL-3.0-only"));
    assert!(!lets_in("MIT AND (GPL-2.0-only OR AGPL-3.0-only)") && !lets_in(""));
    // Of one crate only.
    assert!(!lets_in("MPL-2.0"));
}
