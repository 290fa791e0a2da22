//! The generator and the reference interpreter by themselves.

use rejoin_shared::expr::RunInfo;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use rejoin_tests::generate::{Profile, case};
use rejoin_tests::reference::interpret;

fn run_info() -> RunInfo {
    RunInfo {
        id: "00000000-0000-0000-0000-000000000000".into(),
        workflow: "generated".into(),
        version: 1,
        started_at: Timestamp(0),
    }
}

#[test]
fn generated_documents_are_valid_and_reach_many_ends() {
    let (mut completed, mut failed, mut doubted, mut large, mut attempts) = (0, 0, 0, 0, 0);
    let (mut called, mut emitted, mut undone, mut undone_in_part) = (0, 0, 0, 0);
    let mut kinds = std::collections::BTreeMap::<String, u32>::new();
    for seed in 0..2000 {
        let case = case(
            seed,
            if seed % 4 == 0 {
                Profile::Resumable
            } else {
                Profile::Any
            },
        );
        let told = interpret(&case.def, &case.input, &case.world, &run_info());
        attempts += told.log.executed.len();
        large += u32::from(told.log.too_large);
        doubted += u32::from(told.log.doubt.is_some());
        called += told.log.children.len();
        emitted += told.log.emitted.len();
        let undo = told.end.undo.as_ref();
        undone += undo.map_or(0, |undo| undo.done.len());
        undone_in_part += u32::from(undo.is_some_and(|undo| undo.failed));
        match told.end.status {
            RunStatus::Completed => completed += 1,
            RunStatus::Scheduled
            | RunStatus::Running
            | RunStatus::Waiting
            | RunStatus::Paused
            | RunStatus::Compensating
            | RunStatus::Failed
            | RunStatus::CompensationFailed
            | RunStatus::Cancelled => failed += 1,
        }
        if let Some(error) = told.end.error {
            *kinds.entry(error.kind).or_default() += 1;
        }
    }
    println!(
        "{completed} completed, {failed} failed, {doubted} in doubt, {large} too large, {attempts} attempts, {kinds:?}"
    );
    assert!(completed > 700 && failed > 300, "both ends are common");
    assert!(doubted < 200 && large < 100, "most runs can be compared");
    println!("{called} called, {emitted} emitted, {undone} undone, {undone_in_part} runs in part");
    assert!(called > 300 && emitted > 50 && undone > 100 && undone_in_part > 10);
    for kind in [
        "rejoin.branches_failed",
        "rejoin.merge_conflict",
        "rejoin.reduce_failed",
        "rejoin.visit_limit",
        "rejoin.repeat_limit",
        "rejoin.wait_timeout",
        "rejoin.total_timeout",
        "rejoin.timeout",
        "rejoin.unknown_workflow",
        "app.given_up",
    ] {
        assert!(kinds.contains_key(kind), "{kind} is reached: {kinds:?}");
    }
}
