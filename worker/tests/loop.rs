//! What the loop promises the owner, played against a scripted one.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rejoin_shared::json::Json;
use rejoin_shared::link::{Message, Settle};
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{BaseContext, Check, ContextChunk, FetchContext, Order, Pack, Verdict, Verdicts, kind};
use rejoin_worker::{StepContext, StepError, WorkerBuilder};
use serde_json::json;
use support::{Owner, builder, redeliver, soon, until};
use tokio::sync::Semaphore;

/// A handler `count` that counts its starts and waits for a permit.
struct Counted {
    starts: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

fn counted() -> (Counted, WorkerBuilder) {
    let counted = Counted {
        starts: Arc::default(),
        permits: Arc::new(Semaphore::new(0)),
    };
    let (starts, permits) = (counted.starts.clone(), counted.permits.clone());
    let builder = builder().handler("count", move |_: StepContext, _: Json| {
        let (starts, permits) = (starts.clone(), permits.clone());
        async move {
            starts.fetch_add(1, Ordering::SeqCst);
            permits.acquire().await?.forget();
            Ok::<_, StepError>(Json::Int(7))
        }
    });
    (counted, builder)
}

impl Counted {
    fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }
    async fn started(&self, count: usize) {
        until("the handler's start", || self.starts() == count).await;
    }
}

#[tokio::test]
async fn a_task_is_acknowledged_only_after_its_completions_are_confirmed() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder());
    running.link.open.send_replace(false);
    let orders = vec![owner.order(1, "rejoin.echo", "1.0"), owner.order(2, "rejoin.echo", "2")];
    owner.dispatch(orders).await;
    let mut held = running.link.held.subscribe();
    soon("a completion", held.wait_for(|held| *held > 0))
        .await
        .expect("the gate lives");
    assert_eq!(running.link.settled(), []);
    running.link.open.send_replace(true);
    let items = owner.completions(2).await;
    assert!(
        items
            .iter()
            .any(|item| item["output"] == 1.0 && item["outcome"] == "ok")
    );
    until("the ack", || running.link.settled() == [Settle::Ack]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_deleted_event_queue_is_declared_again_and_nothing_is_lost() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder());
    owner.report(|_| true).await;
    owner.broker.delete(&owner.topology.events(0));
    let order = owner.order(1, "rejoin.noop", "1");
    owner.dispatch(vec![order]).await;
    owner.resubscribe().await;
    assert_eq!(owner.completions(1).await[0]["outcome"], "ok");
    running.stop().await;
}

/// Its sender's lease is over: others may have run what is in it meanwhile.
#[tokio::test]
async fn a_pack_that_comes_after_its_senders_lease_is_asked_about() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    counted.permits.add_permits(10);
    let _running = owner.start(builder);
    let hour = Duration::from_secs(3_600);
    let now = Timestamp::now();
    let (late, timely) = (Timestamp(now.0 - 1), now.plus(hour));
    for (pos, until) in [(1, late), (2, timely)] {
        let orders = vec![owner.order(pos, "count", "1")];
        let pack = owner.pack(orders);
        owner
            .publish(&Pack {
                until: Some(until),
                ..pack
            })
            .await;
    }
    let check = owner.event(kind::CHECK).await;
    let asked = (&check["redelivered"], &check["attempts"][0]["step"]["pos"]);
    assert_eq!(asked, (&json!(false), &json!(1)));
    let items = owner.completions(1).await;
    assert_eq!((&items[0]["step"]["pos"], counted.starts()), (&json!(2), 1));
    owner.answer(&check, |_| Verdict::Run).await;
    let items = owner.completions(1).await;
    assert_eq!(items[0]["step"]["pos"], 1);
}

