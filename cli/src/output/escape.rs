//! Control characters in what people are shown, in a form that is seen.
//!
//! Prompts, errors, tags and logs are texts of runs, and they reach the terminal of whoever looks: raw, an escape sequence in one of
//! them could redraw the screen, set its title, or hide what stands there. They are written as JSON writes them, so that JSON and
//! YAML that are shown to people stay what they are.

use std::fmt::Write as _;

use super::style;

/// As a text of one line: no control character stays.
pub fn line(text: &str) -> String {
    written(text, |_| false)
}

/// As a text of several lines: line feeds and tabs stay.
pub fn block(text: &str) -> String {
    written(text, |c| matches!(c, '\n' | '\t'))
}

/// As JSON text that means the same: it lets DEL and the controls above it stand, which terminals obey.
pub fn json(text: &str) -> String {
    written(text, |c| c.is_ascii() && c != '\x7f')
}

/// As `block`; the words that [`style`] coloured stay so. What a text of a run could gain by that is a state's name in its colour.
pub fn coloured(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let (before, found) = rest.split_at(at);
        out.push_str(&block(before));
        let word = style::coloured_word(found);
        out.push_str(&word.map_or_else(|| line("\x1b"), str::to_owned));
        rest = &found[word.map_or(1, str::len)..];
    }
    out + &block(rest)
}

fn written(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !c.is_control() || stays(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => write!(out, "\\u{:04x}", u32::from(c)).expect("a text takes all"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_never_written() {
        let text = "a\x1b]0;title\x07b\r\n\tc\x08\x7f\u{9b}2Jé✓";
        assert_eq!(
            line(text),
            "a\\u001b]0;title\\u0007b\\r\\n\\tc\\u0008\\u007f\\u009b2Jé✓"
        );
        assert_eq!(block(text), "a\\u001b]0;title\\u0007b\\r\n\tc\\u0008\\u007f\\u009b2Jé✓");
        let every = (0..=0xff).filter_map(char::from_u32).collect::<String>();
        assert_eq!(line(&every).chars().filter(|c| c.is_control()).count(), 0);
        assert_eq!(coloured(&every), block(&every));
    }

    #[test]
    fn json_text_keeps_its_line_feeds_and_its_meaning() {
        let text = "{\n\t\"a\u{9b}\": \"\x7f\\u001b\"\r\n}";
        assert_eq!(json(text), "{\n\t\"a\\u009b\": \"\\u007f\\u001b\"\r\n}");
    }

    #[test]
    fn only_words_in_their_own_colours_stay_coloured() {
        let own = "x \x1b[32mcompleted\x1b[0m \x1b[31m✗\x1b[0m y\n";
        assert_eq!(coloured(own), own);
        for other in [
            "\x1b[31mcompleted\x1b[0m",
            "\x1b[31mall is well\x1b[0m",
            "\x1b[8mx\x1b[0m",
            "\x1b[31m\n\x1b[0m",
            "\x1b[32mcompleted",
            "\x1b[2J",
        ] {
            assert_eq!(coloured(other), line(other).replace("\\n", "\n"), "{other:?}");
        }
        let within = "\x1b[2J\x1b[32mcompleted\x1b[0m";
        assert_eq!(coloured(within), "\\u001b[2J\x1b[32mcompleted\x1b[0m");
    }
}
