//! The pure fold of Rejoin (DESIGN 1): what an event means for a run.
//!
//! ```text
//!             ┌────────────── decide(definition, state, event, now) ─────────────┐
//!  event ────▶│ checks the event against the state, appends records, each folded │────▶ records + effects
//!             │ in at once by `apply`, walks on until every branch waits         │
//!             └──────────────────────────────────────────────────────────────────┘
//!  journal ──▶ apply(record) … apply(record) ──▶ the same state again
//! ```
//!
//! No clock, no randomness, no IO, no async: time and random numbers arrive inside events. Only `apply` changes a run's
//! state, and only by a record, so that what `decide` leaves behind equals what a restart folds from the journal.

mod apply;
pub mod decision;
mod env;
pub mod event;
mod join;
mod kept;
mod machine;
mod on;
mod patterns;
pub mod record;
mod retry;
pub mod state;
mod walk;

pub use apply::Misfit;
pub use on::{decide, fork, start};
