//! Snapshots that go after their scope's join.

use rejoin_coordinator::store::{Batch, Claim, Dropped, JoinedScope, JournalRow};
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::run::RunStatus;

use crate::subject::{Subject, end, json, record};

on_every_store!(
    the_snapshots_of_a_joined_scope_go_and_nothing_else_does,
    many_snapshots_go_in_portions,
    a_deleted_run_leaves_no_joined_scope,
);

/// Record `seq` at `path`, with a snapshot.
fn snapshot(run: RunId, seq: u64, path: &str) -> JournalRow {
    JournalRow {
        path: Some(path.to_owned()),
        snapshot: Some(json("{\"x\":1}")),
        ..record(run, seq)
    }
}

fn joined(run: RunId, opened: u64, joined: u64, path: &str) -> JoinedScope {
    JoinedScope {
        run,
        opened,
        joined,
        path: path.to_owned(),
        next_seq: 0,
    }
}

async fn appended(s: &Subject, claim: &mut Claim, rows: Vec<JournalRow>, joins: Vec<JoinedScope>) {
    let batch = Batch {
        rows,
        joins,
        ..Batch::default()
    };
    s.append(claim, batch).await;
}

/// Records that still have a snapshot.
async fn kept(s: &Subject, run: RunId) -> Vec<u64> {
    let rows = s.whole_journal(run).await.into_iter();
    rows.filter(|stored| stored.row.snapshot.is_some())
        .map(|stored| stored.row.seq)
        .collect()
}

async fn drop_all(s: &Subject) -> u64 {
    let mut snapshots = 0;
    loop {
        let dropped = s.store.drop_snapshots().await.expect("dropped");
        snapshots += dropped.snapshots;
        if dropped == Dropped::default() {
            return snapshots;
        }
    }
}

async fn the_snapshots_of_a_joined_scope_go_and_nothing_else_does(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let run = s.started(&mut claim).await;
    let paths = [
        "/p",
        "/p/a/s",
        "/other/s",
        "/p[3]/s",
        "/pq/s",
        "/p/b/in/c/s",
        "/p/b/in",
        "/p",
        "/p/a/s#2",
    ];
    let rows = (1..).zip(paths).map(|(seq, path)| snapshot(run, seq, path)).collect();
    appended(s, &mut claim, rows, vec![joined(run, 1, 8, "/p")]).await;
    let before = s.whole_journal(run).await;
    assert_eq!(s.store.snapshots_to_drop().await.expect("counted"), 4);
    assert_eq!(drop_all(s).await, 4);
    assert_eq!(s.store.snapshots_to_drop().await.expect("counted"), 0);
    assert_eq!(kept(s, run).await, [1, 3, 5, 8, 9]);
    for (was, is) in before.into_iter().zip(s.whole_journal(run).await) {
        let snapshot = is.row.snapshot.clone();
        let mut expected = was;
        expected.row.snapshot = snapshot;
        assert_eq!(is, expected);
    }
    let expected = JoinedScope {
        next_seq: 8,
        ..joined(run, 1, 8, "/p")
    };
    assert_eq!(s.store.joined_scopes(run).await.expect("read"), [expected]);
}

async fn many_snapshots_go_in_portions(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let run = s.started(&mut claim).await;
    let rows = (1..=1_203).map(|seq| snapshot(run, seq, if seq == 1 || seq == 1_203 { "/p" } else { "/p[0]/s" }));
    appended(s, &mut claim, rows.collect(), vec![joined(run, 1, 1_203, "/p")]).await;
    let first = s.store.drop_snapshots().await.expect("dropped");
    assert_eq!(
        first,
        Dropped {
            scopes: 1,
            snapshots: 500
        }
    );
    let scope = s.store.joined_scopes(run).await.expect("read");
    assert!(scope[0].has_dropped(501, Some("/p[0]/s")) && !scope[0].has_dropped(502, Some("/p[0]/s")));
    assert_eq!(drop_all(s).await, 701);
    assert_eq!(kept(s, run).await, [1, 1_203]);
}

async fn a_deleted_run_leaves_no_joined_scope(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let run = s.started(&mut claim).await;
    let rows = (1..=3).map(|seq| snapshot(run, seq, "/p/a/s")).collect();
    appended(s, &mut claim, rows, vec![joined(run, 1, 3, "/p")]).await;
    let batch = Batch {
        changed: vec![end(run, RunStatus::Completed)],
        ..Batch::default()
    };
    s.append(&mut claim, batch).await;
    assert!(s.store.delete_run(run).await.expect("deleted"));
    assert!(s.store.joined_scopes(run).await.expect("read").is_empty());
    assert_eq!(s.store.drop_snapshots().await.expect("dropped"), Dropped::default());
}
