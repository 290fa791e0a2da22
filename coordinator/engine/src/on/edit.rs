//! An operator edits an open scope (SPEC 6).

use crate::decision::Ignored;
use crate::event::ScopeEdit;
use crate::machine::Machine;
use crate::record::{Edits, Fact, Quota, RunEdited, Share, Width};
use crate::state::scope::ScopeKind;
use crate::state::{Phase, Scope};
use crate::walk::{need, tolerate, width};

impl Machine<'_> {
    /// What is decided by it, is decided at once: branches begin, a join succeeds or fails.
    pub(super) fn edit(&mut self, path: &str, edit: ScopeEdit) -> Result<(), Ignored> {
        match &self.state.phase {
            Phase::Scheduled(_) | Phase::Active | Phase::Paused => {}
            Phase::Compensating | Phase::Ended { .. } => {
                let text = format!("a run that is {} has no open scopes", self.state.status().as_str());
                return Err(Ignored::NotAllowed(text));
            }
        }
        let mut open = self.state.scopes.iter().filter(|(_, scope)| *scope.path == *path);
        let found = open.find(|(id, _)| self.state.is_scope_live(**id));
        let Some((id, scope)) = found else {
            return Err(Ignored::NotThere(format!("there is no open scope at {path}")));
        };
        let edits = read(scope, edit).map_err(Ignored::Unfit)?;
        let is_narrower = edits
            .concurrency
            .and_then(Width::most)
            .is_some_and(|most| scope.running > most);
        let running = scope.active.iter().filter(|(_, thread)| thread.end.is_none());
        let edited = RunEdited {
            scope: *id,
            path: path.to_owned(),
            running: running.map(|(branch, _)| *branch).filter(|_| is_narrower).collect(),
            edits,
        };
        self.emit(Fact::RunEdited(edited));
        Ok(())
    }
}

/// The edits, if they fit the scope.
fn read(scope: &Scope, edit: ScopeEdit) -> Result<Edits, String> {
    let ScopeEdit {
        concurrency,
        need: needed,
        tolerate: tolerated,
        retry,
    } = edit;
    if concurrency.is_some() && scope.kind == ScopeKind::Loop {
        let text = "a foreach without `concurrency` is a loop: it has no branches at once, and cannot become a fan-out";
        return Err(text.to_owned());
    }
    let quota = match (needed, tolerated) {
        (Some(_), Some(_)) => return Err("`need` and `tolerate` do not go together".to_owned()),
        (Some(value), None) => {
            let quota = need(&value).ok_or("`need` must be `all`, `any`, a number from 1 or a percentage")?;
            Some(within(scope, quota)?)
        }
        (None, Some(value)) => Some(tolerate(&value).ok_or("`tolerate` must be a number or a percentage")?),
        (None, None) => None,
    };
    let wanted = "`concurrency` must be a number from 1 or `unbounded`";
    let edits = Edits {
        concurrency: concurrency.map(|value| width(&value).ok_or(wanted)).transpose()?,
        quota,
        retry,
    };
    match edits == Edits::default() {
        true => Err("name what is to be edited: `concurrency`, `need`, `tolerate` or `retry`".to_owned()),
        false => Ok(edits),
    }
}

/// More than there are branches cannot succeed.
fn within(scope: &Scope, quota: Quota) -> Result<Quota, String> {
    let activated = scope.activated();
    match quota {
        Quota::Need(Share::Count(n)) if n > activated => Err(format!(
            "`need` is {n}, but the scope has {activated} activated branches"
        )),
        Quota::Need(_) | Quota::All | Quota::Whatever | Quota::Tolerate(_) => Ok(quota),
    }
}
