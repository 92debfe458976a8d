//! Owners of one experiment, in any order: claims, heartbeats, writes,
//! silences, crashes and returns from the dead.

use super::*;
use crate::artifacts::lease::lease_path;
use proptest::prelude::*;
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

const OWNERS: usize = 4;

#[derive(Debug, Clone, Copy)]
enum Step {
    Claim(usize),
    Beat(usize),
    Append(usize, usize),
    WriteState(usize),
    Release(usize),
    /// It dies without a word.
    Crash(usize),
    /// Whoever owns it gives no sign of life for hours.
    FallSilent,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let owner = 0..OWNERS;
    let step = prop_oneof![
        4 => owner.clone().prop_map(Step::Claim),
        2 => owner.clone().prop_map(Step::Beat),
        4 => (owner.clone(), 0usize..12).prop_map(|(owner, idx)| Step::Append(owner, idx)),
        3 => owner.clone().prop_map(Step::WriteState),
        1 => owner.clone().prop_map(Step::Release),
        1 => owner.prop_map(Step::Crash),
        2 => Just(Step::FallSilent),
    ];
    prop::collection::vec(step, 1..60)
}

/// What is so, kept beside the files.
struct World {
    directory: ExperimentDir,
    owners: [Option<(Lease, Journal)>; OWNERS],
    /// Who claimed last and has not given back.
    rightful: Option<usize>,
    /// The rightful owner gave no sign of life.
    is_silent: bool,
    fence: u64,
    acknowledged: BTreeSet<usize>,
    written_by: Option<u64>,
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Claim(who) if self.owners[who].is_none() => self.claim(who),
            Step::Claim(_) => {}
            Step::Beat(who) => {
                if let Some((lease, _)) = &mut self.owners[who] {
                    let is_rightful = self.rightful == Some(who);
                    assert_eq!(lease.beat().is_ok(), is_rightful, "a heartbeat of {who}");
                    self.is_silent &= !is_rightful;
                }
            }
            Step::Append(who, idx) => {
                // A late writer writes to a segment of its own, and what it
                // writes is true.
                if let Some((_, journal)) = &mut self.owners[who]
                    && journal.append(&[answer(idx)]).is_ok()
                {
                    self.acknowledged.insert(idx);
                }
            }
            Step::WriteState(who) => self.write_state(who),
            Step::Release(who) => {
                if let Some((lease, _)) = self.owners[who].take() {
                    lease.release().unwrap();
                    if self.rightful == Some(who) {
                        self.rightful = None;
                    }
                }
            }
            Step::Crash(who) => {
                if let Some((lease, _)) = self.owners[who].take() {
                    std::mem::forget(lease);
                    if self.rightful == Some(who) {
                        self.fall_silent();
                    }
                }
            }
            Step::FallSilent => {
                if self.rightful.is_some() {
                    self.fall_silent();
                }
            }
        }
    }

    fn claim(&mut self, who: usize) {
        match self.directory.claim(&LeaseOptions::default()).unwrap() {
            Claim::Mine(lease) => {
                assert!(
                    self.rightful.is_none() || self.is_silent,
                    "taken from a living owner"
                );
                assert!(lease.fence() > self.fence, "a fence number came again");
                self.fence = lease.fence();
                self.rightful = Some(who);
                self.is_silent = false;
                let journal = self.directory.open_journal(&lease).unwrap();
                self.owners[who] = Some((lease, journal));
            }
            Claim::Held(_) => assert!(self.rightful.is_some() && !self.is_silent, "held by nobody"),
        }
    }

    fn write_state(&mut self, who: usize) {
        let Some((lease, _)) = &self.owners[who] else {
            return;
        };
        let may = lease.check().is_ok();
        assert_eq!(may, self.rightful == Some(who), "the fence for {who}");
        if may {
            let mut state = State::new(12, Vec::new());
            state.attempt = u32::try_from(lease.fence()).unwrap();
            self.directory.write_state(&state).unwrap();
            self.written_by = Some(lease.fence());
        }
    }

    fn fall_silent(&mut self) {
        self.is_silent = true;
        fs::File::options()
            .write(true)
            .open(lease_path(&self.directory.path, self.fence))
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_secs(7200))
            .unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn there_is_one_rightful_owner_and_nothing_acknowledged_is_lost(steps in steps()) {
        let root = tempfile::tempdir().unwrap();
        let directory = ExperimentDir::new(root.path().join("experiment"));
        directory.create().unwrap();
        let mut world = World {
            directory,
            owners: [const { None }; OWNERS],
            rightful: None,
            is_silent: false,
            fence: 0,
            acknowledged: BTreeSet::new(),
            written_by: None,
        };
        for step in steps {
            world.take(step);
        }
        let kept: BTreeSet<_> = world.directory.answered().unwrap().into_keys().collect();
        prop_assert_eq!(kept, world.acknowledged);
        let state = world.directory.state().unwrap();
        prop_assert_eq!(state.map(|state| u64::from(state.attempt)), world.written_by);
    }
}
