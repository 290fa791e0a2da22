//! Colours, where a terminal shows them and `NO_COLOR` does not forbid them.

const RESET: &str = "\x1b[0m";
const GREEN: &str = "32";
const RED: &str = "31";
const CYAN: &str = "36";
const YELLOW: &str = "33";
const FAINT: &str = "2";
/// Of states that have none of their own.
const SIGN_OF_OTHERS: &str = "·";
/// Every word that has a colour, with it and with its sign.
const STATES: [(&str, &str, &str); 17] = [
    ("completed", GREEN, "✓"),
    ("ok", GREEN, SIGN_OF_OTHERS),
    ("failed", RED, "✗"),
    ("compensation_failed", RED, SIGN_OF_OTHERS),
    ("error", RED, SIGN_OF_OTHERS),
    ("lost", RED, SIGN_OF_OTHERS),
    ("timeout", RED, SIGN_OF_OTHERS),
    ("running", CYAN, "●"),
    ("retrying", YELLOW, "↻"),
    ("waiting", YELLOW, SIGN_OF_OTHERS),
    ("parked", YELLOW, "‖"),
    ("paused", YELLOW, SIGN_OF_OTHERS),
    ("compensating", YELLOW, SIGN_OF_OTHERS),
    ("cancelled", FAINT, "–"),
    ("skipped", FAINT, "–"),
    ("pending", FAINT, "○"),
    ("scheduled", FAINT, SIGN_OF_OTHERS),
];

/// Whether standard output takes colours.
pub fn is_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
        && super::is_terminal()
}

/// `text` in the colour of a state, if colours are wanted.
pub fn state(text: &str) -> String {
    painted(text, text)
}

/// The sign of a state, in its colour if colours are wanted.
pub fn sign(state: &str) -> String {
    painted(sign_of(state), state)
}

/// The coloured word that `text` begins with, if this file coloured it.
pub fn coloured_word(text: &str) -> Option<&str> {
    // Looked for no further than our own reach: a text of nothing but such beginnings would take the square of its length.
    let code = text.strip_prefix("\x1b[")?;
    let (code, rest) = code.split_at_checked(code.bytes().take(3).position(|b| b == b'm')?)?;
    let (word, after) = rest[1..].split_once('\x1b')?;
    let after = after.strip_prefix(&RESET[1..])?;
    let is_own = STATES
        .iter()
        .any(|(state, its, sign)| *its == code && (word == *state || word == *sign));
    is_own.then(|| &text[..text.len() - after.len()])
}

fn code_of(state: &str) -> Option<&'static str> {
    STATES
        .iter()
        .find(|(name, ..)| *name == state)
        .map(|(_, code, _)| *code)
}

fn sign_of(state: &str) -> &'static str {
    STATES
        .iter()
        .find(|(name, ..)| *name == state)
        .map_or(SIGN_OF_OTHERS, |(.., sign)| *sign)
}

fn painted(text: &str, state: &str) -> String {
    match code_of(state).filter(|_| is_wanted()) {
        Some(code) => format!("\x1b[{code}m{text}{RESET}"),
        None => text.to_owned(),
    }
}
