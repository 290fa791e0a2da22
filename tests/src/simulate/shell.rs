//! The owner's shell under faults: real coordinators and real workers over a simulated broker and database, in simulated
//! time, with processes that die between any two effects.
//!
//! A seed is the same each time: one thread, the store on it, and maps that have a fixed order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rejoin_coordinator::api::Api;
use rejoin_coordinator::api::backend::Local;
use rejoin_coordinator::coordinator::{Coordinator, CoordinatorConfig};
use rejoin_coordinator::members::lease::TaskKeeper;
use rejoin_coordinator::owner::command::{Command, CommandError, StartRun};
use rejoin_coordinator::services::schedules::Schedules;
use rejoin_coordinator::store::embedded::EmbeddedStore;
use rejoin_coordinator::store::{RunRow, Store};
use rejoin_shared::clock::Clock;
use rejoin_shared::definition::model::{HandlerCall, Node};
use rejoin_shared::definition::{Format, read};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::{Json, Map};
use rejoin_shared::limits::Limits;
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::map::fix_order;
use rejoin_shared::run::{Priority, RunStatus};
use rejoin_shared::wire::HandlerError;
use rejoin_worker::attempt::Attempt;
use rejoin_worker::handler::to_raw;
use rejoin_worker::{Handle, Outcome, Worker};
use tokio_util::sync::CancellationToken;

use super::outside::Due;
use super::run_info;
use super::shell_database::Database;
use super::shell_link::FaultyLink;
use super::shell_process::{Fuse, OwnClock, Planted, SimClock, SimDice};
use super::shell_store::FaultyStore;
use crate::dice::hash;
use crate::generate::{Case, Profile, World, case};
use crate::reference::{Call, Outside, Reply, Told, interpret};

/// Simulated time within which a healed world must have ended every run.
const PATIENCE: Duration = Duration::from_secs(1800);
const LEASE_MS: u64 = 1_500;
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long somebody outside waits for an answer.
const REACH: Duration = Duration::from_secs(2);

/// Runs the case of `seed` through the shell.
///
/// # Errors
/// The invariant that broke.
///
/// # Panics
/// If the world itself cannot be built.
pub fn simulate_shell(seed: u64, planted: Option<Planted>) -> Result<(), String> {
    simulate_and_tell(seed, planted).0
}

/// The same, with the end of its history: it is the same each time.
///
/// # Panics
/// If the world itself cannot be built.
pub fn simulate_and_tell(seed: u64, planted: Option<Planted>) -> (Result<(), String>, String) {
    let case = case(seed, Profile::Any);
    let told = interpret(&case.def, &case.input, &case.world, &run_info());
    if told.log.too_large {
        return (Ok(()), String::new());
    }
    let (ended, history) = in_simulated_time(live(&case, &told, planted));
    let ended = ended.map_err(|why| {
        format!(
            "seed {seed}: {why}\n--- history\n{history}\n--- definition\n{}\n--- workflows it calls\n{}\n--- input\n{}",
            case.text,
            case.children_text(),
            case.input
        )
    });
    (ended, history)
}

/// Runs `work` on a clock that goes on when nothing else can.
pub(super) fn in_simulated_time<T>(work: impl Future<Output = T>) -> T {
    fix_order();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let runtime = runtime.expect("a runtime");
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// A process: its name, and what kills it.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) fuse: Arc<Fuse>,
    /// Tells it to hand over, and to go.
    pub(super) stop: CancellationToken,
    pub(super) clock: OwnClock,
}

pub(super) struct Shell<'a> {
    case: &'a Case,
    planted: Option<Planted>,
    pub(super) broker: MemoryBroker,
    pub(super) database: Arc<Database>,
    pub(super) dice: Arc<SimDice>,
    /// Whether its coordinators attend to schedules.
    has_schedules: bool,
    pub(super) healed: Arc<AtomicBool>,
    pub(super) coordinators: Vec<(Process, Coordinator)>,
    pub(super) workers: Vec<Process>,
    /// What hands over, and for how many turns it has.
    pub(super) leaving: Vec<(Process, usize)>,
    born: usize,
}

async fn live(case: &Case, told: &Told, planted: Option<Planted>) -> (Result<(), String>, String) {
    let mut shell = Shell::new(case, planted, false).await;
    let ended = shell.run(told).await;
    (ended, shell.database.history())
}

