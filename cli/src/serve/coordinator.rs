//! `rejoin coordinator`

use std::sync::Arc;
use std::time::Duration;

use rejoin_coordinator::api::Api;
use rejoin_coordinator::api::access::Access;
use rejoin_coordinator::api::backend::Local;
use rejoin_coordinator::api::rates::Rates;
use rejoin_coordinator::api::rules::Rules;
use rejoin_coordinator::broker::gate::Gate;
use rejoin_coordinator::broker::tokens::Tokens;
use rejoin_coordinator::console;
use rejoin_coordinator::coordinator::{Coordinator, CoordinatorConfig};
use rejoin_coordinator::services::gauges::Gauges;
use rejoin_coordinator::services::retention::Retention;
use rejoin_coordinator::services::schedules::Schedules;
use rejoin_coordinator::store::Store;
use rejoin_coordinator::store::tokens::TokenStore;
use rejoin_shared::config::{HttpAccess, Settings};
use rejoin_shared::link::Link;
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::redact::Redactor;
use rejoin_shared::tls::ServerTls;
use rejoin_shared::topology::Topology;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::supervised::{Supervised, tell};
use super::{amqp_config, database, readable_database, settings, signals, start_logs, start_traces};
use crate::args::CoordinatorArgs;
use crate::exit::Failure;
use crate::output;

/// Longest wait for what services are at; what they leave, others find.
const SERVICES_STOP_MAX: Duration = Duration::from_secs(5);

/// Runs a coordinator until it is told to stop and has handed its partitions over.
pub async fn run(args: CoordinatorArgs) -> Result<(), Failure> {
    let mut settings = settings(&args.servers)?;
    if let Some(listen) = args.listen {
        settings.http.listen = listen;
    }
    if let Some(name) = args.name {
        settings.coordinator.name = name;
    }
    settings.validate().map_err(|e| Failure::usage(e.to_string()))?;
    if args.print_config {
        return output::text(&settings.printed());
    }
    start_logs(&settings)?;
    // What is wrong with its settings is told at once. It is connected to last: a link that is dropped while it connects leaves
    // the client library's tasks behind, which die loudly.
    let amqp = broker_config(&settings, "rejoin coordinator")?;
    let tokens = Arc::new(readable_database(&settings).await?);
    let store: Arc<dyn Store> = tokens.clone();
    // The lease is renewed over connections of its own: a busy pool must not cost the partitions.
    let lease_store: Arc<dyn Store> = Arc::new(database(&settings).await?);
    let stopping = signals::stopping()?;
    let access = access(&settings, tokens).await?;
    let link: Arc<dyn Link> = AmqpLink::connect(amqp);
    let outcome = serve(&settings, store, Some(lease_store), link.clone(), access, stopping).await;
    link.close().await;
    outcome
}

/// The broker as configured.
pub fn broker_config(settings: &Settings, name: &str) -> Result<AmqpConfig, Failure> {
    Ok(AmqpConfig {
        mends_queues: true,
        ..amqp_config(settings, name)?
    })
}

/// A coordinator and its API over any store and link, until `stopping`.
pub async fn serve(
    settings: &Settings,
    store: Arc<dyn Store>,
    lease_store: Option<Arc<dyn Store>>,
    link: Arc<dyn Link>,
    access: Access,
    stopping: CancellationToken,
) -> Result<(), Failure> {
    let tls = http_tls(settings)?;
    let tracer = start_traces(settings, "rejoin-coordinator")?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let listen = &settings.http.listen;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|e| Failure::general(format!("http.listen = {listen}: {e}")))?;
    let address = listener
        .local_addr()
        .map(|a| a.to_string())
        .unwrap_or_else(|_| listen.clone());
    let name = match settings.coordinator.name.as_str() {
        "" => format!("{}@{address}", host_name()),
        given => given.to_owned(),
    };
    let config = CoordinatorConfig {
        address: format!("{scheme}://{address}"),
        lease_ms: u64::try_from(settings.coordinator.lease.0.as_millis()).unwrap_or(u64::MAX),
        cache_bytes_max: settings.coordinator.cache_bytes,
        drain: settings.coordinator.drain.0,
        topology: Topology {
            prefix: settings.amqp.prefix.clone(),
        },
        limits: settings.limits.clone(),
        gate: Arc::new(gate(settings)?),
        lease_store,
        tracer: tracer.clone(),
        ..CoordinatorConfig::new(&name)
    };
    let coordinator = Coordinator::start(config, store.clone(), link.clone(), CancellationToken::new());
    let backend = Arc::new(Local::new(coordinator.clone(), &name, store.clone(), link));
    let _told = tell(
        Supervised::coordinator(backend.clone(), coordinator.clone()),
        stopping.clone(),
    );
    let limits = Arc::new(settings.limits.clone());
    let metrics = coordinator.metrics().clone();
    let body_max = settings.http.body_bytes_max;
    let services = CancellationToken::new();
    let tasks = TaskTracker::new();
    let registry = metrics.registry.clone();
    let mut api = Api::new(store.clone(), backend, limits, registry, body_max, stopping)
        .with_access(access)
        .with_rules(rules(settings));
    if !settings.http.console {
        api = api.without_console();
    }
    tasks.spawn(Schedules::new(store.clone(), Arc::new(api.clone())).run(services.clone()));
    let gauges = Gauges::new(store.clone(), coordinator.dead_letters().clone(), metrics.clone());
    tasks.spawn(gauges.run(services.clone()));
    let retention = Retention::new(store, settings.retention.by_state());
    tasks.spawn(retention.run(metrics, services.clone()));
    announce(settings, &name, &format!("{scheme}://{address}"));
    let served = match tls {
        None => api.serve(listener).await,
        Some(tls) => api.serve_tls(listener, tls).await,
    };
    services.cancel();
    tasks.close();
    if tokio::time::timeout(SERVICES_STOP_MAX, tasks.wait()).await.is_err() {
        output::note("a schedule's start is left to another coordinator");
    }
    coordinator.shutdown().await;
    tracer.close().await;
    served.map_err(|e| Failure::general(format!("http: {e}")))
}