#[tokio::test]
async fn a_redelivered_pack_runs_only_what_the_owner_allows() {
    let mut owner = Owner::new().await;
    let orders = vec![
        owner.order(1, "count", "1"),
        owner.order(2, "count", "1"),
        owner.order(3, "count", "1"),
    ];
    owner.dispatch(orders).await;
    redeliver(&owner).await;
    let (counted, builder) = counted();
    counted.permits.add_permits(10);
    let running = owner.start(builder);
    let check = owner.event(kind::CHECK).await;
    assert_eq!(check["redelivered"], true);
    assert_eq!(counted.starts(), 0);
    let (dropped, elsewhere) = (owner.key(1), owner.key(3));
    owner
        .answer(&check, |key| match key {
            key if *key == dropped => Verdict::Drop,
            key if *key == elsewhere => Verdict::HeldElsewhere,
            _ => Verdict::Run,
        })
        .await;
    let items = owner.completions(1).await;
    assert_eq!(items[0]["step"]["pos"], 2);
    until("the ack", || {
        running.link.settled().iter().filter(|how| **how == Settle::Ack).count() == 2
    })
    .await;
    assert_eq!(counted.starts(), 1);
    running.stop().await;
}

#[tokio::test]
async fn suspects_that_a_worker_did_not_survive_begin_one_after_the_other() {
    let mut owner = Owner::new().await;
    let orders = vec![owner.order(1, "count", "1"), owner.order(2, "count", "1")];
    let mut pack = owner.pack(orders);
    pack.suspect = true;
    owner.publish(&pack).await;
    redeliver(&owner).await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    for begun in 1..=2 {
        let check = owner.event(kind::CHECK).await;
        assert_eq!(
            (&check["suspect"], check["attempts"].as_array().map(Vec::len)),
            (&json!(true), Some(1))
        );
        assert_eq!(counted.starts(), begun - 1, "the one before it has ended");
        owner.answer(&check, |_| Verdict::Run).await;
        counted.started(begun).await;
        // The next thing that is heard of is its end, not a question about the other one.
        counted.permits.add_permits(1);
        assert_eq!(owner.completions(1).await.len(), 1);
    }
    running.stop().await;
}

