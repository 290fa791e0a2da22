//! Fresh stores to test, and the values the tests fill them with.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rejoin_coordinator::store::embedded::EmbeddedStore;
use rejoin_coordinator::store::postgres::{PostgresStore, StoreConfig, migrate};
use rejoin_coordinator::store::seal::Codec;
use rejoin_coordinator::store::tokens::TokenStore;
use rejoin_coordinator::store::{
    Batch, Claim, JournalRow, Member, RunChange, RunEnd, RunRow, Store, StoreError, StoredRow,
};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::{Counts, Outcome, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio_postgres::NoTls;
use uuid::Uuid;

/// Defines each claim once more for each store.
macro_rules! on_every_store {
    ($($claim:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                super::$claim(&$crate::subject::Subject::embedded()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                if let Some((subject, _database)) = $crate::subject::Subject::postgres().await {
                    super::$claim(&subject).await;
                }
            })*
        }
        mod sealed {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                if let Some((subject, _database)) = $crate::subject::Subject::sealed().await {
                    super::$claim(&subject).await;
                }
            })*
        }
    };
}

/// A store, and the same one over other connections.
pub struct Subject {
    pub store: Arc<dyn Store>,
    pub other: Arc<dyn Store>,
    pub tokens: Arc<dyn TokenStore>,
}

impl Subject {
    pub fn embedded() -> Subject {
        let store = EmbeddedStore::in_memory().expect("memory is there");
        Subject {
            store: Arc::new(store.clone()),
            other: Arc::new(store.clone()),
            tokens: Arc::new(store),
        }
    }

    /// A store in a fresh, migrated database; none if no server is named.
    pub async fn postgres() -> Option<(Subject, Database)> {
        let database = Database::create().await?;
        migrate(&database.url).await.expect("an empty database can be migrated");
        let subject = Subject {
            store: Arc::new(database.store().await),
            other: Arc::new(database.store().await),
            tokens: Arc::new(database.store().await),
        };
        Some((subject, database))
    }

    /// The same, where payloads are sealed: by the one with an older key, by the other with the newest.
    pub async fn sealed() -> Option<(Subject, Database)> {
        let database = Database::create().await?;
        migrate(&database.url).await.expect("an empty database can be migrated");
        let subject = Subject {
            store: Arc::new(database.store_with(codec(&["k1", "k2"], Some("k1"))).await),
            other: Arc::new(database.store_with(codec(&["k1", "k2"], Some("k2"))).await),
            tokens: Arc::new(database.store().await),
        };
        Some((subject, database))
    }

    /// Owns `partition` as a fresh member with a long lease.
    pub async fn own(&self, partition: Partition) -> Claim {
        let member = member("owner");
        self.store.renew(&member, 60_000).await.expect("a member may join");
        let claims = self
            .store
            .claim(&member, &[partition], None)
            .await
            .expect("a claim is answered");
        *claims.first().expect("the partition is free")
    }

    /// Appends under `claim` and moves it on.
    pub async fn append(&self, claim: &mut Claim, batch: Batch) -> Timestamp {
        let at = self
            .store
            .append(&Batch {
                claims: vec![*claim],
                ..batch
            })
            .await
            .expect("the owner appends");
        claim.batch += 1;
        at
    }

    /// A run with nothing in its journal.
    pub async fn started(&self, claim: &mut Claim) -> RunId {
        let run = new_run(claim.partition);
        let id = run.id;
        self.append(
            claim,
            Batch {
                created: vec![run],
                ..Batch::default()
            },
        )
        .await;
        id
    }

    pub async fn whole_journal(&self, run: RunId) -> Vec<StoredRow> {
        self.store
            .journal(run, 0, 1_000_000)
            .await
            .expect("the journal is read")
    }
}

/// A database of its own, dropped with this value.
pub struct Database {
    admin_url: String,
    name: String,
    pub url: String,
}

