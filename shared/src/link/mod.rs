//! The link to the broker.
