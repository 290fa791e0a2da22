//! How a scope's branches settle and merge (SPEC 4.1, 4.2): deterministic, whatever finished first.

pub(crate) mod contribution;
pub(crate) mod failure;
pub(crate) mod graph;
pub(crate) mod merge;
pub(crate) mod reduce;
pub(crate) mod results;
pub(crate) mod settle;
pub(crate) mod strict;
