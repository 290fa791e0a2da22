//! Cron expressions of five fields in a time zone.
//!
//! Times are looked for on the wall clock and then placed on the time line: a local time that a change of the clock leaves out
//! becomes the first instant after the gap, one that comes twice is its first coming. That mapping never goes backwards, so the
//! first local time whose instant lies after the last one is the next tick.

use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use rejoin_shared::time::Timestamp;

/// Years that are searched: the 29th of February on a given weekday comes at least every 40.
const YEARS_MAX: i16 = 50;

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const SHORTCUTS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// One of the five fields.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// Names of the values from `first` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        first: 0,
        last: 59,
        names: &[],
    },
    Field {
        name: "hour",
        first: 0,
        last: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        first: 1,
        last: 31,
        names: &[],
    },
    Field {
        name: "month",
        first: 1,
        last: 12,
        names: MONTHS,
    },
    Field {
        name: "day of week",
        first: 0,
        last: 7,
        names: WEEKDAYS,
    },
];

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at column {column})")]
pub struct CronError {
    /// Counted from 1.
    pub column: u32,
    /// For people.
    pub message: String,
}

/// A cron expression, read: one bit a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both days are restricted: then either is enough, as in every cron.
    is_either_day: bool,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with its first wrong part.
    pub fn parse(text: &str) -> Result<Cron, CronError> {
        let named = SHORTCUTS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
        let text = named.map_or(text, |(_, meaning)| meaning);
        let words = words(text);
        if words.len() != FIELDS.len() {
            let message = format!(
                "{} fields where there must be 5: minute, hour, day of month, month, day of week",
                words.len()
            );
            let at = words.get(FIELDS.len()).map_or(text.len(), |(at, _)| *at);
            return Err(error(at, message));
        }
        let mut sets = [0; 5];
        for ((set, field), (at, word)) in sets.iter_mut().zip(&FIELDS).zip(&words) {
            *set = field.set(*at, word)?;
        }
        let [minutes, hours, days, months, weekdays] = sets;
        let is_restricted = |place: usize| !words[place].1.starts_with('*');
        Ok(Cron {
            minutes,
            hours,
            days,
            months,
            weekdays: weekdays | (weekdays >> 7 & 1),
            is_either_day: is_restricted(2) && is_restricted(4),
        })
    }

    /// The first tick after `after`; none if none comes within 50 years.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_microsecond(after.0).ok()?;
        let mut local = zone.to_datetime(after);
        let last_year = local.year().saturating_add(YEARS_MAX);
        loop {
            local = self.local_from(local, last_year)?;
            let instant = instant(local, zone)?;
            if instant > after {
                return Some(Timestamp(instant.as_microsecond()));
            }
            local = local.checked_add(jiff::Span::new().minutes(1)).ok()?;
        }
    }

    /// The first local time that fits, from the minute of `from` on.
    fn local_from(&self, from: DateTime, last_year: i16) -> Option<DateTime> {
        let (mut date, mut hour, mut minute) = (from.date(), from.hour(), from.minute());
        while date.year() <= last_year {
            if !has(self.months, date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else {
                let time = self.is_day(date).then(|| self.time_from(hour, minute)).flatten();
                if let Some((hour, minute)) = time {
                    return Some(date.at(hour, minute, 0, 0));
                }
                date = date.tomorrow().ok()?;
            }
            (hour, minute) = (0, 0);
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        let is_day = has(self.days, date.day());
        let is_weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        match self.is_either_day {
            true => is_day || is_weekday,
            false => is_day && is_weekday,
        }
    }

    fn time_from(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let first = |set: u64, from: i8, end: i8| (from..end).find(|value| has(set, *value));
        if has(self.hours, hour)
            && let Some(minute) = first(self.minutes, minute, 60)
        {
            return Some((hour, minute));
        }
        Some((first(self.hours, hour + 1, 24)?, first(self.minutes, 0, 60)?))
    }
}

/// Where a local time lies on the time line.
fn instant(local: DateTime, zone: &TimeZone) -> Option<jiff::Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { after, .. } => {
            let before_the_gap = after.to_timestamp(local).ok()?;
            zone.following(before_the_gap).next().map(|change| change.timestamp())
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
    }
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| set >> value & 1 == 1)
}

