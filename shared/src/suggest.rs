//! "Did you mean": the nearest of a few known words.

/// Words longer than this are not compared.
const WORD_CHARS_MAX: usize = 64;

/// The known word nearest to `word`, if it is near: at most one edit in three characters.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word: Vec<char> = word
        .chars()
        .take(WORD_CHARS_MAX + 1)
        .flat_map(char::to_lowercase)
        .collect();
    if word.len() > WORD_CHARS_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let letters: Vec<char> = candidate
            .chars()
            .take(WORD_CHARS_MAX)
            .flat_map(char::to_lowercase)
            .collect();
        let distance = edits(&word, &letters);
        let near = distance <= (word.len().max(letters.len()) / 3).max(1) && distance < letters.len().max(2);
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

/// Insertions, deletions, replacements and swaps of neighbours that make `b` of `a`.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognized_and_a_stranger_is_not() {
        let known = ["timeout", "total_timeout", "retry", "uses"];
        assert_eq!(nearest("timout", known).as_deref(), Some("timeout"));
        assert_eq!(nearest("rerty", known).as_deref(), Some("retry"));
        assert_eq!(nearest("Timeout", known).as_deref(), Some("timeout"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(1000), known), None);
    }
}
