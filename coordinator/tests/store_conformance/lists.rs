//! Lists of runs: newest first, page by page, by every filter.

use rejoin_coordinator::store::{Batch, RunFilter, RunRow, Sleeper};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use crate::subject::{Subject, change, end, namespace, new_run};

on_every_store!(
    runs_come_newest_first_page_by_page,
    a_namespace_sees_only_its_own_runs,
    every_filter_keeps_what_fits,
    all_tags_of_a_filter_must_be_there,
    a_text_finds_ids_by_their_ends_and_workflows_by_a_part,
    ids_are_found_by_either_end,
    open_runs_come_by_their_newest_activity,
    sleepers_come_by_their_time_in_pages,
    runs_are_counted_by_state,
);

/// Runs made by `fit` from a plain one, oldest first.
async fn created(s: &Subject, count: usize, fit: impl Fn(usize, RunRow) -> RunRow) -> Vec<RunRow> {
    let mut claim = s.own(Partition(4)).await;
    let runs: Vec<RunRow> = (0..count).map(|n| fit(n, new_run(Partition(4)))).collect();
    let mut sorted = runs.clone();
    sorted.sort_by_key(|run| run.id);
    s.append(
        &mut claim,
        Batch {
            created: runs,
            ..Batch::default()
        },
    )
    .await;
    sorted
}

async fn found(s: &Subject, filter: RunFilter) -> Vec<RunId> {
    let runs = s
        .store
        .runs(&Namespace::default_name(), &filter, None, 100)
        .await
        .expect("read");
    runs.into_iter().map(|run| run.id).collect()
}

fn ids(runs: &[RunRow], fits: impl Fn(&RunRow) -> bool) -> Vec<RunId> {
    runs.iter().rev().filter(|run| fits(run)).map(|run| run.id).collect()
}

async fn runs_come_newest_first_page_by_page(s: &Subject) {
    let runs = created(s, 25, |_, run| run).await;
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = s
            .store
            .runs(&Namespace::default_name(), &RunFilter::default(), before, 10)
            .await
            .expect("read");
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page);
    }
    assert_eq!(seen, runs.into_iter().rev().collect::<Vec<_>>());
}

async fn a_namespace_sees_only_its_own_runs(s: &Subject) {
    let other = namespace("other");
    let runs = created(s, 4, |n, run| match n % 2 {
        0 => run,
        _ => RunRow {
            namespace: namespace("other"),
            ..run
        },
    })
    .await;
    let page = s
        .store
        .runs(&other, &RunFilter::default(), None, 10)
        .await
        .expect("read");
    assert_eq!(
        page.iter().map(|r| r.id).collect::<Vec<_>>(),
        ids(&runs, |r| r.namespace == other)
    );
    let text = runs
        .iter()
        .find(|r| r.namespace == other)
        .expect("made above")
        .id
        .to_string();
    assert_eq!(s.store.run_ids_like(&other, &text, 2).await.expect("read").len(), 1);
    assert!(
        s.store
            .run_ids_like(&Namespace::default_name(), &text, 2)
            .await
            .expect("read")
            .is_empty()
    );
}

async fn every_filter_keeps_what_fits(s: &Subject) {
    let parent = RunId::new_in(Partition(4));
    let micros = |n: usize| Timestamp(1_800_000_000_000_000 + i64::try_from(n).expect("small"));
    let runs = created(s, 18, |n, run| RunRow {
        workflow: format!("flow-{}", n % 3),
        status: RunStatus::ALL[n % 9],
        created_at: micros(n),
        parent: (n % 4 == 0).then_some(parent),
        ..run
    })
    .await;
    let any = RunFilter::default;
    let filter = RunFilter {
        workflows: vec!["flow-0".into(), "flow-2".into()],
        ..any()
    };
    assert_eq!(found(s, filter).await, ids(&runs, |r| r.workflow != "flow-1"));
    for status in RunStatus::ALL {
        let filter = RunFilter {
            statuses: vec![status],
            ..any()
        };
        assert_eq!(found(s, filter).await, ids(&runs, |r| r.status == status));
    }
    let filter = RunFilter {
        since: Some(micros(5)),
        until: Some(micros(9)),
        ..any()
    };
    assert_eq!(
        found(s, filter).await,
        ids(&runs, |r| r.created_at >= micros(5) && r.created_at < micros(9))
    );
    let filter = RunFilter {
        parent: Some(parent),
        ..any()
    };
    assert_eq!(found(s, filter).await, ids(&runs, |r| r.parent == Some(parent)));
    let filter = RunFilter {
        workflows: vec!["flow-1".into()],
        statuses: vec![RunStatus::Running],
        ..any()
    };
    let both = |r: &RunRow| r.workflow == "flow-1" && r.status == RunStatus::Running;
    assert_eq!(found(s, filter).await, ids(&runs, both));
    let none = RunFilter {
        workflows: vec!["flow".into()],
        ..any()
    };
    assert!(found(s, none).await.is_empty());
}

