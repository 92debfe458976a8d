//! A bug of ours in the middle of a batch.

use crate::bench::{Bench, Options};

#[test]
fn a_panic_right_before_and_after_every_write_of_the_journal_costs_its_experiment_and_no_answer() {
    let options = Options::default();
    let clean = Bench::clean(&options);
    for point in ["runner::dispatch", "runner::persist", "runner::persisted"] {
        for skip in [0, 2] {
            let bench = Bench::new(&options);
            let output = bench.run(&format!("{point}={skip}*off->1*panic"));
            assert_eq!(output.status.code(), Some(101), "{point}");
            assert_eq!(bench.state("rag")["phase"], "complete", "the study goes on");
            assert_eq!(bench.resume("").status.code(), Some(0));
            assert_eq!(bench.answers(), clean, "{point} after {skip}");
            assert!(bench.journal_answers().values().all(|&count| count == 1));
        }
    }
}
