//! What bounds an evaluation: every node evaluated, element visited and byte copied is paid for (SPEC 12).
//!
//! Costs depend on the values alone, never on time: the same evaluation ends the same way everywhere.

/// Why an evaluation stopped. Only `Failed` can be absorbed by `&&`, `||`, `all` and `exists`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The budget is used up.
    Cost,
    /// What went wrong, without the expression's text.
    Failed(String),
}

/// The result of evaluating a part.
pub(super) type Outcome<T> = Result<T, Fault>;

/// A failed evaluation.
pub(super) fn fail<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Fault::Failed(message.into()))
}

/// Bytes of text that cost as much as one element.
const BYTES_PER_UNIT: usize = 8;

/// What an evaluation may still spend.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    pub(super) fn new(left: u64) -> Budget {
        Budget { left }
    }

    /// Pays for `elements` visited.
    pub(super) fn charge(&mut self, elements: usize) -> Outcome<()> {
        let cost = u64::try_from(elements).unwrap_or(u64::MAX);
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                // Nothing may go on after this, not even a cheaper part.
                self.left = 0;
                Err(Fault::Cost)
            }
        }
    }

    /// Pays for reading or writing `bytes` of text.
    pub(super) fn charge_text(&mut self, bytes: usize) -> Outcome<()> {
        self.charge(bytes / BYTES_PER_UNIT + 1)
    }
}
