//! `rejoin migrate`

use rejoin_coordinator::store::postgres::{MigrationState, migrate, migrate_check};

use super::{settings, store_config};
use crate::args::MigrateArgs;
use crate::exit::{self, Failure};
use crate::output;

/// Brings the schema up to date, or tells whether it is.
pub async fn run(args: MigrateArgs) -> Result<u8, Failure> {
    let settings = settings(&args.servers)?;
    let config = store_config(&settings)?;
    let failed = |e| Failure::general(format!("database {}: {e}", settings.database.url));
    if args.check {
        let state = migrate_check(config).await.map_err(failed)?;
        return tell(&state);
    }
    let state = migrate(config).await.map_err(failed)?;
    output::line(&format!("up to date: {}", state.applied.join(", ")))?;
    Ok(exit::OK)
}

/// What is pending, and what only a newer program knows: that is no error, as this one's coordinators work on such a schema.
fn tell(state: &MigrationState) -> Result<u8, Failure> {
    for name in &state.unknown {
        output::line(&format!("unknown  {name}"))?;
    }
    for name in &state.pending {
        output::line(&format!("pending  {name}"))?;
    }
    match (state.pending.is_empty(), state.unknown.len()) {
        (false, _) => return Ok(exit::ERROR),
        (true, 0) => output::line("up to date")?,
        (true, unknown) => output::line(&format!(
            "nothing is pending; the schema is newer than this program, which does not know {unknown} of its migrations"
        ))?,
    }
    Ok(exit::OK)
}
