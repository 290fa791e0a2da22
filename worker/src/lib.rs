//! The worker (SPEC 10): an SDK with typed async handlers, and the generic worker that runs programs and posts to addresses.
//!
//! ```text
//! sdk, generic, builtin ── implement ─▶ handler::Handle
//!                                          ▲ called with an attempt::Attempt
//! run (the loop: one task that owns all state) ── starts ─▶ attempt::execute (time-outs, panics, heartbeats)
//! ```
//!
//! A worker knows the broker and nothing else. [`run`] keeps the promises of the wire contract: a task message is
//! acknowledged only when the completions of all its attempts are confirmed, and nothing that may have run before
//! starts without its owner's word. Beside it, [`workflow`] writes definitions in Rust; nothing here reads them.

pub mod attempt;
mod builtin;
pub mod generic;
pub mod handler;
mod run;
pub mod sdk;

pub use generic::{GenericWorkerConfig, run_generic};
pub use handler::{Handle, Outcome};
/// Workflows written in Rust. What the worker serves and what calls it can stand side by side, see [`HandlerName`].
#[doc(inline)]
pub use rejoin_shared::definition::builder as workflow;
/// Where a worker's spans go, and the settings that say so.
#[doc(inline)]
pub use rejoin_shared::{config::Tracing, trace::export::Tracer};
pub use run::{Probe, WorkerError};
pub use sdk::{BuildError, HandlerName, StepContext, StepError, Worker, WorkerBuilder, log_layer};
