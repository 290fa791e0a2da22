//! A worker that is played by the test: it does what no real one does at will.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::{AttemptKey, ClaimId, Namespace, RunId, StepKey};
use rejoin_shared::link::{Address, Consumer, Link, Message, Settle};
use rejoin_shared::time::Timestamp;
use rejoin_shared::topology::Topology;
use rejoin_shared::wire::{
    AttemptEnd, Check, Completion, Completions, HandBack, Pack, Report, Verdict, Verdicts, WorkerId, kind,
};
use serde::Serialize;
use uuid::Uuid;

use super::{World, soon};

pub const TASKS: &str = "rejoin.tasks.default";

/// A worker that says what it is told to say.
pub struct Played {
    pub id: WorkerId,
    link: Arc<dyn Link>,
    own: Box<dyn Consumer>,
    reports: u64,
    /// What its reports list.
    pub held: Vec<AttemptKey>,
    pub claims: Vec<ClaimId>,
}

impl Played {
    pub async fn new(world: &World, name: &str) -> Played {
        let id = WorkerId {
            name: name.to_owned(),
            incarnation: Uuid::now_v7(),
        };
        let link = world.broker.link(name);
        let own = Topology::default().worker_queue(id.incarnation);
        link.declare(&own).await.expect("its own queue");
        Played {
            own: link.consume(&own.name, 100).await.expect("its own queue"),
            id,
            link,
            reports: 0,
            held: Vec::new(),
            claims: Vec::new(),
        }
    }

    async fn say<T: Serialize>(&self, to: Address, kind: &'static str, what: &T) {
        let body = serde_json::to_vec(what).expect("plain data");
        let said = self.link.publish(&to, Message::new(kind, false, body));
        said.await.expect("a publish");
    }

    pub async fn report(&mut self, gone: bool) {
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
            held: self.held.clone(),
            claims: self.claims.clone(),
            probes: Vec::new(),
            draining: false,
            gone,
            version: None,
        };
        let reports = Address::Fanout("rejoin.reports".to_owned());
        self.say(reports, kind::REPORT, &report).await;
    }

    /// Asks about an attempt, by a question of this id.
    pub async fn ask(&self, to: &str, attempt: AttemptKey, id: Uuid, redelivered: bool) {
        let check = Check {
            id,
            worker: self.id.clone(),
            suspect: false,
            redelivered,
            attempts: vec![attempt],
        };
        self.say(Address::Queue(to.to_owned()), kind::CHECK, &check).await;
    }

    /// The next verdict on a question of this id; it reports meanwhile, as workers do.
    pub async fn verdict(&mut self, id: Uuid) -> Verdict {
        let pause = Duration::from_millis(300);
        for _ in 0..200 {
            let Ok(next) = tokio::time::timeout(pause, self.own.next()).await else {
                self.report(false).await;
                continue;
            };
            let delivery = next.expect("its own queue lives");
            self.link.settle(delivery.receipt, Settle::Ack).await.expect("acked");
            if delivery.message.kind != kind::VERDICTS {
                continue;
            }
            let verdicts: Verdicts = serde_json::from_slice(&delivery.message.body).expect("verdicts");
            if verdicts.id == id {
                return verdicts.verdicts[0].1;
            }
        }
        panic!("no verdict came");
    }

    /// Asks for a claim and returns the verdict.
    pub async fn claim(&mut self, to: &str, attempt: AttemptKey, id: Uuid, redelivered: bool) -> Verdict {
        self.ask(to, attempt, id, redelivered).await;
        self.verdict(id).await
    }

    pub async fn hand_back(&self, to: &str, attempt: AttemptKey, claim: Option<Uuid>) {
        let back = HandBack {
            worker: self.id.clone(),
            attempts: vec![attempt],
            claims: claim.map(|id| (attempt, ClaimId(id))).into_iter().collect(),
        };
        self.say(Address::Queue(to.to_owned()), kind::HAND_BACK, &back).await;
    }

    pub async fn complete(&self, to: &str, attempt: AttemptKey) {
        self.complete_all(to, &[(attempt, None)]).await;
    }

    /// Several in one message, each with the token that it shows.
    pub async fn complete_all(&self, to: &str, attempts: &[(AttemptKey, Option<&str>)]) {
        let completion = |(attempt, token): &(AttemptKey, Option<&str>)| Completion {
            run: attempt.run,
            step: attempt.step,
            attempt: attempt.attempt,
            token: token.map(str::to_owned),
            end: AttemptEnd::Ok {
                output: None,
                set: None,
                unset: Vec::new(),
            },
            started_at: Timestamp::now(),
            finished_at: Timestamp::now(),
            logs: Vec::new(),
            checkpoint: None,
        };
        let completions = Completions {
            worker: self.id.clone(),
            items: attempts.iter().map(completion).collect(),
        };
        self.say(Address::Queue(to.to_owned()), kind::COMPLETIONS, &completions)
            .await;
    }
}

/// The first attempt of the only step of a run.
pub fn only_attempt(run: RunId) -> AttemptKey {
    let step = StepKey {
        scope: 0,
        branch: 0,
        pos: 0,
    };
    AttemptKey { run, step, attempt: 1 }
}

/// The packs that wait in the task queue once there are `count` attempts, with the queue to reply to.
pub async fn packs(world: &World, count: usize) -> Vec<(Pack, String)> {
    soon("the packs", async {
        loop {
            let messages = world.broker.peek(TASKS);
            let read = messages.into_iter().map(|message| {
                let pack: Pack = serde_json::from_slice(&message.body).expect("a pack");
                (pack, message.reply_to.expect("an event queue"))
            });
            let packs: Vec<(Pack, String)> = read.collect();
            if packs.iter().map(|(pack, _)| pack.attempts.len()).sum::<usize>() >= count {
                return packs;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Where the owner of the only attempt, which is taken off the task queue, wants to be answered.
pub async fn lose_the_only_pack(world: &World) -> String {
    let (_, reply_to) = packs(world, 1).await.pop().expect("a pack");
    world.broker.purge(TASKS);
    reply_to
}
