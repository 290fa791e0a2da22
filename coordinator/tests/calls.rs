//! Runs that call runs, over one store and one broker.

mod support;

use rejoin_coordinator::owner::command::Command;
use rejoin_coordinator::store::{RunFilter, RunRow};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::run::RunStatus;
use support::{Log, World, soon, start, until};

const PARENT: &str = "
workflow: w
steps:
  - foreach: each
    items: ctx.n
    concurrency: 40
    collect_as: all
    steps: [ { call: c, workflow: child, with: { i: '= index' } } ]
";
const CHILD: &str = "
workflow: child
input: { type: object, required: [i] }
steps:
  - step: count
    with: { i: '= ctx.i' }
  - set: s
    values: { twice: '= ctx.i * 2' }
";

async fn family() -> World {
    let world = World::new(PARENT).await;
    world.put("child", CHILD).await;
    world
}

async fn children(world: &World, parent: RunId) -> Vec<RunRow> {
    let filter = RunFilter {
        parent: Some(parent),
        ..RunFilter::default()
    };
    let rows = world.store.runs(&Namespace::default_name(), &filter, None, 1_000).await;
    rows.expect("the children")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_of_calls_joins_what_its_children_give() {
    let (world, log) = (family().await, Log::new(10_000));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder());
    let run = start(&coordinator, r#"{"n": 300}"#).await;
    let row = world.reaches(run, RunStatus::Completed).await;
    let context = String::from_utf8(row.context.expect("a context").to_vec()).expect("text");
    assert!(context.contains(r#"{"i":299,"twice":598}"#), "{context}");
    assert_eq!((log.starts(), log.repeated()), (300, vec![]));
    assert_eq!(children(&world, run).await.len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_parent_cancels_its_children() {
    let (world, log) = (family().await, Log::new(0));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder());
    let run = start(&coordinator, r#"{"n": 3}"#).await;
    until("three starts", || log.starts() == 3).await;
    let cancel = Command::Cancel {
        reason: None,
        compensate: false,
    };
    coordinator.submit(run, cancel).await.expect("the cancel");
    for child in children(&world, run).await {
        world.reaches(child.id, RunStatus::Cancelled).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_what_is_not_there_or_does_not_take_its_input_fails() {
    let world = World::new("workflow: w\nsteps: [ { call: c, workflow: nowhere } ]\n").await;
    let coordinator = world.coordinator("a");
    let run = start(&coordinator, "{}").await;
    let row = world.reaches(run, RunStatus::Failed).await;
    let error = String::from_utf8(row.error.expect("an error").to_vec()).expect("text");
    assert!(
        error.contains("rejoin.unknown_workflow") && error.contains("nowhere"),
        "{error}"
    );

    let world = World::new("workflow: w\nsteps: [ { call: c, workflow: child, with: { j: 1 } } ]\n").await;
    world.put("child", CHILD).await;
    let coordinator = world.coordinator("a");
    let run = start(&coordinator, "{}").await;
    let row = world.reaches(run, RunStatus::Failed).await;
    let error = String::from_utf8(row.error.expect("an error").to_vec()).expect("text");
    assert!(
        error.contains("rejoin.expression") && error.contains("\\\"i\\\" is a required"),
        "{error}"
    );
}

#[test]
fn children_and_their_parent_survive_the_death_of_their_owner() {
    let runtime = || {
        let builder = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        builder.expect("a runtime")
    };
    let (lasting, crashing) = (runtime(), runtime());
    lasting.block_on(async {
        let (world, log) = (family().await, Log::new(20));
        let first = {
            let _in = crashing.enter();
            world.coordinator("a")
        };
        let _worker = world.work("w1", log.builder().concurrency(10));
        let run = start(&first, r#"{"n": 60}"#).await;
        until("twenty ends and more starts", || log.starts() >= 25).await;
        crashing.shutdown_background();
        let second = world.coordinator("b");
        soon("the takeover", second.owns(64)).await;
        log.permits.add_permits(1_000);
        world.reaches(run, RunStatus::Completed).await;
        assert_eq!((log.repeated(), log.inputs()), (vec![], 60));
        assert_eq!(children(&world, run).await.len(), 60);
    });
}

/// Its child failed and was deleted since: the resume of the parent calls another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_parent_calls_anew_what_was_deleted() {
    let world = World::new("workflow: w\nsteps: [ { call: c, workflow: child } ]\n").await;
    world
        .put("child", "workflow: child\nsteps: [ { step: s, uses: twice } ]\n")
        .await;
    let coordinator = world.coordinator("a");
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let twice = move |_: rejoin_worker::StepContext, _: rejoin_shared::json::Json| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            match call {
                0 => Err(rejoin_worker::StepError::fatal("not yet")),
                _ => Ok(rejoin_shared::json::Json::object()),
            }
        }
    };
    let _worker = world.work("w1", rejoin_worker::Worker::builder().name("w").handler("twice", twice));
    let run = start(&coordinator, "{}").await;
    world.reaches(run, RunStatus::Failed).await;
    let first = children(&world, run).await;
    assert!(world.store.delete_run(first[0].id).await.expect("deleted"));
    coordinator.submit(run, Command::Resume).await.expect("the resume");
    world.reaches(run, RunStatus::Completed).await;
    let second = children(&world, run).await;
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].id, first[0].id);
}

/// What a called run did is newer than what its caller had done before: it is undone first, slow as it may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cancelled_child_did_is_undone_before_what_its_parent_did() {
    let step =
        |name: &str| format!("{{ step: {name}, uses: rejoin.noop, compensate: {{ uses: undo, with: {name} }} }}");
    let world = World::new(&format!(
        "workflow: w\nsteps: [ {}, {{ call: c, workflow: child }} ]\n",
        step("a")
    ))
    .await;
    let child = format!(
        "workflow: child\nsteps: [ {}, {{ wait: w, event: never }} ]\n",
        step("k")
    );
    world.put("child", &child).await;
    let coordinator = world.coordinator("a");
    let undone = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = undone.clone();
    let undo = move |_: rejoin_worker::StepContext, input: rejoin_shared::json::Json| {
        let told = told.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            told.lock()
                .expect("nobody panics")
                .push(input.as_str().unwrap_or_default().to_owned());
            Ok::<_, rejoin_worker::StepError>(input)
        }
    };
    let _worker = world.work("w1", rejoin_worker::Worker::builder().name("w").handler("undo", undo));
    let run = start(&coordinator, "{}").await;
    let waits = async {
        loop {
            match &children(&world, run).await[..] {
                [child] if child.status == RunStatus::Waiting => return child.id,
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    let child = soon("a child that waits", waits).await;
    let cancel = Command::Cancel {
        reason: None,
        compensate: true,
    };
    coordinator.submit(run, cancel).await.expect("the cancel");
    let row = world.reaches(run, RunStatus::Cancelled).await;
    assert!(row.compensated);
    assert_eq!(*undone.lock().expect("nobody panics"), ["k", "a"]);
    assert_eq!(world.row(child).await.status, RunStatus::Cancelled);
}
