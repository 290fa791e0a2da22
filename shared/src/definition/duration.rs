//! Durations (SPEC 2): `250ms`, `1.5s`, `1h30m`, `3d`, or ISO 8601 (`PT5M`), always text.

use std::time::Duration;

const NANOS_PER_MS: u128 = 1_000_000;
const NANOS_PER_S: u128 = 1_000_000_000;
/// Longest duration taken: 1,000 years of 365 days, far below where timestamps end.
const NANOS_MAX: u128 = 365_000 * 86_400 * NANOS_PER_S;

/// Units of the short form, largest first: they must be written in this order, each at most once.
const SHORT_UNITS: &[(&str, u128)] = &[
    ("w", 7 * 86_400 * NANOS_PER_S),
    ("d", 86_400 * NANOS_PER_S),
    ("h", 3_600 * NANOS_PER_S),
    ("m", 60 * NANOS_PER_S),
    ("s", NANOS_PER_S),
    ("ms", NANOS_PER_MS),
    ("us", 1_000),
];
const DATE_UNITS: &[(&str, u128)] = &[("W", 7 * 86_400 * NANOS_PER_S), ("D", 86_400 * NANOS_PER_S)];
const TIME_UNITS: &[(&str, u128)] = &[("H", 3_600 * NANOS_PER_S), ("M", 60 * NANOS_PER_S), ("S", NANOS_PER_S)];

/// Reads a duration as it is written in a document. `None` if it is none, below zero, or beyond 1,000 years.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let nanos = nanos(text)?;
    if nanos > NANOS_MAX {
        return None;
    }
    let seconds = u64::try_from(nanos / NANOS_PER_S).ok()?;
    let rest = u32::try_from(nanos % NANOS_PER_S).ok()?;
    Some(Duration::new(seconds, rest))
}

/// Nanoseconds, however many.
fn nanos(text: &str) -> Option<u128> {
    match text.strip_prefix('P') {
        Some(iso) => iso_nanos(iso),
        None => sum_of_units(text, SHORT_UNITS),
    }
}

/// Reads a duration that an expression gave: as [`parse`], and below zero, however far, means none at all, that is zero.
#[must_use]
pub fn parse_computed(text: &str) -> Option<Duration> {
    match text.strip_prefix('-') {
        Some(positive) => nanos(positive).map(|_| Duration::ZERO),
        None => parse(text),
    }
}

/// Writes a duration as [`parse`] reads it, to the same value: `250ms`, `1.5s`, `1h30m`, `3d`.
#[must_use]
pub fn write(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < NANOS_PER_S {
        return match nanos < NANOS_PER_MS {
            true => decimal(nanos, 1_000) + "us",
            false => decimal(nanos, NANOS_PER_MS) + "ms",
        };
    }
    let (mut text, mut rest) = (String::new(), nanos);
    for (unit, length) in SHORT_UNITS.iter().filter(|(unit, _)| ["d", "h", "m"].contains(unit)) {
        if rest >= *length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    match rest {
        0 => text,
        rest => text + &decimal(rest, NANOS_PER_S) + "s",
    }
}

/// `nanos` in units of so many, exactly, with as few digits as that takes.
fn decimal(nanos: u128, unit: u128) -> String {
    let (whole, rest) = (nanos / unit, nanos % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{rest:0digits$}").trim_end_matches('0').to_owned()
}

fn iso_nanos(text: &str) -> Option<u128> {
    match text.split_once('T') {
        Some(("", time)) => sum_of_units(time, TIME_UNITS),
        Some((date, time)) => sum_of_units(date, DATE_UNITS)?.checked_add(sum_of_units(time, TIME_UNITS)?),
        None => sum_of_units(text, DATE_UNITS),
    }
}

/// `1h30m`: numbers, each with a unit, the larger unit first.
fn sum_of_units(text: &str, mut units: &[(&str, u128)]) -> Option<u128> {
    if text.is_empty() {
        return None;
    }
    let (mut rest, mut sum) = (text, 0u128);
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let place = units.iter().position(|(name, _)| *name == unit)?;
        sum = sum.checked_add(decimal_times(number, units[place].1)?)?;
        units = &units[place + 1..];
        rest = after;
    }
    Some(sum)
}

/// `number` (digits, perhaps a fraction) times `nanos`, exactly, what is below a nanosecond cut.
fn decimal_times(number: &str, nanos: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 18 || whole.len() > 18 {
        return None;
    }
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parts = fraction.parse::<u128>().ok()?.checked_mul(nanos)? / scale;
    whole.parse::<u128>().ok()?.checked_mul(nanos)?.checked_add(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_are_written() {
        for (text, millis) in [
            ("250ms", 250),
            ("1.5s", 1_500),
            ("1h30m", 5_400_000),
            ("3d", 259_200_000),
            ("0s", 0),
            ("2w", 1_209_600_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("PT5M", 300_000),
            ("P1DT12H", 129_600_000),
            ("P2W", 1_209_600_000),
            ("PT0.5S", 500),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn durations_are_written_short_and_exactly() {
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(1), "0.001us"),
            (Duration::from_micros(15), "15us"),
            (Duration::from_micros(1_500), "1.5ms"),
            (Duration::from_millis(250), "250ms"),
            (Duration::from_millis(1_050), "1.05s"),
            (Duration::from_secs(60), "1m"),
            (Duration::from_secs(5_400), "1h30m"),
            (Duration::from_secs(14 * 86_400), "14d"),
            (Duration::new(93_784, 5_000_001), "1d2h3m4.005000001s"),
        ] {
            assert_eq!(write(duration), text);
            assert_eq!(parse(text), Some(duration), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "1x",
            "-1s",
            "1s1h",
            "1s1s",
            "1.s",
            ".5s",
            "1 s",
            "P",
            "PT",
            "P1Y",
            "P1M",
            "PT1D",
            "1h30",
            "1001d1001d",
            "400000d",
            "1.2.3s",
            "١s",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(parse("365000d").is_some());
    }

    #[test]
    fn a_computed_duration_below_zero_is_none_at_all() {
        assert_eq!(parse_computed("-5s"), Some(Duration::ZERO));
        assert_eq!(parse_computed("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse_computed("--5s"), None);
        assert_eq!(parse_computed("-63931424207.554443s"), Some(Duration::ZERO));
        assert_eq!(parse_computed("63931424207.554443s"), None);
    }
}
