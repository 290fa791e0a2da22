//! Maps and sets for the ways that every branch goes: the standard ones with a hash that costs a few nanoseconds a key instead
//! of twenty. Keys are ids and names of our own; still the hash is seeded at random in each process.

use foldhash::fast::RandomState;

/// A hash map; made by `default()`.
pub type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
/// A hash set; made by `default()`.
pub type HashSet<K> = std::collections::HashSet<K, RandomState>;
