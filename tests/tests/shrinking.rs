//! Cases that fail are made small; those that were kept hold.

use std::time::Duration;

use rejoin_tests::generate::case;
use rejoin_tests::reference::Twist;
use rejoin_tests::simulate::engine_driver::{Faults, Planted};
use rejoin_tests::simulate::kept::Kept;
use rejoin_tests::simulate::shrink::{Small, kind_of, shrink};
use rejoin_tests::simulate::{profile_of, simulate};

/// Far more than it takes: the bound is there for failures of which nobody knows.
const BOUND: Duration = Duration::from_secs(120);
/// Nodes of a definition that is worth shrinking.
const LARGE: usize = 12;

/// The first large case that finds the bug, and the small one that it becomes.
fn shrunk(faults: &Faults, seeds: u64) -> (usize, Small) {
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..seeds).find_map(|seed| {
        let case = case(seed, profile_of(seed));
        let failure = (case.def.nodes.len() >= LARGE).then(|| simulate(seed, faults).err())??;
        Some((case, failure))
    });
    drop(std::panic::take_hook());
    let (case, failure) = found.unwrap_or_else(|| panic!("not found within {seeds} seeds"));
    let small = shrink(&case, profile_of(case.seed), faults, &failure, BOUND);
    assert_eq!(
        kind_of(&small.failure.why),
        kind_of(&failure.why),
        "the same difference"
    );
    println!("{small}");
    (case.def.nodes.len(), small)
}

fn nodes(small: &Small) -> usize {
    small.kept.case().expect("a valid case").def.nodes.len()
}

/// What is printed, read again: it fails with the bug, and holds without.
fn holds_without_the_bug(small: &Small, faults: &Faults) {
    let mut read = Kept::read(&small.kept.to_yaml()).unwrap_or_else(|why| panic!("{why}\n{small}"));
    assert_eq!(read.to_yaml(), small.kept.to_yaml());
    if let Err(failure) = read.simulate() {
        panic!("{failure}");
    }
    read.faults.planted = faults.planted;
    read.faults.twist = faults.twist;
    let again = read.simulate().expect_err("it fails with the bug");
    assert_eq!(again.why, small.failure.why);
}

fn planted(planted: Planted) -> Faults {
    Faults {
        planted: Some(planted),
        ..Faults::all()
    }
}

#[test]
fn a_join_that_is_off_by_one_shrinks_to_a_scope_of_few_nodes() {
    let faults = Faults {
        twist: Some(Twist::OffByOneInTheJoin),
        ..Faults::all()
    };
    let (before, small) = shrunk(&faults, 300);
    assert!(nodes(&small) <= 3, "{} of {before} nodes\n{small}", nodes(&small));
    let shares = small.kept.faults.clone().shares().map(|(_, share)| *share);
    assert_eq!(shares, [0; 6], "no fault is needed");
    holds_without_the_bug(&small, &faults);
}

#[test]
fn a_completion_taken_for_another_attempt_shrinks_to_a_handful_of_nodes() {
    let faults = planted(Planted::NoAttemptCheck);
    let (before, small) = shrunk(&faults, 600);
    assert!(nodes(&small) <= 6, "{} of {before} nodes\n{small}", nodes(&small));
    let needed = small
        .kept
        .faults
        .clone()
        .shares()
        .map(|(name, share)| (name, *share > 0));
    assert!(
        needed.contains(&("duplicates", true)) && needed.contains(&("cancels", false)),
        "{needed:?}"
    );
    holds_without_the_bug(&small, &faults);
}

#[test]
fn a_gap_in_the_journal_shrinks_to_a_handful_of_nodes() {
    let faults = planted(Planted::GapInTheJournal);
    let (before, small) = shrunk(&faults, 100);
    assert!(nodes(&small) <= 3, "{} of {before} nodes\n{small}", nodes(&small));
    holds_without_the_bug(&small, &faults);
}

#[test]
fn kept_cases_hold() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept");
    let mut held = 0;
    for file in std::fs::read_dir(folder).expect("the kept cases") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a text");
        let kept = Kept::read(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        if let Err(failure) = kept.simulate() {
            panic!("{}: {failure}", path.display());
        }
        held += 1;
    }
    assert!(held > 0);
}
