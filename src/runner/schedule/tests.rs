#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const LOAD: f64 = 20.0;

fn cell(model: usize, seconds: f64) -> Cell {
    Cell {
        model: Some(model),
        seconds,
    }
}

fn grid(models: &[(usize, f64)]) -> Vec<Cell> {
    models
        .iter()
        .enumerate()
        .flat_map(|(model, &(count, seconds))| (0..count).map(move |_| cell(model, seconds)))
        .collect()
}

/// Devices as they are: what an experiment really takes there, whether a model
/// can be started, when one dies.
struct World<'w> {
    takes: &'w dyn Fn(usize, usize) -> f64,
    starts: &'w dyn Fn(usize, usize) -> bool,
    dies_after: &'w dyn Fn(usize) -> usize,
}

impl Default for World<'_> {
    fn default() -> Self {
        Self {
            takes: &|_, _| f64::NAN,
            starts: &|_, _| true,
            dies_after: &|_| usize::MAX,
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// By cell, the lanes that finished it.
    ran: HashMap<usize, Vec<usize>>,
    failed: Vec<usize>,
    loads: usize,
    given_up: Vec<usize>,
    ends: f64,
    answering: f64,
}

/// Plays a run through. A lane asks when it is idle, in the order of the
/// clock, as threads do.
fn play(cells: &[Cell], lanes: usize, world: &World) -> Outcome {
    let mut schedule = Schedule::new(cells.to_vec(), lanes);
    let mut outcome = Outcome::default();
    // By lane: when it is free, what it then has done, its model.
    let mut free_at = vec![0.0; lanes];
    let mut doing: Vec<Option<(usize, Seen)>> = vec![None; lanes];
    let mut model = vec![None; lanes];
    let mut begun = vec![0; lanes];
    let mut over = vec![false; lanes];
    while let Some(lane) = (0..lanes)
        .filter(|&lane| !over[lane])
        .min_by(|&a, &b| f64::total_cmp(&free_at[a], &free_at[b]))
    {
        let now: f64 = free_at[lane];
        if let Some((cell, seen)) = doing[lane].take() {
            if !seen.started && schedule.second_opinion(lane) {
                model[lane] = None;
            } else {
                let suspect = schedule.done(lane, now, seen);
                if let Some(suspect) = suspect {
                    schedule.give_up(suspect);
                    outcome.given_up.push(suspect);
                }
                if seen.started {
                    outcome.ran.entry(cell).or_default().push(lane);
                } else {
                    outcome.failed.push(cell);
                }
                outcome.ends = outcome.ends.max(now);
            }
        }
        match schedule.next(lane, now) {
            Turn::Run(cell) => {
                begun[lane] += 1;
                if begun[lane] > (world.dies_after)(lane) && schedule.active() > 1 {
                    schedule.retire(lane);
                    over[lane] = true;
                    continue;
                }
                let wanted = cells[cell].model;
                let loads = wanted.is_some() && model[lane] != wanted;
                let started = !loads || (world.starts)(lane, wanted.unwrap());
                let mut takes = (world.takes)(lane, cell);
                if takes.is_nan() {
                    takes = cells[cell].seconds;
                }
                let seen = Seen {
                    load_seconds: (loads && started).then_some(LOAD),
                    started,
                    is_complete: started,
                };
                outcome.loads += usize::from(loads);
                model[lane] = if started {
                    wanted.or(model[lane])
                } else {
                    None
                };
                outcome.answering += if started { takes } else { 0.0 };
                free_at[lane] =
                    now + if loads { LOAD } else { 0.0 } + if started { takes } else { 0.0 };
                doing[lane] = Some((cell, seen));
            }
            Turn::Wait => free_at[lane] = now + 0.1,
            Turn::Over => over[lane] = true,
        }
    }
    outcome
}

fn each_ran_once(outcome: &Outcome, cells: usize) {
    for cell in 0..cells {
        let ran = outcome.ran.get(&cell).map_or(0, Vec::len);
        assert_eq!(ran, 1, "cell {cell}: {outcome:?}");
    }
}

#[test]
fn one_lane_runs_them_in_their_order() {
    let cells = vec![cell(1, 5.0), cell(0, 9.0), cell(1, 1.0)];
    let mut schedule = Schedule::new(cells, 1);
    for place in 0..3 {
        assert_eq!(schedule.next(0, 0.0), Turn::Run(place));
        schedule.done(0, 1.0, Seen::default());
    }
    assert_eq!(schedule.next(0, 1.0), Turn::Over);
}

#[test]
fn a_lane_keeps_its_model_and_the_largest_models_go_first() {
    let cells = grid(&[(2, 10.0), (4, 30.0), (3, 20.0)]);
    let mut schedule = Schedule::new(cells, 2);
    assert_eq!(
        schedule.next(0, 0.0),
        Turn::Run(2),
        "of the model with most work"
    );
    assert_eq!(schedule.next(1, 0.0), Turn::Run(6), "of the next");
    schedule.done(
        1,
        20.0,
        Seen {
            load_seconds: None,
            started: true,
            is_complete: true,
        },
    );
    assert_eq!(schedule.next(1, 20.0), Turn::Run(7), "it keeps its model");
}

#[test]
fn the_longest_experiments_of_a_model_go_first() {
    let cells = vec![cell(0, 1.0), cell(0, 50.0), cell(0, 7.0), cell(1, 1.0)];
    let mut schedule = Schedule::new(cells, 2);
    assert_eq!(schedule.next(0, 0.0), Turn::Run(1));
}

#[test]
fn one_model_is_split_over_all_devices_with_a_load_for_each() {
    let cells = grid(&[(64, 30.0)]);
    let outcome = play(&cells, 8, &World::default());
    each_ran_once(&outcome, 64);
    assert_eq!(outcome.loads, 8);
    assert!(outcome.ends <= 8.0 * 30.0 + 30.0 + LOAD, "{}", outcome.ends);
}

#[test]
fn what_would_only_be_slower_elsewhere_is_left_where_it_is() {
    let mut schedule = Schedule::new(grid(&[(3, 5.0)]), 2);
    assert_eq!(schedule.next(0, 0.0), Turn::Run(0));
    let seen = Seen {
        load_seconds: Some(LOAD),
        started: true,
        is_complete: true,
    };
    schedule.done(0, LOAD + 5.0, seen);
    assert_eq!(schedule.next(0, LOAD + 5.0), Turn::Run(1));
    // Nine seconds are left there, and a load takes twenty.
    assert_eq!(schedule.next(1, LOAD + 6.0), Turn::Wait);
}

/// Two lanes: the first is at work, the second could not start two experiments.
fn with_a_suspended_lane() -> Schedule {
    let mut schedule = Schedule::new(grid(&[(9, 30.0), (9, 30.0)]), 2);
    assert!(matches!(schedule.next(0, 0.0), Turn::Run(_)));
    for _ in 0..2 {
        assert!(matches!(schedule.next(1, 0.0), Turn::Run(_)));
        assert!(schedule.second_opinion(1));
    }
    assert_eq!(schedule.next(1, 0.0), Turn::Wait);
    schedule
}

#[test]
fn a_lane_that_starts_nothing_spoils_no_more_than_two_experiments() {
    let mut schedule = with_a_suspended_lane();
    // The other lane tries them before anything else.
    schedule.done(0, 50.0, Seen::default());
    let Turn::Run(cell) = schedule.next(0, 50.0) else {
        panic!("nothing to run");
    };
    assert_eq!(schedule.cells[cell].model, Some(1));
    // It can not start it either: it was the model.
    schedule.done(0, 60.0, Seen::default());
    assert!(matches!(schedule.next(1, 60.0), Turn::Run(_)));
    assert!(
        !schedule.second_opinion(1),
        "the model is known to be broken"
    );
}

#[test]
fn a_lane_is_not_judged_by_cells_that_another_run_has_taken() {
    let mut schedule = with_a_suspended_lane();
    schedule.done(0, 50.0, Seen::default());
    for _ in 0..2 {
        assert!(matches!(schedule.next(0, 50.0), Turn::Run(_)));
        assert!(schedule.postpone(0));
    }
    assert!(matches!(schedule.next(1, 50.0), Turn::Run(_)));
}

#[test]
fn what_a_lane_was_at_when_it_was_given_up_is_tried_elsewhere() {
    let cells = [cell(4, 1.0), cell(0, 72.0), cell(0, 1.0), cell(1, 1.0)];
    let world = World {
        starts: &|lane, _| lane != 0,
        ..World::default()
    };
    let outcome = play(&cells, 2, &world);
    each_ran_once(&outcome, 4);
}

#[test]
fn a_stuck_device_loses_what_waits_behind_it() {
    let cells = grid(&[(6, 30.0), (6, 30.0)]);
    let stuck = World {
        takes: &|lane, cell| {
            if lane == 1 && cell != 0 {
                5_000.0
            } else {
                30.0
            }
        },
        ..World::default()
    };
    let outcome = play(&cells, 2, &stuck);
    each_ran_once(&outcome, 12);
    let by_stuck = outcome.ran.values().filter(|lanes| lanes[0] == 1).count();
    assert_eq!(by_stuck, 1, "{outcome:?}");
}

#[test]
fn the_work_of_a_dead_device_goes_to_the_others() {
    let cells = grid(&[(5, 30.0), (5, 30.0), (5, 30.0)]);
    let world = World {
        dies_after: &|lane| if lane == 2 { 1 } else { usize::MAX },
        ..World::default()
    };
    let outcome = play(&cells, 3, &world);
    each_ran_once(&outcome, 15);
}

#[test]
fn a_device_that_starts_nothing_that_runs_elsewhere_is_given_up() {
    let cells = grid(&[(4, 30.0), (4, 30.0), (4, 30.0), (4, 30.0)]);
    let world = World {
        starts: &|lane, _| lane != 1,
        ..World::default()
    };
    let outcome = play(&cells, 2, &world);
    each_ran_once(&outcome, 16);
    assert_eq!(outcome.given_up, [1]);
}

#[test]
fn models_that_start_nowhere_cost_no_device() {
    let cells = grid(&[(2, 30.0), (2, 30.0), (2, 30.0), (2, 30.0)]);
    let world = World {
        starts: &|_, model| model > 2,
        ..World::default()
    };
    let outcome = play(&cells, 2, &world);
    assert!(outcome.given_up.is_empty(), "{outcome:?}");
    assert_eq!((outcome.failed.len(), outcome.ran.len()), (6, 2));
}

#[test]
fn what_another_run_holds_is_looked_at_again_when_all_else_is_over() {
    let mut schedule = Schedule::new(grid(&[(3, 1.0)]), 1);
    assert_eq!(schedule.next(0, 0.0), Turn::Run(0));
    assert!(schedule.postpone(0));
    for place in [1, 2, 0] {
        assert_eq!(schedule.next(0, 0.0), Turn::Run(place));
        assert_eq!(schedule.may_postpone(), place != 0);
        schedule.done(0, 1.0, Seen::default());
    }
    assert_eq!(schedule.next(0, 1.0), Turn::Over);
}

#[test]
fn what_needs_no_model_goes_first_and_keeps_the_loaded_one() {
    let mut cells = grid(&[(2, 50.0)]);
    cells.push(Cell {
        model: None,
        seconds: 0.0,
    });
    let outcome = play(&cells, 2, &World::default());
    assert_eq!(outcome.ran[&2].len(), 1);
    assert_eq!(outcome.loads, 2);
}

fn grids() -> impl Strategy<Value = (Vec<Cell>, usize)> {
    let one = (0usize..6, 1.0..100.0f64).prop_map(|(model, seconds)| cell(model, seconds));
    (prop::collection::vec(one, 0..80), 1usize..9)
}

proptest! {
    #[test]
    fn every_experiment_runs_once_whatever_dies_and_however_long_it_takes(
        (cells, lanes) in grids(),
        speeds in prop::collection::vec(0.1..10.0f64, 80),
        deaths in prop::collection::vec(prop::option::of(0usize..5), 8),
    ) {
        let world = World {
            takes: &|lane, cell| cells[cell].seconds * speeds[(cell + lane * 7) % 80],
            dies_after: &|lane| deaths[lane].unwrap_or(usize::MAX),
            ..World::default()
        };
        let outcome = play(&cells, lanes, &world);
        each_ran_once(&outcome, cells.len());
    }

    #[test]
    fn a_sick_device_and_sick_models_lose_nothing(
        (cells, lanes) in grids(),
        sick_lane in 0usize..8,
        sick_model in 0usize..6,
    ) {
        let world = World {
            starts: &|lane, model| lane != sick_lane && model != sick_model,
            ..World::default()
        };
        let outcome = play(&cells, lanes, &world);
        for (place, cell) in cells.iter().enumerate() {
            let runs_somewhere = cell.model != Some(sick_model) && !(lanes == 1 && sick_lane == 0);
            let ran = outcome.ran.get(&place).map_or(0, Vec::len);
            let failed = outcome.failed.iter().filter(|&&failed| failed == place).count();
            prop_assert_eq!(ran + failed, 1, "cell {}: {:?}", place, outcome);
            prop_assert_eq!(ran == 1, runs_somewhere, "cell {}: {:?}", place, outcome);
        }
    }

    #[test]
    fn with_true_costs_there_are_at_most_models_and_lanes_minus_one_loads(
        (cells, lanes) in grids(),
    ) {
        // Of fine grain, so that the even end can be met, and model by model,
        // as a study orders them.
        let mut cells: Vec<_> = cells
            .iter()
            .flat_map(|cell| vec![Cell { seconds: 1.0, ..cell.clone() }; cell.seconds as usize])
            .collect();
        cells.sort_by_key(|cell| cell.model);
        let models: HashSet<_> = cells.iter().map(|cell| cell.model).collect();
        let outcome = play(&cells, lanes, &World::default());
        prop_assert!(outcome.loads < models.len() + lanes, "{} loads", outcome.loads);
    }
}
