//! What reads texts of others, over what was made to break it. `scripts/fuzz TARGET --seconds N` tries more.

use std::time::Duration;

use rejoin_tests::fuzz::{Effort, fuzz};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// So many inputs of the first seed, or all there are time for; some are accepted, and some refused.
fn holds(target: &'static str, inputs: u64) {
    let seconds = number("REJOIN_FUZZ_SECONDS");
    let effort = Effort {
        seed: number("REJOIN_FUZZ_SEED").unwrap_or(0),
        inputs: seconds.map_or(inputs, |_| u64::MAX),
        time: Duration::from_secs(seconds.unwrap_or(60)),
    };
    let tried = fuzz(target, effort).unwrap_or_else(|why| panic!("{why}"));
    println!("{target}: {tried:?}");
    let (few, most) = (tried.inputs / 200, tried.inputs);
    assert!(tried.accepted > few && tried.accepted < most - few, "{tried:?}");
}

#[test]
fn no_text_breaks_the_reader_of_definitions() {
    holds("definitions", 1_000);
}

#[test]
fn no_text_breaks_expressions() {
    holds("expressions", 3_000);
}

#[test]
fn no_message_breaks_who_reads_it() {
    holds("wire", 2_000);
}
