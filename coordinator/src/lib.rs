//! The coordinator: owns partitions, decides through the engine, appends, and only then acts.

pub mod api;
pub mod read;
pub mod store;