impl Database {
    pub async fn create() -> Option<Database> {
        let Ok(admin_url) = std::env::var("REJOIN_TEST_DATABASE_URL") else {
            let is_required = std::env::var("REJOIN_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
            assert!(
                !is_required,
                "REJOIN_TEST_DATABASE_URL is not set, but servers are required"
            );
            eprintln!("skipped: REJOIN_TEST_DATABASE_URL is not set");
            return None;
        };
        let name = format!("rejoin_test_{}", Uuid::new_v4().simple());
        execute(
            &admin_url,
            &format!("create database {name} encoding 'UTF8' template template0"),
        )
        .await;
        let url = with_database(&admin_url, &name);
        Some(Database { admin_url, name, url })
    }

    pub fn config(&self) -> StoreConfig {
        StoreConfig {
            url: self.url.clone(),
            pool_size: 4,
            ..StoreConfig::default()
        }
    }

    pub async fn store(&self) -> PostgresStore {
        PostgresStore::connect(self.config())
            .await
            .expect("a migrated database is connected to")
    }

    /// One that seals and opens with `codec`.
    pub async fn store_with(&self, codec: Codec) -> PostgresStore {
        let config = StoreConfig { codec, ..self.config() };
        PostgresStore::connect(config)
            .await
            .expect("the keys are those of the database")
    }

    pub async fn client(&self) -> tokio_postgres::Client {
        connect(&self.url).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("drop database if exists {} with (force)", self.name);
        let url = self.admin_url.clone();
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(execute(&url, &sql));
        });
        if dropping.join().is_err() {
            eprintln!("the database {} could not be dropped", self.name);
        }
    }
}

/// `url` with another database: its path, or its `dbname`.
fn with_database(url: &str, name: &str) -> String {
    if !url.contains("://") {
        return format!("{url} dbname={name}");
    }
    let (address, query) = url
        .split_once('?')
        .map_or((url, None), |(address, query)| (address, Some(query)));
    let (scheme, rest) = address.split_once("://").expect("checked above");
    let host = rest.split('/').next().unwrap_or_default();
    query.map_or(format!("{scheme}://{host}/{name}"), |query| {
        format!("{scheme}://{host}/{name}?{query}")
    })
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the test server answers");
    drop(tokio::spawn(connection));
    client
}

async fn execute(url: &str, sql: &str) {
    connect(url).await.batch_execute(sql).await.expect("the statement runs");
}

/// Keys by their ids, each drawn from its id, and the one that is written with.
pub fn codec(ids: &[&str], newest: Option<&str>) -> Codec {
    let key = |id: &str| <[u8; 32]>::from(Sha256::digest(id));
    let keys: Vec<[u8; 32]> = ids.iter().map(|id| key(id)).collect();
    Codec::new(ids.iter().copied().zip(&keys), newest).expect("the newest is one of them")
}

/// Polls until `holds` says so, at most 10 s.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 10 s: {what}");
}

pub fn namespace(name: &str) -> Namespace {
    Namespace(name.into())
}

pub fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        incarnation: Uuid::new_v4(),
        address: format!("http://{name}:1"),
    }
}

pub fn json(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub fn new_run(partition: Partition) -> RunRow {
    RunRow {
        id: RunId::new_in(partition),
        namespace: Namespace::default_name(),
        workflow: "order".to_owned(),
        version: 1,
        status: RunStatus::Running,
        priority: Priority::Normal,
        input: json("{}"),
        context: None,
        output: None,
        error: None,
        compensated: false,
        tags: BTreeMap::new(),
        idempotency_key: None,
        parent: None,
        forked_from: None,
        progress: Progress::default(),
        counts: Counts::default(),
        wake_at: None,
        created_at: Timestamp(1_800_000_000_000_000),
        started_at: None,
        finished_at: None,
    }
}

pub fn record(run: RunId, seq: u64) -> JournalRow {
    JournalRow {
        run,
        seq,
        kind: "step_completed".into(),
        path: Some(format!("main/step[{seq}]")),
        attempt: Some(1),
        outcome: Some(Outcome::Ok),
        worker: Some("w-1".into()),
        body: json("{}"),
        output: Some(json("{\"n\":1.0}")),
        snapshot: None,
        logs: None,
    }
}

pub fn records(run: RunId, seqs: std::ops::RangeInclusive<u64>) -> Vec<JournalRow> {
    seqs.map(|seq| record(run, seq)).collect()
}

pub fn change(run: RunId, status: RunStatus) -> RunChange {
    RunChange {
        run,
        status,
        progress: Progress::default(),
        counts: Counts::default(),
        wake_at: None,
        ended: None,
        reopened: false,
    }
}

pub fn end(run: RunId, status: RunStatus) -> RunChange {
    let ended = RunEnd {
        context: Some(json("{\"a\":1.0}")),
        output: Some(json("7")),
        error: Some(json("{\"type\":\"x\"}")),
        compensated: true,
    };
    RunChange {
        ended: Some(ended),
        ..change(run, status)
    }
}

pub fn is_not_owner<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::NotOwner(_)))
}

pub fn is_refused<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Refused(_)))
}
