//! Every limit of SPEC 12 and a few inner ones, in one place.

use serde::{Deserialize, Serialize};

/// Characters of a name (node, branch, workflow, queue, namespace).
pub const NAME_CHARS_MAX: usize = 64;
/// Bytes of a path.
pub const PATH_BYTES_MAX: usize = 2048;
/// Bytes of an event's name, of which there is at least one, and of what its sender calls it.
pub const EVENT_NAME_BYTES_MAX: usize = 256;
/// Levels of nesting in any JSON value.
pub const JSON_DEPTH_MAX: usize = 128;
/// Levels of a context: the deepest output under the name of its node, and what scopes put around it.
pub const CONTEXT_DEPTH_MAX: usize = JSON_DEPTH_MAX + 32;
/// Levels of what Rejoin itself wrote (records, messages, answers): users' values stand inside, and errors inside errors.
pub const OWN_DEPTH_MAX: usize = 512;
/// Branch errors listed in `rejoin.branches_failed`, and causes.
pub const FAILED_BRANCHES_LISTED_MAX: usize = 100;
/// Default of `max_visits` (on a node or at the top).
pub const VISITS_MAX_DEFAULT: u32 = 1000;
/// Default of `max` of a repeat.
pub const ROUNDS_MAX_DEFAULT: u32 = 1000;

/// The configurable limits; `Default` gives SPEC 12's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a definition document.
    pub definition_bytes_max: usize,
    /// Nodes of a definition.
    pub definition_nodes_max: usize,
    /// Levels of nested nodes of a definition.
    pub definition_levels_max: usize,
    /// Bytes of an expression's text.
    pub expression_bytes_max: usize,
    /// Nesting levels of an expression.
    pub expression_levels_max: usize,
    /// Comprehensions nested in each other in an expression.
    pub expression_iterations_max: usize,
    /// Elements that the macros of one evaluation may visit, then `rejoin.expression_cost`. Its functions may
    /// read and copy as many beside, eight bytes of text counting as one, and eight times as many parts of it may be evaluated.
    pub expression_cost_max: u64,
    /// Bytes of a run's input, as JSON.
    pub input_bytes_max: usize,
    /// Bytes of a step's output, as JSON.
    pub output_bytes_max: usize,
    /// Bytes of an event's payload, as JSON.
    pub payload_bytes_max: usize,
    /// Bytes of a context, as JSON.
    pub context_bytes_max: usize,
    /// Branches of one scope.
    pub branches_max: u32,
    /// Records of one run's journal.
    pub journal_records_max: u64,
    /// Lines of one attempt's logs.
    pub log_lines_max: usize,
    /// Bytes of one attempt's logs.
    pub log_bytes_max: usize,
    /// Attempts of one run that may be dispatched and not yet recorded.
    pub in_flight_per_run_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        const MIB: usize = 1024 * 1024;
        Limits {
            definition_bytes_max: MIB,
            definition_nodes_max: 10_000,
            definition_levels_max: 64,
            expression_bytes_max: 4096,
            expression_levels_max: 32,
            expression_iterations_max: 2,
            expression_cost_max: 10_000_000,
            input_bytes_max: MIB,
            output_bytes_max: MIB,
            payload_bytes_max: MIB,
            context_bytes_max: 8 * MIB,
            branches_max: 1_000_000,
            journal_records_max: 20_000_000,
            log_lines_max: 1000,
            log_bytes_max: 64 * 1024,
            in_flight_per_run_max: 4096,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of SPEC 12, which users read, and what is in force.
    #[test]
    fn the_limits_are_those_that_the_interface_promises() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/interface.md");
        let page = std::fs::read_to_string(page).expect("docs/interface.md");
        let limits = Limits::default();
        let (kib, mib) = (1024, 1024 * 1024);
        let rows = [
            (
                "| definition | 1 MiB, 10,000 nodes, 64 levels |",
                limits.definition_bytes_max == mib
                    && limits.definition_nodes_max == 10_000
                    && limits.definition_levels_max == 64,
            ),
            (
                "| an expression | 4 KiB, 32 levels, 2 nested iterations, 10 million elements visited |",
                limits.expression_bytes_max == 4 * kib
                    && limits.expression_levels_max == 32
                    && limits.expression_iterations_max == 2
                    && limits.expression_cost_max == 10_000_000,
            ),
            (
                "| run input, step output, event payload | 1 MiB each |",
                [
                    limits.input_bytes_max,
                    limits.output_bytes_max,
                    limits.payload_bytes_max,
                ] == [mib; 3],
            ),
            ("| context | 8 MiB |", limits.context_bytes_max == 8 * mib),
            (
                "| branches of one scope | 1,000,000 |",
                limits.branches_max == 1_000_000,
            ),
            (
                "| journal of one run | 20,000,000 records |",
                limits.journal_records_max == 20_000_000,
            ),
            (
                "| logs of one attempt | 1,000 lines, 64 KiB, then truncated with a mark |",
                limits.log_lines_max == 1_000 && limits.log_bytes_max == 64 * kib,
            ),
            (
                "| in flight per run | 4,096 attempts, so that one giant fan-out starves nobody |",
                limits.in_flight_per_run_max == 4_096,
            ),
        ];
        for (row, is_so) in rows {
            assert!(page.contains(row), "the page lacks {row}");
            assert!(is_so, "not in force: {row}");
        }
    }
}
