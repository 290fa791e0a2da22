//! Every address of the API, with what is to be known about it.

use super::describe::Route;

mod bodies;
mod fleet;
mod own;
mod parameters;
mod runs;
mod schedules;
mod workflows;

pub use parameters::NAME;

/// All of them, in the order of the documentation.
pub fn all() -> Vec<Route> {
    let parts = [
        workflows::routes(),
        runs::routes(),
        runs::operations(),
        runs::signals(),
        schedules::routes(),
        fleet::routes(),
        own::routes(),
    ];
    parts.into_iter().flatten().collect()
}
