//! Read models: pure functions from a run's journal and its definition to what the API shows.
//!
//! Nothing in here decides or writes. [`journal`] fetches records, [`replay`] folds them with the engine, the others
//! shape the outcome.

pub mod details;
pub mod folds;
pub mod graph;
pub mod journal;
pub mod locate;
pub mod past;
pub mod ranges;
pub mod replay;
pub mod run;
pub mod slots;
pub mod states;
pub mod steps;
pub mod waits;
pub mod why;
