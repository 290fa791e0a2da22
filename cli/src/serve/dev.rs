//! `rejoin dev`: everything in one process, workflows reloaded when their files change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rejoin_coordinator::api::access::Access;
use rejoin_coordinator::store::embedded::EmbeddedStore;
use rejoin_coordinator::store::postgres::migrate;
use rejoin_coordinator::store::{Store, StoreError};
use rejoin_shared::config::{HttpAccess, Settings};
use rejoin_shared::definition::{self, Format};
use rejoin_shared::ids::{Namespace, PARTITIONS};
use rejoin_shared::limits::Limits;
use rejoin_shared::link::Link;
use rejoin_shared::link::amqp::AmqpLink;
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::topology::Topology;
use rejoin_worker::{GenericWorkerConfig, run_generic};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::coordinator::{access as access_of, broker_config, serve};
use super::{readable_database, settings, signals, start_logs, start_traces, store_config};
use crate::args::DevArgs;
use crate::exit::Failure;
use crate::output;
use crate::workflow::check;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the coordinator to record what the worker told it last.
const RECORDED_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const RECORDED_LOOK: Duration = Duration::from_millis(10);
/// The workers' file, which is no workflow.
const HANDLERS: &str = "handlers.yaml";

/// Runs it until it is told to stop.
pub async fn run(args: DevArgs) -> Result<(), Failure> {
    let mut settings = settings(&args.servers)?;
    if let Some(listen) = &args.listen {
        settings.http.listen.clone_from(listen);
    }
    settings.validate().map_err(|e| Failure::usage(e.to_string()))?;
    start_logs(&settings)?;
    if !args.dir.is_dir() {
        return Err(Failure::usage(format!("{} is no folder", args.dir.display())));
    }
    let (store, access) = store(&args, &settings).await?;
    let stopping = signals::stopping()?;
    let tracer = start_traces(&settings, "rejoin-worker")?;
    let own_broker = args.servers.amqp_url.is_none().then(MemoryBroker::new);
    let [link, worker_link] = links(&settings, own_broker.as_ref())?;
    let tasks = TaskTracker::new();
    tasks.spawn(reload(
        args.dir.clone(),
        store.clone(),
        settings.limits.clone(),
        stopping.clone(),
    ));
    let config = GenericWorkerConfig {
        handlers: args.dir.join(HANDLERS),
        name: Some("dev".to_owned()),
        prefix: settings.amqp.prefix.clone(),
        limits: settings.limits.clone(),
        tracer: tracer.clone(),
        ..GenericWorkerConfig::default()
    };
    tasks.spawn(work(config, worker_link.clone(), stopping.clone()));
    tasks.close();
    let worker_gone = CancellationToken::new();
    let serving = async {
        let served = serve(&settings, store, None, link.clone(), access, worker_gone.clone()).await;
        stopping.cancel();
        served
    };
    // The coordinator goes last: what the worker tells while it drains is recorded, or it would run again after the next start.
    let leaving = async {
        stopping.cancelled().await;
        tasks.wait().await;
        if let Some(own) = &own_broker {
            recorded(own, &settings.amqp.prefix).await;
        }
        worker_gone.cancel();
    };
    let (served, ()) = tokio::join!(serving, leaving);
    tokio::join!(link.close(), worker_link.close());
    tracer.close().await;
    served
}

/// Where the runs stand, and who may ask for them.
async fn store(args: &DevArgs, settings: &Settings) -> Result<(Arc<dyn Store>, Access), Failure> {
    if args.servers.database_url.is_some() {
        return served_store(settings).await;
    }
    if settings.http.access == HttpAccess::Tokens {
        let why = "http.access = tokens: tokens stand in a database, and `rejoin dev` has one with --database-url only";
        return Err(Failure::usage(why));
    }
    if settings.encryption.newest().is_some() {
        let why = "encryption.key: payloads are sealed in PostgreSQL, and `rejoin dev` has one with --database-url only; its own \
            store is a file of yours in .rejoin";
        return Err(Failure::usage(why));
    }
    let dir = args.data_dir.clone().unwrap_or_else(|| args.dir.join(".rejoin"));
    let store = EmbeddedStore::open(&dir).map_err(|e| unopened(&dir, e))?;
    Ok((Arc::new(store), Access::Open))
}

