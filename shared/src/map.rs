//! Maps and sets for the ways that every branch goes: the standard ones with a hash that costs a few nanoseconds a key instead
//! of twenty. Keys are ids and names of our own; still the hash is seeded at random in each process.

use std::cell::Cell;
use std::hash::BuildHasher;

use foldhash::fast::{FoldHasher, SeedableRandomState};

/// A hash map; made by `default()`.
pub type HashMap<K, V> = std::collections::HashMap<K, V, Seed>;
/// A hash set; made by `default()`.
pub type HashSet<K> = std::collections::HashSet<K, Seed>;

thread_local! {
    static IS_FIXED: Cell<bool> = const { Cell::new(false) };
}

/// From now on maps that this thread makes have the same order each time: for simulations that are to be the same twice.
pub fn fix_order() {
    IS_FIXED.set(true);
}

/// How a map hashes.
#[derive(Clone, Debug)]
pub struct Seed(SeedableRandomState);

impl Default for Seed {
    fn default() -> Seed {
        Seed(match IS_FIXED.get() {
            true => SeedableRandomState::fixed(),
            false => SeedableRandomState::random(),
        })
    }
}

impl BuildHasher for Seed {
    type Hasher = FoldHasher<'static>;

    #[inline]
    fn build_hasher(&self) -> FoldHasher<'static> {
        self.0.build_hasher()
    }
}
