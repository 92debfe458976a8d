//! Threads that share the tasks of one loop after another.
//!
//! A forward pass of a small model is dozens of loops of some ten
//! microseconds. A pool that sleeps between them spends more time on being
//! woken than on work, so these threads look out for the next loop for a
//! while before they sleep. Whoever starts a loop works on it too and never
//! waits for a thread that has not come: on a busy machine the loop is simply
//! done by fewer.

use std::{
    any::Any,
    cell::UnsafeCell,
    hint::spin_loop,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
};

/// Looks that a thread takes before it sleeps: some ten microseconds.
const LOOKS: u32 = 4_000;

/// Looks after which one who waits for the others gives up the core to them.
const PATIENCE: u32 = 2_000;

/// In a state: the loop is open for whoever comes. Below this bit are the
/// threads at work on it, above it its number.
const OPEN: u64 = 1 << 16;

type Work<'a> = dyn Fn() + Sync + 'a;

/// Does `task` for every number below `count`, on all threads that are free.
pub fn each(count: usize, task: impl Fn(usize) + Sync) {
    each_with(count, || (), |(), index| task(index));
}

/// As [`each`], with something that each thread makes once per loop.
pub fn each_with<S>(
    count: usize,
    make: impl Fn() -> S + Sync,
    task: impl Fn(&mut S, usize) + Sync,
) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut index = next.fetch_add(1, Ordering::Relaxed);
        if index < count {
            let mut made = make();
            while index < count {
                task(&mut made, index);
                index = next.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    if count > 1 {
        crew().share(count - 1, &work);
    } else {
        work();
    }
}

/// Hands parts of `values`, each `size` long but for the last, to `task`,
/// with the index of the part.
pub fn each_part<T: Send>(values: &mut [T], size: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    let (len, start) = (values.len(), Shared(values.as_mut_ptr()));
    each(len.div_ceil(size.max(1)), |index| {
        let from = index * size;
        // SAFETY: parts are inside the slice and do not overlap, and each
        // number comes once.
        task(index, unsafe { start.part(from..len.min(from + size)) });
    });
}

/// Threads that take part in a loop, the caller's included.
pub fn size() -> usize {
    crew().others.len() + 1
}

/// A pointer that tasks write disjoint parts through.
pub struct Shared<T>(pub *mut T);

// SAFETY: who makes one promises that the parts are disjoint.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The place of a value.
    ///
    /// # Safety
    /// It is inside what the pointer was made of.
    pub unsafe fn at(&self, index: usize) -> *mut T {
        // SAFETY: the caller's.
        unsafe { self.0.add(index) }
    }

    /// Some values.
    ///
    /// # Safety
    /// They are inside what the pointer was made of, and nobody else uses
    /// them meanwhile.
    // The pointer is what is shared; the values are the task's own.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}

/// The crew of this process: as many threads as rayon has.
fn crew() -> &'static Crew {
    static CREW: OnceLock<Crew> = OnceLock::new();
    CREW.get_or_init(|| Crew::of(rayon::current_num_threads()))
}

struct Crew {
    /// Held by whoever has a loop.
    busy: Mutex<()>,
    desk: &'static Desk,
    others: Vec<Thread>,
}

