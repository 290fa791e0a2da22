//! `/v1/runs`, and what else is about runs.

use rejoin_shared::json::Json;

use super::bodies;
use super::parameters::{duration, flag, list, page, run_states, sequence, step_states, tags, text, time, words};
use crate::api::batch::{self, Started};
use crate::api::bulk::{self, Outcome};
use crate::api::describe::{Route, delete, get, patch, post};
use crate::api::events::{self, Accepted};
use crate::api::inputs::{self, InputView};
use crate::api::operations::{self, Resumed};
use crate::api::page::Page;
use crate::api::problem::Code;
use crate::api::{fork, reads, runs, scopes, start, steps, watch};
use crate::read::graph::GraphView;
use crate::read::journal::Entry;
use crate::read::run::RunView;
use crate::read::steps::StepView;
use crate::read::why::Why;

const A_RUN: &str = "The run.";
const LINKED: &str = "The caller's span (W3C Trace Context), which the run's own links to.";

/// Starting and reading.
pub fn routes() -> Vec<Route> {
    let wait = "Answer when it has ended, at most after this time; cut at 5 minutes.";
    let key = text("Idempotency-Key", "The same key starts one run.");
    let span = || text("traceparent", LINKED);
    vec![
        post("/v1/workflows/{name}/runs", "startRun", start::start)
            .says("Starts a run", "")
            .query([duration("wait", wait)])
            .header(key)
            .header(span())
            .body(bodies::start())
            .answers::<RunView>(201, "The run has begun.")
            .with_headers(&[("Location", "Its address.")])
            .answers::<RunView>(200, "Its idempotency key had started it.")
            .with_headers(&[("Location", "Its address.")])
            .answers::<RunView>(202, "It has begun, and not ended within `wait`.")
            .with_headers(&[("Location", "Its address.")])
            .problems([Code::Gone, Code::InvalidInput, Code::IdempotencyMismatch]),
        post("/v1/runs/batch", "startRuns", batch::start)
            .says(
                "Starts many runs, all or none",
                "Each of them names its own idempotency key.",
            )
            .header(span())
            .needs(bodies::batch())
            .answers::<Started>(201, "Their ids, in the order given.")
            .answers::<Started>(200, "Their idempotency keys had started every one of them.")
            .problems([
                Code::NotFound,
                Code::Gone,
                Code::InvalidInput,
                Code::IdempotencyMismatch,
            ]),
        get("/v1/runs", "listRuns", runs::list)
            .says("Lists runs, newest first", "")
            .query([
                list(text("workflow", "Only of one of these workflows.")),
                run_states(),
                tags(),
                time("since", "Only created at this time or later."),
                time("until", "Only created before this time."),
                text("parent", "Only those that this run called."),
                words(
                    "waiting",
                    &runs::WAITING,
                    "Only those in which at least one branch waits for this.",
                ),
                text("q", "A part of an id's ends or of a workflow's name."),
            ])
            .query(page())
            .answers::<Page<RunView>>(200, "One page; `waits` and `children` are empty and `owner` is null.")
            .problems([Code::NotFound, Code::Ambiguous]),
        get("/v1/runs/{id}", "getRun", runs::one)
            .says("Reads a run", "")
            .answers::<RunView>(200, A_RUN),
        get("/v1/runs/{id}/steps", "listSteps", reads::steps)
            .says(
                "Lists a run's steps, one entry a visit",
                "In the order in which they were opened.",
            )
            .query([step_states(), text("path", "Only this node and what lies below it.")])
            .query(page())
            .answers::<Page<StepView>>(200, "One page."),
        get("/v1/runs/{id}/journal", "listJournal", reads::journal)
            .says("Lists a run's records, oldest first", "")
            .query([
                sequence("after", "Only records behind this one."),
                super::parameters::limit(),
            ])
            .answers::<Page<Entry>>(200, "One page."),
        get("/v1/runs/{id}/context", "getContext", reads::context)
            .says("Reads a run's context, now or at a journal position", "")
            .query([
                sequence("at", "Sequence number of a record."),
                text("path", "Keys joined by dots: only what stands there."),
            ])
            .answers::<Json>(200, "The context, or the value in it.")
            .problems([Code::Gone]),
        get("/v1/runs/{id}/graph", "getRunGraph", reads::graph)
            .says("Shows the workflow's structure with the states of the run's visits", "")
            .answers::<GraphView>(200, "Its nodes."),
        get("/v1/runs/{id}/why", "explainRun", reads::why)
            .says("Tells what a run waits for", "")
            .answers::<Why>(200, "What it waits for."),
        get("/v1/runs/{id}/watch", "watchRun", watch::watch)
            .says(
                "Follows a run until it ends",
                "An event a record (`id` its number, `event` its kind), then `end`.",
            )
            .query([sequence("after", "Only records behind this one.")])
            .header(sequence("Last-Event-ID", "As `after`, which it overrides."))
            .answers_text(200, "Server-sent events.", "text/event-stream"),
    ]
}

