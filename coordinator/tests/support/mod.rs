//! Coordinators and workers over one embedded store and one broker inside the process.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod faulty;
pub mod played;
pub mod tripwire;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin_coordinator::coordinator::{Coordinator, CoordinatorConfig};
use rejoin_coordinator::members::lease::TaskKeeper;
use rejoin_coordinator::owner::command::{Command, CommandError, Reply, StartRun};
use rejoin_coordinator::store::embedded::EmbeddedStore;
use rejoin_coordinator::store::{RunRow, Store};
use rejoin_shared::definition::{Format, digest_of_stored, read};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::link::Link;
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::run::{Priority, RunStatus};
use rejoin_worker::{StepContext, StepError, Worker, WorkerBuilder};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A short lease that is renewed by a task.
pub fn config_of(name: &str) -> CoordinatorConfig {
    CoordinatorConfig {
        cache_bytes_max: usize::MAX,
        lease_ms: 1_500,
        lease_keeper: Arc::new(TaskKeeper),
        ..CoordinatorConfig::new(name)
    }
}

/// Nothing in these tests takes longer, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub broker: MemoryBroker,
    pub store: Arc<dyn Store>,
}

impl World {
    pub async fn new(document: &str) -> World {
        let world = World {
            broker: MemoryBroker::new(),
            store: Arc::new(EmbeddedStore::in_memory().expect("a store in memory")),
        };
        world.put("w", document).await;
        world
    }

    /// Registers a workflow, or another version of it.
    pub async fn put(&self, name: &str, document: &str) {
        let tree = read(document.as_bytes(), Format::Yaml, &Limits::default()).expect("the document");
        let text = tree.canonical_json();
        let namespace = Namespace::default_name();
        let digest = digest_of_stored(text.as_ref()).expect("a document");
        let stored = self.store.put_workflow(&namespace, name, &digest, text.as_ref()).await;
        stored.expect("the workflow");
    }

    pub fn coordinator(&self, name: &str) -> Coordinator {
        self.coordinator_with(name, usize::MAX)
    }

    /// One that keeps so many bytes of runs which only wait.
    pub fn coordinator_with(&self, name: &str, cache_bytes_max: usize) -> Coordinator {
        self.coordinator_of(CoordinatorConfig {
            cache_bytes_max,
            ..config_of(name)
        })
    }

    /// One with a configuration of its own.
    pub fn coordinator_of(&self, config: CoordinatorConfig) -> Coordinator {
        let link = self.broker.link(&config.name);
        self.coordinator_over(config, link)
    }

    /// One with a configuration and a link of its own.
    pub fn coordinator_over(&self, config: CoordinatorConfig, link: Arc<dyn Link>) -> Coordinator {
        Coordinator::start(config, self.store.clone(), link, CancellationToken::new())
    }

    /// A worker that runs until the token is dropped.
    pub fn work(&self, name: &str, builder: WorkerBuilder) -> tokio_util::sync::DropGuard {
        let stop = CancellationToken::new();
        let worker = builder.name(name).build(self.broker.link(name)).expect("a worker");
        drop(tokio::spawn(worker.run(stop.clone())));
        stop.drop_guard()
    }

    pub async fn row(&self, run: RunId) -> RunRow {
        self.store.run(run).await.expect("the store").expect("the run")
    }

    pub async fn reaches(&self, run: RunId, status: RunStatus) -> RunRow {
        let reached = async {
            loop {
                let row = self.row(run).await;
                if row.status == status {
                    return row;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(row) => row,
            Err(_) => panic!("the run did not become {status:?}: {:?}", self.row(run).await),
        }
    }
}

pub async fn start(coordinator: &Coordinator, input: &str) -> RunId {
    soon("ownership", coordinator.owns(1)).await;
    let run = coordinator.new_run_id();
    started(coordinator, run, input).await.expect("the start");
    run
}

pub async fn started(coordinator: &Coordinator, run: RunId, input: &str) -> Result<Reply, CommandError> {
    coordinator.submit(run, Command::Start(Box::new(start_of(input)))).await
}

pub fn start_of(input: &str) -> StartRun {
    StartRun {
        namespace: Namespace::default_name(),
        workflow: "w".to_owned(),
        version: 1,
        input: Json::parse(input.as_bytes()).expect("JSON"),
        tags: BTreeMap::new(),
        priority: Priority::Normal,
        parent: None,
        is_awaited: false,
        at: None,
        traceparent: None,
        idempotency_key: None,
        may_exist: false,
        expects_newest: false,
    }
}

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen"))
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// What handlers did: which input how often.
#[derive(Clone)]
pub struct Log {
    starts: Arc<Mutex<BTreeMap<String, usize>>>,
    pub permits: Arc<Semaphore>,
}

impl Log {
    /// With so many executions that may end.
    pub fn new(permits: usize) -> Log {
        Log {
            starts: Arc::default(),
            permits: Arc::new(Semaphore::new(permits)),
        }
    }

    /// A worker with a handler `count` that logs its start and ends when it gets a permit.
    pub fn builder(&self) -> WorkerBuilder {
        let log = self.clone();
        Worker::builder()
            .drain(Duration::from_millis(10))
            .handler("count", move |_: StepContext, input: Json| {
                let log = log.clone();
                async move {
                    *log.starts
                        .lock()
                        .expect("the log")
                        .entry(input.to_string())
                        .or_default() += 1;
                    log.permits.acquire().await?.forget();
                    Ok::<_, StepError>(input)
                }
            })
    }

    pub fn starts(&self) -> usize {
        self.starts.lock().expect("the log").values().sum()
    }

    pub fn inputs(&self) -> usize {
        self.starts.lock().expect("the log").len()
    }

    /// Inputs that ran more than once.
    pub fn repeated(&self) -> Vec<String> {
        let starts = self.starts.lock().expect("the log");
        starts
            .iter()
            .filter(|(_, count)| **count > 1)
            .map(|(input, _)| input.clone())
            .collect()
    }
}
