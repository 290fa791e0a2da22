//! Names of priorities, as both stores keep them.

use rejoin_shared::run::Priority;

use super::StoreError;

pub(super) fn name_of(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    }
}

pub(super) fn named(name: &str) -> Result<Priority, StoreError> {
    match name {
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        other => Err(StoreError::Newer(format!("unknown priority {other}"))),
    }
}
