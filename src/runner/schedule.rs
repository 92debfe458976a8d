//! Which device runs which experiment next.
//!
//! Pure: time is what the caller says it is. Two wishes pull apart. Loading a
//! model as seldom as possible wants each model on one device; letting no
//! device idle wants the last experiments spread over all of them. So a lane
//! (one device with its worker) keeps its model while that model has work; an
//! idle lane takes the model with most work left, whole; and only when every
//! model has a lane does it take a part of another's work. The part is what
//! ends both at the time at which all would end if the rest were spread evenly
//! (McNaughton's wrap-around rule, 1959): each such split settles at least one
//! lane, so with true costs there are at most `models + lanes - 1` loads. More
//! are spent only where they end the run earlier by a twentieth of its time (or
//! ten minutes): below that a device idles at the end instead.
//!
//! Costs are expectations and become better while the run goes on: a model's
//! experiments are scaled by what its finished ones took, and an experiment
//! that is overdue by some time is expected to take as much again. So a slow
//! or stuck device loses what waits behind it to those that are free.

use std::collections::{HashMap, HashSet, VecDeque};

/// Seconds a load is expected to take while none was seen.
const LOAD_SECONDS: f64 = 10.0;

/// Once there were as many splits as true costs would need, a further load has
/// to end the run earlier by this part of the time it took so far,
const WORTH: f64 = 20.0;

/// or by so many seconds.
const PATIENCE: f64 = 600.0;

/// Experiments in a row that a lane could not start and another could, before
/// the lane is given up.
const STRIKES: u32 = 2;

/// An experiment to hand out.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The model (with its quantisation) that it needs loaded, as a number;
    /// `None` when it only has to be looked at or scored.
    pub model: Option<usize>,
    /// Seconds it is expected to take, without a load.
    pub seconds: f64,
}

/// What a lane is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Run this experiment: its place among the cells.
    Run(usize),
    /// Nothing now; ask again, since work may come back or fall behind.
    Wait,
    /// Nothing any more.
    Over,
}

/// What an experiment told of its device.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seen {
    /// Seconds that loading its model took, if it was loaded for it.
    pub load_seconds: Option<f64>,
    /// Whether its model was up on this device at some time.
    pub started: bool,
    /// Whether all its questions were answered, so that its time says something
    /// about others.
    pub is_complete: bool,
}

/// The state of handing out.
#[derive(Debug, Clone)]
pub struct Schedule {
    cells: Vec<Cell>,
    /// Cells that need no model; they go first.
    plain: VecDeque<usize>,
    /// By model, what no lane has taken.
    free: HashMap<usize, Vec<usize>>,
    /// Held by another run; for the end.
    postponed: Vec<usize>,
    is_last_round: bool,
    lanes: Vec<Lane>,
    /// The lane that could not start the cell, until another has tried.
    barred: HashMap<usize, usize>,
    /// Models that two lanes could not start.
    broken: HashSet<usize>,
    /// By model, seconds expected and seconds taken of finished cells.
    pace: HashMap<usize, (f64, f64)>,
    /// By model, seconds of its last load.
    load: HashMap<usize, f64>,
    /// Loads for a part of another lane's work.
    splits: usize,
}

#[derive(Debug, Clone, Default)]
struct Lane {
    loaded: Option<usize>,
    /// What it will run, in this order.
    queue: VecDeque<usize>,
    running: Option<Running>,
    /// Experiments in a row that it could not start.
    unstarted: u32,
    /// Of them those that another lane could.
    strikes: u32,
    is_retired: bool,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    cell: usize,
    since: f64,
    loads: bool,
}

impl Schedule {
    /// A schedule for so many lanes. One lane runs the cells in their order;
    /// there is nothing to be won by another.
    pub fn new(cells: Vec<Cell>, lanes: usize) -> Self {
        let mut schedule = Self {
            cells,
            plain: VecDeque::new(),
            free: HashMap::new(),
            postponed: Vec::new(),
            is_last_round: false,
            lanes: vec![Lane::default(); lanes],
            barred: HashMap::new(),
            broken: HashSet::new(),
            pace: HashMap::new(),
            load: HashMap::new(),
            splits: 0,
        };
        if let [lane] = schedule.lanes.as_mut_slice() {
            lane.queue.extend(0..schedule.cells.len());
        } else {
            for cell in 0..schedule.cells.len() {
                schedule.put_back(cell);
            }
        }
        schedule
    }

