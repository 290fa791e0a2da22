//! What only a server can do: break off, be locked, be read by others, be migrated.

use std::time::Duration;

use bytes::Bytes;
use rejoin_coordinator::store::postgres::{PostgresStore, StoreConfig, migrate, migrate_check, sql};
use rejoin_coordinator::store::{Batch, Claim, HEAD_BYTES_MAX, HEAD_ROWS, JournalRow, RunRow, Store, StoreError};
use rejoin_shared::ids::Partition;
use rejoin_shared::run::RunStatus;

use crate::subject::{
    Database, Subject, change, end, eventually, is_not_owner, is_refused, member, new_run, record, records,
};

async fn count(client: &tokio_postgres::Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.expect("counted").get(0)
}

const APPENDS_WAITING: &str = "select count(*) from pg_stat_activity where datname = current_database() \
    and query like '%rejoin_append%' and wait_event_type = 'Lock'";
const CLAIMS_WAITING: &str = "select count(*) from pg_stat_activity where datname = current_database() \
    and query like 'with free as%' and wait_event_type = 'Lock'";

async fn until_one_waits(client: &tokio_postgres::Client, sql: &str) {
    eventually("a statement waits for the lock", || async {
        count(client, sql).await == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_can_be_prepared() {
    let Some((_subject, database)) = Subject::postgres().await else {
        return;
    };
    let client = database.client().await;
    for (name, statement) in sql::ALL {
        let prepared = client.prepare(statement).await;
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_beginning_of_a_journal_ends_by_rows_or_bytes_and_says_whether_it_is_all() {
    let Some((s, _database)) = Subject::postgres().await else {
        return;
    };
    let mut claim = s.own(Partition(1)).await;
    let (short, long, heavy) = (
        s.started(&mut claim).await,
        s.started(&mut claim).await,
        s.started(&mut claim).await,
    );
    let mut rows = records(short, 1..=2);
    rows.extend(records(long, 1..=u64::try_from(HEAD_ROWS).expect("few") + 1));
    rows.extend((1..=3).map(|seq| JournalRow {
        body: Bytes::from(vec![b' '; HEAD_BYTES_MAX / 2]),
        ..record(heavy, seq)
    }));
    let batch = Batch {
        rows,
        ..Batch::default()
    };
    s.append(&mut claim, batch).await;
    let heads = s.store.heads(&[short, long, heavy]).await.expect("read");
    let of = |run| {
        heads
            .iter()
            .find(|head| head.row.id == run)
            .map(|head| (head.journal.len(), head.is_whole))
    };
    assert_eq!(of(short), Some((2, true)));
    assert_eq!(of(long), Some((HEAD_ROWS, false)));
    // The third begins behind the bytes that are read.
    assert_eq!(of(heavy), Some((2, false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_and_column_has_a_comment() {
    let Some((_subject, database)) = Subject::postgres().await else {
        return;
    };
    let client = database.client().await;
    let bare = "select count(*) from pg_class c join pg_attribute a on a.attrelid = c.oid \
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname not like 'refinery%' \
        and a.attnum > 0 and not a.attisdropped \
        and (col_description(c.oid, a.attnum) is null or obj_description(c.oid, 'pg_class') is null)";
    assert_eq!(count(&client, bare).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_are_compressed_by_lz4_where_the_server_can() {
    let Some((_subject, database)) = Subject::postgres().await else {
        return;
    };
    let client = database.client().await;
    let knows_lz4 =
        "select count(*) from pg_settings where name = 'default_toast_compression' and 'lz4' = any(enumvals)";
    if count(&client, knows_lz4).await == 0 {
        return;
    }
    let otherwise = "select count(*) from pg_class c join pg_attribute a on a.attrelid = c.oid \
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped \
        and a.atttypid = 'bytea'::regtype and a.attcompression <> 'l'";
    assert_eq!(count(&client, otherwise).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_terminated_under_an_append_is_no_success() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    let blocker = database.client().await;
    let watcher = database.client().await;
    blocker
        .batch_execute("begin; select * from partitions where number = 3 for update")
        .await
        .expect("locks");
    let batch = Batch {
        claims: vec![claim],
        rows: records(run, 1..=1),
        ..Batch::default()
    };
    let (store, sent) = (s.store.clone(), batch.clone());
    let append = tokio::spawn(async move { store.append(&sent).await });
    until_one_waits(&watcher, APPENDS_WAITING).await;
    let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() \
        and query like '%rejoin_append%' and wait_event_type = 'Lock'";
    assert_eq!(count(&watcher, terminate).await, 1, "the fault happened");
    let outcome = append.await.expect("no panic");
    assert!(
        matches!(outcome, Err(StoreError::Unknown(_) | StoreError::Away(_))),
        "{outcome:?}"
    );
    blocker.batch_execute("rollback").await.expect("unlocks");
    assert!(s.whole_journal(run).await.is_empty());
    s.store
        .append(&batch)
        .await
        .expect("the store reconnects by itself, and the chain did not move");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_success_is_false_while_backends_are_terminated_at_random() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let owner = member("owner");
    s.store.renew(&owner, 600_000).await.expect("joins");
    let mut claim = s.store.claim(&owner, &[Partition(0)], None).await.expect("claims")[0];
    let run = s.started(&mut claim).await;
    let killer = database.client().await;
    let killing = tokio::spawn(async move {
        let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() \
            and application_name = 'rejoin' and query like '%rejoin_append%'";
        let mut killed = 0;
        while killed < 30 {
            killed += count(&killer, kill).await;
            tokio::time::sleep(Duration::from_micros(3_700)).await;
        }
    });
    let (mut next, mut failures) = (1, 0);
    while !killing.is_finished() {
        let batch = Batch {
            claims: vec![claim],
            rows: vec![record(run, next)],
            ..Batch::default()
        };
        match s.store.append(&batch).await {
            Ok(_) => {
                claim.batch += 1;
                next += 1;
            }
            Err(StoreError::Unknown(_) | StoreError::Away(_)) => {
                failures += 1;
                claim = s.store.claim(&owner, &[Partition(0)], None).await.expect("claims")[0];
                let recorded = s.store.journal(run, next - 1, 10).await.expect("read").len();
                assert!(recorded <= 1, "an unknown append wrote one batch or none");
                next += u64::from(recorded == 1);
            }
            Err(other) => panic!("{other}"),
        }
    }
    killing.await.expect("no panic");
    assert!(failures > 0, "the fault happened");
    let seqs: Vec<u64> = s.whole_journal(run).await.iter().map(|r| r.row.seq).collect();
    assert_eq!(seqs, (1..next).collect::<Vec<u64>>());
}

/// An old owner without a lease, and one who may take over.
async fn old_and_new(s: &Subject) -> (Claim, rejoin_coordinator::store::Member) {
    let (old, new) = (member("old"), member("new"));
    s.store.renew(&old, 1).await.expect("joins");
    s.other.renew(&new, 60_000).await.expect("joins");
    let claim = s.store.claim(&old, &[Partition(3)], None).await.expect("claims")[0];
    (claim, new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_waits_for_the_append_under_way() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let (mut claim, new) = old_and_new(&s).await;
    let run = s.started(&mut claim).await;
    let (blocker, watcher) = (database.client().await, database.client().await);
    blocker
        .batch_execute("begin; select * from runs for update")
        .await
        .expect("locks");
    let changed = vec![change(run, RunStatus::Waiting)];
    let batch = Batch {
        claims: vec![claim],
        rows: records(run, 1..=1),
        changed,
        ..Batch::default()
    };
    let (store, other) = (s.store.clone(), s.other.clone());
    let append = tokio::spawn(async move { store.append(&batch).await });
    until_one_waits(&watcher, APPENDS_WAITING).await;
    let takeover = tokio::spawn(async move { other.claim(&new, &[Partition(3)], None).await });
    until_one_waits(&watcher, CLAIMS_WAITING).await;
    blocker.batch_execute("rollback").await.expect("unlocks");
    append.await.expect("no panic").expect("the append came first");
    let taken = takeover.await.expect("no panic").expect("answered");
    assert_eq!((taken.len(), s.whole_journal(run).await.len()), (1, 1));
    claim.batch += 1;
    assert!(is_not_owner(
        &s.store
            .append(&Batch {
                claims: vec![claim],
                ..Batch::default()
            })
            .await
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_waited_for_a_takeover_writes_nothing() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    let (taker, watcher) = (database.client().await, database.client().await);
    taker
        .batch_execute("begin; update partitions set epoch = epoch + 1, batch = 0 where number = 3")
        .await
        .expect("takes");
    let batch = Batch {
        claims: vec![claim],
        rows: records(run, 1..=1),
        ..Batch::default()
    };
    let store = s.store.clone();
    let append = tokio::spawn(async move { store.append(&batch).await });
    until_one_waits(&watcher, APPENDS_WAITING).await;
    taker.batch_execute("commit").await.expect("commits");
    assert!(is_not_owner(&append.await.expect("no panic")));
    assert!(s.whole_journal(run).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_cancelled_by_its_time_limit_wrote_nothing_and_may_be_repeated() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    let config = StoreConfig {
        statement_timeout_ms: 200,
        ..database.config()
    };
    let impatient = PostgresStore::connect(config).await.expect("connects");
    let blocker = database.client().await;
    blocker
        .batch_execute("begin; select * from partitions where number = 3 for update")
        .await
        .expect("locks");
    let batch = Batch {
        claims: vec![claim],
        rows: records(run, 1..=1),
        ..Batch::default()
    };
    let outcome = impatient.append(&batch).await;
    assert!(matches!(outcome, Err(StoreError::Away(_))), "{outcome:?}");
    blocker.batch_execute("rollback").await.expect("unlocks");
    impatient.append(&batch).await.expect("the same again");
    assert_eq!(s.whole_journal(run).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_no_database_takes_is_refused() {
    let Some((s, _database)) = Subject::postgres().await else {
        return;
    };
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    let row = JournalRow {
        path: Some("a\0b".to_owned()),
        ..record(run, 1)
    };
    let batch = Batch {
        claims: vec![claim],
        rows: vec![row],
        ..Batch::default()
    };
    assert!(is_refused(&s.store.append(&batch).await));
    let row = record(run, u64::MAX);
    assert!(is_refused(
        &s.store
            .append(&Batch {
                claims: vec![claim],
                rows: vec![row],
                ..Batch::default()
            })
            .await
    ));
    s.append(
        &mut claim,
        Batch {
            rows: records(run, 1..=1),
            ..Batch::default()
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_updated_on_the_page() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    for _ in 0..20 {
        s.append(
            &mut claim,
            Batch {
                changed: vec![change(run, RunStatus::Running)],
                ..Batch::default()
            },
        )
        .await;
    }
    let client = database.client().await;
    let hot = "select n_tup_hot_upd from pg_stat_user_tables where relname = 'runs' and n_tup_upd = 20";
    eventually("statistics arrive", || async {
        let found = client.query_opt(hot, &[]).await.expect("read");
        found.is_some_and(|row| row.get::<_, i64>(0) >= 15)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_journal_is_deleted_in_portions_and_what_is_left_by_the_sweep() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    s.append(
        &mut claim,
        Batch {
            rows: records(run, 1..=10_001),
            ..Batch::default()
        },
    )
    .await;
    s.append(
        &mut claim,
        Batch {
            changed: vec![end(run, RunStatus::Completed)],
            ..Batch::default()
        },
    )
    .await;
    assert!(s.store.delete_run(run).await.expect("deleted"));
    let client = database.client().await;
    assert_eq!(count(&client, "select count(*) from journal").await, 0);
    assert_eq!(count(&client, "select count(*) from deleted_runs").await, 0);
    let other = s.started(&mut claim).await;
    s.append(
        &mut claim,
        Batch {
            rows: records(other, 1..=3),
            ..Batch::default()
        },
    )
    .await;
    let interrupted = "with gone as (delete from runs returning id) insert into deleted_runs (run_id, last_seq) select id, 3 from gone";
    client
        .batch_execute(interrupted)
        .await
        .expect("as if the process had died");
    assert_eq!(s.store.sweep().await.expect("swept"), 3);
    assert_eq!(count(&client, "select count(*) from journal").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeps_at_once_leave_nothing_of_deleted_runs_behind() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let mut claim = s.own(Partition(3)).await;
    for _ in 0..40 {
        let run = s.started(&mut claim).await;
        let batch = Batch {
            rows: records(run, 1..=1_600),
            ..Batch::default()
        };
        s.append(&mut claim, batch).await;
    }
    let client = database.client().await;
    let interrupted = "with gone as (delete from runs returning id) insert into deleted_runs (run_id, last_seq) select id, 1600 from gone";
    client.batch_execute(interrupted).await.expect("deleted");
    let sweeps = [&s.store, &s.other, &s.store, &s.other].map(|store| store.sweep());
    let swept: u64 = futures_util::future::join_all(sweeps)
        .await
        .into_iter()
        .map(|rows| rows.expect("swept"))
        .sum();
    let rest = s.store.sweep().await.expect("swept");
    assert_eq!(swept + rest, 40 * 1_600, "each row once");
    assert_eq!(count(&client, "select count(*) from journal").await, 0);
    assert_eq!(count(&client, "select count(*) from deleted_runs").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_verdicts_and_keys_are_swept() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let client = database.client().await;
    let old = "insert into inbox (partition, run_id, kind, body, wants_verdict, verdict, answered_at) \
        values (0, gen_random_uuid(), 'x', '1', true, '1', now() - interval '2 hours'); \
        insert into idempotency_keys (namespace, key, run_id, request_hash, free_from) \
        values ('default', 'k', gen_random_uuid(), 'h', now() - interval '1 second'), \
            ('default', 'l', gen_random_uuid(), 'h', now() - interval '1 second')";
    client.batch_execute(old).await.expect("put");
    let run = new_run(Partition(0)).id;
    let won = s
        .store
        .reserve_key(&new_run(Partition(0)).namespace, "l", "h2", run)
        .await
        .expect("answered");
    assert_eq!(
        won,
        rejoin_coordinator::store::Reserved::Won,
        "a key that is free again can be won before it is swept"
    );
    assert_eq!(s.store.sweep().await.expect("swept"), 2);
    assert_eq!(count(&client, "select count(*) from idempotency_keys").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_that_start_together_run_once() {
    let Some(database) = Database::create().await else {
        return;
    };
    let before = migrate_check(&database.url).await.expect("checked");
    assert!(before.applied.is_empty() && !before.pending.is_empty());
    let early = PostgresStore::connect(database.config()).await;
    assert!(
        matches!(early, Err(StoreError::Schema(_))),
        "an empty database is no schema"
    );
    let (a, b) = tokio::join!(migrate(&database.url), migrate(&database.url));
    let (a, b) = (a.expect("migrated"), b.expect("migrated"));
    assert_eq!((&a.applied, &b.applied), (&before.pending, &before.pending));
    assert_eq!(migrate_check(&database.url).await.expect("checked"), a);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_special_rights_can_migrate_and_work() {
    let Some(database) = Database::create().await else {
        return;
    };
    let client = database.client().await;
    let role = format!("plain_{}", uuid::Uuid::new_v4().simple());
    let grant = format!("create role {role} login password 'p'; create schema {role} authorization {role}");
    client.batch_execute(&grant).await.expect("a role");
    let (scheme, rest) = database.url.split_once("://").expect("a URL");
    let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    let url = format!("{scheme}://{role}:p@{address}");
    migrate(&url).await.expect("migrates into its own schema");
    let store = PostgresStore::connect(StoreConfig {
        url,
        ..StoreConfig::default()
    })
    .await
    .expect("connects");
    let owner = member("owner");
    store.renew(&owner, 60_000).await.expect("joins");
    let claims = store.claim(&owner, &[Partition(3)], None).await.expect("claims");
    let run = RunRow {
        input: Bytes::from_static(b"1"),
        ..new_run(Partition(3))
    };
    store
        .append(&Batch {
            claims,
            created: vec![run],
            ..Batch::default()
        })
        .await
        .expect("appends");
    drop(store);
    let clean = format!("drop owned by {role} cascade; drop role {role}");
    client.batch_execute(&clean).await.expect("cleaned up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_away() {
    let config = StoreConfig {
        url: "postgres://nobody@127.0.0.1:9/none".to_owned(),
        ..StoreConfig::default()
    };
    let outcome = PostgresStore::connect(config).await;
    assert!(matches!(outcome, Err(StoreError::Away(_))));
}