/// Says where it can be reached.
fn announce(settings: &Settings, name: &str, origin: &str) {
    output::note(&format!("coordinator {name} serves {origin}"));
    if settings.http.console {
        output::note(&format!("console: {origin}{}", console::PATH));
    }
}

/// What holds for all requests.
fn rules(settings: &Settings) -> Rules {
    let rate = settings.http.requests_per_second_max;
    Rules {
        rates: (rate > 0).then(|| Arc::new(Rates::new(rate))),
        header_bytes_max: settings.http.header_bytes_max,
        is_read_only: settings.http.read_only,
        redactor: Redactor::of(&settings.redaction.keys).map(Arc::new),
        ..Rules::default()
    }
}

/// Whose messages are taken in.
fn gate(settings: &Settings) -> Result<Gate, Failure> {
    let words = |text: &str| {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let workers = words(&settings.amqp.worker_users);
    let mut coordinators = words(&settings.amqp.coordinator_users);
    if !workers.is_empty() {
        let own = amqp_config(settings, "")?.user().ok_or_else(|| {
            Failure::usage("amqp.worker_users needs amqp.user_id and a user in amqp.url: what coordinators tell each other would be refused")
        })?;
        coordinators.push(own);
    }
    Ok(Gate::of_users(workers, coordinators).with_tokens(tokens(settings)))
}

/// The keys of dispatches, if there are any.
fn tokens(settings: &Settings) -> Option<Tokens> {
    let of = &settings.coordinator;
    let older = Some(of.dispatch_key_older.reveal().as_bytes()).filter(|key| !key.is_empty());
    let newest = of.dispatch_key.reveal().as_bytes();
    (!newest.is_empty()).then(|| Tokens::new(newest, older.as_slice(), of.dispatch_token_required))
}

/// What the API shows to clients; whatever is wrong with it shows at the start.
fn http_tls(settings: &Settings) -> Result<Option<ServerTls>, Failure> {
    let wrong = |e: String| Failure::usage(format!("http.tls_cert, http.tls_key, http.tls_client_ca: {e}"));
    let tls = settings.http.tls().map_err(|e| wrong(e.to_owned()))?;
    if let Some(tls) = &tls {
        tls.config().map_err(|e| wrong(e.to_string()))?;
    }
    Ok(tls)
}

/// Who may speak to the API. One that others than this machine can reach does not start open by mistake, nor closed to all.
///
/// # Errors
/// Tokens are needed, and there is none.
pub async fn access(settings: &Settings, tokens: Arc<dyn TokenStore>) -> Result<Access, Failure> {
    let listen = &settings.http.listen;
    match settings.http.access {
        HttpAccess::Open => return Ok(Access::offered(tokens)),
        HttpAccess::Auto if is_loopback(listen).await => return Ok(Access::offered(tokens)),
        HttpAccess::Auto | HttpAccess::Tokens => {}
    }
    let first = tokens.tokens(None, 1).await;
    let first = first.map_err(|e| Failure::general(format!("tokens: {e}")))?;
    match first.is_empty() {
        false => Ok(Access::tokens(tokens)),
        true => Err(Failure::usage(format!(
            "http.listen = {listen} can be reached from elsewhere, and there is no token yet: make one with `rejoin token create`, \
             or say http.access = \"open\" if everybody who reaches it may do everything"
        ))),
    }
}

/// Whether only this machine can reach an address.
async fn is_loopback(listen: &str) -> bool {
    match tokio::net::lookup_host(listen).await {
        Ok(addresses) => addresses.into_iter().all(|address| address.ip().is_loopback()),
        // It cannot be listened on either.
        Err(_) => false,
    }
}

fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = read.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_coordinator::api::access::{NewToken, create};
    use rejoin_coordinator::store::embedded::EmbeddedStore;
    use rejoin_coordinator::store::tokens::Scope;
    use rejoin_shared::ids::Namespace;
    use rejoin_shared::time::Timestamp;

    #[tokio::test]
    async fn a_coordinator_that_others_can_reach_needs_a_token_unless_it_is_told_to_be_open() {
        let store = Arc::new(EmbeddedStore::in_memory().expect("a store in memory"));
        let asked = async |listen: &str, asked: HttpAccess| {
            let mut settings = Settings::default();
            settings.http.listen = listen.to_owned();
            settings.http.access = asked;
            let access = access(&settings, store.clone()).await;
            access
                .map(|access| !matches!(access, Access::Tokens(_)))
                .map_err(|failure| failure.code())
        };
        assert_eq!(asked("127.0.0.1:0", HttpAccess::Auto).await, Ok(true));
        assert_eq!(asked("[::1]:0", HttpAccess::Auto).await, Ok(true));
        assert_eq!(asked("0.0.0.0:0", HttpAccess::Open).await, Ok(true));
        assert_eq!(asked("0.0.0.0:0", HttpAccess::Auto).await, Err(2));
        assert_eq!(asked("127.0.0.1:0", HttpAccess::Tokens).await, Err(2));
        let new = NewToken {
            name: "first".to_owned(),
            namespace: Namespace::default_name(),
            scope: Scope::Viewer,
            lifetime: None,
        };
        create(&*store, new, Timestamp::now()).await.expect("made");
        assert_eq!(asked("0.0.0.0:0", HttpAccess::Auto).await, Ok(false));
        assert_eq!(asked("127.0.0.1:0", HttpAccess::Tokens).await, Ok(false));
    }
}
