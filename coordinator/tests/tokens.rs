//! Dispatch tokens: what was never dispatched to a worker is not completed by one.

mod support;

use std::sync::Arc;

use rejoin_coordinator::broker::gate::Gate;
use rejoin_coordinator::broker::tokens::Tokens;
use rejoin_coordinator::coordinator::{Coordinator, CoordinatorConfig};
use rejoin_shared::ids::{AttemptKey, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::wire::Completions;
use support::played::{Played, only_attempt, packs};
use support::{Log, World, config_of, soon, start, until};

const DOCUMENT: &str = "
workflow: w
steps:
  - step: count
    with: { i: '= \"only\"' }
";
const DEAD: &str = "rejoin.dead";

fn coordinator(world: &World, name: &str, tokens: Tokens) -> Coordinator {
    world.coordinator_of(CoordinatorConfig {
        gate: Arc::new(Gate::open().with_tokens(Some(tokens))),
        ..config_of(name)
    })
}

fn rejected(coordinator: &Coordinator) -> f64 {
    let rejected = &coordinator.metrics().messages_rejected;
    rejected.with_label_values(&["token"]).get()
}

/// The token that the order of a run's only attempt carries, and where its completion goes.
async fn dispatched(world: &World, run: RunId) -> (String, String) {
    let all = soon("its order", async {
        loop {
            let all = packs(world, 1).await;
            if all
                .iter()
                .any(|(pack, _)| pack.attempts.iter().any(|order| order.run == run))
            {
                return all;
            }
            tokio::task::yield_now().await;
        }
    });
    let all = all.await;
    let orders = all
        .iter()
        .flat_map(|(pack, to)| pack.attempts.iter().map(move |order| (order, to)));
    let (order, to) = orders
        .into_iter()
        .find(|(order, _)| order.run == run)
        .expect("its order");
    (order.token.clone().expect("a token"), to.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_of_what_was_never_dispatched_completes_nothing_and_is_among_the_dead_letters() {
    let world = World::new(DOCUMENT).await;
    let coordinator = coordinator(&world, "a", Tokens::new(&[7; 32], &[], true));
    let mut worker = Played::new(&world, "attacker").await;
    soon("ownership", coordinator.owns(64)).await;
    worker.report(false).await;
    let (own, foreign) = (start(&coordinator, "{}").await, start(&coordinator, "{}").await);
    let (token, to) = dispatched(&world, own).await;
    let (foreign_token, _) = dispatched(&world, foreign).await;
    assert_ne!(token, foreign_token);

    let attempt = only_attempt(own);
    let next = AttemptKey { attempt: 2, ..attempt };
    let forged = "AAAAAAAAAAAAAAAAAAAAAA";
    for (attempt, token) in [
        (only_attempt(foreign), None),
        (only_attempt(foreign), Some(forged)),
        // The token of one step completes no other, nor another attempt of its own.
        (only_attempt(foreign), Some(token.as_str())),
        (next, Some(token.as_str())),
    ] {
        worker.complete_all(&to, &[(attempt, token)]).await;
    }
    until("all are counted", || rejected(&coordinator) >= 4.0).await;
    until("all are dead letters", || world.broker.peek(DEAD).len() >= 4).await;
    assert_eq!(world.row(foreign).await.status, RunStatus::Running);

    // Beside a good one in the same message: that one counts.
    let both = [(attempt, Some(token.as_str())), (only_attempt(foreign), Some(forged))];
    worker.complete_all(&to, &both).await;
    world.reaches(own, RunStatus::Completed).await;
    until("it is a dead letter", || world.broker.peek(DEAD).len() >= 5).await;
    let letter = world.broker.peek(DEAD).pop().expect("a letter");
    let letter: Completions = serde_json::from_slice(&letter.body).expect("completions");
    assert_eq!(letter.items.iter().map(|item| item.run).collect::<Vec<_>>(), [foreign]);
    assert_eq!(world.row(foreign).await.status, RunStatus::Running);

    // A replay of what was right once is a duplicate.
    worker.complete_all(&to, &[(attempt, Some(&token))]).await;
    let duplicates = &coordinator.metrics().duplicate_completions;
    let late = &coordinator.metrics().late_completions;
    until("it is counted", || duplicates.get() + late.get() >= 1.0).await;
    worker
        .complete_all(&to, &[(only_attempt(foreign), Some(&foreign_token))])
        .await;
    world.reaches(foreign, RunStatus::Completed).await;
    assert!((rejected(&coordinator) - 5.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_replaced_while_steps_run() {
    let world = World::new(DOCUMENT).await;
    let (old, new) = ([1; 32], [2; 32]);
    let before = coordinator(&world, "a", Tokens::new(&old, &[], true));
    let log = Log::new(0);
    let _worker = world.work("real", log.builder());
    let run = start(&before, "{}").await;
    until("it runs", || log.starts() == 1).await;
    before.shutdown().await;
    let after = coordinator(&world, "a", Tokens::new(&new, &[&old], true));
    soon("ownership", after.owns(64)).await;
    log.permits.add_permits(1);
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!((log.starts(), rejected(&after).to_bits()), (1, 0_f64.to_bits()));
}
