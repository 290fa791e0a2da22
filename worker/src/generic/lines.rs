//! Reads lines and whole streams with a bound, so that a program that prints without end costs no memory.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};

use crate::attempt::LogSink;

/// A line of logs longer than this is cut.
const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

/// What reading a line came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The line is in the buffer, without its end.
    Whole,
    /// It is longer than allowed; what did not fit is still to be read.
    TooLong,
    /// Nothing more comes.
    End,
}

/// Reads on until a line is whole. `buffer` keeps what came so far: the future may be dropped and made anew.
pub(super) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    buffer: &mut Vec<u8>,
    bytes_max: usize,
) -> std::io::Result<Line> {
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(if buffer.is_empty() { Line::End } else { Line::Whole });
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        if buffer.len() + taken > bytes_max {
            return Ok(Line::TooLong);
        }
        buffer.extend_from_slice(&available[..taken]);
        reader.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(Line::Whole);
        }
    }
}

/// Reads to the end, at most one byte more than `bytes_max`.
pub(super) async fn read_bounded(reader: impl AsyncRead + Unpin, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(bound).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Reads one line of a program's stderr into `logs`; `false` at its end. May be dropped and called again.
pub(super) async fn log_line(reader: &mut (impl AsyncBufRead + Unpin), buffer: &mut Vec<u8>, logs: &LogSink) -> bool {
    match read_line(reader, buffer, LOG_LINE_BYTES_MAX).await {
        Ok(Line::Whole) => {}
        Ok(Line::TooLong) if !buffer.is_empty() => {}
        Ok(Line::TooLong) => {
            // A single read brought more than a line may hold: its beginning is kept as a line of its own.
            let Ok(available) = reader.fill_buf().await else {
                return false;
            };
            let taken = available.len().min(LOG_LINE_BYTES_MAX);
            buffer.extend_from_slice(&available[..taken]);
            reader.consume(taken);
        }
        Ok(Line::End) | Err(_) => return false,
    }
    logs.push(String::from_utf8_lossy(buffer).trim_end_matches('\r'));
    buffer.clear();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_beyond_the_bound_is_not_read_into_memory() {
        let mut reader = &b"short\nmuch too long\nrest"[..];
        let mut buffer = Vec::new();
        assert_eq!(
            read_line(&mut reader, &mut buffer, 8).await.expect("memory"),
            Line::Whole
        );
        assert_eq!(buffer, b"short");
        buffer.clear();
        assert_eq!(
            read_line(&mut reader, &mut buffer, 8).await.expect("memory"),
            Line::TooLong
        );
    }

    #[tokio::test]
    async fn an_endless_log_line_becomes_several() {
        let long = vec![b'x'; 3 * LOG_LINE_BYTES_MAX];
        let mut reader = &long[..];
        let logs = LogSink::new(100, 1_000_000);
        let mut buffer = Vec::new();
        while log_line(&mut reader, &mut buffer, &logs).await {}
        assert_eq!(logs.take().iter().map(String::len).sum::<usize>(), long.len());
    }
}
