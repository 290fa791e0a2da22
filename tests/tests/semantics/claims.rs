//! SPEC 5.2: steps with `idempotent: false` are claimed before they run.

use std::time::Duration;

use rejoin_engine::decision::Ignored;
use rejoin_engine::event::{Event, StepOperation, Steps};
use rejoin_shared::run::RunStatus;
use rejoin_tests::simulate::script::{Script, json};

const ONCE: &str = "workflow: w
steps: [ { step: s, idempotent: false, retry: { max_attempts: 3, initial: 1s } } ]
";

#[test]
fn the_same_asker_gets_the_same_claim_again_and_no_other_gets_one() {
    let mut run = Script::start(ONCE, "{}");
    assert_eq!(run.claim("/s", 1), None);
    for _ in 0..2 {
        assert_eq!(run.claim("/s", 1), Some(Ignored::Granted));
        assert_eq!(run.claim("/s", 2), Some(Ignored::ClaimedElsewhere));
        run.restart();
    }
    run.done("/s");
    assert_eq!(run.claim("/s", 1), Some(Ignored::NoSuchClaim));
    run.assert_completed("{}");
}

#[test]
fn a_claim_lost_with_its_worker_fails_the_step_with_an_unknown_outcome_and_is_not_retried() {
    let mut run = Script::start(ONCE, "{}");
    run.claim("/s", 1);
    run.restart();
    assert_eq!(run.lose_claim("/s", 2), Some(Ignored::NoSuchClaim));
    assert_eq!(run.lose_claim("/s", 1), None);
    run.assert_failed("rejoin.outcome_unknown", "/s");
    // It was alive after all: what it says changes nothing.
    assert!(run.done("/s").is_some());
    assert_eq!(run.status(), RunStatus::Failed);
}

#[test]
fn a_policy_that_names_the_unknown_outcome_tries_again_and_asks_for_another_claim() {
    let document = "workflow: w
steps: [ { step: s, idempotent: false, retry: { max_attempts: 2, initial: 1s, only: [ rejoin.outcome_unknown ] } } ]
";
    let mut run = Script::start(document, "{}");
    run.claim("/s", 1);
    run.lose_claim("/s", 1);
    run.restart();
    run.wait();
    assert_eq!(run.attempt("/s"), Some(2));
    assert_eq!(run.claim("/s", 2), None);
    // Folded anew, what was claimed has waited long enough.
    run.restart();
    assert_eq!(run.outstanding(), ["/s"]);
    assert_eq!(run.claim("/s", 2), Some(Ignored::Granted));
    run.done("/s");
    run.assert_completed("{}");
}

#[test]
fn a_lost_claim_parks_the_step_that_parks() {
    let document = "workflow: w
steps: [ { step: s, idempotent: false, on_exhausted: park } ]
";
    let mut run = Script::start(document, "{}");
    run.claim("/s", 1);
    run.lose_claim("/s", 1);
    run.restart();
    assert_eq!(run.status(), RunStatus::Waiting);
    let steps = Steps::WithError("rejoin.outcome_unknown".to_owned());
    let what = StepOperation::Retry { input: None };
    assert_eq!(run.tell(Event::Operate { steps, what }), None);
    assert_eq!((run.attempt("/s"), run.claim("/s", 1)), (Some(2), None));
    run.done("/s");
    run.assert_completed("{}");
}

#[test]
fn a_claim_that_comes_back_unused_is_free_for_others() {
    let mut run = Script::start(ONCE, "{}");
    run.claim("/s", 1);
    assert_eq!(run.return_claim("/s", 2), Some(Ignored::NoSuchClaim));
    assert_eq!(run.return_claim("/s", 1), None);
    run.restart();
    assert_eq!(run.lose_claim("/s", 1), Some(Ignored::NoSuchClaim));
    assert_eq!(run.claim("/s", 2), None);
    // Told twice, it frees nothing of the other's.
    assert_eq!(run.return_claim("/s", 1), Some(Ignored::NoSuchClaim));
    assert_eq!(run.claim("/s", 3), Some(Ignored::ClaimedElsewhere));
}

#[test]
fn what_was_claimed_and_cut_off_goes_out_as_another_attempt_when_the_run_is_resumed() {
    let document = "workflow: w
steps:
  - parallel: p
    branches:
      bad: [ step: s ]
      claimed: [ { step: s, idempotent: false } ]
      free: [ { step: s, idempotent: false } ]
";
    let mut run = Script::start(document, "{}");
    run.claim("/p/claimed/s", 1);
    run.fails("/p/bad/s", "app.bad");
    assert_eq!(run.status(), RunStatus::Failed);
    assert_eq!(run.claim("/p/free/s", 2), Some(Ignored::NoSuchClaim));
    run.restart();
    run.resume();
    let attempts = ["bad", "claimed", "free"].map(|name| run.attempt(&format!("/p/{name}/s")));
    assert_eq!(attempts, [Some(2), Some(2), Some(1)]);
    assert_eq!(run.claim("/p/claimed/s", 3), None);
    for name in ["bad", "claimed", "free"] {
        run.done(&format!("/p/{name}/s"));
    }
    run.assert_completed("{}");
}

#[test]
fn a_paused_run_keeps_its_claims_and_grants_what_is_under_way() {
    let mut run = Script::start(ONCE, "{}");
    assert_eq!(run.tell(Event::Pause), None);
    assert_eq!(run.claim("/s", 1), None);
    run.resume();
    run.restart();
    assert_eq!(
        (run.attempt("/s"), run.claim("/s", 1)),
        (Some(1), Some(Ignored::Granted))
    );
}

#[test]
fn a_handler_s_error_is_retried_as_ever_and_each_attempt_has_its_claim() {
    let mut run = Script::start(ONCE, "{}");
    run.claim("/s", 1);
    run.fails("/s", "app.bad");
    run.wait();
    run.pass(Duration::from_secs(5));
    assert_eq!(run.attempt("/s"), Some(2));
    assert_eq!(run.claim("/s", 2), None);
    run.sets("/s", r#"{"n":1}"#);
    run.assert_completed(r#"{"n":1}"#);
    assert_eq!(run.output(), Some(json(r#"{"n":1}"#)));
}

#[test]
fn a_cancelled_run_grants_nothing_and_loses_nothing() {
    let mut run = Script::start(ONCE, "{}");
    run.claim("/s", 1);
    run.cancel();
    assert_eq!(run.lose_claim("/s", 1), Some(Ignored::NoSuchClaim));
    assert_eq!(run.status(), RunStatus::Cancelled);
}

#[test]
fn steps_that_may_run_twice_are_not_claimed() {
    let mut run = Script::start("workflow: w\nsteps: [ { step: s } ]\n", "{}");
    assert_eq!(run.claim("/s", 1), Some(Ignored::NoSuchClaim));
}
