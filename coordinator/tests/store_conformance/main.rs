//! What every store promises, tested on each: the embedded one always, PostgreSQL where `REJOIN_TEST_DATABASE_URL` names a server.

#[macro_use]
mod subject;
#[path = "../support/mod.rs"]
mod support;

mod appends;
mod endings;
mod forks;
mod inbox;
mod keys;
mod lists;
mod owners;
mod postgres_only;
mod reseal;
mod restarts;
mod retention;
mod schedules;
mod sealed;
mod snapshots;
mod tokens;
mod views;
mod waits;
