//! Colours, where a terminal shows them and `NO_COLOR` does not forbid them.

/// Whether standard output takes colours.
pub fn is_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
        && super::is_terminal()
}

/// `text` in the colour of a state, if colours are wanted.
pub fn state(text: &str) -> String {
    let code = match text.trim() {
        "completed" | "ok" => "32",
        "failed" | "compensation_failed" | "error" | "lost" | "timeout" => "31",
        "running" => "36",
        "retrying" | "waiting" | "parked" | "paused" | "compensating" => "33",
        "cancelled" | "skipped" | "pending" | "scheduled" => "2",
        _ => return text.to_owned(),
    };
    match is_wanted() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}
