//! Random numbers from a seed: the same seed gives the same ones on every machine.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice(mix(seed ^ 0x5DEE_CE66_D1CE_4E5B))
    }

    /// The stream that belongs to `seed` and `text`, whatever was drawn before.
    #[must_use]
    pub fn of(seed: u64, text: &str) -> Dice {
        Dice(hash(seed, text))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number from 0 below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n.max(1)).expect("a size fits 64 bits");
        usize::try_from(self.any() % n).expect("below a size")
    }

    /// Whether something that happens in `percent` of all cases happens now.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these words.
    pub fn word<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// One of `all`.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A number that depends on `seed` and every byte of `text`.
#[must_use]
pub fn hash(seed: u64, text: &str) -> u64 {
    let start = mix(seed ^ 0x2545_F491_4F6C_DD1D);
    text.bytes().fold(start, |h, byte| mix(h ^ u64::from(byte)))
}

// splitmix64 (Steele, Lea, Flood 2014)
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
