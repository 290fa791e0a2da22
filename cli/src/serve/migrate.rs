//! `rejoin migrate`

use rejoin_coordinator::store::postgres::{migrate, migrate_check};

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
        for name in &state.pending {
            output::line(&format!("pending  {name}"))?;
        }
        return match state.pending.is_empty() {
            true => {
                output::line("up to date")?;
                Ok(exit::OK)
            }
            false => Ok(exit::ERROR),
        };
    }
    let state = migrate(config).await.map_err(failed)?;
    output::line(&format!("up to date: {}", state.applied.join(", ")))?;
    Ok(exit::OK)
}