async fn all_tags_of_a_filter_must_be_there(s: &Subject) {
    let tag = |key: &str, value: String| (key.to_owned(), value);
    let runs = created(s, 12, |n, run| {
        let tags = [tag("half", (n % 2).to_string()), tag("third", (n % 3).to_string())];
        RunRow {
            tags: tags.into(),
            ..run
        }
    })
    .await;
    let wanted = vec![tag("third", "2".to_owned()), tag("half", "1".to_owned())];
    let fits = |r: &RunRow| r.tags["half"] == "1" && r.tags["third"] == "2";
    let filter = RunFilter {
        tags: wanted.clone(),
        ..RunFilter::default()
    };
    assert_eq!(found(s, filter.clone()).await, ids(&runs, fits));
    let newest = ids(&runs, fits)[0];
    let page = s
        .store
        .runs(&Namespace::default_name(), &filter, Some(newest), 1)
        .await
        .expect("read");
    assert_eq!(
        page.iter().map(|r| r.id).collect::<Vec<_>>(),
        ids(&runs, fits)[1..2].to_vec()
    );
    let mut more = wanted;
    more.push(tag("absent", String::new()));
    assert!(
        found(
            s,
            RunFilter {
                tags: more,
                ..RunFilter::default()
            }
        )
        .await
        .is_empty()
    );
}

async fn a_text_finds_ids_by_their_ends_and_workflows_by_a_part(s: &Subject) {
    let runs = created(s, 3, |n, run| RunRow {
        workflow: format!("pay%_{n}x"),
        ..run
    })
    .await;
    let by = |text: String| {
        found(
            s,
            RunFilter {
                text: Some(text),
                ..RunFilter::default()
            },
        )
    };
    let id = runs[1].id.to_string();
    assert_eq!(by(id[14..].to_owned()).await, vec![runs[1].id]);
    assert_eq!(by(id.clone()).await, vec![runs[1].id]);
    assert_eq!(by("%_2".to_owned()).await, ids(&runs, |r| r.workflow == "pay%_2x"));
    assert_eq!(by("y%".to_owned()).await.len(), 3, "nothing in a text is a wildcard");
    assert!(by("%y".to_owned()).await.is_empty());
}

async fn ids_are_found_by_either_end(s: &Subject) {
    let runs = created(s, 5, |_, run| run).await;
    let default = Namespace::default_name();
    for run in &runs {
        let text = run.id.to_string();
        for part in [&text[..], &text[16..], &text[24..]] {
            let found = s.store.run_ids_like(&default, part, 10).await.expect("read");
            assert!(found.contains(&run.id), "{part} of {text}");
        }
        assert!(
            s.store
                .run_ids_like(&default, &text[..11], 10)
                .await
                .expect("read")
                .contains(&run.id)
        );
    }
    assert_eq!(
        s.store.run_ids_like(&default, "", 3).await.expect("read"),
        ids(&runs, |_| true)[..3].to_vec()
    );
    assert!(s.store.run_ids_like(&default, "zz", 3).await.expect("read").is_empty());
}

