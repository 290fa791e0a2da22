//! What an error of the client library means to the caller.

use std::future::Future;
use std::time::Duration;

use lapin::ErrorKind;

use crate::link::LinkError;

const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;

/// Our error for one about `what`: the broker's words if it said no, otherwise the connection is to blame.
pub(super) fn judge(error: &lapin::Error, what: &str) -> LinkError {
    // The kinds are open-ended: whatever is no word of the broker is a failure of the connection.
    let ErrorKind::ProtocolError(said) = error.kind() else {
        return LinkError::Down;
    };
    if !error.is_amqp_soft_error() {
        return LinkError::Down;
    }
    let (what, reason) = (what.to_owned(), said.get_message().to_string());
    match said.get_id() {
        NOT_FOUND => LinkError::NoQueue(what),
        ACCESS_REFUSED => LinkError::Forbidden { what, reason },
        _ => LinkError::Refused { what, reason },
    }
}

/// Awaits an answer of the broker, for so long.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, LinkError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::debug!(what, %error, "the broker did not do it");
            Err(judge(&error, what))
        }
        Err(_) => Err(timed_out(limit)),
    }
}

pub(super) fn timed_out(limit: Duration) -> LinkError {
    LinkError::TimedOut(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}
