//! What is done now and then: timers, reports, doubt, the inbox, rows that lag behind.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rejoin_engine::decision::Surroundings;
use rejoin_engine::event::{Completed, Event};
use rejoin_shared::ids::{AttemptKey, Namespace};
use rejoin_shared::link::{Address, Message, QueueSpec};
use rejoin_shared::wire::{Report, kind};
use uuid::Uuid;

use super::Owner;
use super::completion::final_failure;
use super::inbound::{CommandCall, Inbound, Item, Origin, What};
use crate::broker::decode::to_bytes;
use crate::broker::publisher::{Fate, Outgoing, Purpose};
use crate::dispatcher::doubt::report_now;
use crate::fleet::{Deaf, Ended};

const TICK: Duration = Duration::from_millis(200);
/// Between two judgements of the questions that could not be answered.
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(100);
/// Task queues that are made for one worker.
const QUEUES_OF_WORKER_MAX: usize = 64;
/// Ticks of the slower round.
const SLOW: u64 = 5;
/// Rows written for progress alone in one batch.
const STALE_MAX: usize = 500;

impl Owner {
    /// Takes one thing in.
    pub(super) fn take(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Report(report) => self.hear(*report),
            Inbound::Listening => self.listen(),
            Inbound::Deaf => self.fleet.deafen(Deaf::Queue),
            Inbound::Nudge => self.read_inbox(),
            Inbound::Published(purpose, fate) => self.published(purpose, fate),
            Inbound::Loaded(loaded) => self.loaded(*loaded),
            Inbound::Inbox(page) => self.take_inbox(page),
            Inbound::Membership(membership) => {
                self.membership = *membership;
                self.membership_is_new = true;
                self.foreign.members_were_read();
                self.next_tick = self.parts.clock.now();
            }
            Inbound::OpenRuns(runs) => self.load_open(runs),
            Inbound::Due(due) => self.wake_due(due),
            Inbound::Explain(run, reply) => drop(reply.send(self.explain(run))),
            Inbound::Holders(run, reply) => drop(reply.send(self.fleet.holders(run))),
            Inbound::Unserved(reply) => drop(reply.send(self.unserved())),
            Inbound::Fleet(reply) => drop(reply.send(self.fleet_view())),
        }
    }

    /// Reports are read from now on, or again.
    fn listen(&mut self) {
        self.fleet.hears(Deaf::Queue, self.parts.clock.now());
        let (_, _, around) = self.dispatching();
        let ask = report_now(&around);
        self.publish_all(vec![ask]);
    }

    fn hear(&mut self, report: Report) {
        let now = self.parts.clock.now();
        let (worker, probes) = (report.worker.incarnation, report.probes.clone());
        let changes = self.fleet.hear(report, now);
        // Before what is listed: a new incarnation may list what it has taken over from one that ended.
        changes.ended.iter().for_each(|ended| self.worker_ended(ended));
        let (dispatcher, runs, around) = self.dispatching();
        dispatcher.listed(worker, &changes.listed, runs, &around);
        dispatcher.unlisted(worker, &changes.unlisted, runs, &around);
        if !probes.is_empty() {
            dispatcher.probes_reported(&probes, &around);
        }
        let round = dispatcher.hear_out(runs, &around);
        if changes.serves_more {
            dispatcher.workers_changed(runs);
        }
        self.publish_all(round.into_iter().collect());
        if changes.serves_more {
            self.make_queues_of(worker);
        }
        self.ask_again();
    }

    /// Makes the task queues that a worker is about to read, where it has no right to make them itself.
    fn make_queues_of(&self, worker: Uuid) {
        let Some(worker) = self.fleet.worker(worker) else {
            return;
        };
        let topology = &self.parts.topology;
        let named = worker.queues.iter().filter(|queue| Namespace::is_valid(queue));
        let queues = named.map(|queue| topology.task_queue(&worker.namespace, queue));
        let queues: Vec<QueueSpec> = queues.take(QUEUES_OF_WORKER_MAX).collect();
        let link = self.parts.link.clone();
        self.parts.tasks.spawn(async move {
            for queue in queues {
                // The worker makes it itself, or the next report asks again.
                if let Err(error) = link.declare(&queue).await {
                    tracing::debug!(queue = queue.name, %error, "a task queue could not be declared");
                }
            }
        });
    }

    fn worker_ended(&mut self, ended: &Ended) {
        let (worker, held) = (ended.incarnation, ended.held.len());
        match ended.vanished {
            true => tracing::warn!(%worker, held, "a worker vanished"),
            // It said so; what it holds still it ends, or gives back.
            false => tracing::info!(%worker, held, "a worker ended"),
        }
        let (dispatcher, runs, around) = self.dispatching();
        for key in dispatcher.worker_ended(ended, runs, &around) {
            self.poison(key);
        }
    }

    /// A step killed its workers again and again: it fails, and its payload is listed under dead letters.
    fn poison(&mut self, key: AttemptKey) {
        let now = self.parts.clock.now();
        let Some(run) = self.runs.get(&key.run) else { return };
        let surroundings = Surroundings {
            now,
            limits: &self.parts.limits,
        };
        let request = run.state.request(key.step, key.attempt, surroundings).ok();
        let letter = serde_json::json!({
            "reason": "rejoin.poison",
            "namespace": run.namespace,
            "attempt": key,
            "path": request.as_ref().map(|r| r.path.clone()),
            "handler": request.as_ref().map(|r| r.handler.to_string()),
            "input": request.as_ref().and_then(|r| r.input.clone()),
        });
        self.publish_all(vec![Outgoing {
            purpose: Purpose::Notice,
            to: Address::Queue(self.parts.topology.dead()),
            message: Message::new(kind::PACK, true, to_bytes(&letter)),
            declare: Some(self.parts.topology.dead_queue()),
        }]);
        let message = "workers vanished after each of its confirmed starts".to_owned();
        let completed = Completed {
            step: key.step,
            attempt: key.attempt,
            end: final_failure("rejoin.poison", message),
            worker: None,
            started_at: now,
            finished_at: now,
            logs: Vec::new(),
            random: 0,
        };
        self.push_own(key.run, Event::Completed(Box::new(completed)));
    }

    fn published(&mut self, purpose: Purpose, fate: Fate) {
        match purpose {
            Purpose::Pack(number) => {
                let (dispatcher, runs, around) = self.dispatching();
                dispatcher.published(number, fate, runs, &around);
            }
            Purpose::Worker(worker) => {
                if fate == Fate::CameBack {
                    self.fleet.came_back(worker);
                }
            }
            Purpose::Forward(number) => self.forwarded(number, fate),
            Purpose::Notice => {}
        }
    }

    /// Takes a command of this process in.
    pub(super) fn take_command(&mut self, call: CommandCall) {
        let Some(what) = What::of(&call.command, call.prepared) else {
            return;
        };
        self.backlog.push_back(Item {
            run: call.run,
            what,
            origin: Origin::Caller(call.reply),
        });
    }

    /// Questions that could not be answered are judged again.
    pub(super) fn ask_again(&mut self) {
        let now = self.parts.clock.now();
        if self.deferred.is_empty() || now < self.ask_again_at {
            return;
        }
        // What waits here waits for reports and fences, which are read only while the backlog has room.
        self.ask_again_at = now.plus(ASK_AGAIN_PAUSE);
        self.backlog.extend(std::mem::take(&mut self.deferred).into_values());
    }

    /// The timers of runs.
    pub(super) fn fire_timers(&mut self) {
        let now = self.parts.clock.now();
        while let Some(Reverse((at, run))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let Some(found) = self.runs.get_mut(&run) else { continue };
            if found.due == Some(at) {
                found.due = None;
                found.fired_at = Some(now);
                self.dispatcher.enlist(found);
                self.push_own(run, Event::TimerDue);
            }
        }
    }

    /// The rounds that time drives.
    pub(super) async fn tick(&mut self) {
        let now = self.parts.clock.now();
        if now < self.next_tick {
            return;
        }
        self.next_tick = now.plus(TICK);
        self.ticks += 1;
        if !self.parts.lease.is_valid() {
            self.lose_all();
        }
        let is_ready = self.parts.lease.is_valid() && self.membership.now.is_some();
        self.parts.is_ready.store(is_ready, Ordering::Release);
        if std::mem::take(&mut self.membership_is_new) || !self.handing_over.is_empty() {
            self.share_out().await;
            self.forward();
        }
        let ended = self.fleet.expire(now);
        ended.iter().for_each(|ended| self.worker_ended(ended));
        let (dispatcher, runs, around) = self.dispatching();
        let probes = dispatcher.judge_doubt(runs, &around);
        self.publish_all(probes);
        self.judge_claims();
        self.publish_fences();
        self.ask_again();
        self.look_at_rows();
        if self.ticks.is_multiple_of(SLOW) {
            self.slow_tick();
        }
    }

    fn slow_tick(&mut self) {
        let (dispatcher, runs, around) = self.dispatching();
        dispatcher.doubt_unlisted(runs, &around);
        dispatcher.workers_changed(runs);
        self.read_inbox();
        self.forward();
        self.ask_again();
        let now = self.parts.clock.now();
        let stale = self
            .runs
            .values()
            .filter(|run| run.row_stale && now.since(run.row_at).as_secs() >= 1);
        self.stale = stale.map(|run| run.id).take(STALE_MAX).collect();
        self.show_metrics();
    }
}