async fn open_runs_come_by_their_newest_activity(s: &Subject) {
    let mut claim = s.own(Partition(4)).await;
    let (first, second) = (s.started(&mut claim).await, s.started(&mut claim).await);
    let ended = s.started(&mut claim).await;
    s.append(
        &mut claim,
        Batch {
            changed: vec![end(ended, RunStatus::Cancelled)],
            ..Batch::default()
        },
    )
    .await;
    s.append(
        &mut claim,
        Batch {
            changed: vec![change(first, RunStatus::Paused)],
            ..Batch::default()
        },
    )
    .await;
    let mut elsewhere = s.own(Partition(5)).await;
    s.started(&mut elsewhere).await;
    assert_eq!(
        s.store.open_runs(&[Partition(4)]).await.expect("read"),
        vec![first, second]
    );
    assert_eq!(
        s.store
            .open_runs(&[Partition(4), Partition(5)])
            .await
            .expect("read")
            .len(),
        3
    );
    assert!(s.store.open_runs(&[]).await.expect("read").is_empty());
}

async fn sleepers_come_by_their_time_in_pages(s: &Subject) {
    let mut claim = s.own(Partition(4)).await;
    let mut sleepers = Vec::new();
    for n in 0..6 {
        let status = if n % 2 == 0 {
            RunStatus::Waiting
        } else {
            RunStatus::Scheduled
        };
        let run = RunRow {
            status,
            wake_at: Some(Timestamp(1_850_000_000_000_000 - n / 2)),
            ..new_run(Partition(4))
        };
        sleepers.push(Sleeper {
            wake_at: run.wake_at.expect("a time"),
            run: run.id,
        });
        let created = vec![run];
        s.append(
            &mut claim,
            Batch {
                created,
                ..Batch::default()
            },
        )
        .await;
    }
    let waits_for_ever = RunRow {
        status: RunStatus::Waiting,
        ..new_run(Partition(4))
    };
    let works = RunRow {
        wake_at: Some(Timestamp(1_800_000_000_000_000)),
        ..new_run(Partition(4))
    };
    let created = vec![waits_for_ever, works.clone()];
    s.append(
        &mut claim,
        Batch {
            created,
            ..Batch::default()
        },
    )
    .await;
    s.append(
        &mut claim,
        Batch {
            changed: vec![end(works.id, RunStatus::Failed)],
            ..Batch::default()
        },
    )
    .await;
    sleepers.sort();
    let of = [Partition(4), Partition(5)];
    let (first, last) = (sleepers[0].wake_at, sleepers[5].wake_at);
    let page = async |after, limit| s.store.asleep(&of, last, after, limit).await.expect("read");
    let due = s.store.asleep(&of, first, None, 10).await.expect("read");
    assert_eq!(due, sleepers[..3], "those that are due, and the next");
    let none = Timestamp(first.0 - 1);
    assert_eq!(s.store.asleep(&of, none, None, 10).await.expect("read"), sleepers[..1]);
    let behind = s.store.asleep(&of, none, Some(sleepers[3]), 10).await.expect("read");
    assert_eq!(behind, sleepers[4..5]);
    assert_eq!(page(None, 10).await, sleepers);
    assert_eq!(page(None, 2).await, sleepers[..2]);
    assert_eq!(page(Some(sleepers[1]), 3).await, sleepers[2..5]);
    assert!(page(Some(sleepers[5]), 3).await.is_empty());
    assert!(
        s.store
            .asleep(&[Partition(5)], last, None, 10)
            .await
            .expect("read")
            .is_empty()
    );
    let mut counts = s.store.asleep_counts(&of).await.expect("read");
    counts.sort_by_key(|(status, _)| status.as_str());
    assert_eq!(counts, [(RunStatus::Scheduled, 3), (RunStatus::Waiting, 4)]);
    assert!(
        s.store.open_runs(&of).await.expect("read").is_empty(),
        "none of them is at work"
    );
}

async fn runs_are_counted_by_state(s: &Subject) {
    created(s, 20, |n, run| RunRow {
        status: RunStatus::ALL[n % 9],
        ..run
    })
    .await;
    let counts = s.store.run_counts().await.expect("read");
    let count = |status| counts.iter().find(|(of, _)| *of == status).map_or(0, |(_, n)| *n);
    assert_eq!(RunStatus::ALL.map(count), [3, 3, 2, 2, 2, 2, 2, 2, 2]);
}
