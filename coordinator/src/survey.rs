//! What coordinators tell each other when somebody asks for the whole: each knows what it dispatched itself, and no more.
//!
//! ```text
//! asker ── Survey ──▶ reports exchange ──▶ every coordinator ── Surveyed ──▶ the asker's own queue
//! ```
//! Whoever lives by the database answers, or is missed by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rejoin_shared::link::{Address, Link, Message};
use rejoin_shared::map::HashMap;
use rejoin_shared::topology::Topology;
use rejoin_shared::wire::{Survey, Surveyed, SurveyedQueue, kind};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::broker::decode::to_bytes;
use crate::coordinator::Coordinator;
use crate::owner::views::{FleetView, QueueView};
use crate::store::{Store, StoreError};

/// Longest wait for the answers of others.
const ANSWERS_MAX: Duration = Duration::from_secs(2);

/// Surveys of this process that wait for answers.
#[derive(Clone, Default)]
pub struct Surveys(Arc<Mutex<HashMap<Uuid, mpsc::UnboundedSender<Surveyed>>>>);

impl Surveys {
    /// An answer has come; one that nobody waits for any more is dropped.
    pub fn deliver(&self, answer: Surveyed) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = waiting.get(&answer.id) {
            asker.send(answer).ok();
        }
    }

    fn open(&self, id: Uuid) -> Open {
        let (answers, answered) = mpsc::unbounded_channel();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, answers);
        Open {
            surveys: self.clone(),
            id,
            answered,
        }
    }
}

/// One of them; closed when it is dropped.
struct Open {
    surveys: Surveys,
    id: Uuid,
    answered: mpsc::UnboundedReceiver<Surveyed>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut waiting = self.surveys.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&self.id);
    }
}

/// What the others have answered.
#[derive(Debug, Default)]
pub struct Others {
    /// Their answers.
    pub answers: Vec<Surveyed>,
    /// Names of those that live and have not answered in time.
    pub missed: Vec<String>,
}

/// Asks all other coordinators that live.
pub struct Asker<'a> {
    /// Says who lives.
    pub store: &'a dyn Store,
    /// Carries the question.
    pub link: &'a dyn Link,
    /// Names the queues.
    pub topology: &'a Topology,
    /// Where the answers come in.
    pub surveys: &'a Surveys,
    /// Incarnation of this process.
    pub me: Uuid,
}

impl Asker<'_> {
    /// Asks, and waits for all of them, but not for long.
    ///
    /// # Errors
    /// The store's.
    pub async fn ask(&self, id: Uuid, wants_runs: bool) -> Result<Others, StoreError> {
        let deadline = Instant::now() + ANSWERS_MAX;
        let rows = self.store.members().await?;
        let live = rows
            .into_iter()
            .filter(|row| row.lease_left_ms > 0)
            .map(|row| row.member);
        let others = live.filter(|member| member.incarnation != self.me);
        let mut silent: BTreeMap<Uuid, String> = others.map(|member| (member.incarnation, member.name)).collect();
        let mut open = self.surveys.open(id);
        let mut answers = Vec::with_capacity(silent.len());
        if !silent.is_empty() && timeout_at(deadline, self.publish(id, wants_runs)).await.is_ok() {
            while !silent.is_empty()
                && let Ok(Some(answer)) = timeout_at(deadline, open.answered.recv()).await
            {
                if silent.remove(&answer.coordinator).is_some() {
                    answers.push(answer);
                }
            }
        }
        let missed = silent.into_values().collect();
        Ok(Others { answers, missed })
    }

    /// One that is lost is as one that nobody answers.
    async fn publish(&self, id: Uuid, wants_runs: bool) {
        let survey = Survey {
            id,
            coordinator: self.me,
            wants_runs,
        };
        let to = Address::Fanout(self.topology.reports());
        let message = Message::new(kind::SURVEY, false, to_bytes(&survey));
        if let Err(error) = self.link.publish(&to, message).await {
            tracing::debug!(%error, "survey not published");
        }
    }
}

/// Answers others' questions until the sender is gone. A question of this process itself has no answer.
pub async fn answer_all(
    coordinator: Coordinator,
    link: Arc<dyn Link>,
    topology: Topology,
    me: Uuid,
    mut questions: mpsc::Receiver<Survey>,
) {
    while let Some(survey) = questions.recv().await {
        if survey.coordinator == me {
            continue;
        }
        let Some(fleet) = coordinator.fleet().await else {
            continue;
        };
        let runs = match survey.wants_runs {
            true => coordinator.unserved().await,
            false => Some(Vec::new()),
        };
        let Some(runs) = runs else { continue };
        let answer = Surveyed {
            id: survey.id,
            coordinator: me,
            queues: fleet.queues.into_iter().map(told).collect(),
            runs,
        };
        let to = Address::Queue(topology.coordinator(survey.coordinator));
        let message = Message::new(kind::SURVEYED, false, to_bytes(&answer));
        if let Err(error) = link.publish(&to, message).await {
            tracing::debug!(%error, "survey not answered");
        }
    }
}

fn told(queue: QueueView) -> SurveyedQueue {
    SurveyedQueue {
        namespace: queue.namespace,
        queue: queue.queue,
        waiting: queue.waiting as u64,
        out: queue.out as u64,
        doubtful: queue.doubtful as u64,
        unserved: queue.unserved,
    }
}

/// Adds what another coordinator told. Everyone hears all workers, so these are counted once.
pub fn add(fleet: &mut FleetView, answer: Surveyed) {
    for told in answer.queues {
        let known = fleet
            .queues
            .iter_mut()
            .find(|queue| queue.namespace == told.namespace && queue.queue == told.queue);
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        match known {
            Some(queue) => {
                queue.waiting += count(told.waiting);
                queue.out += count(told.out);
                queue.doubtful += count(told.doubtful);
                queue.unserved.extend(told.unserved);
                queue.unserved.sort();
                queue.unserved.dedup();
            }
            None => {
                let consumes = |worker: &&crate::owner::views::WorkerView| {
                    worker.namespace == told.namespace && worker.queues.contains(&told.queue)
                };
                let workers: Vec<_> = fleet.workers.iter().filter(consumes).collect();
                let queue = QueueView {
                    waiting: count(told.waiting),
                    out: count(told.out),
                    doubtful: count(told.doubtful),
                    probing: false,
                    workers: workers.len(),
                    slots: workers.iter().map(|worker| worker.slots).sum(),
                    busy: workers.iter().map(|worker| worker.busy).sum(),
                    namespace: told.namespace,
                    queue: told.queue,
                    unserved: told.unserved,
                };
                fleet.queues.push(queue);
            }
        }
    }
}
