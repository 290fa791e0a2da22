//! `rejoin gc`: what the coordinators' sweep does by itself, at once and to the end.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;

use rejoin_coordinator::services::retention::Retention;
use rejoin_coordinator::store::StoreError;
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;

use super::{database, settings};
use crate::args::{GcArgs, Global};
use crate::exit::{self, Failure};
use crate::output;
use crate::run::confirmed;

/// Deletes what is due, or only tells how much that is.
pub async fn run(global: &Global, args: GcArgs) -> Result<u8, Failure> {
    let settings = settings(&args.servers)?;
    let store = Arc::new(database(&settings).await?);
    let retention = Retention::new(store, settings.retention.by_state());
    let failed = |error: StoreError| Failure::general(format!("database {}: {error}", settings.database.url));
    if args.dry_run {
        let (runs, snapshots) = retention.due().await.map_err(failed)?;
        return tell(global, &Removed::of(&runs, snapshots), true);
    }
    if !args.yes && std::io::stdin().is_terminal() {
        let (runs, snapshots) = retention.due().await.map_err(failed)?;
        let due = Removed::of(&runs, snapshots).total();
        if !confirmed(&format!("delete {due} ended runs and {snapshots} snapshots?"))? {
            return Err(Failure::general("nothing was done"));
        }
    }
    let mut removed = Removed::default();
    loop {
        let swept = retention.run_once().await.map_err(failed)?;
        if swept.is_nothing() {
            return tell(global, &removed, false);
        }
        removed.add(&swept.runs, swept.dropped.snapshots);
    }
}

/// What went, or would go.
#[derive(Default)]
struct Removed {
    /// By state.
    runs: BTreeMap<&'static str, u64>,
    snapshots: u64,
}

impl Removed {
    fn of(runs: &[(RunStatus, u64)], snapshots: u64) -> Removed {
        let mut removed = Removed::default();
        removed.add(runs, snapshots);
        removed
    }

    fn add(&mut self, runs: &[(RunStatus, u64)], snapshots: u64) {
        self.snapshots += snapshots;
        for (status, count) in runs {
            *self.runs.entry(status.as_str()).or_default() += count;
        }
    }

    fn total(&self) -> u64 {
        self.runs.values().sum()
    }
}

fn tell(global: &Global, removed: &Removed, is_dry: bool) -> Result<u8, Failure> {
    output::value(global.output, &json(removed, is_dry).to_bytes(), || {
        shown(removed, is_dry)
    })?;
    Ok(exit::OK)
}

fn json(removed: &Removed, is_dry: bool) -> Json {
    let count = |count: u64| Json::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let mut runs = Json::object();
    for status in RunStatus::ALL.iter().filter(|status| status.is_terminal()) {
        let of_state = removed.runs.get(status.as_str()).copied().unwrap_or(0);
        runs.object_mut().insert(status.as_str().into(), count(of_state));
    }
    Json::from_entries([
        ("dry_run", Json::Bool(is_dry)),
        ("total", count(removed.total())),
        ("runs", runs),
        ("snapshots", count(removed.snapshots)),
    ])
}

fn shown(removed: &Removed, is_dry: bool) -> String {
    let verb = if is_dry { "would delete" } else { "deleted" };
    let mut text = String::new();
    for (state, count) in &removed.runs {
        text.push_str(&format!("{verb} {count} {state} runs\n"));
    }
    if removed.snapshots > 0 {
        text.push_str(&format!("{verb} {} snapshots of joined branches\n", removed.snapshots));
    }
    match text.is_empty() {
        true => format!("{verb} nothing\n"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_is_told_by_state() {
        let mut removed = Removed::of(&[(RunStatus::Completed, 100), (RunStatus::Failed, 1)], 2);
        removed.add(&[(RunStatus::Completed, 20)], 5);
        assert_eq!(
            shown(&removed, false),
            "deleted 120 completed runs\ndeleted 1 failed runs\ndeleted 7 snapshots of joined branches\n"
        );
        assert_eq!(shown(&Removed::default(), true), "would delete nothing\n");
        let expected = r#"{"dry_run":true,"runs":{"cancelled":0,"compensation_failed":0,"completed":120,"failed":1},"snapshots":7,"total":121}"#;
        assert_eq!(json(&removed, true).to_string(), expected);
    }
}