    /// As [`Self::new`], of which some cells are not handed out before they are
    /// [released](Self::release).
    pub fn with_withheld(cells: Vec<Cell>, lanes: usize, withheld: &HashSet<usize>) -> Self {
        let mut schedule = Self::new(cells, lanes);
        let is_due = |cell: &usize| !withheld.contains(cell);
        schedule.plain.retain(is_due);
        for cells in schedule.free.values_mut() {
            cells.retain(is_due);
        }
        for lane in &mut schedule.lanes {
            lane.queue.retain(is_due);
        }
        schedule
    }

    /// A withheld cell is to be run after all.
    pub fn release(&mut self, cell: usize) {
        self.put_back(cell);
    }

    /// What `lane` is to do at the time `now` (in seconds from any start).
    pub fn next(&mut self, lane: usize, now: f64) -> Turn {
        if self.lanes[lane].is_retired {
            return Turn::Over;
        }
        if let Some(cell) = self.plain.pop_front() {
            return self.start(lane, cell, now);
        }
        if let Some(cell) = self.judge(lane) {
            return self.start(lane, cell, now);
        }
        if self.is_suspended(lane) {
            return Turn::Wait;
        }
        let found = !self.lanes[lane].queue.is_empty() || self.take(lane) || self.split(lane, now);
        if found && let Some(cell) = self.lanes[lane].queue.pop_front() {
            return self.start(lane, cell, now);
        }
        let is_busy = self.lanes.iter().any(|lane| lane.running.is_some());
        if is_busy || self.is_pending() {
            return Turn::Wait;
        }
        if !self.is_last_round && !self.postponed.is_empty() {
            self.is_last_round = true;
            for cell in std::mem::take(&mut self.postponed) {
                self.put_back(cell);
            }
            return self.next(lane, now);
        }
        Turn::Over
    }

    /// The lane's experiment is over, whatever became of it. Gives a lane that
    /// is to be given up: what it could not start twice, others could.
    pub fn done(&mut self, lane: usize, now: f64, seen: Seen) -> Option<usize> {
        let running = self.lanes[lane].running.take()?;
        let model = self.cells[running.cell].model?;
        if let Some(seconds) = seen.load_seconds {
            self.load.insert(model, seconds);
        }
        if seen.is_complete {
            let taken = now - running.since - seen.load_seconds.unwrap_or(0.0);
            let pace = self.pace.entry(model).or_default();
            pace.0 += self.cells[running.cell].seconds;
            pace.1 += taken.max(0.0);
        }
        if seen.started {
            self.lanes[lane].strikes = 0;
            self.lanes[lane].unstarted = 0;
        }
        let barred = self.barred.remove(&running.cell);
        let suspect = barred.filter(|&suspect| suspect != lane)?;
        self.lanes[suspect].unstarted = self.lanes[suspect].unstarted.saturating_sub(1);
        if !seen.started {
            self.broken.insert(model);
            return None;
        }
        self.lanes[suspect].strikes += 1;
        let is_out = self.lanes[suspect].strikes >= STRIKES && !self.lanes[suspect].is_retired;
        is_out.then_some(suspect)
    }

    /// Another run has the lane's experiment: it is handed out once more when
    /// everything else is over. False where that was already so.
    pub fn postpone(&mut self, lane: usize) -> bool {
        if self.is_last_round {
            return false;
        }
        if let Some(Running { cell, .. }) = self.lanes[lane].running.take() {
            // Nobody here will say of it whether it can be started: a lane that
            // was to be judged by it would wait for ever.
            if let Some(suspect) = self.barred.remove(&cell) {
                self.lanes[suspect].unstarted = self.lanes[suspect].unstarted.saturating_sub(1);
            }
            self.postponed.push(cell);
        }
        true
    }

    /// Whether an experiment that another run has will be handed out again.
    pub fn may_postpone(&self) -> bool {
        !self.is_last_round
    }

