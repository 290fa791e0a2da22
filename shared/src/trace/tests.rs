use std::collections::HashSet;

use super::*;
use crate::ids::Partition;

const RUN: &str = "01976a3c-0f00-7c11-8a2b-3c4d5e6f7a05";

fn run() -> RunId {
    RUN.parse().expect("a run's id")
}

fn other(n: u128) -> RunId {
    RunId(uuid::Uuid::from_u128(run().0.as_u128() + (n << 6)))
}

/// Spans of one trace come from processes of different versions: these values never change.
#[test]
fn ids_are_the_same_in_every_version() {
    let of_attempt = |path, attempt| TraceParent::of_attempt(run(), path, attempt, true).to_string();
    assert_eq!(
        [
            TraceParent::of_run(run(), true).to_string(),
            TraceParent::of_run(run(), false).to_string(),
            of_attempt("/orders/pick[3]", 1),
            of_attempt("/orders/pick[3]", 2),
            of_attempt("/a", 1),
        ],
        [
            "00-01976a3c0f007c118a2b3c4d5e6f7a05-f3ddaef10388643d-01",
            "00-01976a3c0f007c118a2b3c4d5e6f7a05-f3ddaef10388643d-00",
            "00-01976a3c0f007c118a2b3c4d5e6f7a05-0b2c7a9cf156c033-01",
            "00-01976a3c0f007c118a2b3c4d5e6f7a05-1de61bca43632c7a-01",
            "00-01976a3c0f007c118a2b3c4d5e6f7a05-036ee773da203eca-01",
        ]
    );
}

#[test]
fn no_two_spans_of_a_run_share_an_id() {
    let mut seen = HashSet::from([TraceParent::of_run(run(), true).span_id()]);
    for branch in 0..20_000 {
        for attempt in 1..=3 {
            let path = format!("/orders/pick[{branch}]");
            let span = TraceParent::of_attempt(run(), &path, attempt, true);
            assert!(seen.insert(span.span_id()), "{path} {attempt}");
        }
    }
    let elsewhere = TraceParent::of_attempt(other(1), "/orders/pick[0]", 1, true);
    assert!(seen.insert(elsewhere.span_id()), "another run's span");
}

#[test]
fn a_header_reads_back_as_what_it_was_written_from() {
    for is_sampled in [true, false] {
        let span = TraceParent::of_attempt(run(), "/a", 7, is_sampled);
        assert_eq!(span.to_string().parse(), Ok(span));
    }
    let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-what-comes";
    let read: TraceParent = later.parse().expect("a later version");
    assert_eq!(
        read.to_string(),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    );
}

#[test]
fn what_is_no_header_is_refused() {
    for text in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
    ] {
        assert_eq!(text.parse::<TraceParent>(), Err(NoTraceParent), "{text}");
    }
}

#[test]
fn a_share_of_the_runs_is_about_as_large_as_asked_whatever_their_ids_have_in_common() {
    let taken = |ratio| (0..10_000).filter(|n| is_in_share(other(*n), ratio)).count();
    assert_eq!((taken(0.0), taken(1.0)), (0, 10_000));
    assert!((900..1100).contains(&taken(0.1)), "{}", taken(0.1));
    let grows = (0..10_000).all(|n| !is_in_share(other(n), 0.1) || is_in_share(other(n), 0.2));
    assert!(grows, "a larger share takes in the smaller one");
    let of_partition = (0..64).filter(|n| {
        let run = RunId::from_uuid_in(run().0, Partition(*n));
        is_in_share(run, 0.5)
    });
    assert!((16..48).contains(&of_partition.count()));
}
