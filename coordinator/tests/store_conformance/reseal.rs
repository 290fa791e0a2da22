//! All that stands in the database, sealed anew while it is in use. (Only PostgreSQL holds sealed payloads.)

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rejoin_coordinator::store::postgres::reseal::{Kept, Resealing, Told, Unready};
use rejoin_coordinator::store::postgres::{PostgresStore, StoreConfig, migrate};
use rejoin_coordinator::store::seal::{Codec, SealedBy};
use rejoin_coordinator::store::{
    Batch, Claim, ForkedFrom, InboxMessage, JournalRow, RunRow, ScheduleRow, Store as _, WaitKind, WaitRow,
};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use crate::subject::{Database, Subject, codec, end, json, member, namespace, new_run, record};

const HERE: Partition = Partition(3);
const RECORDS: u64 = 12;

async fn migrated() -> Option<Database> {
    let database = Database::create().await?;
    migrate(&database.url).await.expect("an empty database can be migrated");
    Some(database)
}

fn config_with(database: &Database, codec: Codec) -> StoreConfig {
    StoreConfig {
        codec,
        ..database.config()
    }
}

async fn subject(database: &Database, codec: Codec) -> Subject {
    let store = Arc::new(database.store_with(codec).await);
    Subject {
        store: store.clone(),
        other: store,
        tokens: Arc::new(database.store().await),
    }
}

/// What was written.
struct Written {
    run: RunId,
    fork: RunId,
    verdict: u64,
}