    /// The lane could not even start its experiment's model: another lane is
    /// to try. False when there is none, or one has tried.
    pub fn second_opinion(&mut self, lane: usize) -> bool {
        let Some(Running { cell, .. }) = self.lanes[lane].running else {
            return false;
        };
        let is_broken = self.cells[cell]
            .model
            .is_none_or(|model| self.broken.contains(&model));
        // The lane itself may be given up by now.
        let others = self.lanes.iter().enumerate();
        let has_others = others
            .filter(|&(other, _)| other != lane)
            .any(|(_, other)| !other.is_retired);
        if !has_others || is_broken || self.barred.contains_key(&cell) {
            return false;
        }
        self.barred.insert(cell, lane);
        self.lanes[lane].unstarted += 1;
        self.lanes[lane].running = None;
        self.lanes[lane].loaded = None;
        self.put_back(cell);
        true
    }

    /// The lane takes nothing any more; what it had goes to the others.
    pub fn retire(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        lane.is_retired = true;
        lane.loaded = None;
        let left = std::mem::take(&mut lane.queue);
        let running = lane.running.take().map(|running| running.cell);
        for cell in running.into_iter().chain(left) {
            self.put_back(cell);
        }
    }

    /// The lane finishes what it runs and takes nothing after it.
    pub fn give_up(&mut self, lane: usize) {
        let running = self.lanes[lane].running.take();
        self.retire(lane);
        self.lanes[lane].running = running;
    }

