//! When a schedule ticks.

use std::time::Duration;

use jiff::tz::TimeZone;
use rejoin_shared::config::Span;
use rejoin_shared::time::Timestamp;

use super::cron::Cron;
use super::spec::Spec;

/// Shortest interval.
const EVERY_MIN: Duration = Duration::from_secs(1);
/// A tick this late is still on time: what a restart of all coordinators may take.
pub const GRACE: Duration = Duration::from_secs(60);

/// What is wrong with the times of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("member {member}: {message}{}", place(*.column))]
pub struct TimingError {
    /// The member of the schedule.
    pub member: &'static str,
    /// Where in it, counted from 1.
    pub column: Option<u32>,
    /// For people.
    pub message: String,
}

fn place(column: Option<u32>) -> String {
    column
        .map(|column| format!(" (at column {column})"))
        .unwrap_or_default()
}

#[derive(Clone, Debug)]
enum Ticks {
    Cron(Cron, TimeZone),
    /// In microseconds.
    Every(i64),
}

/// The times of a schedule, read.
#[derive(Clone, Debug)]
pub struct Timing {
    ticks: Ticks,
    /// How late a tick may be to be made up.
    pub window: Duration,
}

impl Timing {
    /// Reads `cron`, `every`, `timezone` and `catch_up`.
    ///
    /// # Errors
    /// The first member that is wrong.
    pub fn of(spec: &Spec) -> Result<Timing, TimingError> {
        let zone = zone(&spec.timezone)?;
        let ticks = match (&spec.cron, &spec.every) {
            (Some(cron), None) => Ticks::Cron(read_cron(cron)?, zone),
            (None, Some(every)) => Ticks::Every(interval(every)?),
            (Some(_), Some(_)) => return Err(wrong("cron", "and every exclude each other; leave one out")),
            (None, None) => return Err(wrong("cron", "or every is missing: when it ticks")),
        };
        let catch_up = duration("catch_up", &spec.catch_up)?;
        Ok(Timing {
            ticks,
            window: catch_up.max(GRACE),
        })
    }

    /// The first tick after `after`; intervals count from `anchor`. None: there is none.
    #[must_use]
    pub fn next(&self, after: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        match &self.ticks {
            Ticks::Cron(cron, zone) => cron.next(after, zone),
            Ticks::Every(every) => {
                let passed = after.0.checked_sub(anchor.0)?.div_euclid(*every);
                // The anchor itself is no tick.
                let count = passed.max(0).checked_add(1)?;
                let tick = anchor.0.checked_add(count.checked_mul(*every)?)?;
                // What PostgreSQL and RFC 3339 can still show.
                jiff::Timestamp::from_microsecond(tick)
                    .is_ok()
                    .then_some(Timestamp(tick))
            }
        }
    }
}

fn wrong(member: &'static str, message: impl Into<String>) -> TimingError {
    TimingError {
        member,
        column: None,
        message: message.into(),
    }
}

fn zone(name: &str) -> Result<TimeZone, TimingError> {
    let unknown = || format!("{name:?} is no time zone of the IANA database, as Europe/Berlin or UTC");
    TimeZone::get(name).map_err(|_| wrong("timezone", unknown()))
}

fn read_cron(text: &str) -> Result<Cron, TimingError> {
    let cron = Cron::parse(text).map_err(|error| TimingError {
        member: "cron",
        column: Some(error.column),
        message: error.message,
    })?;
    // In UTC every local time comes: what has no tick there has none at all.
    match cron.next(Timestamp(0), &TimeZone::UTC) {
        Some(_) => Ok(cron),
        None => Err(wrong("cron", format!("{text:?} never comes: no such day"))),
    }
}

fn duration(member: &'static str, text: &str) -> Result<Duration, TimingError> {
    text.parse::<Span>().map(|span| span.0).map_err(|e| wrong(member, e))
}

fn interval(text: &str) -> Result<i64, TimingError> {
    let every = duration("every", text)?;
    let micros = i64::try_from(every.as_micros()).ok().filter(|_| every >= EVERY_MIN);
    micros.ok_or_else(|| wrong("every", format!("must be at least 1s, not {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::schedules::spec::Overlap;

    fn spec(cron: Option<&str>, every: Option<&str>) -> Spec {
        Spec {
            workflow: "w".to_owned(),
            version: None,
            input: rejoin_shared::json::Json::Null,
            cron: cron.map(str::to_owned),
            every: every.map(str::to_owned),
            timezone: "UTC".to_owned(),
            overlap: Overlap::Skip,
            catch_up: "0s".to_owned(),
            tags: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn intervals_count_from_their_anchor_through_any_change_of_clocks() {
        let berlin = Spec {
            timezone: "Europe/Berlin".to_owned(),
            ..spec(None, Some("6h"))
        };
        let timing = Timing::of(&berlin).expect("valid");
        let at = |text: &str| Timestamp::parse(text).expect(text);
        let anchor = at("2026-03-28T20:10:00Z");
        let mut tick = anchor;
        let mut shown = Vec::new();
        for _ in 0..3 {
            tick = timing.next(tick, anchor).expect("a tick");
            shown.push(tick.to_string());
        }
        assert_eq!(
            shown,
            ["2026-03-29T02:10:00Z", "2026-03-29T08:10:00Z", "2026-03-29T14:10:00Z"]
        );
        assert_eq!(
            timing.next(at("2026-03-29T02:09:59Z"), anchor),
            Some(at("2026-03-29T02:10:00Z"))
        );
        assert_eq!(
            timing.next(at("2020-01-01T00:00:00Z"), anchor),
            Some(at("2026-03-29T02:10:00Z"))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let zone = Spec {
            timezone: "Europe/Nowhere".to_owned(),
            ..spec(Some("* * * * *"), None)
        };
        let catch_up = Spec {
            catch_up: "soon".to_owned(),
            ..spec(Some("* * * * *"), None)
        };
        for (spec, member, column) in [
            (spec(None, None), "cron", None),
            (spec(Some("* * * * *"), Some("1h")), "cron", None),
            (spec(Some("* 25 * * *"), None), "cron", Some(3)),
            (spec(Some("0 0 31 4 *"), None), "cron", None),
            (spec(None, Some("1")), "every", None),
            (spec(None, Some("10ms")), "every", None),
            (zone, "timezone", None),
            (catch_up, "catch_up", None),
        ] {
            let error = Timing::of(&spec).expect_err("it is wrong");
            assert_eq!((error.member, error.column), (member, column), "{error}");
        }
    }

    #[test]
    fn an_interval_beyond_all_times_never_comes() {
        let timing = Timing::of(&spec(None, Some("365000d"))).expect("valid");
        let late = Timestamp::parse("9500-01-01T00:00:00Z").expect("a time");
        assert_eq!(timing.next(late, late), None);
    }
}
