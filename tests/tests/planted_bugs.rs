//! Bugs planted around the engine: a simulator that stays green with one of them is wrong.

use rejoin_tests::reference::Twist;
use rejoin_tests::simulate::engine_driver::{Faults, Planted};
use rejoin_tests::simulate::simulate;

/// The first of `seeds` seeds that finds the bug, and what it says.
fn found_within(planted: Planted, seeds: u64) -> (u64, String) {
    let faults = Faults {
        planted: Some(planted),
        ..Faults::all()
    };
    found(&format!("{planted:?}"), &faults, seeds)
}

/// The same for a rule that the engine and the reference read differently.
fn difference_within(twist: Twist, seeds: u64) {
    let faults = Faults {
        twist: Some(twist),
        ..Faults::all()
    };
    found(&format!("{twist:?}"), &faults, seeds);
}

fn found(name: &str, faults: &Faults, seeds: u64) -> (u64, String) {
    // A panic of the engine over a broken journal is a find like any other: its trace is of no interest.
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..seeds).find_map(|seed| Some((seed, simulate(seed, faults).err()?)));
    let Some((seed, failure)) = found else {
        // The hook above keeps quiet: the test's own message is for people.
        drop(std::panic::take_hook());
        panic!("{name} was not found within {seeds} seeds");
    };
    let why = failure.why.lines().next().unwrap_or_default().to_owned();
    println!("planted: {name} | simulation of the engine | {} | {why}", seed + 1);
    (seed, why)
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
    found_within(Planted::NoAttemptCheck, 200);
}

#[test]
fn an_unchecked_twin_of_a_completed_step_is_found() {
    let (seed, why) = found_within(Planted::UncheckedTwin, 20);
    assert!(why.contains("executed after its completion"), "seed {seed}: {why}");
}

#[test]
fn an_attempt_that_begins_without_its_claim_is_found() {
    let (seed, why) = found_within(Planted::UnclaimedStart, 20);
    assert!(why.contains("begins unclaimed"), "seed {seed}: {why}");
}

#[test]
fn a_state_that_runs_ahead_of_its_journal_is_found() {
    found_within(Planted::StateWithoutCommit, 20);
}

#[test]
fn a_timer_that_is_deleted_before_it_fires_is_found() {
    let (seed, why) = found_within(Planted::TimerDeletedBeforeItFires, 100);
    assert!(why.contains("stuck"), "seed {seed}: {why}");
}

#[test]
fn branches_that_are_merged_in_another_order_are_found() {
    difference_within(Twist::MergeInAnotherOrder, 100);
}

#[test]
fn a_join_that_is_off_by_one_is_found() {
    difference_within(Twist::OffByOneInTheJoin, 100);
}

#[test]
fn a_cancelled_branch_that_counts_as_a_success_is_found() {
    difference_within(Twist::CancelledBranchCounted, 1_000);
}