    /// Lanes that still take work.
    pub fn active(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.is_retired).count()
    }

    fn start(&mut self, lane: usize, cell: usize, now: f64) -> Turn {
        let lane = &mut self.lanes[lane];
        let model = self.cells[cell].model;
        let loads = model.is_some() && lane.loaded != model;
        lane.loaded = model.or(lane.loaded);
        lane.running = Some(Running {
            cell,
            since: now,
            loads,
        });
        Turn::Run(cell)
    }

    fn put_back(&mut self, cell: usize) {
        match self.cells[cell].model {
            Some(model) => self.free.entry(model).or_default().push(cell),
            None => self.plain.push_back(cell),
        }
    }

    fn is_pending(&self) -> bool {
        !self.plain.is_empty()
            || self.free.values().any(|cells| !cells.is_empty())
            || self.lanes.iter().any(|lane| !lane.queue.is_empty())
    }

    /// A lane that starts nothing takes nothing until another has tried what
    /// it could not start: it would only spoil one experiment after another.
    fn is_suspended(&self, lane: usize) -> bool {
        self.active() > 1 && self.lanes[lane].unstarted >= STRIKES
    }

    /// What a suspended lane could not start, for this one to try at once.
    fn judge(&mut self, lane: usize) -> Option<usize> {
        let cell = self
            .barred
            .iter()
            .filter(|&(_, &suspect)| suspect != lane && self.is_suspended(suspect))
            .map(|(&cell, _)| cell)
            .filter(|&cell| {
                let model = self.cells[cell].model;
                let free = model.and_then(|model| self.free.get(&model));
                free.is_some_and(|cells| cells.contains(&cell))
            })
            .min()?;
        let cells = self.free.get_mut(&self.cells[cell].model?)?;
        cells.retain(|&other| other != cell);
        Some(cell)
    }

    fn may_run(&self, lane: usize, cell: usize) -> bool {
        self.active() < 2 || self.barred.get(&cell) != Some(&lane)
    }

    /// Takes all free work of a model: the loaded one's, else the model with
    /// most of it.
    fn take(&mut self, lane: usize) -> bool {
        let work = |model: usize| -> f64 {
            self.free.get(&model).map_or(0.0, |cells| {
                cells
                    .iter()
                    .filter(|&&cell| self.may_run(lane, cell))
                    .map(|&cell| self.expected(cell).max(f64::MIN_POSITIVE))
                    .sum()
            })
        };
        let loaded = self.lanes[lane].loaded.filter(|&model| work(model) > 0.0);
        let largest = || {
            self.free
                .keys()
                .map(|&model| (work(model), model))
                .filter(|&(work, _)| work > 0.0)
                // Of equal ones the first, so that runs repeat.
                .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
                .map(|(_, model)| model)
        };
        let Some(model) = loaded.or_else(largest) else {
            return false;
        };
        let all = self.free.remove(&model).unwrap_or_default();
        let (mine, left): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|&cell| self.may_run(lane, cell));
        if !left.is_empty() {
            self.free.insert(model, left);
        }
        self.enqueue(lane, mine);
        true
    }

    /// Takes a part of another lane's work, where that ends it earlier.
    fn split(&mut self, lane: usize, now: f64) -> bool {
        let ends: Vec<f64> = self.lanes.iter().map(|lane| self.left(lane, now)).collect();
        let total: f64 = ends.iter().sum();
        let active = self.active().max(1) as f64;
        let mut victims: Vec<usize> = (0..self.lanes.len())
            .filter(|&other| other != lane && !self.lanes[other].queue.is_empty())
            .collect();
        victims.sort_by(|&a, &b| ends[b].total_cmp(&ends[a]));
        for victim in victims {
            let queue = &self.lanes[victim].queue;
            let Some(model) = queue.front().and_then(|&cell| self.cells[cell].model) else {
                continue;
            };
            let load = if self.lanes[lane].loaded == Some(model) {
                0.0
            } else {
                self.load_seconds(model)
            };
            let even = (total + load) / active;
            let share = (even - load).min(ends[victim] - even);
            let mut taken = Vec::new();
            let mut sum = 0.0;
            // The longest that fit: short ones fill the gaps at the end.
            for &cell in queue.iter().filter(|&&cell| self.may_run(lane, cell)) {
                if sum + self.expected(cell) <= share {
                    sum += self.expected(cell);
                    taken.push(cell);
                }
            }
            if taken.is_empty() {
                // Not a fair share, but earlier than where it waits.
                taken.extend(
                    queue
                        .iter()
                        .copied()
                        .filter(|&cell| self.may_run(lane, cell))
                        .min_by(|&a, &b| self.expected(a).total_cmp(&self.expected(b)))
                        .filter(|&cell| load + self.expected(cell) < ends[victim]),
                );
            }
            let sum: f64 = taken.iter().map(|&cell| self.expected(cell)).sum();
            let gain = ends[victim] - (ends[victim] - sum).max(load + sum);
            let needed = if load > 0.0 && self.splits + 1 >= self.lanes.len() {
                (now / WORTH).min(PATIENCE)
            } else {
                0.0
            };
            if !taken.is_empty() && gain >= needed {
                self.splits += usize::from(load > 0.0);
                self.lanes[victim]
                    .queue
                    .retain(|cell| !taken.contains(cell));
                self.enqueue(lane, taken);
                return true;
            }
        }
        false
    }

    /// Longest expected first.
    fn enqueue(&mut self, lane: usize, mut cells: Vec<usize>) {
        cells.sort_by(|&a, &b| {
            self.expected(b)
                .total_cmp(&self.expected(a))
                .then(a.cmp(&b))
        });
        self.lanes[lane].queue.extend(cells);
    }

    /// Seconds until the lane would be through with what it has.
    fn left(&self, lane: &Lane, now: f64) -> f64 {
        let running = lane.running.map_or(0.0, |running| {
            let load = match self.cells[running.cell].model {
                Some(model) if running.loads => self.load_seconds(model),
                _ => 0.0,
            };
            // Overdue by so much: it may well take as much again.
            (running.since + load + self.expected(running.cell) - now).abs()
        });
        let waiting: f64 = lane.queue.iter().map(|&cell| self.expected(cell)).sum();
        running + waiting
    }

    fn expected(&self, cell: usize) -> f64 {
        let Cell { model, seconds } = self.cells[cell];
        let pace = model.and_then(|model| self.pace.get(&model)).copied();
        let (expected, taken) = pace.unwrap_or_else(|| {
            self.pace
                .values()
                .fold((0.0, 0.0), |sum, pace| (sum.0 + pace.0, sum.1 + pace.1))
        });
        if expected > 0.0 {
            seconds * taken / expected
        } else {
            seconds
        }
    }

    fn load_seconds(&self, model: usize) -> f64 {
        let known = self.load.get(&model).copied();
        known.unwrap_or_else(|| {
            if self.load.is_empty() {
                LOAD_SECONDS
            } else {
                self.load.values().sum::<f64>() / self.load.len() as f64
            }
        })
    }
}

#[cfg(test)]
mod tests;
