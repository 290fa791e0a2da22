//! JSON Schemas in definitions: of inputs, and of answers.

use rejoin_shared::definition::SchemaProblem;
use rejoin_shared::json::Json;

/// Compiles a schema.
///
/// # Errors
/// What is wrong with it, and where.
pub fn validator(schema: &Json) -> Result<jsonschema::Validator, SchemaProblem> {
    let value = serde_json::to_value(schema).unwrap_or_default();
    jsonschema::validator_for(&value).map_err(|e| {
        let at = e.instance_path().to_string();
        let keys = at.split('/').skip(1);
        SchemaProblem {
            at: keys.map(|key| key.replace("~1", "/").replace("~0", "~")).collect(),
            message: e.to_string(),
        }
    })
}

/// What is wrong with a schema, if anything is: for those who check a definition.
#[must_use]
pub fn problem(schema: &Json) -> Option<SchemaProblem> {
    validator(schema).err()
}
