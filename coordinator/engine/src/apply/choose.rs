//! Cases, gotos and context writes.

use rejoin_shared::definition::model::{Branch, Cases, FlowId, NodeKind};
use rejoin_shared::delta::Delta;
use rejoin_shared::path;

use super::Misfit;
use crate::record::{Choice, ThreadKey};
use crate::state::RunState;

impl RunState {
    pub(super) fn choose(&mut self, key: ThreadKey, choice: &Choice) -> Result<(), Misfit> {
        self.ready(key)?;
        self.follow(key, choice)
    }

    /// Follows a choice made at the node the thread stands at.
    pub(super) fn follow(&mut self, key: ThreadKey, choice: &Choice) -> Result<(), Misfit> {
        let node = self.node_at(self.thread(key).expect("checked")).ok_or("no node")?;
        let def = self.def.clone();
        match choice {
            Choice::Continue => self.go_on(key),
            Choice::Goto(name) => {
                let target = def.goto_target(def.node(node).flow, name).ok_or("an unknown target")?;
                self.go_to(key, target)?;
            }
            Choice::Case(_) | Choice::Default => {
                let NodeKind::Branch(branch) = &def.node(node).kind else {
                    return Err("not at a branch".to_owned());
                };
                let (path, flow) = case_of(branch, choice, &self.entered_path(key)?)?;
                let path = path.ok_or("a path that is too long")?;
                self.push_case(key, flow, &path);
                self.enter(key);
            }
        }
        Ok(())
    }

    pub(super) fn set_context(&mut self, key: ThreadKey, changes: &Delta) -> Result<(), Misfit> {
        let thread = self.ready(key)?;
        changes.apply(&mut thread.ctx);
        thread.ctx_bytes_max = thread.ctx.text_len();
        self.go_on(key);
        Ok(())
    }
}

/// The path of the case that is chosen, and its flow; no path: it would be too long.
pub(crate) fn case_of(branch: &Branch, choice: &Choice, parent: &str) -> Result<(Option<String>, FlowId), Misfit> {
    let (segment, flow) = match (choice, &branch.cases) {
        (Choice::Case(i), Cases::Keyed { cases, .. }) => {
            let (name, flow) = cases.get(*i as usize).ok_or("an unknown case")?;
            (path::case_segment(name), Some(*flow))
        }
        (Choice::Case(i), Cases::Conditions(cases)) => (
            format!("[{i}]"),
            Some(cases.get(*i as usize).ok_or("an unknown case")?.1),
        ),
        (Choice::Default | Choice::Continue | Choice::Goto(_), _) => ("default".to_owned(), branch.default),
    };
    Ok((path::child(parent, &segment, 1), flow.ok_or("no default")?))
}
