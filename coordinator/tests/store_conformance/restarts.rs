//! The embedded store in a folder, over restarts.

use rejoin_coordinator::store::embedded::EmbeddedStore;
use rejoin_coordinator::store::{Batch, Store, StoreError};
use rejoin_shared::ids::Partition;

use crate::subject::{member, new_run, records};

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = new_run(Partition(0));
    let earlier = member("dev");
    {
        let store = EmbeddedStore::open(dir.path()).expect("opens");
        store.renew(&earlier, 60_000).await.expect("joins");
        let claims = store.claim(&earlier, &[Partition(0)], None).await.expect("claims");
        let rows = records(run.id, 1..=3);
        store
            .append(&Batch {
                claims,
                rows,
                created: vec![run.clone()],
                ..Batch::default()
            })
            .await
            .expect("appends");
    }
    let store = EmbeddedStore::open(dir.path()).expect("opens again");
    assert_eq!(store.run(run.id).await.expect("read"), Some(run.clone()));
    assert_eq!(store.journal(run.id, 0, 10).await.expect("read").len(), 3);
    let next = member("dev");
    store.renew(&next, 60_000).await.expect("joins");
    let claims = store.claim(&next, &[Partition(0)], None).await.expect("claims");
    assert_eq!(
        claims.len(),
        1,
        "nobody else can have the file open, so no old lease keeps it"
    );
    store
        .append(&Batch {
            claims,
            rows: records(run.id, 4..=4),
            ..Batch::default()
        })
        .await
        .expect("appends");
}

#[tokio::test]
async fn a_folder_belongs_to_one_process() {
    let dir = tempfile::tempdir().expect("a folder");
    let _first = EmbeddedStore::open(dir.path()).expect("opens");
    assert!(matches!(EmbeddedStore::open(dir.path()), Err(StoreError::Away(_))));
}
