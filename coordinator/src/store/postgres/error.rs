//! What an error of the driver or the server means for the caller (DESIGN 3, "unknown commit").

use std::error::Error;
use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType, Timeouts};
use rejoin_shared::ids::Partition;
use tokio_postgres::error::DbError;

use super::super::StoreError;

/// Whether what failed might have been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing had been sent, or it only read.
    NothingToLose,
    /// It was sent and writes.
    Sent,
}

/// Raised by `rejoin_append`: a claim does not match.
const NOT_OWNER: &str = "RJ001";
/// Raised by `rejoin_expect_newest`: one of its versions is not the newest; the detail is which, counted from 1.
const SUPERSEDED: &str = "RJ003";

/// Translates an error of a statement.
pub(super) fn store_error(error: &tokio_postgres::Error, phase: Phase) -> StoreError {
    match error.as_db_error() {
        Some(answer) => of_answer(answer, phase),
        None if is_lost(error) => undecided(text(error), phase),
        // Left are values that could not be written or read as SQL types: this very call fails again.
        None => StoreError::Refused(text(error)),
    }
}

/// Whether the connection is of no use any more. A terminated backend answers with a code while `is_closed` is still
/// false; a killed server answers nothing.
pub(super) fn is_lost(error: &tokio_postgres::Error) -> bool {
    let has_io_cause = error
        .source()
        .is_some_and(|cause| cause.downcast_ref::<std::io::Error>().is_some());
    match error.as_db_error() {
        Some(answer) => is_lost_code(answer.code().code()),
        None => error.is_closed() || has_io_cause || is_unreadable(error),
    }
}

/// An answer that the driver cannot read says nothing about the write, and the connection is out of step.
fn is_unreadable(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    text.starts_with("unexpected message") || text.starts_with("error parsing response")
}

fn is_lost_code(code: &str) -> bool {
    // 25006: the server became a read-only standby; another connection may reach the primary.
    code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "25006" | "40003")
}

fn of_answer(answer: &DbError, phase: Phase) -> StoreError {
    let code = answer.code().code();
    let text = format!("{} ({code})", answer.message());
    if code == NOT_OWNER {
        let partition = answer.detail().and_then(|number| number.parse().ok());
        return StoreError::NotOwner(partition.map(Partition));
    }
    if code == SUPERSEDED {
        let place = answer.detail().and_then(|place| place.parse::<usize>().ok());
        return StoreError::Superseded(place.map_or(0, |place| place.saturating_sub(1)));
    }
    if code == "25006" {
        return StoreError::Away(text);
    }
    if is_lost_code(code) {
        return undecided(text, phase);
    }
    match code.get(..2) {
        // Rolled back by the server, and said so: conflicts, no resources, locks, cancelled by the time limit, its own I/O.
        Some("40" | "53" | "55" | "57" | "58") => StoreError::Away(text),
        // Wrong password, no such database, no rights: for an operator to mend, and it may work then.
        Some("28" | "3D") => StoreError::Away(text),
        // Unknown table, column or function.
        Some("42" | "3F") => StoreError::Schema(text),
        _ => StoreError::Refused(text),
    }
}

fn undecided(text: String, phase: Phase) -> StoreError {
    match phase {
        Phase::NothingToLose => StoreError::Away(text),
        Phase::Sent => StoreError::Unknown(text),
    }
}

/// An error with all its causes: the one that says what to mend is the innermost. What has been said is not said again.
pub(super) fn text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

/// An error of making a connection: nothing was sent. What the server says is kept.
pub(super) fn connect_error(error: &tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        Some(answer) => StoreError::Away(format!("{} ({})", answer.message(), answer.code().code())),
        None => StoreError::Away(text(error)),
    }
}

/// An error of the pool, which waits so long at most: nothing was sent.
pub(super) fn pool_error(error: &PoolError, limits: &Timeouts) -> StoreError {
    StoreError::Away(match error {
        PoolError::Backend(cause) => text(cause),
        PoolError::Timeout(TimeoutType::Wait) => late("no free connection", limits.wait),
        PoolError::Timeout(TimeoutType::Create) => late("no connection", limits.create),
        PoolError::Timeout(TimeoutType::Recycle) => late("no answer on a connection", limits.recycle),
        PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => error.to_string(),
    })
}

fn late(what: &str, limit: Option<Duration>) -> String {
    format!("{what} within {:?}", limit.unwrap_or_default())
}

/// An error of the migrations' runner.
pub(super) fn migration_error(error: &refinery::Error) -> StoreError {
    let Some(cause) = driver_error(error) else {
        return StoreError::Schema(text(error));
    };
    let said = match cause.as_db_error() {
        Some(answer) => format!("{} ({})", answer.message(), answer.code().code()),
        None => text(cause),
    };
    // The runner adds the outermost text of the cause, which says no more than that it is the database's.
    let own = error.to_string();
    let doing = own.split("`, `").next().unwrap_or_default().trim_matches('`');
    let told = format!("{doing}: {said}");
    match is_lost(cause) {
        true => StoreError::Away(told),
        false => StoreError::Schema(told),
    }
}

fn driver_error(error: &refinery::Error) -> Option<&tokio_postgres::Error> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref() {
            return Some(found);
        }
        cause = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn an_error_is_told_down_to_its_innermost_cause() {
        let innermost = Told("ERROR: permission denied for schema public", None);
        let middle = Told("db error", Some(Box::new(innermost)));
        let outer = Told("error asserting migrations table, db error", Some(Box::new(middle)));
        assert_eq!(
            text(&outer),
            "error asserting migrations table, db error: ERROR: permission denied for schema public"
        );
    }

    #[test]
    fn a_pool_that_waited_in_vain_says_for_what_and_how_long() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let limits = Timeouts {
            wait: seconds(4),
            create: seconds(5),
            recycle: seconds(6),
        };
        for (kind, expected) in [
            (TimeoutType::Wait, "no free connection within 4s"),
            (TimeoutType::Create, "no connection within 5s"),
            (TimeoutType::Recycle, "no answer on a connection within 6s"),
        ] {
            let told = pool_error(&PoolError::Timeout(kind), &limits).to_string();
            assert_eq!(told, format!("the database is away: {expected}"));
        }
    }
}
