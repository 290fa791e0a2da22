//! The definition document (SPEC 2): its model, its parser and its checks.
//!
//! ```text
//! bytes ──source::read──▶ Tree ──check──▶ Definition      (or all errors at once, each with its place)
//!                          └─ canonical JSON, digest      (what is stored, and what names a version)
//! ```
//! Keys and their forms stand in one table (`keys`), which the checks and the JSON Schema share. What `builder` builds in
//! Rust becomes text and goes the same way.

pub mod builder;
mod check;
pub mod duration;
mod error;
mod keys;
pub mod model;
mod outputs;
mod reference;
mod schema;
mod shape;
mod source;
pub mod supported;
#[cfg(test)]
mod tests;

pub use error::{DefinitionError, DefinitionErrors, ERRORS_MAX};
pub use reference::reference;
pub use schema::schema;
pub use source::{Entry, Format, NodeRef, Tree, TreeKind, read};

use crate::json::Json;
use crate::limits::Limits;
use model::{Definition, RetryPolicy};

/// Reads, checks and compiles a document.
///
/// # Errors
/// Everything that is wrong with it, in the order of its text.
pub fn parse(source: &[u8], format: Format, limits: &Limits) -> Result<Definition, DefinitionErrors> {
    compile(&read(source, format, limits)?, limits)
}

/// Checks and compiles a document that has been read: for those who also want its digest or its canonical form.
///
/// # Errors
/// Everything that is wrong with it, in the order of its text.
pub fn compile(tree: &Tree, limits: &Limits) -> Result<Definition, DefinitionErrors> {
    compile_judging(tree, limits, &|_| None)
}

/// What is wrong with a JSON Schema.
#[derive(Clone, Debug)]
pub struct SchemaProblem {
    /// Keys and indices that lead to it.
    pub at: Vec<String>,
    /// What.
    pub message: String,
}

/// Says what is wrong with a JSON Schema, if anything is.
pub type SchemaJudge = dyn Fn(&Json) -> Option<SchemaProblem>;

/// As [`compile`], for those who can tell whether the JSON Schemas in it can be used.
///
/// # Errors
/// Everything that is wrong with it, in the order of its text.
pub fn compile_judging(tree: &Tree, limits: &Limits, judge: &SchemaJudge) -> Result<Definition, DefinitionErrors> {
    check::compile(tree, limits, supported::NOT_YET, judge)
}

/// Reads retry policies as a document's `retry` of a group or scope: by the same rules, without `defaults`.
///
/// # Errors
/// Everything that is wrong with them; places are meant for nobody.
pub fn read_retry(given: &Json, limits: &Limits) -> Result<Vec<RetryPolicy>, DefinitionErrors> {
    let step = Json::from_entries([("step", Json::str("s"))]);
    let group = [
        ("group", Json::str("g")),
        ("retry", given.clone()),
        ("steps", Json::list(vec![step])),
    ];
    let document = Json::from_entries([
        ("workflow", Json::str("w")),
        ("steps", Json::list(vec![Json::from_entries(group)])),
    ]);
    let definition = parse(&document.to_bytes(), Format::Json, limits)?;
    let mut nodes = definition.nodes.iter();
    let retry = nodes.find_map(|node| node.kind.as_group().map(|group| group.retry.clone()));
    Ok(retry.unwrap_or_default())
}

/// The digest of a registered document, from its stored form; none if that is not even JSON.
#[must_use]
pub fn digest_of_stored(stored: &[u8]) -> Option<String> {
    let tree = source::read_unbounded(stored, Format::Json).ok()?;
    Some(tree.digest())
}

/// Compiles a registered document from its stored form ([`Tree::canonical_json`]).
///
/// Limits on the size of documents hold at registration only: lowering them must not strand runs of what was
/// registered before. The stored form may also be longer than the text it was made of.
///
/// # Errors
/// If what is stored is no definition, which no release writes.
pub fn load(stored: &[u8], limits: &Limits) -> Result<Definition, DefinitionErrors> {
    let limits = Limits {
        definition_bytes_max: usize::MAX,
        definition_nodes_max: usize::MAX,
        definition_levels_max: usize::MAX,
        branches_max: u32::MAX,
        ..limits.clone()
    };
    check::compile(&source::read_unbounded(stored, Format::Json)?, &limits, &[], &|_| None)
}
