//! Payloads sealed at rest: what stands in the database then, what reads it, and what becomes of what cannot be read.
//! (All other claims are tested over sealed payloads too.)

use std::sync::Arc;

use bytes::Bytes;
use rejoin_coordinator::owner::command::Command;
use rejoin_coordinator::services::schedules::{ChangeError, read};
use rejoin_coordinator::store::postgres::{KeyUse, PostgresStore, StoreConfig, migrate};
use rejoin_coordinator::store::{
    Batch, Broadcast, InboxMessage, InboxPage, RunFilter, RunRow, ScheduleRow, Store, StoreError, WaitKind, WaitRow,
};
use rejoin_shared::ids::{Namespace, PARTITIONS, Partition, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use rejoin_worker::{GenericWorkerConfig, generic};

use crate::subject::{Database, Subject, codec, end, namespace, new_run, record};
use crate::support::{World, soon, start};

/// What must show nowhere.
const SECRET: &str = "DE02120300000000202051";
const WORK: &str = "
workflow: w
steps:
  - step: work
  - wait: approval
    event: go
  - step: fails
";
/// Logs what it gets, and returns it; the other one fails with it.
const HANDLERS: &str = r#"
handlers:
  work: { exec: [sh, -c, "tee /dev/stderr"] }
  fails: { exec: [sh, -c, "cat >/dev/null; echo '{\"$error\": {\"message\": \"DE02120300000000202051\", \"retryable\": false}}'"] }
"#;

async fn migrated() -> Option<Database> {
    let database = Database::create().await?;
    migrate(&database.url).await.expect("an empty database can be migrated");
    Some(database)
}

fn secret() -> Json {
    Json::parse(format!("{{\"iban\":\"{SECRET}\"}}").as_bytes()).expect("JSON")
}

fn secret_bytes() -> Bytes {
    secret().to_bytes().into()
}

/// Columns of the whole schema in which the secret shows, sorted.
async fn shown_in(database: &Database) -> Vec<String> {
    let client = database.client().await;
    let columns = "select table_name::text, column_name::text, data_type::text from information_schema.columns \
        where table_schema = current_schema() and table_name in (select relname::text from pg_class where relkind = 'r')";
    let mut shown = Vec::new();
    for column in client.query(columns, &[]).await.expect("the columns") {
        let (table, name, kind): (String, String, String) = (column.get(0), column.get(1), column.get(2));
        let holds = match kind.as_str() {
            "bytea" => format!("position(convert_to($1, 'UTF8') in \"{name}\") > 0"),
            _ => format!("strpos(\"{name}\"::text, $1) > 0"),
        };
        let sql = format!("select count(*) from \"{table}\" where {holds}");
        let count: i64 = client.query_one(&sql, &[&SECRET]).await.expect("searched").get(0);
        if count > 0 {
            shown.push(format!("{table}.{name}"));
        }
    }
    shown.sort();
    shown
}

fn go() -> Command {
    Command::Signal {
        from: Namespace::default_name(),
        event: "go".to_owned(),
        payload: secret(),
        id: None,
        is_addressed: true,
        sender: None,
    }
}

/// A world over this store, with the workflow and its worker.
async fn world_over(store: PostgresStore, folder: &std::path::Path) -> (World, tokio_util::sync::DropGuard) {
    let world = World {
        broker: MemoryBroker::new(),
        store: Arc::new(store),
    };
    world.put("w", WORK).await;
    let handlers = folder.join("handlers.yaml");
    std::fs::write(&handlers, HANDLERS).expect("a file");
    let config = GenericWorkerConfig {
        handlers,
        limits: Limits::default(),
        ..GenericWorkerConfig::default()
    };
    let worker = world.work("worker", generic::builder(&config).expect("a worker"));
    (world, worker)
}

/// A schedule that starts a run with the secret, and failed over it.
fn schedule() -> ScheduleRow {
    ScheduleRow {
        namespace: namespace("default"),
        name: "nightly".to_owned(),
        spec: format!("{{\"workflow\":\"w\",\"input\":{}}}", secret()).into(),
        revision: 0,
        is_paused: true,
        anchor_at: Timestamp(1_800_000_000_000_000),
        next_at: None,
        pending: Vec::new(),
        caught_up: 0,
        last_run: None,
        open_runs: Vec::new(),
        failures: 1,
        last_error: Some(format!("the run failed: {SECRET}")),
        wake_at: None,
    }
}

fn message(run: RunId, body: Bytes) -> InboxMessage {
    InboxMessage {
        partition: run.partition(),
        run,
        kind: "event".to_owned(),
        body,
        dedupe_key: None,
        wants_verdict: false,
    }
}

/// Runs, events, schedules and messages with the secret, in a database of their own.
async fn live_with_the_secret(store: PostgresStore, database: &Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let (world, _worker) = world_over(store, folder.path()).await;
    let coordinator = world.coordinator("c");
    let input = secret().to_string();
    let (waiting, failing) = (start(&coordinator, &input).await, start(&coordinator, &input).await);
    world.reaches(waiting, RunStatus::Waiting).await;
    world.reaches(failing, RunStatus::Waiting).await;
    coordinator.submit(failing, go()).await.expect("sent");
    let failed = world.reaches(failing, RunStatus::Failed).await;
    for part in [&failed.input].into_iter().chain(&failed.context).chain(&failed.error) {
        assert!(
            String::from_utf8_lossy(part).contains(SECRET),
            "the run had it: {failed:?}"
        );
    }
    assert!(world.store.add_schedule(&schedule()).await.expect("added"));
    coordinator.shutdown().await;
    world
        .store
        .inbox_put(&message(waiting, secret_bytes()))
        .await
        .expect("put");
    let cast = Broadcast {
        namespace: Namespace::default_name(),
        event: "go".to_owned(),
        kind: "event".to_owned(),
        body: secret_bytes(),
        dedupe_key: None,
    };
    assert_eq!(world.store.broadcast(&cast).await.expect("put"), 1);
    let completions = database.client().await;
    let sql = "select count(*) from rejoin_completions where output is not null";
    let readable: i64 = completions.query_one(sql, &[]).await.expect("the view").get(0);
    let keys = "select count(*) from journal where rejoin_key_of(body) is not null";
    let sealed: i64 = completions.query_one(keys, &[]).await.expect("the function").get(0);
    assert_eq!(
        readable > 0,
        sealed == 0,
        "a view shows what is plain, and null otherwise"
    );
    completions
        .query("select * from rejoin_runs", &[])
        .await
        .expect("the view");
    completions
        .query("select * from rejoin_steps", &[])
        .await
        .expect("the view");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_payload_shows_in_any_column_of_the_database() {
    let (Some(plain), Some(sealed)) = (migrated().await, migrated().await) else {
        return;
    };
    live_with_the_secret(plain.store().await, &plain).await;
    let columns = shown_in(&plain).await;
    for column in [
        "inbox.body",
        "journal.body",
        "journal.logs",
        "journal.output",
        "runs.context",
        "runs.error",
        "runs.input",
        "schedules.last_error",
        "schedules.spec",
    ] {
        assert!(
            columns.iter().any(|shown| shown == column),
            "without a key it stands in {column}: {columns:?}"
        );
    }
    live_with_the_secret(sealed.store_with(codec(&["k1"], Some("k1"))).await, &sealed).await;
    assert_eq!(shown_in(&sealed).await, Vec::<String>::new());
    let store = sealed.store_with(codec(&["k1"], None)).await;
    let read = store
        .schedule(&namespace("default"), "nightly")
        .await
        .expect("read")
        .expect("there");
    assert_eq!((read.spec, read.last_error), (schedule().spec, schedule().last_error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_over_a_rotation_and_waits_for_a_process_that_has_its_key() {
    let Some(database) = migrated().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let open = async |keys: &[&str], newest: &str| database.store_with(codec(keys, Some(newest))).await;
    let (world, _worker) = world_over(open(&["k1"], "k1").await, folder.path()).await;
    let first = world.coordinator("first");
    let (old, other) = (start(&first, "{\"i\":1}").await, start(&first, "{\"i\":2}").await);
    world.reaches(old, RunStatus::Waiting).await;
    world.reaches(other, RunStatus::Waiting).await;
    first.shutdown().await;

    // One without the older key cannot go on with them, and spoils nothing; its own runs do not mind.
    let (without, _worker) = world_over(open(&["k2"], "k2").await, folder.path()).await;
    let second = without.coordinator("second");
    let own = start(&second, "{\"i\":3}").await;
    without.reaches(own, RunStatus::Waiting).await;
    soon("ownership", second.owns(usize::from(PARTITIONS))).await;
    let refused = soon("the answer", second.submit(old, go()))
        .await
        .expect_err("it cannot be read");
    assert!(refused.to_string().contains("key `k1`"), "{refused}");
    second.submit(own, go()).await.expect("sent");
    without.reaches(own, RunStatus::Failed).await;
    let by_inbox = message(other, serde_json::to_vec(&go()).expect("plain data").into());
    without.store.inbox_put(&by_inbox).await.expect("put");
    let listed = without
        .store
        .runs(&Namespace::default_name(), &RunFilter::default(), None, 10)
        .await
        .expect("one that cannot be read hides no other");
    let states: Vec<(RunId, RunStatus)> = listed.iter().map(|row| (row.id, row.status)).collect();
    assert!(
        states.contains(&(old, RunStatus::Waiting)) && states.contains(&(own, RunStatus::Failed)),
        "{states:?}"
    );
    second.shutdown().await;

    let (both, _worker) = world_over(open(&["k1", "k2"], "k2").await, folder.path()).await;
    let third = both.coordinator("third");
    both.reaches(other, RunStatus::Failed).await;
    soon("ownership", third.owns(usize::from(PARTITIONS))).await;
    third.submit(old, go()).await.expect("sent");
    both.reaches(old, RunStatus::Failed).await;
    third.shutdown().await;
    let store = open(&["k1", "k2"], "k2").await;
    let uses = store.keys_in_use().await.expect("counted");
    let of = |id: &str, runs| KeyUse {
        id: id.to_owned(),
        runs,
        schedules: 0,
    };
    assert_eq!(
        uses,
        [of("k1", 2), of("k2", 3)],
        "two began under the older key and ended under the newest"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_the_one_of_its_id_is_refused_before_anything_is_written() {
    let Some(database) = migrated().await else { return };
    let store = database.store_with(codec(&["k1"], Some("k1"))).await;
    assert_eq!(store.newest_key_lacking().await.expect("read"), None);
    let other = rejoin_coordinator::store::seal::Codec::new([("k1", &[3; 32])], Some("k1")).expect("a codec");
    let config = StoreConfig {
        codec: other,
        ..database.config()
    };
    let refused = PostgresStore::connect(config)
        .await
        .err()
        .expect("another key")
        .to_string();
    assert!(
        refused.contains("key `k1`") && refused.contains("encryption.keys"),
        "{refused}"
    );
    let without = database.store().await;
    let lacking = without.newest_key_lacking().await.expect("read");
    assert_eq!(
        lacking.as_deref(),
        Some("k1"),
        "a coordinator without it must not take partitions"
    );
    let rotated = database.store_with(codec(&["k1", "k2"], Some("k2"))).await;
    assert_eq!(rotated.newest_key_lacking().await.expect("read"), None);
    assert_eq!(store.newest_key_lacking().await.expect("read").as_deref(), Some("k2"));
}

/// A store that seals, one that cannot read what it wrote, and a run with payloads of every kind.
async fn written(database: &Database) -> (Subject, PostgresStore, RunId) {
    let store = Arc::new(database.store_with(codec(&["k1"], Some("k1"))).await);
    let subject = Subject {
        store: store.clone(),
        other: store,
        tokens: Arc::new(database.store().await),
    };
    let mut claim = subject.own(Partition(3)).await;
    let run = RunRow {
        input: secret_bytes(),
        ..new_run(Partition(3))
    };
    let id = run.id;
    let wait = WaitRow {
        run: id,
        seq: 1,
        namespace: Namespace::default_name(),
        workflow: "w".to_owned(),
        name: "approval".to_owned(),
        path: "/approval".to_owned(),
        kind: WaitKind::Input,
        events: Vec::new(),
        body: secret_bytes(),
        opened_at: Timestamp(0),
        until: None,
    };
    let batch = Batch {
        created: vec![run],
        rows: vec![record(id, 1)],
        waits: vec![wait],
        sent: vec![message(id, secret_bytes())],
        ..Batch::default()
    };
    subject.append(&mut claim, batch).await;
    let batch = Batch {
        changed: vec![end(id, RunStatus::Completed)],
        ..Batch::default()
    };
    subject.append(&mut claim, batch).await;
    assert!(subject.store.add_schedule(&schedule()).await.expect("added"));
    (subject, database.store_with(codec(&["k2"], None)).await, id)
}

fn names_key<T>(outcome: Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Sealed(why)) if why.contains("key `k1`"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_told_with_its_key_and_hides_nothing_else() {
    let Some(database) = migrated().await else { return };
    let (subject, other, id) = written(&database).await;
    let here = Namespace::default_name();
    assert!(names_key(other.run(id).await) && names_key(other.journal(id, 0, 10).await));
    let listed = other
        .runs(&here, &RunFilter::default(), None, 10)
        .await
        .expect("listed");
    let shown = String::from_utf8_lossy(&listed[0].input).into_owned();
    assert!(shown.contains("$sealed") && shown.contains("k1"), "{shown}");
    assert_eq!((listed[0].id, listed[0].status), (id, RunStatus::Completed));
    assert_eq!(
        other.inbox(&[Partition(3)], 0, 10).await.expect("read"),
        InboxPage::default(),
        "left in the inbox"
    );
    let full = other.inbox(&[Partition(3)], 0, 1).await.expect("read");
    assert!(
        full.rows.is_empty() && full.next.is_some(),
        "what cannot be read fills a page that others stand behind"
    );
    assert_eq!(
        subject
            .store
            .inbox(&[Partition(3)], 0, 10)
            .await
            .expect("read")
            .rows
            .len(),
        1
    );
    assert_eq!(other.inputs(&here, None, 10).await.expect("read"), []);
    assert_eq!(subject.store.inputs(&here, None, 10).await.expect("read").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_cannot_be_read_is_put_off_and_stays_what_it_is() {
    let Some(database) = migrated().await else { return };
    let (subject, other, _) = written(&database).await;
    let row = other
        .schedule(&namespace("default"), "nightly")
        .await
        .expect("read")
        .expect("there");
    let unreadable = read(row.clone());
    assert!(matches!(&unreadable, Err(ChangeError::Unreadable(why)) if why.contains("key `k1`")));
    let written = ScheduleRow {
        wake_at: Some(Timestamp(5_000_000)),
        ..row
    };
    assert!(other.change_schedule(&written).await.expect("put off").is_some());
    let again = subject
        .store
        .schedule(&namespace("default"), "nightly")
        .await
        .expect("read");
    let again = again.expect("there");
    assert_eq!(
        (again.spec, again.wake_at),
        (schedule().spec, Some(Timestamp(5_000_000)))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_was_moved_or_changed_in_the_database_is_not_taken_for_what_it_is_not() {
    let Some(database) = migrated().await else { return };
    let (subject, _, id) = written(&database).await;
    let client = database.client().await;
    let moved = "update runs set output = input";
    assert_eq!(client.execute(moved, &[]).await.expect("moved"), 1);
    let refused = subject.store.run(id).await;
    assert!(
        matches!(&refused, Err(StoreError::Sealed(why)) if why.contains("belongs elsewhere")),
        "{refused:?}"
    );
    let changed =
        "update journal set output = set_byte(output, length(output) - 1, get_byte(output, length(output) - 1) # 1)";
    assert_eq!(client.execute(changed, &[]).await.expect("changed"), 1);
    assert!(names_key(subject.store.journal(id, 0, 10).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_before_there_was_a_key_reads_on_and_so_does_what_is_left_after() {
    let Some(database) = migrated().await else { return };
    let plain = Subject {
        store: Arc::new(database.store().await),
        other: Arc::new(database.store_with(codec(&["k1"], Some("k1"))).await),
        tokens: Arc::new(database.store().await),
    };
    let mut claim = plain.own(Partition(3)).await;
    let run = plain.started(&mut claim).await;
    let batch = |seq| Batch {
        claims: vec![claim],
        rows: vec![record(run, seq)],
        ..Batch::default()
    };
    plain.store.append(&batch(1)).await.expect("appended in plain text");
    let (mut rest, mut last) = (batch(2), batch(3));
    rest.claims[0].batch += 1;
    plain.other.append(&rest).await.expect("appended, sealed");
    let off = database.store_with(codec(&["k1"], None)).await;
    last.claims[0].batch += 2;
    off.append(&last).await.expect("appended in plain text again");
    let whole = plain.other.journal(run, 0, 10).await.expect("read");
    assert_eq!(
        whole.iter().map(|stored| &stored.row).collect::<Vec<_>>(),
        [&record(run, 1), &record(run, 2), &record(run, 3)]
    );
    assert!(
        names_key(plain.store.journal(run, 0, 10).await),
        "who has no key says so"
    );
}