fn secret() -> Bytes {
    json(r#"{"iban":"DE02120300000000202051"}"#)
}

fn message(run: RunId, wants_verdict: bool) -> InboxMessage {
    InboxMessage {
        partition: HERE,
        run,
        kind: "event".to_owned(),
        body: secret(),
        dedupe_key: None,
        wants_verdict,
    }
}

/// A record with all that one can have; the first one's run is awaited by nobody.
fn whole_record(run: RunId, seq: u64) -> JournalRow {
    JournalRow {
        body: if seq == 1 {
            json(r#"{"is_awaited":false}"#)
        } else {
            secret()
        },
        output: Some(secret()),
        snapshot: seq.is_multiple_of(2).then(secret),
        logs: seq.is_multiple_of(3).then(|| json(r#"["DE02120300000000202051"]"#)),
        ..record(run, seq)
    }
}

fn wait(run: RunId) -> WaitRow {
    WaitRow {
        run,
        seq: 1,
        namespace: Namespace::default_name(),
        workflow: "w".to_owned(),
        name: "approval".to_owned(),
        path: "/approval".to_owned(),
        kind: WaitKind::Input,
        events: Vec::new(),
        body: secret(),
        opened_at: Timestamp(0),
        until: None,
    }
}

fn schedule() -> ScheduleRow {
    ScheduleRow {
        namespace: namespace("default"),
        name: "nightly".to_owned(),
        spec: secret(),
        revision: 0,
        is_paused: true,
        anchor_at: Timestamp(1_800_000_000_000_000),
        next_at: None,
        pending: Vec::new(),
        caught_up: 0,
        last_run: None,
        open_runs: Vec::new(),
        failures: 1,
        last_error: Some("the run failed: DE02120300000000202051".to_owned()),
        wake_at: None,
    }
}

/// Payloads of every place, by an owner who is gone then; and a past that was copied for a fork which has not begun.
async fn fill(subject: &Subject) -> Written {
    let owner = member("first");
    subject.store.renew(&owner, 60_000).await.expect("joined");
    let claims = subject.store.claim(&owner, &[HERE], None).await.expect("claimed");
    let mut claim = claims[0];
    let row = RunRow {
        input: secret(),
        ..new_run(HERE)
    };
    let run = row.id;
    let verdict = subject.store.inbox_put(&message(run, true)).await.expect("put");
    let batch = Batch {
        created: vec![row],
        rows: (1..=RECORDS).map(|seq| whole_record(run, seq)).collect(),
        waits: vec![wait(run)],
        sent: vec![message(run, false)],
        answered: vec![(verdict, secret())],
        ..Batch::default()
    };
    subject.append(&mut claim, batch).await;
    let batch = Batch {
        changed: vec![end(run, RunStatus::Completed)],
        ..Batch::default()
    };
    subject.append(&mut claim, batch).await;
    assert!(subject.store.add_schedule(&schedule()).await.expect("added"));
    let (fork, from) = (RunId::new_in(HERE), ForkedFrom { run, seq: 5 });
    assert!(subject.store.copy_past(fork, from).await.expect("copied"));
    subject.store.leave(&owner).await.expect("left");
    Written { run, fork, verdict }
}

/// All of it as it reads, but the verdict, which is read once.
async fn read(store: &PostgresStore, written: &Written) -> [String; 6] {
    let here = Namespace::default_name();
    [
        format!("{:?}", store.run(written.run).await.expect("the run")),
        format!("{:?}", store.journal(written.run, 0, 100).await.expect("the journal")),
        format!("{:?}", store.journal(written.fork, 0, 100).await.expect("the past")),
        format!("{:?}", store.inbox(&[HERE], 0, 100).await.expect("the inbox").rows),
        format!("{:?}", store.inputs(&here, None, 100).await.expect("the waits")),
        format!("{:?}", store.schedule(&here, "nightly").await.expect("the schedule")),
    ]
}

async fn payloads(database: &Database) -> BTreeMap<SealedBy, u64> {
    let counting = Resealing::count_only(database.config()).await;
    let outcome = counting.map(|counting| counting.in_pages_of(7)).expect("connected");
    outcome.run(|_| {}).await.expect("counted").payloads()
}

fn all_of(payloads: &BTreeMap<SealedBy, u64>) -> Vec<SealedBy> {
    payloads.keys().cloned().collect()
}

fn by(id: &str) -> SealedBy {
    SealedBy::Key(id.to_owned())
}

/// What the database makes of the first record of the run and of its copy.
async fn awaited(database: &Database, written: &Written) -> Vec<bool> {
    let sql = "select rejoin_is_awaited(body) from journal where seq = 1 and run_id = any($1) order by run_id";
    let runs = [written.run.0, written.fork.0].to_vec();
    let found = database.client().await.query(sql, &[&runs]).await.expect("the marks");
    found.iter().map(|row| row.get(0)).collect()
}

/// Appends records to a run of its own, one by one.
async fn write_on(subject: &Subject, claim: &mut Claim) -> RunId {
    let run = subject.started(claim).await;
    for seq in 1..=40 {
        let batch = Batch {
            rows: vec![whole_record(run, seq)],
            ..Batch::default()
        };
        subject.append(claim, batch).await;
    }
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rotation_everything_is_sealed_anew_while_runs_are_written() {
    let Some(database) = migrated().await else { return };
    let written = fill(&subject(&database, codec(&["k1"], Some("k1"))).await).await;
    let rotated = codec(&["k1", "k2"], Some("k2"));
    let before = read(&database.store_with(codec(&["k1"], None)).await, &written).await;
    assert_eq!(all_of(&payloads(&database).await), [by("k1")]);
    let coordinator = subject(&database, rotated.clone()).await;
    let mut claim = coordinator.own(HERE).await;
    let resealing = Resealing::begin(config_with(&database, rotated)).await;
    let resealing = resealing.expect("all that are alive know the key").in_pages_of(3);
    let (outcome, other) = tokio::join!(resealing.run(|_| {}), write_on(&coordinator, &mut claim));
    let outcome = outcome.expect("sealed anew");
    assert!(outcome.is_done && outcome.unreadable() == 0, "{outcome:?}");
    assert_eq!(outcome.retired, ["k1"]);
    assert_eq!(all_of(&payloads(&database).await), [by("k2")]);
    let newest = database.store_with(codec(&["k2"], Some("k2"))).await;
    assert_eq!(newest.keys_known().await.expect("read"), ["k2"]);
    assert_eq!(read(&newest, &written).await, before);
    assert_eq!(
        newest.take_verdict(written.verdict).await.expect("read"),
        Some(secret())
    );
    assert_eq!(awaited(&database, &written).await, [false, false]);
    let journal = newest.journal(other, 0, 100).await.expect("read");
    let expected: Vec<JournalRow> = (1..=40).map(|seq| whole_record(other, seq)).collect();
    assert!(journal.into_iter().map(|stored| stored.row).eq(expected));
    let again = resealing.run(|_| {}).await.expect("nothing to do");
    assert!(again.tables.iter().all(|(_, seen)| seen.written == 0), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_plain_is_sealed_over_an_interruption_and_opened_again() {
    let Some(database) = migrated().await else { return };
    let written = fill(&subject(&database, Codec::default()).await).await;
    let before = read(&database.store().await, &written).await;
    let sealing = async || {
        let resealing = Resealing::begin(config_with(&database, codec(&["k1"], Some("k1")))).await;
        resealing.expect("nobody is alive").in_pages_of(2)
    };
    let (page, mut pages) = tokio::sync::mpsc::unbounded_channel();
    let cut = sealing().await;
    tokio::select! {
        outcome = cut.run(|_| page.send(()).expect("it is heard")) => panic!("not cut off: {outcome:?}"),
        () = async {
            for _ in 0..3 {
                pages.recv().await;
            }
        } => {}
    }
    assert_eq!(all_of(&payloads(&database).await), [SealedBy::Nobody, by("k1")]);
    let outcome = sealing().await.run(|_| {}).await.expect("sealed");
    assert!(outcome.is_done && outcome.retired.is_empty(), "{outcome:?}");
    assert_eq!(all_of(&payloads(&database).await), [by("k1")]);
    assert_eq!(
        read(&database.store_with(codec(&["k1"], None)).await, &written).await,
        before
    );
    assert_eq!(awaited(&database, &written).await, [false, false]);

    let opening = Resealing::begin(config_with(&database, codec(&["k1"], None))).await;
    let outcome = opening.expect("nobody is alive").run(|_| {}).await.expect("opened");
    assert_eq!((outcome.is_done, outcome.retired), (true, vec!["k1".to_owned()]));
    assert_eq!(all_of(&payloads(&database).await), [SealedBy::Nobody]);
    let without = database.store().await;
    assert_eq!(read(&without, &written).await, before);
    assert_eq!(
        without.take_verdict(written.verdict).await.expect("read"),
        Some(secret())
    );
    assert_eq!(awaited(&database, &written).await, [false, false]);
    assert_eq!(
        without.newest_key_lacking().await.expect("read"),
        None,
        "coordinators start without a key"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_open_is_named_and_left_and_its_key_is_not_forgotten() {
    let Some(database) = migrated().await else { return };
    let written = fill(&subject(&database, codec(&["k1"], Some("k1"))).await).await;
    let unknown = subject(&database, codec(&["k3"], Some("k3"))).await;
    unknown
        .store
        .inbox_put(&message(written.run, false))
        .await
        .expect("put");
    let client = database.client().await;
    let damage =
        "update journal set output = set_byte(output, 40, get_byte(output, 40) # 1) where run_id = $1 and seq = 5";
    assert_eq!(client.execute(damage, &[&written.run.0]).await.expect("changed"), 1);
    let cut = "update journal set logs = '\\x01' where run_id = $1 and seq = 6";
    assert_eq!(client.execute(cut, &[&written.run.0]).await.expect("changed"), 1);
    let resealing = Resealing::begin(config_with(&database, codec(&["k1", "k2"], Some("k2")))).await;
    let mut told = Vec::new();
    let outcome = resealing.expect("nobody is alive");
    let outcome = outcome
        .run(|what| match what {
            Told::Unreadable(kept, why) => told.push(format!("{}: {why}", kept.name())),
            Told::Page(..) => {}
        })
        .await
        .expect("the others are sealed anew");
    assert_eq!((outcome.is_done, outcome.unreadable()), (true, 3));
    let named = |what: &str| told.iter().filter(|told| told.contains(what)).count();
    assert_eq!(
        (
            named(&format!("journal: Output of record 5 of run {}", written.run)),
            named(&format!("journal: Logs of record 6 of run {}", written.run)),
            named("inbox: a message of kind event is sealed with key `k3`")
        ),
        (1, 1, 1),
        "{told:?}"
    );
    assert!(outcome.retired.is_empty(), "something of each is left: {outcome:?}");
    let left = payloads(&database).await;
    assert_eq!((left[&by("k1")], left[&by("k3")], left[&SealedBy::Nothing]), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_has_in_hand_is_not_waited_for_and_what_they_write_stays() {
    let Some(database) = migrated().await else { return };
    let written = fill(&subject(&database, codec(&["k1"], Some("k1"))).await).await;
    let resealing = Resealing::begin(config_with(&database, codec(&["k1", "k2"], Some("k2")))).await;
    let resealing = resealing.expect("nobody is alive");
    let mut client = database.client().await;
    let theirs = client.transaction().await.expect("begun");
    let sql = "update runs set error = null where id = $1";
    assert_eq!(theirs.execute(sql, &[&written.run.0]).await.expect("changed"), 1);
    let pass = resealing.run_once(|_| {}).await.expect("not held up");
    let of_runs = pass.iter().find(|(kept, _)| *kept == Kept::Runs).expect("the table");
    assert_eq!((of_runs.1.written, of_runs.1.left), (0, 1));
    theirs.commit().await.expect("committed");
    let outcome = resealing.run(|_| {}).await.expect("the rest");
    assert!(outcome.is_done, "{outcome:?}");
    let store = database.store_with(codec(&["k2"], None)).await;
    let row = store.run(written.run).await.expect("read").expect("there");
    assert_eq!((row.error, row.input), (None, secret()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_changed_since_it_was_read_is_left_to_the_next_pass() {
    let Some(database) = migrated().await else { return };
    let written = fill(&subject(&database, codec(&["k1"], Some("k1"))).await).await;
    let client = database.client().await;
    // What does not open is told between the look and the write.
    let cut = "update runs set error = '\\x01' where id = $1";
    assert_eq!(client.execute(cut, &[&written.run.0]).await.expect("changed"), 1);
    let resealing = Resealing::begin(config_with(&database, codec(&["k1", "k2"], Some("k2")))).await;
    let resealing = resealing.expect("nobody is alive");
    let mut changed = 0;
    let change = |told: Told<'_>| {
        if matches!(told, Told::Unreadable(..)) {
            let sql = "update runs set output = null where id = $1";
            let ids = [written.run.0];
            changed += tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(client.execute(sql, &[&ids[0]]))
            })
            .expect("changed");
        }
    };
    let pass = resealing.run_once(change).await.expect("a pass");
    let of_runs = pass.iter().find(|(kept, _)| *kept == Kept::Runs).expect("the table");
    assert_eq!((changed, of_runs.1.written, of_runs.1.left), (1, 0, 1));
    assert!(resealing.run(|_| {}).await.expect("the rest").is_done);
    let sql = "select output is null, rejoin_key_of(input) from runs where id = $1";
    let row = client.query_one(sql, &[&written.run.0]).await.expect("the row");
    assert_eq!((row.get::<_, bool>(0), row.get::<_, &str>(1)), (true, "k2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sealed_with_a_key_that_a_living_coordinator_may_not_have() {
    let Some(database) = migrated().await else { return };
    let old = subject(&database, codec(&["k1"], Some("k1"))).await;
    let living = member("living");
    old.store.renew(&living, 60_000).await.expect("joined");
    let begin = async |keys: &[&str], newest: &str| {
        Resealing::begin(config_with(&database, codec(keys, Some(newest))))
            .await
            .err()
    };
    let refused = begin(&["k1", "k2"], "k2").await;
    assert!(
        matches!(&refused, Some(Unready::NotInUse(id)) if id == "k2"),
        "{refused:?}"
    );
    let store = database.store().await;
    assert_eq!(
        store.keys_known().await.expect("read"),
        ["k1"],
        "the fleet can be restarted without it"
    );
    let new = subject(&database, codec(&["k1", "k2"], Some("k2"))).await;
    let refused = begin(&["k1", "k2"], "k2").await;
    assert!(
        matches!(&refused, Some(Unready::Outdated { names, .. }) if names == "living"),
        "{refused:?}"
    );
    old.store.leave(&living).await.expect("left");
    new.store.renew(&member("living"), 60_000).await.expect("joined");
    assert!(begin(&["k1", "k2"], "k2").await.is_none());
    let refused = begin(&["k1", "k2"], "k1").await;
    assert!(
        matches!(&refused, Some(Unready::NotNewest { newest, .. }) if newest == "k2"),
        "{refused:?}"
    );
}
