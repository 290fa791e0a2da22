//! Branch indices as ranges: `0-41,43,50-99`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The ranges of `indices` as text.
#[must_use]
pub fn text(indices: &BTreeSet<u32>) -> String {
    let mut out = String::new();
    let mut open: Option<(u32, u32)> = None;
    for &index in indices {
        open = match open {
            Some((first, last)) if last + 1 == index => Some((first, index)),
            Some(done) => {
                push(&mut out, done);
                Some((index, index))
            }
            None => Some((index, index)),
        };
    }
    if let Some(done) = open {
        push(&mut out, done);
    }
    out
}

/// Ranges, given as first and last index, as text.
#[must_use]
pub fn text_of_ranges(list: &[(u32, u32)]) -> String {
    let mut out = String::new();
    for range in list {
        push(&mut out, *range);
    }
    out
}

fn push(out: &mut String, (first, last): (u32, u32)) {
    let comma = if out.is_empty() { "" } else { "," };
    let written = match first == last {
        true => write!(out, "{comma}{first}"),
        false => write!(out, "{comma}{first}-{last}"),
    };
    written.expect("writing to a String");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_folded_into_ranges() {
        for (indices, shown) in [
            (vec![], ""),
            (vec![4], "4"),
            (vec![0, 1, 2], "0-2"),
            (vec![0, 2, 3, 9], "0,2-3,9"),
        ] {
            assert_eq!(text(&indices.into_iter().collect()), shown);
        }
    }
}