/// A database, with all tables.
async fn served_store(settings: &Settings) -> Result<(Arc<dyn Store>, Access), Failure> {
    let migrated = migrate(store_config(settings)?).await;
    migrated.map_err(|e| Failure::general(format!("database {}: {e}", settings.database.url)))?;
    let store = Arc::new(readable_database(settings).await?);
    let access = match settings.http.access {
        HttpAccess::Tokens => access_of(settings, store.clone()).await?,
        HttpAccess::Auto | HttpAccess::Open => Access::offered(store.clone()),
    };
    Ok((store, access))
}

/// Waits until the coordinator has settled all that the worker told it, which it does once that is committed: the broker's queues
/// end with this process.
async fn recorded(own: &MemoryBroker, prefix: &str) {
    let topology = Topology {
        prefix: prefix.to_owned(),
    };
    let held = || (0..PARTITIONS).map(|n| own.held(&topology.events(n))).sum::<usize>();
    let until = Instant::now() + RECORDED_MAX;
    while held() > 0 {
        if Instant::now() > until {
            output::note(
                "some of what the steps ended with could not be recorded: they run again after the next start",
            );
            return;
        }
        tokio::time::sleep(RECORDED_LOOK).await;
    }
}

/// No server is away where the store is a file.
fn unopened(dir: &Path, error: StoreError) -> Failure {
    if let StoreError::Away(why) = error {
        return Failure::general(why);
    }
    Failure::general(format!("{}: {error}", dir.display()))
}

/// Those of the coordinator and of the worker.
fn links(settings: &Settings, own_broker: Option<&MemoryBroker>) -> Result<[Arc<dyn Link>; 2], Failure> {
    if let Some(broker) = own_broker {
        return Ok([broker.link("coordinator"), broker.link("worker")]);
    }
    let own = broker_config(settings, "rejoin dev")?;
    let workers = broker_config(settings, "rejoin dev worker")?;
    Ok([AmqpLink::connect(own), AmqpLink::connect(workers)])
}

/// Runs the worker; where its file is wrong or changes, it is started anew with what stands there then.
async fn work(config: GenericWorkerConfig, link: Arc<dyn Link>, stopping: CancellationToken) {
    let mut told = None;
    while !stopping.is_cancelled() {
        let changed = modified(&config.handlers);
        if changed.is_none() && told != Some(None) {
            output::note(&format!("no {} yet: no worker runs", config.handlers.display()));
        }
        if changed.is_some() && told != Some(changed) {
            let again = stopping.child_token();
            let watched = config.handlers.clone();
            let watching = async {
                while modified(&watched) == changed {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                again.cancel();
            };
            let working = run_generic(config.clone(), link.clone(), again.clone());
            tokio::pin!(working);
            let outcome = tokio::select! {
                outcome = &mut working => outcome,
                () = watching => working.await,
                () = stopping.cancelled() => working.await,
            };
            if let Err(error) = outcome {
                output::note(&format!("worker: {error}"));
            }
        }
        told = Some(changed);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopping.cancelled() => {}
        }
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|m| m.modified()).ok()
}

/// Registers the workflows of a folder, and again whenever a file changes.
async fn reload(dir: PathBuf, store: Arc<dyn Store>, limits: Limits, stopping: CancellationToken) {
    let mut seen: HashMap<PathBuf, Option<SystemTime>> = HashMap::new();
    while !stopping.is_cancelled() {
        for file in workflow_files(&dir) {
            let changed = modified(&file);
            if seen.get(&file) != Some(&changed) {
                register(&file, &*store, &limits).await;
                seen.insert(file, changed);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopping.cancelled() => {}
        }
    }
}

fn workflow_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_workflow = |path: &PathBuf| {
        let is_yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        is_yaml && path.file_name().is_some_and(|n| n != HANDLERS)
    };
    let mut files: Vec<PathBuf> = entries.map(|e| e.path()).filter(is_workflow).collect();
    files.sort();
    files
}

/// Says what became of a file; a wrong one leaves what was registered before.
async fn register(file: &Path, store: &dyn Store, limits: &Limits) {
    let note = |text: String| output::note(&text);
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(e) => return note(format!("{}: {e}", file.display())),
    };
    let name = match check(file, &text) {
        Ok(name) => name,
        Err(failure) => return note(failure.to_string()),
    };
    let Ok(tree) = definition::read(&text, Format::Auto, limits) else {
        return;
    };
    let namespace = Namespace::default_name();
    match store
        .put_workflow(&namespace, &name, &tree.digest(), &tree.canonical_json())
        .await
    {
        Ok((row, true)) => note(format!("{}: {name} version {} registered", file.display(), row.version)),
        Ok((row, false)) => note(format!("{}: {name} version {} is known", file.display(), row.version)),
        Err(e) => note(format!("{}: {e}", file.display())),
    }
}
