//! The log lines of one attempt, cut to the limits with a mark (SPEC 12).

use std::sync::{Arc, Mutex, PoisonError};

/// Collects the lines of one attempt; clones write to the same place.
#[derive(Clone, Debug)]
pub struct LogSink(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    lines: Vec<String>,
    bytes: usize,
    dropped: usize,
    lines_max: usize,
    bytes_max: usize,
}

impl LogSink {
    /// An empty sink that keeps at most this much.
    #[must_use]
    pub fn new(lines_max: usize, bytes_max: usize) -> LogSink {
        LogSink(Arc::new(Mutex::new(Lines {
            lines: Vec::new(),
            bytes: 0,
            dropped: 0,
            lines_max,
            bytes_max,
        })))
    }

    /// Adds a line; NUL characters, which no database holds, are replaced.
    pub fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = lines.dropped > 0 || lines.lines.len() >= lines.lines_max;
        if full || lines.bytes + line.len() > lines.bytes_max {
            lines.dropped += 1;
            return;
        }
        lines.bytes += line.len();
        lines.lines.push(line.replace('\0', "\u{fffd}"));
    }

    /// The last line, for error messages.
    #[must_use]
    pub fn last(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lines
            .last()
            .cloned()
    }

    /// Takes the lines, and a mark if some were left out.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = std::mem::take(&mut lines.lines);
        if lines.dropped > 0 {
            taken.push(format!("[truncated: {} more lines]", lines.dropped));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_either_limit_are_counted_in_a_mark() {
        let by_lines = LogSink::new(2, 1000);
        for line in ["a", "b", "c", "d"] {
            by_lines.push(line);
        }
        assert_eq!(by_lines.take(), ["a", "b", "[truncated: 2 more lines]"]);
        let by_bytes = LogSink::new(10, 5);
        for line in ["abc", "def", "g"] {
            by_bytes.push(line);
        }
        assert_eq!(by_bytes.take(), ["abc", "[truncated: 2 more lines]"]);
    }
}