#[tokio::test]
async fn suspects_that_come_for_the_first_time_wait_for_nobody() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    for pos in 1..=2 {
        let orders = vec![owner.order(pos, "count", "1")];
        let mut pack = owner.pack(orders);
        pack.suspect = true;
        owner.publish(&pack).await;
        let check = owner.event(kind::CHECK).await;
        assert_eq!(
            (&check["suspect"], &check["redelivered"]),
            (&json!(true), &json!(false))
        );
        owner.answer(&check, |_| Verdict::Run).await;
    }
    counted.started(2).await;
    counted.permits.add_permits(2);
    assert_eq!(owner.completions(2).await.len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_pack_of_one_that_comes_again_is_to_blame_if_the_worker_vanishes() {
    for (attempts, suspect) in [(1, true), (2, false)] {
        let mut owner = Owner::new().await;
        let orders = (1..=attempts).map(|pos| owner.order(pos, "count", "1")).collect();
        owner.dispatch(orders).await;
        redeliver(&owner).await;
        let (_counted, builder) = counted();
        let running = owner.start(builder);
        let check = owner.event(kind::CHECK).await;
        assert_eq!(
            (&check["suspect"], &check["redelivered"]),
            (&json!(suspect), &json!(true))
        );
        owner.answer(&check, |_| Verdict::Drop).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_verdict_brings_what_the_attempt_has_stored_elsewhere() {
    let mut owner = Owner::new().await;
    let orders = vec![owner.order(1, "resumed", "1")];
    owner.dispatch(orders).await;
    redeliver(&owner).await;
    let resumed = |ctx: StepContext, _: Json| async move {
        let stored = ctx.last_checkpoint::<Json>()?;
        ctx.checkpoint([2])?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok::<_, StepError>(stored.unwrap_or_default())
    };
    let running = owner.start(builder().handler("resumed", resumed));
    let check = owner.event(kind::CHECK).await;
    let asked: Check = serde_json::from_value(check).expect("a check");
    let answer = Verdicts {
        id: asked.id,
        verdicts: vec![(asked.attempts[0], Verdict::Run)],
        checkpoints: vec![(asked.attempts[0], support::raw("[1]"))],
    };
    owner.send_own(&asked.worker, kind::VERDICTS, &answer).await;
    let stored = owner.event(kind::CHECKPOINTS).await;
    assert_eq!(stored["items"][0]["value"], json!([2]));
    assert_eq!(owner.completions(1).await[0]["output"], json!([1]));
    running.stop().await;
}

#[tokio::test]
async fn a_held_attempt_is_not_run_twice() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    let order = owner.order(1, "count", "1");
    let pack = owner.pack(vec![order]);
    owner.publish(&pack).await;
    counted.started(1).await;
    owner.publish(&pack).await;
    let second = owner.order(2, "rejoin.noop", "1");
    owner.dispatch(vec![second]).await;
    assert_eq!(owner.completions(1).await[0]["step"]["pos"], 2);
    counted.permits.add_permits(2);
    assert_eq!(owner.completions(1).await[0]["step"]["pos"], 1);
    until("three acks", || running.link.settled().len() == 3).await;
    assert_eq!(counted.starts(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_probe_is_reported_at_once_and_then_acknowledged() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    let order = owner.order(1, "count", "1");
    owner.dispatch(vec![order]).await;
    let mut pack = owner.pack(vec![]);
    let probe = uuid::Uuid::now_v7();
    pack.probe = Some(probe);
    owner.publish(&pack).await;
    let report = owner.report(|report| report.probes == [probe]).await;
    assert_eq!(report.held, [owner.key(1)]);
    until("the ack", || running.link.settled() == [Settle::Ack]).await;
    counted.permits.add_permits(1);
    owner.completions(1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_report_is_sent_on_demand_and_tells_what_the_worker_is() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder().queue("gpu"));
    let first = owner.report(|report| report.number == 1).await;
    assert_eq!((first.queues.as_slice(), first.slots), (&["gpu".to_owned()][..], 4));
    assert!(first.handlers.contains(&"rejoin.echo".to_owned()));
    owner.send_own(&first.worker, kind::REPORT_NOW, &()).await;
    owner.report(|report| report.number == 2).await;
    running.stop().await;
    owner
        .report(|report| report.gone && report.draining && report.held.is_empty())
        .await;
}

#[tokio::test]
async fn a_cancelled_attempt_learns_it_and_owes_no_completion() {
    let mut owner = Owner::new().await;
    let running = owner.start(
        builder()
            .concurrency(1)
            .handler("wait", |ctx: StepContext, _: Json| async move {
                ctx.cancelled().await;
                assert!(ctx.is_cancelled());
                Ok::<_, StepError>(())
            }),
    );
    let orders = vec![
        owner.order(1, "wait", "1"),
        owner.order(2, "wait", "1"),
        owner.order(3, "rejoin.noop", "1"),
    ];
    owner.dispatch(orders).await;
    let report = owner.report(|report| report.number == 1).await;
    owner.send_own(&report.worker, kind::REPORT_NOW, &()).await;
    owner.report(|report| report.busy == 1).await;
    owner.cancel(&report.worker, vec![owner.key(1), owner.key(2)]).await;
    assert_eq!(owner.completions(1).await[0]["step"]["pos"], 3);
    running.stop().await;
    assert!(!owner.has_event());
    assert_eq!(owner.waiting().await, 0);
}

#[tokio::test]
async fn drain_finishes_what_runs_and_hands_back_the_rest() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder.concurrency(1));
    let orders = vec![owner.order(1, "count", "1"), owner.order(2, "count", "1")];
    owner.dispatch(orders).await;
    counted.started(1).await;
    running.stop.cancel();
    let back = owner.event(kind::HAND_BACK).await;
    assert_eq!(back["attempts"].as_array().map(Vec::len), Some(1));
    assert_eq!(back["attempts"][0]["step"]["pos"], 2);
    counted.permits.add_permits(1);
    assert_eq!(owner.completions(1).await[0]["step"]["pos"], 1);
    running.ended().await;
    assert_eq!((owner.waiting().await, counted.starts()), (0, 1));
}

#[tokio::test]
async fn what_outlasts_the_drain_is_ended_and_goes_back_to_its_queue() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder.drain(Duration::from_millis(20)));
    let order = owner.order(1, "count", "1");
    owner.dispatch(vec![order]).await;
    counted.started(1).await;
    running.stop.cancel();
    // Until its consumer is gone the message may come back to it: then it is handed back instead.
    running.ended().await;
    assert!(owner.waiting().await == 1 || owner.event(kind::HAND_BACK).await["attempts"].is_array());
}

