//! Names and arguments of every queue and exchange: declared, documented and tested from this one list.

use crate::ids::Namespace;
use crate::link::{Address, QueueKind, QueueSpec};

/// Deliveries of a task message before the broker gives it up; a backstop, poison is decided by the owner.
pub const TASK_DELIVERY_LIMIT: u32 = 100;
/// Deliveries of an event before the broker gives it up: practically never.
pub const EVENT_DELIVERY_LIMIT: u32 = 1_000_000;

/// Builds the names; `prefix` comes from configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Put before every name.
    pub prefix: String,
}

impl Topology {
    /// Name of a task queue; the namespace shows unless it is `default`.
    #[must_use]
    pub fn tasks(&self, namespace: &Namespace, queue: &str) -> String {
        match namespace.is_default() {
            true => format!("{}rejoin.tasks.{queue}", self.prefix),
            false => format!("{}rejoin.tasks.{namespace}.{queue}", self.prefix),
        }
    }

    /// Name of the event queue of partition `n`.
    #[must_use]
    pub fn events(&self, n: u8) -> String {
        format!("{}rejoin.events.{n}", self.prefix)
    }

    /// Name of the direct exchange through which workers reach the event queues, and nothing else.
    #[must_use]
    pub fn events_exchange(&self) -> String {
        format!("{}rejoin.events", self.prefix)
    }

    /// Where a worker sends what is for this event queue.
    #[must_use]
    pub fn to_events(&self, queue: &str) -> Address {
        Address::Through {
            exchange: self.events_exchange(),
            queue: queue.to_owned(),
        }
    }

    /// Name of the dead letter queue.
    #[must_use]
    pub fn dead(&self) -> String {
        format!("{}rejoin.dead", self.prefix)
    }

    /// Name of a worker's own queue.
    #[must_use]
    pub fn worker(&self, incarnation: uuid::Uuid) -> String {
        format!("{}rejoin.worker.{incarnation}", self.prefix)
    }

    /// Name of a coordinator's own queue, bound to the reports exchange.
    #[must_use]
    pub fn coordinator(&self, incarnation: uuid::Uuid) -> String {
        format!("{}rejoin.coordinator.{incarnation}", self.prefix)
    }

    /// Name of the fanout exchange that every coordinator reads: reports of workers, nudges of coordinators.
    #[must_use]
    pub fn reports(&self) -> String {
        format!("{}rejoin.reports", self.prefix)
    }

    /// Name of the fanout exchange that every worker reads: "report now".
    #[must_use]
    pub fn workers(&self) -> String {
        format!("{}rejoin.workers", self.prefix)
    }

    /// A task queue to declare.
    #[must_use]
    pub fn task_queue(&self, namespace: &Namespace, queue: &str) -> QueueSpec {
        self.durable(self.tasks(namespace, queue), TASK_DELIVERY_LIMIT, true, None)
    }

    /// An event queue to declare.
    #[must_use]
    pub fn event_queue(&self, n: u8) -> QueueSpec {
        let exchange = Some(self.events_exchange());
        self.durable(self.events(n), EVENT_DELIVERY_LIMIT, true, exchange)
    }

    /// The dead letter queue to declare.
    #[must_use]
    pub fn dead_queue(&self) -> QueueSpec {
        self.durable(self.dead(), EVENT_DELIVERY_LIMIT, false, None)
    }

    /// A worker's own queue to declare.
    #[must_use]
    pub fn worker_queue(&self, incarnation: uuid::Uuid) -> QueueSpec {
        QueueSpec {
            name: self.worker(incarnation),
            kind: QueueKind::Exclusive {
                fanout: Some(self.workers()),
            },
        }
    }

    /// A coordinator's own queue to declare.
    #[must_use]
    pub fn coordinator_queue(&self, incarnation: uuid::Uuid) -> QueueSpec {
        QueueSpec {
            name: self.coordinator(incarnation),
            kind: QueueKind::Exclusive {
                fanout: Some(self.reports()),
            },
        }
    }

    /// Names of all durable queues: events, dead letters, and these task queues of the default namespace.
    #[must_use]
    pub fn durable_names(&self, task_queues: &[&str]) -> Vec<String> {
        let events = (0..crate::ids::PARTITIONS).map(|n| self.events(n));
        let namespace = Namespace::default_name();
        let tasks = task_queues.iter().map(|queue| self.tasks(&namespace, queue));
        events.chain(tasks).chain([self.dead()]).collect()
    }

    fn durable(&self, name: String, delivery_limit: u32, dead: bool, exchange: Option<String>) -> QueueSpec {
        QueueSpec {
            name,
            kind: QueueKind::Durable {
                delivery_limit,
                dead_letters: dead.then(|| self.dead()),
                exchange,
            },
        }
    }
}
