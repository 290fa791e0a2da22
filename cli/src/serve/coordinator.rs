//! `rejoin coordinator`

use super::settings;
use crate::args::CoordinatorArgs;
use crate::exit::Failure;
use crate::output;

/// Runs a coordinator until it is told to stop and has handed its partitions over.
pub async fn run(args: CoordinatorArgs) -> Result<(), Failure> {
    let mut settings = settings(&args.servers)?;
    if let Some(listen) = args.listen {
        settings.http.listen = listen;
    }
    if let Some(name) = args.name {
        settings.coordinator.name = name;
    }
    settings.validate().map_err(|e| Failure::usage(e.to_string()))?;
    if args.print_config {
        return output::text(&settings.printed());
    }
    Err(Failure::general("this build has no coordinator"))
}
