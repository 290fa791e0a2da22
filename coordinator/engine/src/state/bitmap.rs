//! A set of branch indices, one bit each.

/// Grows as needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap(Vec<u64>);

impl Bitmap {
    /// Adds an index.
    pub fn insert(&mut self, index: u32) {
        let word = index as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (index % 64);
    }

    /// Whether an index is in it.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        self.0
            .get(index as usize / 64)
            .is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// Bytes of memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_there_and_nothing_else() {
        let mut set = Bitmap::default();
        for index in [0, 63, 64, 1_000_000] {
            set.insert(index);
        }
        assert!([0, 63, 64, 1_000_000].into_iter().all(|index| set.has(index)));
        assert!([1, 62, 65, 999_999, 5_000_000].into_iter().all(|index| !set.has(index)));
    }
}
