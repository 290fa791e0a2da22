//! The coordinator: owns partitions, decides through the engine, appends, and only then acts.

pub mod api;
pub mod broker;
pub mod console;
pub mod coordinator;
pub mod dispatcher;
pub mod fleet;
pub mod inbox;
pub mod members;
pub mod metrics;
pub mod owner;
pub mod read;
pub mod schemas;
pub mod services;
pub mod store;
pub mod survey;
