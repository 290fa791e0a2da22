//! Registered definitions, compiled once: a small cache over the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use rejoin_shared::definition::{self, model::Definition};
use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;

use super::problem::{Code, DocumentError, Problem};
use crate::owner::definitions::is_as_registered;
use crate::schemas;
use crate::store::{Store, WorkflowRow};

/// Versions kept compiled; beyond that the cache begins anew.
const CACHED_MAX: usize = 256;
/// Errors of an input that are reported at once.
const INPUT_ERRORS_MAX: usize = 100;

/// A registered version, ready for use.
pub struct Known {
    /// As it is stored.
    pub row: WorkflowRow,
    /// Compiled.
    pub definition: Arc<Definition>,
    /// Of its `input`.
    validator: Option<jsonschema::Validator>,
}

/// A version's name.
type Key = (Namespace, String, u32);

/// What is kept.
#[derive(Default)]
struct Kept {
    versions: HashMap<Key, Arc<Known>>,
    /// Those that were the newest when they were last looked up.
    newest: HashMap<(Namespace, String), Arc<Known>>,
}

/// The cache.
pub struct Definitions {
    kept: Mutex<Kept>,
    limits: Arc<Limits>,
}

impl Definitions {
    /// Nothing yet.
    #[must_use]
    pub fn new(limits: Arc<Limits>) -> Definitions {
        Definitions {
            kept: Mutex::default(),
            limits,
        }
    }

    /// A version, or the newest.
    ///
    /// # Errors
    /// 404, or what the store says.
    pub async fn get(
        &self,
        store: &dyn Store,
        namespace: &Namespace,
        name: &str,
        version: Option<u32>,
    ) -> Result<Arc<Known>, Problem> {
        if let Some(version) = version
            && let Some(known) = self.cached(&(namespace.clone(), name.to_owned(), version))
        {
            return Ok(known);
        }
        let row = store.workflow(namespace, name, version).await?;
        let row = row.ok_or_else(|| match version {
            None => Problem::not_found("workflow", name),
            Some(version) => Problem::not_found("workflow", &format!("{name} of version {version}")),
        })?;
        let key = (namespace.clone(), name.to_owned(), row.version);
        let known = match self.cached(&key) {
            Some(known) => known,
            None => self.keep(key, Arc::new(self.compile(row)?)),
        };
        if version.is_none() {
            let (newest, key) = (&mut self.lock().newest, (namespace.clone(), name.to_owned()));
            // Two may have looked at once, and this one have read first.
            if newest.get(&key).is_none_or(|kept| kept.row.version < known.row.version) {
                newest.insert(key, known.clone());
            }
        }
        Ok(known)
    }

    /// The version that was the newest when it was last looked up here. Whoever begins a run with it has to expect that it is not
    /// any more ([`crate::owner::command::StartRun::expects_newest`]).
    #[must_use]
    pub fn last_newest(&self, namespace: &Namespace, name: &str) -> Option<Arc<Known>> {
        let key = (namespace.clone(), name.to_owned());
        self.lock().newest.get(&key).cloned()
    }

    fn cached(&self, key: &Key) -> Option<Arc<Known>> {
        self.lock().versions.get(key).cloned()
    }

    fn keep(&self, key: Key, known: Arc<Known>) -> Arc<Known> {
        let mut kept = self.lock();
        if kept.versions.len() >= CACHED_MAX {
            *kept = Kept::default();
        }
        kept.versions.insert(key, known.clone());
        known
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics under this lock")
    }

    fn compile(&self, row: WorkflowRow) -> Result<Known, Problem> {
        let compiled = definition::load(&row.document, &self.limits);
        let definition = compiled.map_err(|errors| {
            if is_as_registered(&row) {
                let (name, version) = (&row.name, row.version);
                let detail = format!("workflow {name} version {version} was registered by a newer version of Rejoin: {errors}");
                return Problem::new(Code::Unavailable, detail);
            }
            tracing::error!(workflow = %row.name, version = row.version, %errors, "a registered definition does not compile");
            Problem::new(Code::Internal, format!("workflow {} of version {} cannot be read", row.name, row.version))
        })?;
        let validator = definition.input.as_ref().map(validator).transpose()?;
        Ok(Known {
            row,
            definition: Arc::new(definition),
            validator,
        })
    }
}

impl Known {
    /// Checks an input against the definition's JSON Schema.
    ///
    /// # Errors
    /// 422 that names each place that does not fit.
    pub fn check_input(&self, input: &Json) -> Result<(), Problem> {
        let Some(validator) = &self.validator else {
            return Ok(());
        };
        check_by(
            validator,
            "the input",
            &format!("the schema of {}", self.row.name),
            input,
        )
    }
}

/// Checks a value against a JSON Schema.
///
/// # Errors
/// 422 that names each place that does not fit, or says that the schema is none: registration lets no such pass.
pub fn check(what: &str, schema: &Json, value: &Json) -> Result<(), Problem> {
    check_by(&validator(schema)?, what, "its schema", value)
}

fn check_by(validator: &jsonschema::Validator, what: &str, whose: &str, value: &Json) -> Result<(), Problem> {
    let value = serde_json::to_value(value).unwrap_or_default();
    let errors = validator.iter_errors(&value).take(INPUT_ERRORS_MAX);
    let errors: Vec<DocumentError> = errors.map(|e| misfit(&e)).collect();
    let Some(first) = errors.first() else {
        return Ok(());
    };
    let detail = format!("{what} does not fit {whose}: {}", first.message);
    Err(Problem::new(Code::InvalidInput, detail).with_errors(errors))
}

fn misfit(error: &jsonschema::ValidationError<'_>) -> DocumentError {
    let pointer = error.instance_path().to_string();
    let shown = if pointer.is_empty() { "/" } else { &pointer };
    DocumentError {
        message: format!("{shown}: {error}"),
        pointer,
        line: None,
        column: None,
        code: "schema".into(),
        suggestion: None,
    }
}

/// Compiles a schema of a registered definition.
fn validator(schema: &Json) -> Result<jsonschema::Validator, Problem> {
    schemas::validator(schema).map_err(|problem| {
        let message = problem.message;
        let detail = format!("the registered definition holds a JSON Schema that cannot be used: {message}");
        Problem::new(Code::InvalidDefinition, detail)
    })
}
