//! Workers, queues, dead letters.

use super::parameters::page;
use crate::api::dead_letters::{self, LetterView};
use crate::api::describe::{Route, delete, get, post};
use crate::api::fleet::{self, QueueView, WorkerView};
use crate::api::page::Page;
use crate::api::problem::Code;

pub fn routes() -> Vec<Route> {
    vec![
        get("/v1/queues", "listQueues", fleet::queues)
            .says(
                "Lists task queues",
                "Workers are those of the whole fleet; `depth`, `waiting` and `unserved` count the runs of the coordinator asked.",
            )
            .query(page())
            .answers::<Page<QueueView>>(200, "One page, by name."),
        get("/v1/workers", "listWorkers", fleet::workers)
            .says("Lists workers", "")
            .query(page())
            .answers::<Page<WorkerView>>(200, "One page, by name."),
        get("/v1/dead-letters", "listDeadLetters", dead_letters::list)
            .says(
                "Lists what the broker gave up, and steps that killed their workers",
                "Oldest first; those behind the oldest 1,000 of all namespaces come into sight as these go.",
            )
            .query(page())
            .answers::<Page<LetterView>>(200, "One page."),
        post("/v1/dead-letters/{id}:replay", "replayDeadLetter", dead_letters::replay)
            .says(
                "Sends a letter again to where it came from",
                "Of a poisoned step the run is resumed.",
            )
            .answers::<LetterView>(200, "The letter; it is gone.")
            .problems([Code::Conflict]),
        delete("/v1/dead-letters/{id}", "dropDeadLetter", dead_letters::remove)
            .says("Drops a letter", "")
            .answers_empty(204, "It is gone.")
            .admin(),
    ]
}
