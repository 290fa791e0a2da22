//! Workers' questions, asked by workers that are played here: what no real one does at will.

mod support;

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::{AttemptKey, Namespace, RunId, StepKey};
use rejoin_shared::link::{Address, Link, Message};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Check, Report, WorkerId, kind};
use serde::Serialize;
use support::{Log, World, soon, start};
use uuid::Uuid;

const DOCUMENT: &str = "
workflow: w
steps:
  - step: count
    with: { i: '= \"only\"' }
";
const TASKS: &str = "rejoin.tasks.default";

/// A worker that says what it is told to say.
struct Played {
    id: WorkerId,
    link: Arc<dyn Link>,
    reports: u64,
}

impl Played {
    fn new(world: &World, name: &str) -> Played {
        Played {
            id: WorkerId {
                name: name.to_owned(),
                incarnation: Uuid::now_v7(),
            },
            link: world.broker.link(name),
            reports: 0,
        }
    }

    async fn say<T: Serialize>(&self, to: Address, kind: &'static str, what: &T) {
        let body = serde_json::to_vec(what).expect("plain data");
        let said = self.link.publish(&to, Message::new(kind, false, body));
        said.await.expect("a publish");
    }

    async fn report(&mut self, gone: bool) {
        self.reports += 1;
        let report = Report {
            worker: self.id.clone(),
            number: self.reports,
            started_at: Timestamp(1),
            namespace: Namespace::default_name(),
            queues: vec!["default".to_owned()],
            handlers: vec!["count".to_owned()],
            slots: 1,
            busy: 0,
            held: Vec::new(),
            probes: Vec::new(),
            draining: false,
            gone,
        };
        let reports = Address::Fanout("rejoin.reports".to_owned());
        self.say(reports, kind::REPORT, &report).await;
    }

    async fn ask(&self, to: &str, attempt: AttemptKey) {
        let check = Check {
            id: Uuid::now_v7(),
            worker: self.id.clone(),
            suspect: false,
            redelivered: true,
            attempts: vec![attempt],
        };
        let to = Address::Queue(to.to_owned());
        self.say(to, kind::CHECK, &check).await;
    }
}

fn only_attempt(run: RunId) -> AttemptKey {
    let step = StepKey {
        scope: 0,
        branch: 0,
        pos: 0,
    };
    AttemptKey { run, step, attempt: 1 }
}

/// The attempt's message is lost; the one who asked about it has ended before it could be answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_of_a_worker_that_ended_meanwhile_holds_nothing_up() {
    let world = World::new(DOCUMENT).await;
    let coordinator = world.coordinator("a");
    let (mut asker, mut bystander) = (Played::new(&world, "asker"), Played::new(&world, "bystander"));
    soon("ownership", coordinator.owns(64)).await;
    asker.report(false).await;
    bystander.report(false).await;
    let run = start(&coordinator, "{}").await;
    let sent = soon("a pack", async {
        loop {
            match world.broker.peek(TASKS).pop() {
                Some(message) => return message,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    world.broker.purge(TASKS);
    // Unanswered as long as the bystander, who may hold it, has not reported twice.
    asker
        .ask(&sent.reply_to.expect("an event queue"), only_attempt(run))
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    asker.report(true).await;
    bystander.report(true).await;

    let log = Log::new(1);
    let _worker = world.work("real", log.builder());
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!(log.starts(), 1);
}