#[tokio::test]
async fn a_large_context_is_fetched_once() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder().handler("read", |ctx: StepContext, _: Json| async move {
        Ok::<_, StepError>(ctx.get::<String>("big.text")?.map(|text| text.len()))
    }));
    for pos in 0..2 {
        let orders = (0..5).map(|i| owner.order(pos * 5 + i, "read", "1")).collect();
        let mut pack = owner.pack(orders);
        pack.contexts = vec![BaseContext::Stored {
            run: owner.run,
            seq: 9,
            bytes: 30_000,
        }];
        owner.publish(&pack).await;
    }
    let fetch: FetchContext = serde_json::from_value(owner.event(kind::FETCH_CONTEXT).await).expect("a fetch");
    assert_eq!((fetch.run, fetch.seq), (owner.run, 9));
    let text = json!({ "big": { "text": "é".repeat(10_000) } }).to_string();
    let half = text.floor_char_boundary(text.len() / 2);
    for (part, text) in [(1, &text[half..]), (0, &text[..half])] {
        let chunk = ContextChunk {
            run: fetch.run,
            seq: fetch.seq,
            part,
            parts: 2,
            text: text.to_owned(),
        };
        owner.send_own(&fetch.worker, kind::CONTEXT_CHUNK, &chunk).await;
    }
    for item in owner.completions(10).await {
        assert_eq!(item["output"], 20_000);
    }
    running.stop().await;
    assert!(!owner.has_event());
}

#[tokio::test]
async fn a_large_context_is_not_fetched_for_a_handler_that_does_without_it_unless_it_is_the_input() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder());
    let stored = |owner: &mut Owner, order: Order| {
        let mut pack = owner.pack(vec![order]);
        pack.contexts = vec![BaseContext::Stored {
            run: owner.run,
            seq: 9,
            bytes: 30_000,
        }];
        pack
    };
    let with_input = owner.order(1, "rejoin.echo", "7");
    let pack = stored(&mut owner, with_input);
    owner.publish(&pack).await;
    assert_eq!(owner.completions(1).await[0]["output"], 7);
    assert!(!owner.has_event(), "nothing was asked for");
    let mut without = owner.order(2, "rejoin.echo", "7");
    without.payload.input = None;
    let pack = stored(&mut owner, without);
    owner.publish(&pack).await;
    owner.event(kind::FETCH_CONTEXT).await;
    drop(running);
}

#[tokio::test]
async fn what_runs_survives_the_connection_and_is_not_run_again() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder.concurrency(1));
    let orders = vec![owner.order(1, "count", "1"), owner.order(2, "count", "1")];
    owner.dispatch(orders).await;
    counted.started(1).await;
    let first = owner.report(|_| true).await;
    owner.broker.disconnect(support::WORKER_LINK);
    let again = owner
        .report(|report| report.worker.incarnation != first.worker.incarnation)
        .await;
    assert_eq!((again.number, again.held.as_slice()), (1, &[owner.key(1)][..]));
    // Only what it does not hold is asked about: attempt 2 had been delivered, not begun.
    let check = owner.event(kind::CHECK).await;
    assert_eq!(check["attempts"][0]["step"]["pos"], 2);
    assert_eq!(check["attempts"].as_array().map(Vec::len), Some(1));
    counted.permits.add_permits(1);
    assert_eq!(owner.completions(1).await[0]["step"]["pos"], 1);
    owner.answer(&check, |_| Verdict::Drop).await;
    until("the ack", || running.link.settled().contains(&Settle::Ack)).await;
    running.stop().await;
    assert_eq!((counted.starts(), owner.waiting().await), (1, 0));
}

