//! How many rows a second one connection appends: `REJOIN_DATABASE_URL=postgres://… cargo run --example append_speed`.
//!
//! Appends to the migrated database it is pointed at, and deletes its run again. The numbers are those of one owner with one
//! batch in flight.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use rejoin_coordinator::store::postgres::{PostgresStore, StoreConfig, migrate};
use rejoin_coordinator::store::{Batch, Claim, JournalRow, Member, RunChange, RunEnd, RunRow, Store};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::{Counts, Outcome, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;

const MEASURED_FOR: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("REJOIN_DATABASE_URL").context("REJOIN_DATABASE_URL names a database")?;
    migrate(&url).await?;
    let store = PostgresStore::connect(StoreConfig {
        url,
        ..StoreConfig::default()
    })
    .await?;
    let member = Member {
        name: "append-speed".to_owned(),
        incarnation: uuid::Uuid::new_v4(),
        address: String::new(),
    };
    store.renew(&member, 60_000).await?;
    let claims = store.claim(&member, &[Partition(0)], None).await?;
    let mut claim = *claims.first().context("another process owns partition 0")?;
    for rows_per_batch in [1, 50, 1000] {
        measure(&store, &mut claim, rows_per_batch).await?;
    }
    store.leave(&member).await?;
    Ok(())
}

async fn measure(store: &PostgresStore, claim: &mut Claim, rows_per_batch: u64) -> anyhow::Result<()> {
    let run = new_run();
    append(
        store,
        claim,
        Batch {
            created: vec![run.clone()],
            ..Batch::default()
        },
    )
    .await?;
    let (begun, mut batches, mut last) = (Instant::now(), 0_u32, 0);
    while begun.elapsed() < MEASURED_FOR {
        let rows = (last + 1..=last + rows_per_batch)
            .map(|seq| record(run.id, seq))
            .collect();
        append(
            store,
            claim,
            Batch {
                rows,
                changed: vec![progress(run.id, last)],
                ..Batch::default()
            },
        )
        .await?;
        last += rows_per_batch;
        batches += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rows = f64::from(u32::try_from(last)?);
    println!(
        "{rows_per_batch:>5} rows a batch: {:>8.0} rows/s, {:>6.0} batches/s, {:.2} ms a batch",
        rows / seconds,
        f64::from(batches) / seconds,
        1000.0 * seconds / f64::from(batches)
    );
    let ended = RunEnd {
        context: None,
        output: None,
        error: None,
        compensated: false,
    };
    let end = RunChange {
        status: RunStatus::Completed,
        ended: Some(ended),
        ..progress(run.id, last)
    };
    append(
        store,
        claim,
        Batch {
            changed: vec![end],
            ..Batch::default()
        },
    )
    .await?;
    store.delete_run(run.id).await?;
    Ok(())
}

async fn append(store: &PostgresStore, claim: &mut Claim, batch: Batch) -> anyhow::Result<()> {
    store
        .append(&Batch {
            claims: vec![*claim],
            ..batch
        })
        .await?;
    claim.batch += 1;
    Ok(())
}

fn new_run() -> RunRow {
    RunRow {
        id: RunId::new_in(Partition(0)),
        namespace: Namespace::default_name(),
        workflow: "append-speed".to_owned(),
        version: 1,
        status: RunStatus::Running,
        priority: Priority::Normal,
        input: Bytes::from_static(b"{}"),
        context: None,
        output: None,
        error: None,
        compensated: false,
        tags: std::collections::BTreeMap::new(),
        idempotency_key: None,
        parent: None,
        forked_from: None,
        progress: Progress::default(),
        counts: Counts::default(),
        wake_at: None,
        created_at: Timestamp::now(),
        started_at: None,
        finished_at: None,
    }
}

fn record(run: RunId, seq: u64) -> JournalRow {
    JournalRow {
        run,
        seq,
        kind: "step_completed".into(),
        path: Some(format!("main/each[{seq}]/step")),
        attempt: Some(1),
        outcome: Some(Outcome::Ok),
        worker: Some("w-1".into()),
        body: Bytes::from_static(
            br#"{"t":1800000000000000,"k":"step_completed","step":{"scope":1,"branch":1,"pos":1}}"#,
        ),
        output: Some(Bytes::from_static(b"{\"n\":1.0}")),
        snapshot: None,
        logs: None,
    }
}

fn progress(run: RunId, done: u64) -> RunChange {
    RunChange {
        run,
        status: RunStatus::Running,
        progress: Progress {
            total: done,
            done,
            ..Progress::default()
        },
        counts: Counts::default(),
        wake_at: None,
        ended: None,
        reopened: false,
    }
}
