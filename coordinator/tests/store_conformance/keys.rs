//! Workflow versions and idempotency keys, also when two ask at once.

use rejoin_coordinator::store::{KeyBinding, Reserved, WorkflowRow};
use rejoin_shared::ids::{Namespace, Partition, RunId};

use crate::subject::{Subject, namespace};

on_every_store!(
    versions_count_from_one_and_the_same_document_is_the_same_version,
    workflows_are_listed_by_name_in_their_newest_version,
    registrations_that_race_get_a_version_each,
    the_same_document_registered_at_once_is_one_version,
    a_key_is_won_once_and_bound_then,
    of_many_reservations_at_once_one_wins,
    keys_are_bound_together_or_not_at_all,
    of_many_bindings_of_the_same_keys_one_wins_them_all,
);

async fn put(s: &Subject, name: &str, digest: &str) -> (WorkflowRow, bool) {
    let document = format!("{{\"d\":\"{digest}\",\"n\":1.0}}");
    s.store
        .put_workflow(&Namespace::default_name(), name, digest, document.as_bytes())
        .await
        .expect("registered")
}

async fn versions_count_from_one_and_the_same_document_is_the_same_version(s: &Subject) {
    let default = Namespace::default_name();
    let (first, is_new) = put(s, "a", "d1").await;
    assert!(is_new && first.version == 1);
    let (second, is_new) = put(s, "a", "d2").await;
    assert!(is_new && second.version == 2);
    let (again, is_new) = put(s, "a", "d1").await;
    assert_eq!((again, is_new), (first.clone(), false));
    assert_eq!(put(s, "b", "d1").await.0.version, 1);
    assert_eq!(s.store.workflow(&default, "a", None).await.expect("read"), Some(second));
    assert_eq!(
        s.store.workflow(&default, "a", Some(1)).await.expect("read"),
        Some(first)
    );
    assert_eq!(s.store.workflow(&default, "a", Some(3)).await.expect("read"), None);
    assert_eq!(
        s.store.workflow(&default, "a", Some(u32::MAX)).await.expect("read"),
        None
    );
    assert_eq!(s.store.workflow(&default, "c", None).await.expect("read"), None);
    assert_eq!(
        s.store.workflow(&namespace("other"), "a", None).await.expect("read"),
        None
    );
}

async fn workflows_are_listed_by_name_in_their_newest_version(s: &Subject) {
    for name in ["b", "a", "B", "c-1", "c"] {
        put(s, name, "d1").await;
        put(s, name, "d2").await;
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = s
            .store
            .workflows(&Namespace::default_name(), after.as_deref(), 2)
            .await
            .expect("read");
        assert!(page.iter().all(|row| row.version == 2) && page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        seen.extend(page.into_iter().map(|row| row.name));
    }
    assert_eq!(seen, ["B", "a", "b", "c", "c-1"]);
}

async fn registrations_that_race_get_a_version_each(s: &Subject) {
    let put = |n: usize| {
        let store = if n.is_multiple_of(2) {
            s.store.clone()
        } else {
            s.other.clone()
        };
        async move {
            let digest = format!("d{n}");
            let row = store
                .put_workflow(&Namespace::default_name(), "w", &digest, b"{}")
                .await;
            row.expect("registered").0.version
        }
    };
    let mut versions = futures_util::future::join_all((0..8).map(put)).await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<u32>>());
}

async fn the_same_document_registered_at_once_is_one_version(s: &Subject) {
    let put = |n: usize| {
        let store = if n.is_multiple_of(2) {
            s.store.clone()
        } else {
            s.other.clone()
        };
        async move {
            store
                .put_workflow(&Namespace::default_name(), "w", "same", b"{}")
                .await
                .expect("registered")
        }
    };
    let rows = futures_util::future::join_all((0..8).map(put)).await;
    assert!(rows.iter().all(|(row, _)| row.version == 1));
    assert_eq!(rows.iter().filter(|(_, is_new)| *is_new).count(), 1);
}