#[tokio::test]
async fn a_completion_of_a_time_without_broker_is_published_after_it() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    let order = owner.order(1, "count", "1");
    owner.dispatch(vec![order]).await;
    counted.started(1).await;
    owner.broker.cut(support::WORKER_LINK);
    counted.permits.add_permits(1);
    until("the handler's end", || counted.permits.available_permits() == 0).await;
    owner.broker.connect(support::WORKER_LINK);
    assert_eq!(owner.completions(1).await[0]["outcome"], "ok");
    running.stop().await;
    assert_eq!(counted.starts(), 1);
}

#[tokio::test]
async fn a_completion_does_not_wait_until_the_worker_is_subscribed_again() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    let order = owner.order(1, "count", "1");
    owner.dispatch(vec![order]).await;
    counted.started(1).await;
    owner.broker.cut(support::WORKER_LINK);
    counted.permits.add_permits(1);
    until("the handler's end", || counted.permits.available_permits() == 0).await;
    running.link.subscribes.send_replace(false);
    owner.broker.connect(support::WORKER_LINK);
    assert_eq!(owner.completions(1).await[0]["outcome"], "ok");
    running.link.subscribes.send_replace(true);
    running.stop().await;
    assert_eq!(counted.starts(), 1);
}

/// CPU time of this thread, and so of all tasks of a test.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let on_cpu = stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(on_cpu.expect("nanoseconds"))
}

#[tokio::test]
async fn a_worker_with_completions_and_no_broker_waits_and_does_not_spin() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder());
    running.link.open.send_replace(false);
    let order = owner.order(1, "rejoin.echo", "1");
    owner.dispatch(vec![order]).await;
    let mut held = running.link.held.subscribe();
    soon("a completion", held.wait_for(|held| *held > 0))
        .await
        .expect("the gate lives");
    // It was on its way: it failed, is due again soon, and then cannot leave.
    owner.broker.cut(support::WORKER_LINK);
    running.link.open.send_replace(true);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (began, waited) = (cpu_time(), Duration::from_millis(500));
    tokio::time::sleep(waited).await;
    let used = cpu_time() - began;
    assert!(used < waited / 5, "{used:?} of {waited:?}");
    owner.broker.connect(support::WORKER_LINK);
    owner.completions(1).await;
    running.stop().await;
}

#[tokio::test]
async fn an_attempt_that_nobody_here_serves_goes_back_and_does_not_fail() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder());
    let order = owner.order(1, "stranger", "1");
    owner.dispatch(vec![order]).await;
    let back = owner.event(kind::HAND_BACK).await;
    assert_eq!(back["attempts"][0]["step"]["pos"], 1);
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_the_dead_letters() {
    let owner = Owner::new().await;
    let running = owner.start(builder());
    owner
        .publish_message(Message::new(kind::PACK, true, b"{".to_vec()))
        .await;
    let mut unknown_major = Message::new(kind::PACK, true, b"{}".to_vec());
    unknown_major.protocol = 2;
    owner.publish_message(unknown_major).await;
    until("two dead letters", || {
        owner.broker.peek(&owner.topology.dead()).len() == 2
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn every_branch_of_many_packs_completes_once() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder().concurrency(16));
    for pack in 0..50 {
        let orders = (0..64).map(|i| owner.order(pack * 64 + i, "rejoin.echo", &(pack * 64 + i).to_string()));
        let orders = orders.collect();
        owner.dispatch(orders).await;
    }
    let mut outputs: Vec<_> = owner
        .completions(3200)
        .await
        .iter()
        .map(|item| item["output"].as_u64())
        .collect();
    outputs.sort_unstable();
    assert_eq!(outputs, (0..3200).map(Some).collect::<Vec<_>>());
    running.stop().await;
    assert_eq!(owner.waiting().await, 0);
}
