//! Bugs planted around the engine: a simulator that stays green with one of them is wrong.

use rejoin_tests::simulate::engine_driver::{Faults, Planted};
use rejoin_tests::simulate::simulate;

/// The first of `seeds` seeds that finds the bug, and what it says.
fn found_within(planted: Planted, seeds: u64) -> (u64, String) {
    // A panic of the engine over a broken journal is a find like any other: its trace is of no interest.
    std::panic::set_hook(Box::new(|_| {}));
    let faults = Faults {
        planted: Some(planted),
        ..Faults::all()
    };
    let found = (0..seeds).find_map(|seed| Some((seed, simulate(seed, &faults).err()?)));
    let (seed, why) = found.unwrap_or_else(|| panic!("{planted:?} was not found within {seeds} seeds"));
    (seed, why.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn a_gap_in_the_journal_is_found() {
    let (seed, why) = found_within(Planted::GapInTheJournal, 20);
    assert!(
        why.contains("follows record") || why.contains("folded"),
        "seed {seed}: {why}"
    );
}

#[test]
fn a_completion_taken_for_another_attempt_is_found() {
    let (seed, why) = found_within(Planted::NoAttemptCheck, 200);
    println!("seed {seed}: {why}");
}

#[test]
fn an_unchecked_twin_of_a_completed_step_is_found() {
    let (seed, why) = found_within(Planted::UncheckedTwin, 20);
    assert!(why.contains("executed after its completion"), "seed {seed}: {why}");
}

#[test]
fn a_state_that_runs_ahead_of_its_journal_is_found() {
    let (seed, why) = found_within(Planted::StateWithoutCommit, 20);
    println!("seed {seed}: {why}");
}