/// The words of a text with the places where they begin.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut rest = 0;
    for word in text.split_ascii_whitespace() {
        let at = rest + text[rest..].find(word).unwrap_or(0);
        words.push((at, word));
        rest = at + word.len();
    }
    words
}

fn error(at: usize, message: String) -> CronError {
    let column = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
    CronError { column, message }
}

impl Field {
    /// `5`, `1-5`, `*/10`, `mon-fri`, `1,15,20-30/2`
    fn set(&self, at: usize, word: &str) -> Result<u64, CronError> {
        let (mut set, mut at) = (0, at);
        for part in word.split(',') {
            set |= self.part(at, part)?;
            at += part.len() + 1;
        }
        Ok(set)
    }

    fn part(&self, at: usize, part: &str) -> Result<u64, CronError> {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => (range, Some(self.step(at + range.len() + 1, step)?)),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            None => {
                let value = self.value(at, range)?;
                (value, if step.is_some() { self.last } else { value })
            }
            Some((first, last)) => {
                let (from, to) = (self.value(at, first)?, self.value(at + first.len() + 1, last)?);
                // Sunday ends a week as well as it begins one.
                let is_sunday = self.last == 7 && to == 0;
                (from, if is_sunday { 7 } else { to })
            }
        };
        if first > last {
            return Err(error(at, format!("{}: the range {range} goes backwards", self.name)));
        }
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
        Ok((first..=last).step_by(step).fold(0, |set, value| set | 1 << value))
    }

    fn step(&self, at: usize, text: &str) -> Result<u32, CronError> {
        let step = number(text).filter(|step| (1..=self.last).contains(step));
        step.ok_or_else(|| {
            error(
                at,
                format!(
                    "{}: a step is a number from 1 to {}, not {text:?}",
                    self.name, self.last
                ),
            )
        })
    }

    fn value(&self, at: usize, text: &str) -> Result<u32, CronError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named
            .and_then(|place| u32::try_from(place).ok())
            .map(|place| place + self.first);
        let value = named.or_else(|| number(text).filter(|value| (self.first..=self.last).contains(value)));
        value.ok_or_else(|| error(at, self.to_string() + &format!(", not {text:?}")))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected *, a number from {} to {}",
            self.name, self.first, self.last
        )?;
        match self.names {
            [first, .., last] => write!(f, " or a name from {first} to {last}"),
            [] | [_] => Ok(()),
        }
    }
}

fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.len() <= 4 && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ticks after `after`, in the zone's own time with its offset.
    fn ticks(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (Cron::parse(cron).expect(cron), TimeZone::get(zone).expect(zone));
        let mut at = Timestamp::parse(after).expect(after);
        let mut found = Vec::new();
        for _ in 0..count {
            at = cron.next(at, &zone).expect("there is a next one");
            let shown = jiff::Timestamp::from_microsecond(at.0).expect("in range");
            let (local, hours) = (zone.to_datetime(shown), zone.to_offset(shown).seconds() / 3_600);
            found.push(format!("{} {hours:+03}:00", local.strftime("%Y-%m-%d %H:%M")));
        }
        found
    }

    #[test]
    fn fields_take_lists_ranges_steps_and_names() {
        let after = "2026-01-01T00:00:00Z";
        assert_eq!(
            ticks("*/20 9-10 * * *", "UTC", after, 4),
            [
                "2026-01-01 09:00 +00:00",
                "2026-01-01 09:20 +00:00",
                "2026-01-01 09:40 +00:00",
                "2026-01-01 10:00 +00:00"
            ]
        );
        assert_eq!(
            ticks("0 0 * FEB,jul MON-wed", "UTC", after, 4),
            [
                "2026-02-02 00:00 +00:00",
                "2026-02-03 00:00 +00:00",
                "2026-02-04 00:00 +00:00",
                "2026-02-09 00:00 +00:00"
            ]
        );
        assert_eq!(
            ticks("5/30 0 1 * *", "UTC", after, 3),
            [
                "2026-01-01 00:05 +00:00",
                "2026-01-01 00:35 +00:00",
                "2026-02-01 00:05 +00:00"
            ]
        );
        assert_eq!(ticks("@daily", "UTC", after, 1), ["2026-01-02 00:00 +00:00"]);
    }

    #[test]
    fn sunday_is_0_and_7_and_ends_a_week() {
        let after = "2026-01-01T00:00:00Z"; // a Thursday
        for cron in ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun"] {
            assert_eq!(ticks(cron, "UTC", after, 1), ["2026-01-04 00:00 +00:00"], "{cron}");
        }
        assert_eq!(
            ticks("0 0 * * sat-sun", "UTC", after, 3),
            [
                "2026-01-03 00:00 +00:00",
                "2026-01-04 00:00 +00:00",
                "2026-01-10 00:00 +00:00"
            ]
        );
    }

    #[test]
    fn of_two_restricted_days_either_is_enough() {
        let after = "2026-01-01T00:00:00Z";
        assert_eq!(
            ticks("0 0 13 * fri", "UTC", after, 4),
            [
                "2026-01-02 00:00 +00:00",
                "2026-01-09 00:00 +00:00",
                "2026-01-13 00:00 +00:00",
                "2026-01-16 00:00 +00:00"
            ]
        );
    }

    #[test]
    fn rare_days_are_found_and_impossible_ones_are_not() {
        assert_eq!(
            ticks("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1),
            ["2104-02-29 00:00 +00:00"]
        );
        let never = Cron::parse("0 0 30 2 *").expect("it reads");
        assert_eq!(never.next(Timestamp(0), &TimeZone::UTC), None);
    }

    #[test]
    fn a_time_the_clock_leaves_out_runs_at_the_first_instant_after_the_gap() {
        // Berlin: on 2026-03-29 02:00 becomes 03:00.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            [
                "2026-03-28 02:30 +01:00",
                "2026-03-29 03:00 +02:00",
                "2026-03-30 02:30 +02:00"
            ]
        );
        // Those that fall together run once.
        assert_eq!(
            ticks("*/15 2-3 * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 2),
            ["2026-03-29 03:00 +02:00", "2026-03-29 03:15 +02:00"]
        );
        assert_eq!(
            ticks("0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", 3),
            [
                "2026-03-29 01:00 +01:00",
                "2026-03-29 03:00 +02:00",
                "2026-03-29 04:00 +02:00"
            ]
        );
    }

    #[test]
    fn a_time_that_comes_twice_runs_once() {
        // Berlin: on 2026-10-25 03:00 becomes 02:00.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]
        );
        // Also when it is asked for between the two.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Berlin", "2026-10-25T01:00:00Z", 1),
            ["2026-10-26 02:30 +01:00"]
        );
    }

    #[test]
    fn an_error_names_the_place() {
        for (text, column, part) in [
            ("", 1, "0 fields"),
            ("* * * *", 8, "4 fields"),
            ("* * * * * *", 11, "6 fields"),
            ("60 * * * *", 1, "minute: expected *, a number from 0 to 59, not \"60\""),
            ("0  24 * * *", 4, "hour"),
            ("0 0 1,32 * *", 7, "day of month"),
            (
                "0 0 * foo *",
                7,
                "month: expected *, a number from 1 to 12 or a name from jan to dec, not \"foo\"",
            ),
            ("0 0 * * 1-8", 11, "day of week"),
            ("5-1 * * * *", 1, "backwards"),
            ("*/0 * * * *", 3, "step"),
            ("*/x * * * *", 3, "step"),
            ("1, * * * *", 3, "minute"),
            ("+1 * * * *", 1, "minute"),
            ("ä * * * *", 1, "minute"),
            ("@never", 7, "1 fields"),
        ] {
            let error = Cron::parse(text).expect_err(text);
            assert_eq!(
                (error.column, error.message.contains(part)),
                (column, true),
                "{text}: {error}"
            );
        }
    }
}
