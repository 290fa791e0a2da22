//! What is known about a fleet that did not do what it should: for whoever reads the failure and cannot come back to it.

use std::path::Path;

use super::fleet::Fleet;

/// Lines of each log that a failure shows.
const LINES: usize = 15;

/// The queues of the fleet that hold something, and the last lines of every process.
pub fn evidence(fleet: &Fleet) -> String {
    let mut lines = fleet
        .messages()
        .unwrap_or_else(|error| vec![format!("the queues are not known: {error:#}")]);
    for process in fleet.names() {
        lines.push(format!("== {process}"));
        lines.extend(last_lines(&fleet.log(process)));
    }
    lines.join("\n")
}

fn last_lines(log: &Path) -> impl Iterator<Item = String> {
    let text = std::fs::read(log).unwrap_or_default();
    let mut lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    lines.split_off(lines.len().saturating_sub(LINES)).into_iter()
}
