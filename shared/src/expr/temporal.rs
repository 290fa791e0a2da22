//! Timestamps and durations of CEL: reading, writing, adding, and the parts of a date.

use std::fmt::Write;
use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};

use super::budget::{Outcome, fail};

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// CEL's bound of a duration: about 10,000 years.
const SPAN_SECONDS_MAX: i128 = 315_576_000_000;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z, in nanoseconds since 1970.
const INSTANT_MIN: i128 = -62_135_596_800 * NANOS_PER_SECOND;
const INSTANT_MAX: i128 = 253_402_300_800 * NANOS_PER_SECOND - 1;

/// A point in time, in nanoseconds since 1970, within the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant(i128);

/// A duration in nanoseconds, within about 10,000 years either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(i128);

impl Instant {
    pub(super) fn of_nanos(nanos: i128) -> Outcome<Instant> {
        if (INSTANT_MIN..=INSTANT_MAX).contains(&nanos) {
            Ok(Instant(nanos))
        } else {
            fail("timestamp out of range: the years 1 to 9999 are possible")
        }
    }

    pub(super) fn of_micros(micros: i64) -> Outcome<Instant> {
        Instant::of_nanos(i128::from(micros) * 1000)
    }

    pub(super) fn of_seconds(seconds: i64) -> Outcome<Instant> {
        Instant::of_nanos(i128::from(seconds) * NANOS_PER_SECOND)
    }

    /// Reads RFC 3339 text.
    pub(super) fn parse(text: &str) -> Outcome<Instant> {
        match read_rfc3339(text) {
            Some(nanos) => Instant::of_nanos(nanos),
            None => fail(format!(
                "`{text}` is no RFC 3339 timestamp such as `2026-01-31T08:30:00Z`"
            )),
        }
    }

    /// Whole seconds since 1970, rounded down.
    pub(super) fn seconds(self) -> i64 {
        i64::try_from(self.0.div_euclid(NANOS_PER_SECOND)).expect("the years 1 to 9999 fit")
    }

    /// RFC 3339 text in UTC.
    pub(super) fn text(self) -> String {
        let at = civil(self.0).expect("the years 1 to 9999 are within the calendar");
        format!("{at}Z")
    }

    pub(super) fn plus(self, span: Span) -> Outcome<Instant> {
        Instant::of_nanos(self.0 + span.0)
    }

    pub(super) fn minus(self, span: Span) -> Outcome<Instant> {
        Instant::of_nanos(self.0 - span.0)
    }

    pub(super) fn since(self, earlier: Instant) -> Outcome<Span> {
        Span::of_nanos(self.0 - earlier.0)
    }

    /// Date and time in a zone: a name of the IANA database, `UTC`, or a fixed offset.
    pub(super) fn in_zone(self, zone: Option<&str>) -> Outcome<DateTime> {
        let seconds = match zone {
            None => 0,
            Some(zone) => match offset_seconds(zone).or_else(|| self.offset_in(zone)) {
                Some(seconds) => seconds,
                None => {
                    let zone: String = zone.chars().take(ZONE_CHARS_SHOWN).collect();
                    return fail(format!(
                        "the time zone `{zone}` is not known: write a name such as `Europe/Berlin`, `UTC` or an offset such as `+02:00`"
                    ));
                }
            },
        };
        match civil(self.0 + i128::from(seconds) * NANOS_PER_SECOND) {
            Some(at) => Ok(at),
            None => fail("timestamp out of range: no such date in that time zone"),
        }
    }

    /// Seconds east of UTC at this instant in a named zone, by the database that is built in: the machine's would make one
    /// expression mean two things.
    fn offset_in(self, zone: &str) -> Option<i64> {
        static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        let nanos = self
            .0
            .clamp(Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
        let at = Timestamp::from_nanosecond(nanos).ok()?;
        let zone = ZONES.get(zone).ok()?;
        Some(i64::from(zone.to_offset(at).seconds()))
    }
}

/// Characters of an unknown time zone that are told.
const ZONE_CHARS_SHOWN: usize = 64;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// The date and time so many nanoseconds after 1970. The calendar ends with the year 9999; the library's own timestamps
/// end a day earlier, so they are not used.
fn civil(nanos: i128) -> Option<DateTime> {
    let seconds = i64::try_from(nanos.div_euclid(NANOS_PER_SECOND)).ok()?;
    let rest = i32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).ok()?;
    EPOCH.checked_add(SignedDuration::new(seconds, rest)).ok()
}

/// Nanoseconds since 1970. The calendar's parser takes more than RFC 3339, so the shape is checked first.
fn read_rfc3339(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let at = |index: usize, wanted: &[u8]| bytes.get(index).is_some_and(|b| wanted.contains(b));
    let is_shape = at(4, b"-") && at(7, b"-") && at(10, b"Tt") && at(13, b":") && at(16, b":");
    let zone_at = text.len().checked_sub(if text.ends_with(['Z', 'z']) { 1 } else { 6 })?;
    if !is_shape || zone_at < 19 || !at(zone_at, b"Zz+-") {
        return None;
    }
    let local: DateTime = text.get(..zone_at)?.parse().ok()?;
    let offset = offset_seconds(text.get(zone_at..)?)?;
    let nanos = local.duration_since(EPOCH).as_nanos();
    Some(nanos - i128::from(offset) * NANOS_PER_SECOND)
}