async fn a_key_is_won_once_and_bound_then(s: &Subject) {
    let (default, run) = (Namespace::default_name(), RunId::new_in(Partition(0)));
    let won = s.store.reserve_key(&default, "k", "h1", run).await.expect("answered");
    assert_eq!(won, Reserved::Won);
    let bound = Reserved::Bound {
        run,
        request_hash: "h1".to_owned(),
        is_deleted: false,
    };
    let again = s
        .store
        .reserve_key(&default, "k", "h2", RunId::new_in(Partition(1)))
        .await
        .expect("answered");
    assert_eq!(again, bound);
    let elsewhere = s
        .store
        .reserve_key(&namespace("other"), "k", "h2", run)
        .await
        .expect("answered");
    assert_eq!(elsewhere, Reserved::Won);
}

async fn of_many_reservations_at_once_one_wins(s: &Subject) {
    let reserve = |n: u8| {
        let store = if n.is_multiple_of(2) {
            s.store.clone()
        } else {
            s.other.clone()
        };
        async move {
            let run = RunId::new_in(Partition(n));
            (
                run,
                store
                    .reserve_key(&Namespace::default_name(), "k", "h", run)
                    .await
                    .expect("answered"),
            )
        }
    };
    let outcomes = futures_util::future::join_all((0..8).map(reserve)).await;
    let winners: Vec<RunId> = outcomes
        .iter()
        .filter(|(_, r)| *r == Reserved::Won)
        .map(|(run, _)| *run)
        .collect();
    assert_eq!(winners.len(), 1);
    for (run, outcome) in outcomes {
        let bound = Reserved::Bound {
            run: winners[0],
            request_hash: "h".to_owned(),
            is_deleted: false,
        };
        assert!(run == winners[0] || outcome == bound);
    }
}

fn binding(key: &str, hash: &str, partition: u8) -> KeyBinding {
    KeyBinding {
        key: key.to_owned(),
        run: RunId::new_in(Partition(partition)),
        request_hash: hash.to_owned(),
    }
}

async fn keys_are_bound_together_or_not_at_all(s: &Subject) {
    let default = Namespace::default_name();
    let first = [binding("z", "h1", 0), binding("a", "h2", 0)];
    let reserve = async |keys: &[KeyBinding]| s.store.reserve_keys(&default, keys).await.expect("answered");
    assert_eq!(reserve(&first).await, [Reserved::Won, Reserved::Won]);
    let bound = |to: &KeyBinding| Reserved::Bound {
        run: to.run,
        request_hash: to.request_hash.clone(),
        is_deleted: false,
    };
    let more = [binding("a", "h2", 1), binding("m", "h3", 1), binding("z", "h1", 1)];
    assert_eq!(
        reserve(&more).await,
        [bound(&first[1]), Reserved::Won, bound(&first[0])]
    );
    // One is bound to another request: the others stay free.
    let wrong = [binding("b", "h4", 2), binding("m", "other", 2), binding("n", "h5", 2)];
    assert_eq!(reserve(&wrong).await[1], bound(&more[1]));
    let free = [binding("b", "x", 3), binding("n", "y", 3)];
    assert_eq!(reserve(&free).await, [Reserved::Won, Reserved::Won]);
    let elsewhere = s
        .store
        .reserve_keys(&namespace("other"), &wrong)
        .await
        .expect("answered");
    assert!(elsewhere.iter().all(|one| *one == Reserved::Won));
    assert_eq!(reserve(&[]).await, []);
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    let there = s.store.runs_there(&[first[0].run, run]).await.expect("read");
    assert_eq!(there, [run]);
}

async fn of_many_bindings_of_the_same_keys_one_wins_them_all(s: &Subject) {
    let reserve = |n: u8| {
        let store = if n.is_multiple_of(2) {
            s.store.clone()
        } else {
            s.other.clone()
        };
        async move {
            let mut keys: Vec<KeyBinding> = (0..40).map(|key| binding(&format!("k{key}"), "h", n)).collect();
            if n.is_multiple_of(3) {
                keys.reverse();
            }
            store
                .reserve_keys(&Namespace::default_name(), &keys)
                .await
                .expect("answered")
        }
    };
    let outcomes = futures_util::future::join_all((0..8).map(reserve)).await;
    let won = outcomes
        .iter()
        .map(|all| all.iter().filter(|one| **one == Reserved::Won).count());
    let mut won: Vec<usize> = won.collect();
    won.sort_unstable();
    assert_eq!(won, [0, 0, 0, 0, 0, 0, 0, 40]);
}
