//! `call`

use std::time::Duration;

use rejoin_shared::definition::duration;
use rejoin_shared::definition::model::Call;
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use crate::decision::Sent;
use crate::env::{EXPRESSION, eval_template};
use crate::machine::Machine;
use crate::record::{Fact, ThreadKey};

/// What a call's templates give.
struct Called {
    version: Option<u32>,
    input: Json,
    timeout: Option<Duration>,
}

impl Machine<'_> {
    /// Calls another run: its owner starts it once the record of the call is durable.
    pub(super) fn call(&mut self, thread: ThreadKey, path: String, call: &Call) {
        let called = match self.called(thread, &path, call) {
            Ok(called) => called,
            Err(error) => return self.fail_node(thread, error),
        };
        let child = RunId::child_of(self.state.id, self.state.last_seq + 1, self.around.now);
        self.send(Sent::Start {
            child,
            workflow: call.workflow.to_string(),
            version: called.version,
            input: called.input,
            is_awaited: !call.detached,
        });
        self.emit(Fact::ChildStarted {
            thread,
            child,
            workflow: call.workflow.to_string(),
            version: called.version,
            timeout: called.timeout.filter(|_| !call.detached),
            path,
            snapshot: None,
        });
    }

    fn called(&self, thread: ThreadKey, path: &str, call: &Call) -> Result<Called, ErrorValue> {
        let env = self.state.env(thread);
        let limits = self.around.limits;
        let value = |template| eval_template(template, &env, limits, path);
        let version = match call.version.as_ref().map(value).transpose()? {
            None | Some(Json::Null) => None,
            Some(given) => {
                let number = given.as_int().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
                Some(number.ok_or_else(|| unfit("version", "a number from 1", &given, path))?)
            }
        };
        let input = match &call.with {
            None => self.state.thread(thread).expect("walked").ctx.clone(),
            Some(with) => value(with)?,
        };
        let (bytes, most) = (input.text_len(), limits.input_bytes_max);
        if bytes > most {
            let message = format!("the input has {bytes} bytes, more than the limit of {most}");
            return Err(ErrorValue::new("rejoin.too_large", message, path));
        }
        let timeout = match call.timeout.as_ref().map(value).transpose()? {
            None => None,
            Some(given) => {
                let length = given.as_str().and_then(duration::parse_computed);
                Some(length.ok_or_else(|| unfit("timeout", "a duration like \"90s\"", &given, path))?)
            }
        };
        Ok(Called {
            version,
            input,
            timeout,
        })
    }
}

fn unfit(key: &str, wanted: &str, got: &Json, path: &str) -> ErrorValue {
    ErrorValue::new(EXPRESSION, format!("`{key}` must give {wanted}, but gave {got}"), path)
}