/// Seconds east of UTC: `UTC`, `Z`, or `+HH:MM`, `-HH:MM`, `HH:MM`.
fn offset_seconds(zone: &str) -> Option<i64> {
    if matches!(zone, "UTC" | "Z" | "z") {
        return Some(0);
    }
    let (sign, digits) = match zone.as_bytes().first()? {
        b'-' => (-1, &zone[1..]),
        b'+' => (1, &zone[1..]),
        _ => (1, zone),
    };
    let (hours, minutes) = digits.split_once(':')?;
    match (two_digits(hours)?, two_digits(minutes)?) {
        (hours @ 0..=23, minutes @ 0..=59) => Some(sign * (hours * 3600 + minutes * 60)),
        _ => None,
    }
}

fn two_digits(text: &str) -> Option<i64> {
    let is_two = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if is_two { text.parse().ok() } else { None }
}

/// A part of a date and time, counted as CEL counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatePart {
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl DatePart {
    /// The part of `at`: months, days of month and year, and weekdays count from 0 (Sunday), dates from 1.
    pub(super) fn of_date(self, at: DateTime) -> i64 {
        match self {
            DatePart::FullYear => i64::from(at.year()),
            DatePart::Month => i64::from(at.month()) - 1,
            DatePart::Date => i64::from(at.day()),
            DatePart::DayOfMonth => i64::from(at.day()) - 1,
            DatePart::DayOfWeek => i64::from(at.weekday().to_sunday_zero_offset()),
            DatePart::DayOfYear => i64::from(at.day_of_year()) - 1,
            DatePart::Hours => i64::from(at.hour()),
            DatePart::Minutes => i64::from(at.minute()),
            DatePart::Seconds => i64::from(at.second()),
            DatePart::Milliseconds => i64::from(at.millisecond()),
        }
    }

    /// The part of a duration: all of it in that unit, but milliseconds only those beyond the seconds.
    pub(super) fn of_span(self, span: Span) -> Option<i64> {
        let seconds = span.0 / NANOS_PER_SECOND;
        let part = match self {
            DatePart::Hours => seconds / 3600,
            DatePart::Minutes => seconds / 60,
            DatePart::Seconds => seconds,
            DatePart::Milliseconds => span.0 % NANOS_PER_SECOND / 1_000_000,
            DatePart::FullYear
            | DatePart::Month
            | DatePart::Date
            | DatePart::DayOfMonth
            | DatePart::DayOfWeek
            | DatePart::DayOfYear => return None,
        };
        i64::try_from(part).ok()
    }
}

impl Span {
    pub(super) fn of_nanos(nanos: i128) -> Outcome<Span> {
        if nanos.abs() <= SPAN_SECONDS_MAX * NANOS_PER_SECOND {
            Ok(Span(nanos))
        } else {
            fail("duration out of range: about 10,000 years either way are possible")
        }
    }

    /// Reads `1h30m`, `-1.5s`, `250ms`, `3d`: numbers with units, one sign before all.
    pub(super) fn parse(text: &str) -> Outcome<Span> {
        match parse_span(text) {
            Some(nanos) => Span::of_nanos(nanos),
            None => fail(format!("`{text}` is no duration such as `90s`, `1h30m` or `250ms`")),
        }
    }

    /// Seconds with as many decimals as needed: `90s`, `-0.25s`.
    pub(super) fn text(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let unit = NANOS_PER_SECOND.unsigned_abs();
        let mut out = format!("{sign}{}", nanos / unit);
        if !nanos.is_multiple_of(unit) {
            let decimals = format!("{:09}", nanos % unit);
            write!(out, ".{}", decimals.trim_end_matches('0')).expect("a String takes all text");
        }
        out.push('s');
        out
    }

    pub(super) fn plus(self, other: Span) -> Outcome<Span> {
        Span::of_nanos(self.0 + other.0)
    }

    pub(super) fn minus(self, other: Span) -> Outcome<Span> {
        Span::of_nanos(self.0 - other.0)
    }
}

fn parse_span(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_i128;
    while !rest.is_empty() {
        let number_len = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        nanos = nanos.checked_add(decimal(number, unit_nanos(unit)?)?)?;
        rest = after;
    }
    Some(sign * nanos)
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3600 * NANOS_PER_SECOND,
        "d" => 86_400 * NANOS_PER_SECOND,
        _ => return None,
    })
}

/// `number` × `unit`; digits beyond the nanosecond are dropped.
fn decimal(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<i128>().ok()
        }
    };
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let whole = digits(whole)?.checked_mul(unit)?;
    let part = digits(fraction)?.checked_mul(unit)? / scale;
    whole.checked_add(part)
}
