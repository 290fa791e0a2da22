//! Dispatch is pulled (DESIGN 4): attempts are taken from runs as their window allows, wait in the line of their task
//! queue for credit, and leave in packs.
//!
//! ```text
//!  run ──take_ready──▶ Waiting ──credit──▶ Publishing ──confirm──▶ Sent ──report──▶ Held ──completion──▶ (gone)
//!                         ▲                    │ unknown             │ 5 s unlisted   │ its worker died
//!                         │                    ▼                     ▼                ▼
//!                         └──── lost ◀─ verdict ◀─ probe ◀──────── Doubtful ◀─────────┘
//! ```

pub mod doubt;
mod flight;
mod line;
mod pack;
mod pump;
mod queue;
mod track;

use std::collections::VecDeque;
use std::sync::Arc;

use rejoin_shared::dice::Dice;
use rejoin_shared::ids::{AttemptKey, Partition, RunId};
use rejoin_shared::limits::Limits;
use rejoin_shared::map::HashMap;
use rejoin_shared::time::Timestamp;
use rejoin_shared::topology::Topology;
use rejoin_shared::trace::export::Tracer;
use uuid::Uuid;

use crate::broker::tokens::Tokens;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::owner::run::Run;
pub use flight::{Flight, Phase, QueueKey};
pub use pump::Pumped;
pub use queue::TaskQueue;

/// The runs in memory.
pub type Runs = HashMap<RunId, Run>;

/// What the dispatcher looks at and does not own.
pub struct Around<'a> {
    /// Now.
    pub now: Timestamp,
    /// When this coordinator's lease ends, unless it is renewed.
    pub until: Timestamp,
    /// In force.
    pub limits: &'a Limits,
    /// Who could take work.
    pub fleet: &'a Fleet,
    /// Names of queues.
    pub topology: &'a Topology,
    /// Name of this coordinator.
    pub name: &'a str,
    /// Whose event queue completions are to go to.
    pub home: Partition,
    /// Draws ids of probes.
    pub dice: &'a dyn Dice,
    /// Counts.
    pub metrics: &'a Metrics,
    /// Makes the tokens of attempts, where there are keys.
    pub tokens: Option<&'a Tokens>,
    /// Says what traces the messages belong to.
    pub tracer: &'a Tracer,
}

/// A publish whose confirm is awaited.
struct Publish {
    queue: QueueKey,
    keys: Vec<AttemptKey>,
    bytes: usize,
    at: Timestamp,
    is_probe: bool,
}

/// Takes, sends and tracks attempts.
#[derive(Default)]
pub struct Dispatcher {
    queues: HashMap<QueueKey, TaskQueue>,
    ring: [VecDeque<RunId>; 3],
    publishes: HashMap<u64, Publish>,
    publish_count: u64,
    bytes_unconfirmed: usize,
    moment: u64,
    link_is_up: bool,
    /// Claims whose holder ended, or lists them no more: for the owner to find out about.
    doubted_claims: Vec<AttemptKey>,
    /// Reports to be heard before doubt may be judged: the number each worker has to reach.
    round: HashMap<Uuid, u64>,
}

impl Dispatcher {
    /// The next moment: orders loads of runs and probes.
    pub fn next_moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// Claims that came into doubt since this was asked last.
    pub fn take_doubted_claims(&mut self) -> Vec<AttemptKey> {
        std::mem::take(&mut self.doubted_claims)
    }

    /// Asks for a run's ready attempts to be taken at the next pump.
    pub fn enlist(&mut self, run: &mut Run) {
        if !run.in_ring {
            run.in_ring = true;
            self.ring[line::rank(run.priority)].push_back(run.id);
        }
    }

    /// The own publishing connection came up, was blocked or went down.
    pub fn link_changed(&mut self, is_up: bool, fleet: &Fleet) {
        self.link_is_up = is_up;
        if is_up {
            // Doubt stays suspended until everyone has reported once more.
            self.round = fleet.workers().map(|w| (w.id.incarnation, w.number + 1)).collect();
        }
    }

    fn is_doubt_suspended(&mut self, fleet: &Fleet) -> bool {
        self.round
            .retain(|id, number| fleet.worker(*id).is_some_and(|worker| worker.number < *number));
        !self.link_is_up || !self.round.is_empty()
    }

    /// The queues that anything was ever for.
    pub fn queues(&self) -> impl Iterator<Item = &TaskQueue> {
        self.queues.values()
    }

    /// How many publishes await their confirm.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        self.publishes.len()
    }

    fn queue(&mut self, key: &QueueKey) -> &mut TaskQueue {
        if !self.queues.contains_key(key) {
            self.queues.insert(key.clone(), TaskQueue::new(key.clone()));
        }
        self.queues.get_mut(key).expect("it was put in above")
    }

    /// Lets the attempts go that waited for a worker which serves their handler, if one may do now.
    pub fn workers_changed(&mut self, runs: &Runs) {
        for queue in self.queues.values_mut() {
            for (run, attempt) in std::mem::take(&mut queue.unserved) {
                if let Some(found) = runs.get(&run) {
                    queue.line.push(found.priority, run, attempt);
                }
            }
        }
    }

    /// A step of this queue took so long: packs are made smaller where steps are slow.
    pub fn step_took(&mut self, queue: &QueueKey, handler: &Arc<str>, ms: f64) {
        self.queue(queue).step_took(handler, ms);
    }

    /// Whether runs wait for their next turn: more was ready than one turn takes.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.ring.iter().any(|ring| !ring.is_empty())
    }
}
