//! Runs and workflows by what stands in the address.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use rejoin_shared::ids::{Namespace, RunId};
use serde::de::DeserializeOwned;

use super::Api;
use super::problem::{Code, Problem};
use crate::store::RunRow;

/// Shortest prefix or suffix of an id that is looked up.
const ID_PART_CHARS_MIN: usize = 4;

/// The variable segments of the address.
pub struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segments<T>, Problem> {
        let found = Path::<T>::from_request_parts(parts, state).await;
        found
            .map(|Path(value)| Segments(value))
            .map_err(|e: PathRejection| Problem::new(Code::Malformed, e.body_text()))
    }
}

impl Api {
    /// The run that `id` names: whole, or by a unique prefix or suffix.
    ///
    /// # Errors
    /// 404 if there is none in the namespace, 409 if there are several.
    pub(super) async fn run(&self, namespace: &Namespace, id: &str) -> Result<RunRow, Problem> {
        let run = self.run_id(namespace, id).await?;
        let row = self.store.run(run).await?.filter(|row| row.namespace == *namespace);
        row.ok_or_else(|| Problem::not_found("run", id))
    }

    /// The id that a whole id, or a unique prefix or suffix of one, means; whether such a run is there is not looked up.
    pub(super) async fn run_id(&self, namespace: &Namespace, id: &str) -> Result<RunId, Problem> {
        let text = id.to_ascii_lowercase();
        if text.len() == 36
            && let Ok(run) = text.parse()
        {
            return Ok(run);
        }
        if text.len() < ID_PART_CHARS_MIN || !text.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-') {
            return Err(Problem::not_found("run", id));
        }
        match self.store.run_ids_like(namespace, &text, 2).await?.as_slice() {
            [] => Err(Problem::not_found("run", id)),
            [run] => Ok(*run),
            _ => Err(Problem::new(
                Code::Ambiguous,
                format!("several runs begin or end with {id}; give more of the id"),
            )),
        }
    }
}
