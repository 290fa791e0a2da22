//! `workflow diff`: what two definitions of a workflow do differently, place by place.

use std::collections::HashMap;
use std::path::Path;

use rejoin_shared::definition::{self, Format};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;

use super::check;
use crate::args::{DiffArgs, Global};
use crate::client::{Client, encode};
use crate::exit::{self, Failure};
use crate::{output, source};

/// Keys of a node that say what kind of node it is, and hold its name.
const KINDS: [&str; 16] = [
    "step", "parallel", "foreach", "graph", "branch", "decision", "group", "try", "repeat", "sleep", "wait", "call",
    "emit", "set", "fail", "finish",
];

/// One difference.
#[derive(Debug, PartialEq)]
struct Change {
    /// Keys, and names of nodes, joined by slashes.
    place: String,
    before: Option<Json>,
    after: Option<Json>,
}

/// Compares a file with the newest version, or two versions.
pub async fn run(global: &Global, args: DiffArgs) -> Result<u8, Failure> {
    let client = Client::of(global)?;
    let file = Path::new(&args.workflow);
    let is_file = file.is_file() || args.workflow == "-";
    let (before, after) = match (is_file, args.from, args.to) {
        (true, from, None) => {
            let (name, document) = of_file(file)?;
            (registered(&client, &name, from).await?, document)
        }
        (true, _, Some(_)) => return Err(Failure::usage("--to goes with two versions, not with a file")),
        (false, Some(from), to) => (
            registered(&client, &args.workflow, Some(from)).await?,
            registered(&client, &args.workflow, to).await?,
        ),
        (false, None, _) => {
            let why = format!("{} is no file; of two versions name the first: --from", args.workflow);
            return Err(Failure::usage(why));
        }
    };
    let changes = changes(&before, &after);
    output::value(global.output, &as_json(&changes).to_bytes(), || as_text(&changes))?;
    Ok(exit::OK)
}

fn of_file(file: &Path) -> Result<(String, Json), Failure> {
    let text = source::bytes(file)?;
    let name = check(file, &text)?;
    let tree = definition::read(&text, Format::Auto, &Limits::default());
    let tree = tree.map_err(|errors| Failure::general(errors.to_string()))?;
    let document = Json::parse_own(&tree.canonical_json()).map_err(|e| Failure::general(e.to_string()))?;
    Ok((name, document))
}

async fn registered(client: &Client, name: &str, version: Option<u32>) -> Result<Json, Failure> {
    let path = match version {
        None => format!("/v1/workflows/{}", encode(name)),
        Some(version) => format!("/v1/workflows/{}/versions/{version}", encode(name)),
    };
    let answer = client.get(&path, &[]).await?;
    Ok(answer.json.get("definition").cloned().unwrap_or_default())
}

fn changes(before: &Json, after: &Json) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    found
}

fn compare(place: &str, before: Option<&Json>, after: Option<&Json>, found: &mut Vec<Change>) {
    if before == after {
        return;
    }
    let members = before.and_then(Json::as_object).zip(after.and_then(Json::as_object));
    if let Some((before, after)) = members {
        let added = after.keys().filter(|key| !before.contains_key(*key));
        for key in before.keys().chain(added) {
            compare(&format!("{place}/{key}"), before.get(key), after.get(key), found);
        }
        return;
    }
    let lists = before.and_then(Json::as_list).zip(after.and_then(Json::as_list));
    if let Some((before, after)) = lists
        && let Some((before, after)) = named(before).zip(named(after))
    {
        return compare_flows(place, &before, &after, found);
    }
    found.push(Change {
        place: place.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
    });
}

/// The nodes of a flow by their names; `None` if these are no nodes.
fn named(list: &[Json]) -> Option<Vec<(&str, &Json)>> {
    let name = |node: &'_ Json| {
        KINDS
            .iter()
            .find_map(|kind| node.get(kind))
            .and_then(Json::as_str)
            .is_some()
    };
    if list.is_empty() || !list.iter().all(name) {
        return None;
    }
    let with_name = |node| {
        let name = KINDS
            .iter()
            .find_map(|kind| Json::get(node, kind))
            .and_then(Json::as_str);
        (name.unwrap_or_default(), node)
    };
    Some(list.iter().map(with_name).collect())
}

/// Nodes are the same by their names, wherever they stand; those that both have and that stand in another order are told.
fn compare_flows(place: &str, before: &[(&str, &Json)], after: &[(&str, &Json)], found: &mut Vec<Change>) {
    let (old, new): (HashMap<&str, &Json>, HashMap<&str, &Json>) =
        (before.iter().copied().collect(), after.iter().copied().collect());
    for (name, node) in before {
        compare(&format!("{place}/{name}"), Some(node), new.get(name).copied(), found);
    }
    for (name, node) in after.iter().filter(|(name, _)| !old.contains_key(name)) {
        compare(&format!("{place}/{name}"), None, Some(node), found);
    }
    let order = |list: &[(&str, &Json)], other: &HashMap<&str, &Json>| {
        let both = list.iter().filter(|(name, _)| other.contains_key(name));
        both.map(|(name, _)| Json::str(name)).collect::<Vec<Json>>()
    };
    let (order_before, order_after) = (order(before, &new), order(after, &old));
    if order_before != order_after {
        found.push(Change {
            place: format!("{place} (order)"),
            before: Some(Json::list(order_before)),
            after: Some(Json::list(order_after)),
        });
    }
}

fn as_json(changes: &[Change]) -> Json {
    let entries = changes.iter().map(|change| {
        Json::from_entries([
            ("place", Json::str(&change.place)),
            ("before", change.before.clone().unwrap_or_default()),
            ("after", change.after.clone().unwrap_or_default()),
        ])
    });
    Json::list(entries.collect())
}

fn as_text(changes: &[Change]) -> String {
    let line = |change: &Change| {
        let place = &change.place;
        match (&change.before, &change.after) {
            (None, Some(after)) => format!("+ {place}: {after}\n"),
            (Some(before), None) => format!("- {place}: {before}\n"),
            (before, after) => {
                let shown = |value: &Option<Json>| value.clone().unwrap_or_default();
                format!("~ {place}: {} → {}\n", shown(before), shown(after))
            }
        }
    };
    changes.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: &str, after: &str) -> String {
        let read = |text: &str| Json::parse(text.as_bytes()).expect("JSON");
        as_text(&changes(&read(before), &read(after)))
    }

    #[test]
    fn nodes_are_compared_by_their_names() {
        let before = r#"{"workflow":"w","steps":[{"step":"a","timeout":"1s"},{"step":"b"},{"step":"c"}]}"#;
        let after = r#"{"workflow":"w","steps":[{"step":"c"},{"step":"a","timeout":"2s","uses":"x"},{"step":"d"}]}"#;
        assert_eq!(
            shown(before, after),
            "~ /steps/a/timeout: \"1s\" → \"2s\"\n+ /steps/a/uses: \"x\"\n- /steps/b: {\"step\":\"b\"}\n\
             + /steps/d: {\"step\":\"d\"}\n~ /steps (order): [\"a\",\"c\"] → [\"c\",\"a\"]\n"
        );
        assert_eq!(shown(before, before), "");
    }

    #[test]
    fn other_lists_are_compared_as_a_whole() {
        let before = r#"{"input":{"required":["a"]}}"#;
        let after = r#"{"input":{"required":["a","b"]}}"#;
        assert_eq!(shown(before, after), "~ /input/required: [\"a\"] → [\"a\",\"b\"]\n");
    }
}
