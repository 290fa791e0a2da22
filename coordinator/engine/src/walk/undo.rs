//! The end of a run that fails or is cancelled: what it did is undone first, where the definition says how.

use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, RunStatus};

use crate::machine::Machine;
use crate::record::{Fact, RunFinished};

impl Machine<'_> {
    /// The run has failed.
    pub(crate) fn fail_run(&mut self, error: ErrorValue) {
        self.end_undone(RunStatus::Failed, Some(error), None);
    }

    /// Ends the run so, once what it did is undone.
    pub(crate) fn end_undone(&mut self, status: RunStatus, error: Option<ErrorValue>, reason: Option<String>) {
        if self.state.has_something_to_undo() {
            let children = self.state.undone_children();
            return self.emit(Fact::CompensationStarted {
                status,
                error,
                reason,
                children,
            });
        }
        self.emit(Fact::RunFinished(RunFinished {
            status,
            output: None,
            error,
            reason,
            output_is_context: false,
            undoes_children: true,
        }));
    }

    /// Nothing is left to be undone, or something cannot be.
    pub(super) fn finish_undo(&mut self) {
        // An operator may have set it going again since it came to rest.
        let Some(undo) = self.state.undo.as_ref().filter(|undo| undo.is_at_rest()) else {
            return;
        };
        let (status, error) = match undo.has_failed() {
            false => (undo.status, undo.error.clone()),
            true => {
                let (done, left) = (undo.undone.iter().rev(), undo.paths_left());
                let list = |paths: Vec<String>| {
                    let texts = paths.into_iter().map(|path| Json::Str(path.into()));
                    Json::List(std::sync::Arc::new(texts.collect()))
                };
                let compensation = Json::from_entries([("done", list(done.cloned().collect())), ("left", list(left))]);
                let mut error = undo
                    .error
                    .clone()
                    .unwrap_or_else(|| ErrorValue::new("rejoin.cancelled", "the run was cancelled", ""));
                let mut details = error.details.take().unwrap_or_else(Json::object);
                details.object_mut().insert("compensation".into(), compensation);
                error.details = Some(details);
                (RunStatus::CompensationFailed, Some(error))
            }
        };
        let reason = undo.reason.clone();
        self.emit(Fact::RunFinished(RunFinished {
            status,
            output: None,
            error,
            reason,
            output_is_context: false,
            undoes_children: false,
        }));
    }
}