/// Operations on runs and steps.
pub fn operations() -> Vec<Route> {
    vec![
        post("/v1/runs/{id}/cancel", "cancelRun", operations::cancel)
            .says("Cancels a run", "Cancelling a cancelled run changes nothing.")
            .body(bodies::cancel())
            .answers::<RunView>(200, A_RUN)
            .problems([Code::Conflict]),
        post("/v1/runs/{id}/pause", "pauseRun", operations::pause)
            .says(
                "Pauses a run",
                "Nothing new is dispatched, what runs is recorded. Pausing a paused run changes nothing.",
            )
            .body(bodies::nothing())
            .answers::<RunView>(200, A_RUN)
            .problems([Code::Conflict]),
        post("/v1/runs/{id}/resume", "resumeRun", operations::resume)
            .says(
                "Goes on with a paused or failed run",
                "Publishes what has no recorded completion, and nothing else.",
            )
            .query([flag("plan", "Change nothing; tell what would be dispatched.")])
            .body(bodies::nothing())
            .answers::<Resumed>(200, "The run, or with `plan` what would be done.")
            .problems([Code::Conflict]),
        post("/v1/runs/{id}/fork", "forkRun", fork::fork)
            .says(
                "Begins a new run with the past of this one",
                "Up to a record of its journal: the same past, another future.",
            )
            .header(text("traceparent", LINKED))
            .body(bodies::fork())
            .answers::<RunView>(201, "The fork has begun.")
            .with_headers(&[("Location", "Its address.")])
            .problems([Code::Conflict, Code::InvalidInput]),
        patch("/v1/runs/{id}/scopes", "editScope", scopes::edit)
            .says("Edits an open parallel, foreach or graph", "It acts at once.")
            .needs(bodies::edit())
            .answers::<RunView>(200, A_RUN)
            .problems([Code::Conflict]),
        delete("/v1/runs/{id}", "deleteRun", operations::delete)
            .says("Deletes an ended run", "")
            .answers_empty(204, "It is gone.")
            .problems([Code::Conflict])
            .admin(),
        post("/v1/runs:bulk", "bulkRuns", bulk::carry_out)
            .says(
                "Does one operation to all runs that a filter finds",
                "It is no transaction.",
            )
            .needs(bodies::bulk())
            .answers::<Outcome>(200, "How many runs were found, and how many allowed it.")
            .problems([Code::NotFound, Code::Ambiguous])
            .admin(),
        post("/v1/runs/{id}/steps/retry", "retrySteps", steps::retry)
            .says("Tries parked and failed steps again", "With a fresh budget.")
            .needs(bodies::retry())
            .answers::<RunView>(200, A_RUN)
            .problems([Code::Conflict]),
        post("/v1/runs/{id}/steps/skip", "skipSteps", steps::skip)
            .says(
                "Goes on behind parked and failed steps",
                "Also behind compensations at work, taken as done.",
            )
            .needs(bodies::skip())
            .answers::<RunView>(200, A_RUN)
            .problems([Code::Conflict]),
        post("/v1/runs/{id}/steps/fail", "failSteps", steps::fail)
            .says(
                "Lets parked steps fail, or failed ones with another error",
                "Also compensations at work; what is older is not undone then.",
            )
            .needs(bodies::fail())
            .answers::<RunView>(200, A_RUN)
            .problems([Code::Conflict]),
    ]
}

/// Events and answers.
pub fn signals() -> Vec<Route> {
    vec![
        post("/v1/runs/{id}/events", "sendEvent", events::send)
            .says("Sends an event to one run", "The run keeps it until a wait takes it.")
            .needs(bodies::event())
            .answers::<Accepted>(202, "It is durable.")
            .problems([Code::Conflict, Code::TooMany]),
        post("/v1/events", "broadcastEvent", events::broadcast)
            .says("Sends an event to every run that waits for it now", "")
            .needs(bodies::event())
            .answers::<Accepted>(202, "It is durable."),
        get("/v1/inputs", "listInputs", inputs::list)
            .says("Lists the questions that wait for people", "")
            .query(page())
            .answers::<Page<InputView>>(200, "One page."),
        post("/v1/runs/{id}/inputs/{name}", "answerInput", inputs::answer)
            .says(
                "Answers a question",
                "Where one name waits several times, the answer names the path.",
            )
            .needs(bodies::answer())
            .answers::<RunView>(200, A_RUN)
            .problems([Code::Conflict, Code::InvalidInput]),
    ]
}
