//! What the owner shows: what a run waits for, workers and queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_engine::decision::Surroundings;
use rejoin_shared::ids::RunId;
use rejoin_shared::map::HashSet;
use rejoin_shared::run::RunStatus;

use super::Owner;
use super::load::Lack;
use super::run::{Run, Try};
use super::views::{ATTEMPTS_SHOWN_MAX, AttemptView, Explanation, FleetView, Place, QueueView, WorkerView};
use crate::dispatcher::{Flight, Phase, QueueKey, TaskQueue};
use crate::metrics::as_f64;

/// Attempts whose path is looked up: each costs the evaluation of its request.
const PATHS_MAX: usize = 100;

/// Runs without a worker that are told at most.
const UNSERVED_MAX: usize = 10_000;

impl Owner {
    pub(super) fn explain(&self, id: RunId) -> Option<Explanation> {
        let run = self.runs.get(&id)?;
        let mut all: Vec<(&Try, &Flight)> = run.flights.iter().collect();
        all.sort_by_key(|(attempt, _)| **attempt);
        let shown = all.iter().take(ATTEMPTS_SHOWN_MAX).enumerate();
        let attempts = shown.map(|(n, (attempt, flight))| self.attempt_view(run, **attempt, flight, n < PATHS_MAX));
        Some(Explanation {
            status: run.state.status(),
            progress: run.progress(),
            counts: run.counts,
            attempts: attempts.collect(),
            attempts_total: all.len(),
            next_due: run.state.next_due(),
        })
    }

    fn attempt_view(&self, run: &Run, (step, attempt): Try, flight: &Flight, with_path: bool) -> AttemptView {
        let surroundings = Surroundings {
            now: self.parts.clock.now(),
            limits: &self.parts.limits,
        };
        let request = with_path
            .then(|| run.state.request(step, attempt, surroundings).ok())
            .flatten();
        AttemptView {
            step,
            attempt,
            path: request.map(|request| request.path),
            queue: flight.queue.name.to_string(),
            handler: flight.handler.to_string(),
            place: self.place(flight),
        }
    }

    fn place(&self, flight: &Flight) -> Place {
        match flight.phase {
            Phase::Waiting => match self
                .fleet
                .serves(&flight.queue, &flight.handler, self.parts.clock.now())
            {
                true => Place::Unsent,
                false => Place::NoWorker,
            },
            Phase::Publishing(_) | Phase::Sent { .. } => Place::Sent,
            Phase::Held(worker) => Place::Held {
                worker: self
                    .fleet
                    .worker(worker)
                    .map_or_else(|| worker.to_string(), |found| found.id.name.clone()),
            },
            Phase::Doubtful => Place::Doubtful,
        }
    }

    /// Runs with an attempt that no worker serves, newest first.
    pub(super) fn unserved(&self) -> Vec<RunId> {
        let now = self.parts.clock.now();
        let lacks = |flight: &Flight| {
            matches!(flight.phase, Phase::Waiting) && !self.fleet.serves(&flight.queue, &flight.handler, now)
        };
        let found = self.runs.values().filter(|run| run.flights.values().any(lacks));
        let mut runs: Vec<RunId> = found.map(|run| run.id).collect();
        runs.sort_unstable_by(|a, b| b.cmp(a));
        runs.truncate(UNSERVED_MAX);
        runs
    }

    /// Handlers of waiting attempts that no worker of their queue serves, whether the queue has any worker or not.
    fn unserved_handlers(&self) -> Vec<(QueueKey, Arc<str>)> {
        let now = self.parts.clock.now();
        let flights = self.runs.values().flat_map(|run| run.flights.values());
        let waiting = flights.filter(|flight| matches!(flight.phase, Phase::Waiting));
        let waiting: HashSet<(&QueueKey, &Arc<str>)> = waiting.map(|flight| (&flight.queue, &flight.handler)).collect();
        let lacking = waiting
            .into_iter()
            .filter(|(queue, handler)| !self.fleet.serves(queue, handler, now));
        let mut all: Vec<_> = lacking
            .map(|(queue, handler)| (queue.clone(), handler.clone()))
            .collect();
        all.sort();
        all
    }

