//! The tables of SPEC 4 and 5 over the engine, one claim a test.

mod calls;
mod checkpoints;
mod claims;
mod compensation;
mod edits;
mod flow;
mod fork;
mod guard;
mod join;
mod limits;
mod merging;
mod operating;
mod operating_undo;
mod parked;
mod requests;
mod resume;
mod visits;
mod waits;
