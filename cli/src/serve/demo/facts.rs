//! What the demo proves, from the journal and the handlers' own counts.

use std::collections::BTreeMap;

use rejoin_coordinator::store::Store;
use rejoin_shared::ids::RunId;

use super::shop::{BRANCHES, Executions};
use crate::exit::Failure;

/// Branches of the fan-out.
const BRANCH: &str = "/pick_items[";

/// How often each path's completion was recorded.
pub type Completions = BTreeMap<String, u32>;

/// The evidence.
pub struct Facts {
    /// Recorded before the second coordinator started.
    pub kept: Completions,
    /// Handler starts before then.
    pub executed_before: Executions,
    /// Recorded at the end.
    pub all: Completions,
    /// Handler starts.
    pub executions: Executions,
}

/// Reads the completions of a run from its journal.
pub async fn completions(store: &dyn Store, run: RunId) -> Result<Completions, Failure> {
    let mut found = Completions::new();
    let mut after = 0;
    loop {
        let rows = store
            .journal(run, after, 1000)
            .await
            .map_err(|e| Failure::general(e.to_string()))?;
        let Some(last) = rows.last() else {
            return Ok(found);
        };
        after = last.row.seq;
        for stored in &rows {
            if stored.row.kind == "step_completed" {
                *found.entry(stored.row.path.clone().unwrap_or_default()).or_default() += 1;
            }
        }
    }
}

/// Those of the fan-out.
pub fn branches(completions: &Completions) -> Vec<(&str, u32)> {
    let of_fan_out = completions.iter().filter(|(path, _)| path.starts_with(BRANCH));
    of_fan_out.map(|(path, count)| (path.as_str(), *count)).collect()
}

impl Facts {
    fn executed(&self, path: &str) -> u32 {
        self.executions.get(path).copied().unwrap_or(0)
    }

    /// A line a group of branches that look the same.
    pub fn table(&self) -> String {
        let mut groups: BTreeMap<(bool, u32, u32), u32> = BTreeMap::new();
        for (path, recorded) in branches(&self.all) {
            let key = (self.kept.contains_key(path), recorded, self.executed(path));
            *groups.entry(key).or_default() += 1;
        }
        let mut out = String::from("branches  recorded  handler ran  when\n");
        for ((kept, recorded, executed), count) in groups.into_iter().rev() {
            let when = match (kept, executed) {
                (true, 1) => "before the coordinator was replaced, not touched again",
                (true, _) => "before the coordinator was replaced; begun on the killed worker, then once more",
                (false, 1) => "after it, once",
                (false, _) => "after it; in flight when a worker or the coordinator went, then once more",
            };
            out.push_str(&format!("{count:>8}  {recorded:>8}  {executed:>11}  {when}\n"));
        }
        out
    }

    /// What does not hold.
    pub fn failures(&self, has_completed: bool) -> Vec<String> {
        let mut failures = Vec::new();
        let mut claim = |holds: bool, text: String| {
            if !holds {
                failures.push(text);
            }
        };
        claim(has_completed, "the run completed".to_owned());
        let branches = branches(&self.all);
        let count = branches.len();
        claim(
            u32::try_from(count) == Ok(BRANCHES),
            format!("{BRANCHES} branches were recorded (found {count})"),
        );
        for (path, recorded) in &self.all {
            claim(*recorded == 1, format!("{path} was recorded once (found {recorded})"));
        }
        for path in self.kept.keys() {
            let before = self.executed_before.get(path).copied().unwrap_or(0);
            claim(
                self.executed(path) == before,
                format!("{path}, recorded before the coordinator was replaced, was not begun again"),
            );
        }
        for path in self.all.keys() {
            claim(self.executed(path) >= 1, format!("the handler of {path} ran"));
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_recorded_twice_is_no_success() {
        let once: Completions = (0..BRANCHES).map(|i| (format!("{BRANCH}{i}]/pick"), 1)).collect();
        let mut facts = Facts {
            kept: Completions::new(),
            executed_before: Executions::new(),
            all: once.clone(),
            executions: once,
        };
        assert_eq!(facts.failures(true), Vec::<String>::new());
        facts.all.insert(format!("{BRANCH}0]/pick"), 2);
        assert_eq!(facts.failures(true).len(), 1);
    }
}
