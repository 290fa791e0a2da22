//! What the suites of this crate share: a reference interpreter, a generator of definitions, and the simulator.

pub mod dice;
pub mod generate;
pub mod reference;
pub mod simulate;
