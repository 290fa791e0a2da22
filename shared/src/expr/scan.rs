//! A look at an expression's text before it is parsed: how deep its brackets nest.
//!
//! The parser recurses once a bracket, so text that nests too deep is refused before the parser sees it.

/// The offset of the first bracket that is nested deeper than `levels_max`.
pub(super) fn first_too_deep(source: &str, levels_max: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let (mut at, mut levels) = (0, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = end_of_line(bytes, at);
                continue;
            }
            b'(' | b'[' | b'{' => {
                levels += 1;
                if levels > levels_max {
                    return Some(at);
                }
            }
            b')' | b']' | b'}' => levels = levels.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    let rest = &bytes[from..];
    from + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
}

/// The offset behind the string literal whose quote stands at `open`; behind the line if it is not closed.
fn end_of_string(bytes: &[u8], open: usize) -> usize {
    let quote = bytes[open];
    let raw = is_raw(bytes, open);
    let triple = bytes.get(open + 1) == Some(&quote) && bytes.get(open + 2) == Some(&quote);
    let width = if triple { 3 } else { 1 };
    let mut at = open + width;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'\\' && !raw {
            at += 2;
        } else if byte == quote && bytes[at..].iter().take(width).filter(|b| **b == quote).count() == width {
            return at + width;
        } else if byte == b'\n' && !triple {
            return at;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Whether a prefix with `r` stands before the quote at `open`.
fn is_raw(bytes: &[u8], open: usize) -> bool {
    bytes[..open]
        .iter()
        .rev()
        .take(2)
        .take_while(|b| b.is_ascii_alphabetic())
        .any(|b| b.eq_ignore_ascii_case(&b'r'))
}

#[cfg(test)]
mod tests {
    use super::first_too_deep;

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        for text in [
            "'(((('",
            r#""((((""#,
            "'''((' ('''",
            r"'\'(((('",
            r"r'\' + (1)",
            "a // ((((\n+ (b)",
            "(a) + (b)",
        ] {
            assert_eq!(first_too_deep(text, 1), None, "{text}");
        }
    }

    #[test]
    fn the_first_bracket_too_deep_is_found() {
        assert_eq!(first_too_deep("a + ((b))", 1), Some(5));
        assert_eq!(first_too_deep("[{f(1)}]", 3), None);
        assert_eq!(first_too_deep("[{f(1)}]", 2), Some(3));
        assert_eq!(first_too_deep("'' + ((b))", 1), Some(6));
    }
}
