//! What bounds an evaluation: the elements that its macros visit (SPEC 12), and what it does beside: every part evaluated, every
//! element and byte that a function reads or copies.
//!
//! All of it depends on the values alone, never on time: the same evaluation ends the same way everywhere.

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

/// Parts of an expression that may be evaluated for each element that may be visited, on average.
const PARTS_PER_ELEMENT: u64 = 8;
/// Bytes of text that cost as much as an element that a function looks at.
const BYTES_PER_UNIT: usize = 8;

/// What an evaluation may still spend.
#[derive(Debug)]
pub(super) struct Budget {
    /// Elements that macros may visit.
    elements: u64,
    /// Parts that may be evaluated.
    parts: u64,
    /// Elements and bytes that functions may read and copy: what they build is bounded by it too.
    work: u64,
}

impl Budget {
    /// For so many elements.
    pub(super) fn new(elements: u64) -> Budget {
        Budget {
            elements,
            parts: elements.saturating_mul(PARTS_PER_ELEMENT),
            work: elements,
        }
    }

    /// Pays for one element that a macro visits.
    pub(super) fn visit(&mut self) -> Outcome<()> {
        take(&mut self.elements, 1)
    }

    /// Pays for one part that is evaluated.
    pub(super) fn part(&mut self) -> Outcome<()> {
        take(&mut self.parts, 1)
    }

    /// Pays for `elements` that a function reads or copies.
    pub(super) fn charge(&mut self, elements: usize) -> Outcome<()> {
        take(&mut self.work, u64::try_from(elements).unwrap_or(u64::MAX))
    }

    /// Pays for reading or writing `bytes` of text.
    pub(super) fn charge_text(&mut self, bytes: usize) -> Outcome<()> {
        self.charge(bytes / BYTES_PER_UNIT + 1)
    }
}

/// What is used up stays so: a cheaper part may not go on after it, and none does, as nothing absorbs [`Fault::Cost`].
fn take(left: &mut u64, cost: u64) -> Outcome<()> {
    *left = left.checked_sub(cost).ok_or(Fault::Cost)?;
    Ok(())
}
