//! Texts from files and standard input.

use std::io::Read as _;
use std::path::Path;

use rejoin_shared::json::Json;

use crate::exit::Failure;

/// The bytes of a file; `-` is standard input.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        let read = std::io::stdin().read_to_end(&mut text);
        return read
            .map(|_| text)
            .map_err(|e| Failure::general(format!("standard input: {e}")));
    }
    std::fs::read(path).map_err(|e| Failure::general(format!("{}: {e}", path.display())))
}

/// `JSON`, `@FILE` or `-`.
pub fn json(given: &str) -> Result<Json, Failure> {
    let text = match given.strip_prefix('@') {
        Some(file) => bytes(Path::new(file))?,
        None if given == "-" => bytes(Path::new("-"))?,
        None => given.as_bytes().to_vec(),
    };
    Json::parse(&text).map_err(|e| Failure::usage(format!("input: {e}")))
}
