//! The Rust SDK: typed async handlers and the worker that runs them.

mod context;
mod error;
mod layer;
mod name;
mod typed;
mod worker;

pub use context::StepContext;
pub use error::StepError;
pub use layer::{LogLayer, log_layer};
pub use name::HandlerName;
pub use worker::{BuildError, Worker, WorkerBuilder};

pub(crate) use typed::Typed;