/// What all threads look at.
struct Desk {
    state: AtomicU64,
    /// The loop's work, as long as it is open or somebody is at work on it.
    work: UnsafeCell<Option<&'static Work<'static>>>,
    asleep: Vec<AtomicBool>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` is written only by the holder of `busy` while no loop is open
// and nobody at work, and is read only by threads that are at work.
unsafe impl Sync for Desk {}

impl Crew {
    fn of(size: usize) -> Self {
        let desk: &'static Desk = Box::leak(Box::new(Desk {
            state: AtomicU64::new(0),
            work: UnsafeCell::new(None),
            asleep: (1..size).map(|_| AtomicBool::new(false)).collect(),
            panic: Mutex::new(None),
        }));
        let others = (0..desk.asleep.len()).map_while(|index| {
            thread::Builder::new()
                .name(format!("crew-{index}"))
                .spawn(move || desk.attend(index))
                .ok()
                .map(|handle| handle.thread().clone())
        });
        Self {
            busy: Mutex::new(()),
            desk,
            others: others.collect(),
        }
    }

    /// Does `work` here and on every thread that comes before it is done; as
    /// many as `wanted` are woken. A loop inside of a loop, or beside one, is
    /// done by its own thread alone.
    fn share(&self, wanted: usize, work: &Work<'_>) {
        let _held = match self.busy.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return work(),
        };
        let desk = self.desk;
        // SAFETY: nobody is at work, and `Closing` waits for all who come, so
        // the work outlives its use.
        unsafe {
            *desk.work.get() = Some(std::mem::transmute::<&Work<'_>, &'static Work<'static>>(
                work,
            ));
        }
        let closing = Closing(desk);
        let number = desk.state.load(Ordering::Relaxed) / (2 * OPEN) + 1;
        desk.state.store(number * 2 * OPEN + OPEN, Ordering::SeqCst);
        for (thread, asleep) in self.others.iter().zip(&desk.asleep).take(wanted) {
            if asleep.load(Ordering::SeqCst) {
                thread.unpark();
            }
        }
        work();
        drop(closing);
        if let Some(panic) = desk.take_panic() {
            resume_unwind(panic);
        }
    }
}

/// Ends a loop, also where its work panics here.
struct Closing(&'static Desk);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0;
        while self.0.state.load(Ordering::Acquire) & (OPEN - 1) != 0 {
            looks += 1;
            if looks < PATIENCE {
                spin_loop();
            } else {
                thread::yield_now();
            }
        }
        // SAFETY: the loop is closed, and nobody is at work.
        unsafe { *self.0.work.get() = None };
        if thread::panicking() {
            // One panic is told; another of this loop is not the next one's.
            self.0.take_panic();
        }
    }
}

impl Desk {
    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        let mut panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        panic.take()
    }

    /// A thread's life.
    fn attend(&self, index: usize) {
        let (mut done, mut looks) = (0, 0);
        loop {
            let state = self.state.load(Ordering::Acquire);
            if is_new(state, done) {
                let entered = self.state.compare_exchange(
                    state,
                    state + 1,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                if entered.is_ok() {
                    done = number_of(state);
                    self.help();
                    looks = 0;
                }
            } else if looks < LOOKS {
                looks += 1;
                spin_loop();
            } else {
                self.asleep[index].store(true, Ordering::SeqCst);
                // Whoever opened a loop before that was seen wakes nobody.
                if !is_new(self.state.load(Ordering::SeqCst), done) {
                    thread::park();
                }
                self.asleep[index].store(false, Ordering::SeqCst);
                looks = 0;
            }
        }
    }

    /// Works on the loop that this thread has entered.
    fn help(&self) {
        // SAFETY: `Closing` waits until this thread has left.
        let work = unsafe { *self.work.get() };
        if let Some(work) = work
            && let Err(panic) = catch_unwind(AssertUnwindSafe(work))
        {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        self.state.fetch_sub(1, Ordering::Release);
    }
}

const fn number_of(state: u64) -> u64 {
    state / (2 * OPEN)
}

const fn is_new(state: u64, done: u64) -> bool {
    state & OPEN != 0 && number_of(state) != done
}

#[cfg(test)]
mod tests {
    use super::{Crew, each, each_part, each_with};
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::Duration,
    };

    #[test]
    fn every_task_is_done_once_in_loop_after_loop() {
        for round in 0..2_000 {
            let counts: Vec<AtomicUsize> = (0..round % 40).map(|_| AtomicUsize::new(0)).collect();
            each(counts.len(), |index| {
                counts[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                counts
                    .iter()
                    .all(|count| count.load(Ordering::Relaxed) == 1)
            );
            if round % 500 == 0 {
                // Long enough for the others to fall asleep.
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn several_threads_of_a_crew_meet_at_one_loop() {
        let crew = Crew::of(3);
        let present = AtomicUsize::new(0);
        crew.share(2, &|| {
            present.fetch_add(1, Ordering::SeqCst);
            while present.load(Ordering::SeqCst) < 3 {
                thread::yield_now();
            }
        });
        assert_eq!(present.into_inner(), 3);
    }

    #[test]
    fn parts_of_a_slice_are_written_by_their_own_tasks() {
        let mut values = vec![0; 1_003];
        each_part(&mut values, 10, |index, part| part.fill(index));
        let expected: Vec<usize> = (0..1_003).map(|at| at / 10).collect();
        assert_eq!(values, expected);
    }

    #[test]
    fn what_a_thread_makes_serves_all_of_its_tasks() {
        let (made, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let make = || made.fetch_add(1, Ordering::Relaxed);
        each_with(100, make, |_, _| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 100);
        assert!(made.into_inner() <= super::size());
    }

    #[test]
    fn loops_inside_of_loops_and_beside_them_end() {
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    each(50, |_| {
                        each(3, |_| {
                            done.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                });
            }
        });
        assert_eq!(done.into_inner(), 4 * 50 * 3);
    }

    #[test]
    fn a_panic_in_any_task_reaches_the_caller_and_the_crew_goes_on() {
        for bad in [0, 40, 79] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                each(80, |index| assert_ne!(index, bad, "on purpose"));
            }));
            assert!(result.is_err());
        }
        let done = AtomicUsize::new(0);
        each(80, |_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 80);
    }

    #[test]
    fn panics_of_all_threads_of_a_loop_are_not_told_to_the_next_one() {
        let crew = Crew::of(3);
        let present = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            crew.share(2, &|| {
                present.fetch_add(1, Ordering::SeqCst);
                while present.load(Ordering::SeqCst) < 3 {
                    thread::yield_now();
                }
                panic!("on purpose");
            });
        }));
        assert!(result.is_err());
        crew.share(2, &|| {});
    }
}
