//! `/v1/schedules`

use rejoin_shared::time::Timestamp;

use super::bodies;
use super::parameters::{number, page};
use crate::api::describe::{Route, delete, get, post, put};
use crate::api::page::Page;
use crate::api::problem::Code;
use crate::api::schedules::{self, ScheduleView};
use crate::read::run::RunView;

const A_SCHEDULE: &str = "The schedule.";

pub fn routes() -> Vec<Route> {
    let mut routes = read_and_write();
    routes.extend(verbs());
    routes
}

fn read_and_write() -> Vec<Route> {
    vec![
        post("/v1/schedules", "createSchedule", schedules::create)
            .says("Makes a schedule", "")
            .needs(bodies::new_schedule())
            .answers::<ScheduleView>(201, A_SCHEDULE)
            .problems([Code::Conflict, Code::InvalidInput])
            .admin(),
        get("/v1/schedules", "listSchedules", schedules::list)
            .says("Lists schedules, by name", "")
            .query(page())
            .answers::<Page<ScheduleView>>(200, "One page."),
        get("/v1/schedules/{name}", "getSchedule", schedules::one)
            .says("Reads a schedule", "")
            .answers::<ScheduleView>(200, A_SCHEDULE),
        put("/v1/schedules/{name}", "replaceSchedule", schedules::replace)
            .says("Replaces a schedule, as a whole", "A paused one stays paused.")
            .needs(bodies::schedule())
            .answers::<ScheduleView>(200, A_SCHEDULE)
            .problems([Code::InvalidInput])
            .admin(),
        delete("/v1/schedules/{name}", "deleteSchedule", schedules::delete)
            .says("Deletes a schedule", "Its runs stay.")
            .answers_empty(204, "It is gone.")
            .admin(),
        get("/v1/schedules/{name}/next", "nextTimes", schedules::next)
            .says(
                "Tells the times to come",
                "Of a paused one those if it were resumed now.",
            )
            .query([number("n", 1, "How many: 10 by default, at most 1,000.")])
            .answers::<Page<Timestamp>>(200, "The times."),
    ]
}

/// These share one address, as far as the router knows.
fn verbs() -> Vec<Route> {
    vec![
        post("/v1/schedules/{name}:pause", "pauseSchedule", schedules::operate)
            .says("Starts nothing until it is resumed", "Twice is no error.")
            .body(bodies::nothing())
            .answers::<ScheduleView>(200, A_SCHEDULE),
        post("/v1/schedules/{name}:resume", "resumeSchedule", schedules::operate)
            .says("Goes on with the next tick", "Twice is no error.")
            .body(bodies::nothing())
            .answers::<ScheduleView>(200, A_SCHEDULE),
        post("/v1/schedules/{name}:trigger", "triggerSchedule", schedules::operate)
            .says("Starts a run now", "Whatever the overlap, and also of a paused one.")
            .body(bodies::trigger())
            .answers::<RunView>(201, "The run.")
            .problems([Code::InvalidInput]),
    ]
}
