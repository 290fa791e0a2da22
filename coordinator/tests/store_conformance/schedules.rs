//! Schedules: written only by whoever read them last, found by name and by the time somebody has to look at them.

use rejoin_coordinator::store::ScheduleRow;
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::time::Timestamp;

use crate::subject::{Subject, json, namespace};

on_every_store!(
    a_schedule_is_read_back_as_it_was_added,
    a_name_is_taken_once_in_its_namespace,
    a_write_by_an_old_revision_changes_nothing,
    of_writers_that_read_the_same_one_wins,
    a_schedule_made_anew_is_not_taken_for_the_one_before,
    schedules_come_by_name_in_pages,
    what_is_due_comes_first_that_waits_longest,
);

fn schedule(name: &str) -> ScheduleRow {
    ScheduleRow {
        namespace: namespace("default"),
        name: name.to_owned(),
        spec: json(r#"{"n":1.0}"#),
        revision: 0,
        is_paused: false,
        anchor_at: Timestamp(1_800_000_000_000_001),
        next_at: Some(Timestamp(1_800_000_060_000_000)),
        pending: Vec::new(),
        caught_up: 0,
        last_run: None,
        open_runs: Vec::new(),
        failures: 0,
        last_error: None,
        wake_at: None,
    }
}

async fn read(s: &Subject, name: &str) -> ScheduleRow {
    let row = s.store.schedule(&namespace("default"), name).await.expect("read");
    row.expect("it is there")
}

async fn a_schedule_is_read_back_as_it_was_added(s: &Subject) {
    let (first, second) = (RunId::new_in(Partition(3)), RunId::new_in(Partition(4)));
    let full = ScheduleRow {
        is_paused: true,
        pending: vec![Timestamp(5_000_000), Timestamp(4_000_000)],
        caught_up: 7,
        last_run: Some(second),
        open_runs: vec![second, first],
        failures: 9,
        last_error: Some("it broke".to_owned()),
        wake_at: Some(Timestamp(1_800_000_000_123_456)),
        ..schedule("full")
    };
    for row in [full, schedule("bare")] {
        assert!(s.store.add_schedule(&row).await.expect("added"));
        let found = read(s, &row.name).await;
        assert_eq!(
            ScheduleRow {
                revision: found.revision,
                ..row
            },
            found
        );
    }
    assert_eq!(s.store.schedule(&namespace("other"), "full").await.expect("read"), None);
}

async fn a_name_is_taken_once_in_its_namespace(s: &Subject) {
    assert!(s.store.add_schedule(&schedule("a")).await.expect("added"));
    let again = ScheduleRow {
        failures: 3,
        ..schedule("a")
    };
    assert!(!s.store.add_schedule(&again).await.expect("answered"));
    assert_eq!(read(s, "a").await.failures, 0);
    let elsewhere = ScheduleRow {
        namespace: namespace("other"),
        ..schedule("a")
    };
    assert!(s.store.add_schedule(&elsewhere).await.expect("added"));
    assert!(
        s.store
            .remove_schedule(&namespace("other"), "a")
            .await
            .expect("removed")
    );
    assert!(
        !s.store
            .remove_schedule(&namespace("other"), "a")
            .await
            .expect("answered")
    );
    assert_eq!(read(s, "a").await.failures, 0);
}

async fn a_write_by_an_old_revision_changes_nothing(s: &Subject) {
    s.store.add_schedule(&schedule("a")).await.expect("added");
    let old = read(s, "a").await;
    let newer = ScheduleRow {
        next_at: None,
        pending: vec![Timestamp(1)],
        ..old.clone()
    };
    let revision = s.store.change_schedule(&newer).await.expect("written");
    let revision = revision.expect("nobody else wrote");
    let expected = ScheduleRow { revision, ..newer };
    assert_eq!(read(s, "a").await, expected);
    assert_ne!(revision, old.revision);
    let late = ScheduleRow { failures: 4, ..old };
    assert_eq!(s.store.change_schedule(&late).await.expect("answered"), None);
    assert_eq!(read(s, "a").await, expected);
    assert_eq!(
        s.store.change_schedule(&schedule("none")).await.expect("answered"),
        None
    );
}

async fn of_writers_that_read_the_same_one_wins(s: &Subject) {
    s.store.add_schedule(&schedule("a")).await.expect("added");
    let row = read(s, "a").await;
    let writes = (0..8).map(|n| {
        let store = if n % 2 == 0 { s.store.clone() } else { s.other.clone() };
        let row = ScheduleRow {
            failures: n,
            ..row.clone()
        };
        tokio::spawn(async move { store.change_schedule(&row).await.expect("answered") })
    });
    let mut won = 0;
    for write in writes.collect::<Vec<_>>() {
        won += usize::from(write.await.expect("no panic").is_some());
    }
    assert_eq!(won, 1);
}

async fn a_schedule_made_anew_is_not_taken_for_the_one_before(s: &Subject) {
    s.store.add_schedule(&schedule("a")).await.expect("added");
    let before = read(s, "a").await;
    s.store
        .remove_schedule(&namespace("default"), "a")
        .await
        .expect("removed");
    s.store.add_schedule(&schedule("a")).await.expect("added");
    assert_eq!(s.store.change_schedule(&before).await.expect("answered"), None);
}

async fn schedules_come_by_name_in_pages(s: &Subject) {
    for name in ["b", "a", "B", "c"] {
        s.store.add_schedule(&schedule(name)).await.expect("added");
    }
    let elsewhere = ScheduleRow {
        namespace: namespace("other"),
        ..schedule("z")
    };
    s.store.add_schedule(&elsewhere).await.expect("added");
    let page = async |after: Option<&str>, limit| {
        let rows = s.store.schedules(&namespace("default"), after, limit).await;
        rows.expect("read").into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3).await, ["B", "a", "b"]);
    assert_eq!(page(Some("b"), 3).await, ["c"]);
    assert_eq!(page(Some("aa"), 1).await, ["b"]);
}

async fn what_is_due_comes_first_that_waits_longest(s: &Subject) {
    for (name, of, wake_at) in [
        ("late", "default", Some(300)),
        ("never", "default", None),
        ("first", "other", Some(100)),
        ("second", "default", Some(200)),
    ] {
        let row = ScheduleRow {
            namespace: namespace(of),
            wake_at: wake_at.map(Timestamp),
            ..schedule(name)
        };
        s.store.add_schedule(&row).await.expect("added");
    }
    let due = async |now, limit| {
        let rows = s.store.schedules_due(Timestamp(now), limit).await.expect("read");
        rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(due(200, 10).await, ["first", "second"]);
    assert_eq!(due(1_000, 1).await, ["first"]);
    assert_eq!(due(99, 10).await, [] as [&str; 0]);
}
