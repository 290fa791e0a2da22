//! What the suites of this crate share: a reference interpreter, a generator of definitions, the simulator, and what is made of
//! texts to break their readers.

pub mod dice;
pub mod fuzz;
pub mod generate;
pub mod reference;
pub mod simulate;
