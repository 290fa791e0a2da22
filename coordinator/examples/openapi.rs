//! Prints the OpenAPI document, for `scripts/docs`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(rejoin_coordinator::api::openapi::text().as_bytes())
}
