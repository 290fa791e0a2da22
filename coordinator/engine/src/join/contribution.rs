//! What one branch brings to a join.

use rejoin_shared::definition::model::Reduce;
use rejoin_shared::delta::Delta;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

use crate::state::scope::Contribution;

/// Takes the keys that `reduce` names out of a branch's changes, and notes what the branch made of them.
pub(crate) fn contribution_of(
    reduce: &[(KeyPath, Reduce)],
    start: &Json,
    end: &Json,
    changes: &Delta,
    order: u64,
) -> Contribution {
    if reduce.is_empty() {
        return Contribution {
            changes: changes.clone(),
            reduced: Vec::new(),
            order,
            ended: end.clone(),
        };
    }
    let mut rest = end.clone();
    let mut reduced = Vec::with_capacity(reduce.len());
    for (path, _) in reduce {
        let (before, after) = (path.read(start), path.read(end));
        let takes_part = match (before, after) {
            (before, Some(after)) if before != Some(after) => Some((before.cloned(), after.clone())),
            _ => None,
        };
        // A deletion takes no part, nor does it reach the merge: reduced keys are taken out of it.
        if before != after {
            restore(path, before, &mut rest);
        }
        reduced.push(takes_part);
    }
    Contribution {
        changes: Delta::between(start, &rest),
        reduced,
        order,
        ended: end.clone(),
    }
}

/// Gives a key the value it had at the start.
fn restore(path: &KeyPath, before: Option<&Json>, ctx: &mut Json) {
    match before {
        Some(value) => path.write(ctx, value.clone()),
        None => path.remove(ctx),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).expect("test JSON")
    }

    #[test]
    fn reduced_keys_are_taken_out_of_the_changes() {
        let reduce = [
            (KeyPath::parse("n").expect("path"), Reduce::Sum),
            (KeyPath::parse("a.list").expect("path"), Reduce::Append),
        ];
        let (start, end) = (
            json(r#"{"n":1,"k":1,"a":{"list":[1]}}"#),
            json(r#"{"n":3,"k":2,"a":{"list":[1]}}"#),
        );
        let got = contribution_of(&reduce, &start, &end, &Delta::between(&start, &end), 7);
        assert_eq!(serde_json::to_string(&got.changes).expect("plain"), r#"{"k":[2]}"#);
        assert_eq!(got.reduced, vec![Some((Some(json("1")), json("3"))), None]);
    }
}