    pub(super) fn fleet_view(&self) -> FleetView {
        let now = self.parts.clock.now();
        let workers = self.fleet.workers().map(|worker| {
            let sorted = |names: &rejoin_shared::map::HashSet<String>| {
                let mut names: Vec<String> = names.iter().cloned().collect();
                names.sort();
                names
            };
            WorkerView {
                name: worker.id.name.clone(),
                incarnation: worker.id.incarnation,
                namespace: worker.namespace.clone(),
                queues: sorted(&worker.queues),
                handlers: sorted(&worker.handlers),
                slots: worker.slots,
                busy: worker.busy,
                held: worker.held.len(),
                draining: worker.draining,
                version: worker.version.clone(),
                takes_work: worker.takes_work(now),
                started_at: worker.started_at,
                seen_at: worker.seen_at,
            }
        });
        let mut workers: Vec<WorkerView> = workers.collect();
        workers.sort_by(|a, b| (&a.name, a.incarnation).cmp(&(&b.name, b.incarnation)));
        let unserved = self.unserved_handlers();
        let queues = self.dispatcher.queues().map(|queue| self.queue_view(queue, &unserved));
        let mut queues: Vec<QueueView> = queues.collect();
        queues.sort_by(|a, b| (&a.namespace, &a.queue).cmp(&(&b.namespace, &b.queue)));
        FleetView { workers, queues }
    }

    fn queue_view(&self, queue: &TaskQueue, unserved: &[(QueueKey, Arc<str>)]) -> QueueView {
        let (mut workers, mut slots, mut busy) = (0, 0, 0);
        for worker in self.fleet.of_queue(&queue.key) {
            workers += 1;
            slots += worker.slots;
            busy += worker.busy;
        }
        let lacking = unserved.iter().filter(|(key, _)| *key == queue.key);
        QueueView {
            namespace: queue.key.namespace.clone(),
            queue: queue.key.name.to_string(),
            waiting: queue.waiting(),
            out: queue.out(),
            doubtful: queue.doubtful(),
            probing: queue.is_probed(),
            workers,
            slots,
            busy,
            unserved: lacking.map(|(_, handler)| handler.to_string()).collect(),
        }
    }

    pub(super) fn show_metrics(&self) {
        let metrics = &self.parts.metrics;
        metrics.timers_due.set(as_f64(self.timers.len()));
        metrics.broker_unconfirmed.set(as_f64(self.dispatcher.unconfirmed()));
        metrics.steps_unserved.set(as_f64(self.unserved_handlers().len()));
        for status in RunStatus::ALL {
            let in_memory = self.runs.values().filter(|run| run.state.status() == status).count();
            let count = in_memory + self.asleep(status);
            metrics.runs.with_label_values(&[status.as_str()]).set(as_f64(count));
        }
        for lack in Lack::ALL {
            let count = self.left.values().filter(|(of, _)| *of == lack).count();
            metrics.runs_left.with_label_values(&[lack.as_str()]).set(as_f64(count));
        }
        self.show_queues();
    }

    /// By name: queues of the same name in several namespaces are shown as one.
    fn show_queues(&self) {
        let mut by_name: BTreeMap<&str, (usize, u32, u32)> = BTreeMap::new();
        for queue in self.dispatcher.queues() {
            let (depth, slots, busy) = by_name.entry(&queue.key.name).or_default();
            *depth += queue.waiting() + queue.out();
            for worker in self.fleet.of_queue(&queue.key) {
                *slots += worker.slots;
                *busy += worker.busy;
            }
        }
        let metrics = &self.parts.metrics;
        for (name, (depth, slots, busy)) in by_name {
            metrics.queue_depth.with_label_values(&[name]).set(as_f64(depth));
            let shown = [("busy", busy), ("free", slots.saturating_sub(busy))];
            for (state, count) in shown {
                let gauge = metrics.worker_slots.with_label_values(&[name, state]);
                gauge.set(f64::from(count));
            }
        }
    }
}