impl<'a> Shell<'a> {
    async fn run(&mut self, told: &Told) -> Result<(), String> {
        let run = self.start_run().await?;
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            if self.ended(run).await?.is_some() {
                break;
            }
            self.harm();
            self.replace_the_dead();
            self.reach_in().await?;
        }
        self.heal();
        let mut waited = Duration::ZERO;
        let row = loop {
            if let Some(row) = self.ended(run).await? {
                break row;
            }
            if waited > PATIENCE {
                let row = self.database.store.run(run).await;
                return Err(format!("the run is stuck: {row:?}"));
            }
            let pause = Duration::from_secs(1);
            waited += pause;
            tokio::time::sleep(pause).await;
            self.replace_the_dead();
            self.reach_in().await?;
        };
        // What is still on the wire may not start anything (G6).
        tokio::time::sleep(Duration::from_secs(30)).await;
        self.check(run, &row, told).await
    }

    pub(super) async fn new(case: &'a Case, planted: Option<Planted>, has_schedules: bool) -> Shell<'a> {
        let time = SimClock::new();
        let clock = OwnClock::new(&time);
        let own = clock.clone();
        let store = EmbeddedStore::in_memory_by(move || own.now());
        let store: Arc<dyn Store> = Arc::new(store.expect("a store in memory"));
        let all = case.children.iter().map(|(name, text)| (&**name, text));
        for (name, text) in all.chain([("generated", &case.text)]) {
            put_workflow(&*store, name, text).await;
        }
        let mut shell = Shell {
            case,
            planted,
            broker: MemoryBroker::new(),
            database: Arc::new(Database::new(store, time, clock)),
            dice: Arc::new(SimDice::new(case.seed)),
            has_schedules,
            healed: Arc::default(),
            coordinators: Vec::new(),
            workers: Vec::new(),
            leaving: Vec::new(),
            born: 0,
        };
        for at in 0..1 + shell.dice.below(2) {
            shell.bear_coordinator(["a", "b"][at]);
        }
        for _ in 0..2 {
            shell.bear_worker();
        }
        shell
    }

    fn process(&mut self, name: &str) -> (Process, Arc<FaultyLink>) {
        self.born += 1;
        let process = Process {
            name: format!("{name}-{}", self.born),
            fuse: Fuse::new(),
            stop: CancellationToken::new(),
            clock: OwnClock::new(&self.database.clock),
        };
        let link = FaultyLink {
            name: process.name.clone(),
            database: self.database.clone(),
            planted: self.planted,
            open: Arc::default(),
            reported: Arc::default(),
            inner: self.broker.link(&process.name),
            fuse: process.fuse.clone(),
            dice: self.dice.clone(),
            healed: self.healed.clone(),
        };
        (process, Arc::new(link))
    }

    pub(super) fn bear_coordinator(&mut self, name: &str) {
        let (process, link) = self.process(name);
        let store = self.store_of(&process);
        // Runs leave memory as soon as they only wait, or when they have piled up, or never.
        let cache_bytes_max = [0, 0, 5_000, usize::MAX][self.dice.below(4)];
        let config = CoordinatorConfig {
            cache_bytes_max,
            lease_ms: LEASE_MS,
            lease_keeper: Arc::new(TaskKeeper),
            clock: Arc::new(process.clock.clone()),
            dice: Arc::new(SimDice::new(hash(self.case.seed, &process.name))),
            ..CoordinatorConfig::new(name)
        };
        let coordinator = Coordinator::start(config, store.clone(), link.clone(), process.stop.clone());
        if self.has_schedules {
            let local = Local::new(coordinator.clone(), name, store.clone(), link);
            let limits = Arc::new(Limits::default());
            let stop = process.stop.clone();
            let registry = coordinator.metrics().registry.clone();
            let api = Api::new(store, Arc::new(local), limits, registry, BODY_BYTES_MAX, stop.clone());
            let schedules = Schedules::new(self.store_of(&process), Arc::new(api));
            drop(tokio::spawn(schedules.run(stop)));
        }
        self.coordinators.push((process, coordinator));
    }

    fn store_of(&self, process: &Process) -> Arc<FaultyStore> {
        Arc::new(FaultyStore {
            name: process.name.clone(),
            planted: self.planted,
            database: self.database.clone(),
            inner: self.database.store.clone(),
            fuse: process.fuse.clone(),
            dice: self.dice.clone(),
            healed: self.healed.clone(),
            looked: Mutex::default(),
        })
    }

    /// All coordinators die at once.
    pub(super) fn black_out(&self) {
        self.coordinators.iter().for_each(|(process, _)| process.fuse.blow());
    }

    pub(super) fn bear_worker(&mut self) {
        let (process, link) = self.process("w");
        let claimed = Arc::new(claimed_handlers_of(self.case));
        let dice = Arc::new(SimDice::new(hash(self.case.seed, &process.name)));
        let clock = Arc::new(process.clock.clone());
        let mut builder = Worker::builder()
            .name(&*process.name)
            .concurrency(3)
            .clock(clock)
            .dice(dice);
        for name in handlers_of(self.case) {
            let handler = SimHandler {
                name: process.name.clone(),
                claimed: claimed.clone(),
                world: self.case.world.clone(),
                database: self.database.clone(),
                fuse: process.fuse.clone(),
                dice: self.dice.clone(),
            };
            builder = builder.handle(name, Arc::new(handler));
        }
        let worker = builder.build(link).expect("a worker");
        drop(tokio::spawn(worker.run(process.stop.clone())));
        self.workers.push(process);
    }

    async fn start_run(&self) -> Result<RunId, String> {
        let mut run = None;
        for _ in 0..200 {
            for (_, coordinator) in self.coordinators.iter().filter(|(p, _)| !p.fuse.is_blown()) {
                if coordinator.partitions_owned().is_empty() {
                    continue;
                }
                let id = *run.get_or_insert_with(|| coordinator.new_run_id());
                self.database.runs.first(id);
                let start = Command::Start(Box::new(StartRun {
                    namespace: Namespace::default_name(),
                    workflow: "generated".to_owned(),
                    version: 1,
                    input: self.case.input.clone(),
                    tags: BTreeMap::new(),
                    priority: Priority::Normal,
                    parent: None,
                    is_awaited: false,
                    at: None,
                    traceparent: None,
                    idempotency_key: None,
                    may_exist: true,
                    expects_newest: false,
                }));
                if coordinator.submit(id, start).await.is_ok() {
                    return Ok(id);
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Err("no coordinator takes a start".to_owned())
    }

    /// Events, answers and operators reach the runs through whoever lives; what gets no answer is sent again.
    async fn reach_in(&self) -> Result<(), String> {
        let due = self.database.runs.due(&*self.database.store, self.case).await?;
        let alive: Vec<&Coordinator> = self
            .coordinators
            .iter()
            .filter(|(p, _)| !p.fuse.is_blown())
            .map(|(_, c)| c)
            .collect();
        if due.is_empty() || alive.is_empty() {
            return Ok(());
        }
        let (run, due) = &due[self.dice.below(due.len())];
        let coordinator = alive[self.dice.below(alive.len())];
        let is_answered = self.ask(coordinator, *run, due.command()).await;
        if let (false, Due::Operate { place, .. }) = (is_answered, due) {
            self.database.runs.note_unanswered(place);
        }
        Ok(())
    }

    /// Whether there was an answer: without one it may be carried out yet.
    async fn ask(&self, coordinator: &Coordinator, run: RunId, command: Command) -> bool {
        self.database.tell("", format_args!("from outside: {command:?}"));
        let answer = tokio::time::timeout(REACH, coordinator.submit(run, command)).await;
        self.database.tell("", format_args!("the answer: {answer:?}"));
        !matches!(answer, Err(_) | Ok(Err(CommandError::Unavailable { .. })))
    }

    async fn ended(&self, run: RunId) -> Result<Option<RunRow>, String> {
        if let Some(broken) = self.database.broken.lock().expect("the reports").first() {
            return Err(broken.clone());
        }
        let row = self.database.store.run(run).await.map_err(|e| e.to_string())?;
        let all = self.database.runs.have_ended(&*self.database.store, self.case).await?;
        Ok(row.filter(|row| all && row.status.is_terminal()))
    }

    async fn check(&self, run: RunId, row: &RunRow, told: &Told) -> Result<(), String> {
        self.ended(run).await?;
        let journal = self.database.store.journal(run, 0, 100_000).await;
        let journal = journal.map_err(|e| e.to_string())?;
        for (stored, seq) in journal.iter().zip(1..) {
            if stored.row.seq != seq {
                return Err(format!("row {} of the journal has number {}", seq, stored.row.seq));
            }
        }
        let has_unknown_outcomes = self.database.has_unknown_outcomes.load(Ordering::SeqCst);
        if told.log.doubt.is_some() || has_unknown_outcomes {
            return Ok(());
        }
        let runs = &self.database.runs;
        if !runs.operators_did_as_told(&*self.database.store, self.case).await? {
            return Ok(());
        }
        runs.with_reference(&*self.database.store, self.case, told).await?;
        let is_certain = row.status == RunStatus::Completed && !told.log.may_cancel;
        // Those of the runs that it called are behind the labels of these.
        let completed = told.log.completed.iter().filter(|path| !path.contains('~')).count();
        if is_certain && row.progress.done != completed as u64 {
            return Err(format!(
                "{} steps are done; the reference completes {completed}",
                row.progress.done
            ));
        }
        Ok(())
    }
}

async fn put_workflow(store: &dyn Store, name: &str, text: &str) {
    let format = if text.starts_with('{') {
        Format::Json
    } else {
        Format::Yaml
    };
    let tree = read(text.as_bytes(), format, &Limits::default()).expect("the document was read before");
    let namespace = Namespace::default_name();
    let text = tree.canonical_json();
    let stored = store.put_workflow(&namespace, name, "digest", text.as_ref());
    stored.await.expect("the workflow");
}

/// All handlers that a definition names, and those that it calls.
fn handlers_of(case: &Case) -> BTreeSet<String> {
    let calls = nodes_of(case).flat_map(|node| {
        let undo = node.kind.compensate().map(|compensate| &compensate.call);
        node.kind.calls().into_iter().chain(undo)
    });
    names(calls)
}

/// Those of them that only steps call which may begin once only.
fn claimed_handlers_of(case: &Case) -> BTreeSet<String> {
    let is_claimed = |node: &Node| node.kind.as_step().is_some_and(|step| !step.idempotent);
    let claimed = nodes_of(case).filter(|node| is_claimed(node));
    let mut claimed: BTreeSet<String> = names(claimed.flat_map(|node| node.kind.calls()));
    let others = nodes_of(case).filter(|node| !is_claimed(node));
    let undo = nodes_of(case).filter_map(|node| node.kind.compensate().map(|compensate| &compensate.call));
    let others = names(others.flat_map(|node| node.kind.calls()).chain(undo));
    claimed.retain(|name| !others.contains(name));
    claimed
}

fn names<'c>(calls: impl Iterator<Item = &'c HandlerCall>) -> BTreeSet<String> {
    calls.map(|call| call.uses.to_string()).collect()
}

fn nodes_of(case: &Case) -> impl Iterator<Item = &Node> {
    let children = case.children.iter();
    let children = children.filter_map(|(name, _)| case.world.definition(name, None));
    children.flat_map(|def| &def.nodes).chain(&case.def.nodes)
}

/// The handlers of the case, as a worker runs them.
struct SimHandler {
    /// Of the process.
    name: String,
    /// Handlers of steps that may begin once only.
    claimed: Arc<BTreeSet<String>>,
    world: World,
    database: Arc<Database>,
    fuse: Arc<Fuse>,
    dice: Arc<SimDice>,
}

#[async_trait]
impl Handle for SimHandler {
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        self.fuse.pass().await;
        let order = attempt.order();
        self.database.tell(
            &self.name,
            format_args!("starts {} {} #{}", order.run, order.path, order.attempt),
        );
        self.database.starts(order.run, order.step, &order.path, order.attempt);
        if self.claimed.contains(&*order.handler) {
            let attempt = (order.run, order.path.clone(), order.attempt);
            if !self.database.begun_once.lock().expect("the starts").insert(attempt) {
                let what = format!("{} attempt {} begins twice", order.path, order.attempt);
                self.database.report(what);
            }
        }
        let step = (order.run, order.path.clone());
        if self.database.committed.lock().expect("the commits").contains(&step) {
            let what = format!(
                "{} attempt {} starts after its completion was committed",
                step.1, order.attempt
            );
            self.database.report(what);
        }
        let ms = u64::try_from(self.dice.below(300)).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let input = Json::parse(attempt.input_text().as_bytes()).unwrap_or_default();
        outcome(self.world.call(&Call {
            run: &self.database.runs.label(order.run),
            path: &order.path,
            attempt: order.attempt,
            handler: &order.handler,
            input: &input,
            ctx: attempt.context_json(),
        }))
    }
}

fn outcome(reply: Reply) -> Outcome {
    match reply {
        Reply::Err { kind, retryable } => Outcome::Error(HandlerError {
            kind,
            message: "as told".to_owned(),
            retryable,
            ..HandlerError::default()
        }),
        Reply::Ok { output, set, unset } => {
            let set: Map = set.into_iter().map(|(k, v)| (k.to_string().into(), v)).collect();
            Outcome::Ok {
                output: Some(to_raw(&output)),
                set: (!set.is_empty()).then(|| to_raw(&Json::Object(Arc::new(set)))),
                unset: unset.iter().map(ToString::to_string).collect(),
            }
        }
    }
}
