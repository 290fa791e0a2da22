//! What coordinator and worker share: ids, paths, JSON, definitions, expressions, limits, the wire contract and the link to the broker.
//!
//! Nothing in here decides anything about a run; that is the engine's. Modules point downwards only:
//! `definition` uses `expr`, which uses `json`; `link` carries the messages of `wire`.

#[cfg(feature = "amqp")]
pub mod clock;
pub mod config;
pub mod definition;
pub mod delta;
pub mod dice;
pub mod expr;
pub mod ids;
pub mod json;
pub mod keypath;
pub mod limits;
#[cfg(feature = "amqp")]
pub mod link;
pub mod map;
pub mod path;
pub mod redact;
pub mod run;
pub mod suggest;
pub mod telemetry;
pub mod time;
#[cfg(feature = "amqp")]
pub mod tls;
#[cfg(feature = "amqp")]
pub mod topology;
pub mod trace;
pub mod wire;
