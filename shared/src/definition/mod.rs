//! The definition document (SPEC 2): its model, its parser and its checks.

pub mod model;
