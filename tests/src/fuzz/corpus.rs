//! The corpora: `tests/corpus/TARGET.txt`, and what was found, one input a file, in `tests/corpus/found/TARGET`.

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Reads a file of this repository.
///
/// # Panics
/// If it is not there.
pub(super) fn text(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The parts of a file of the corpus, each below a line `### NAME`, with its name.
///
/// # Panics
/// If the file is not there.
#[must_use]
pub fn sections(file: &str) -> Vec<(String, String)> {
    let all = text(&format!("tests/corpus/{file}"));
    let parts = all.split("### ").skip(1);
    let parts = parts.filter_map(|part| part.split_once('\n'));
    parts.map(|(name, body)| (name.to_owned(), body.to_owned())).collect()
}

/// Inputs that broke a target once.
///
/// # Panics
/// If one cannot be read.
#[must_use]
pub fn found(target: &str) -> Vec<Vec<u8>> {
    let Ok(files) = std::fs::read_dir(folder().join("found").join(target)) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).expect("an input"))
        .collect()
}
