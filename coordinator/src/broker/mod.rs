//! The coordinator's domain operations over the link: publishing in order, reading event queues and reports.

pub mod consumers;
pub mod dead_letters;
pub mod decode;
pub mod gate;
pub mod publisher;
pub mod tokens;
