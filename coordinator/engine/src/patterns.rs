//! Patterns over error types (SPEC 5.8): globs over the whole type, a leading `!` excludes.

use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use crate::join::failure::BRANCHES_FAILED;

/// Whether a list of patterns matches an error.
///
/// `rejoin.branches_failed` is matched also when each failed branch's error is matched by one of the patterns without `!`,
/// and excluded when each is matched by one with `!`. A list with nothing but `!` patterns matches nothing.
pub(crate) fn matches_list(patterns: &[String], error: &ErrorValue) -> bool {
    let wanted: Vec<&str> = patterns
        .iter()
        .filter(|p| !p.starts_with('!'))
        .map(String::as_str)
        .collect();
    let excluded: Vec<&str> = patterns.iter().filter_map(|p| p.strip_prefix('!')).collect();
    matches_any(&wanted, error) && !matches_any(&excluded, error)
}

fn matches_any(patterns: &[&str], error: &ErrorValue) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let any = |kind: &str| patterns.iter().any(|pattern| glob(pattern, kind));
    any(&error.kind) || matches_each_branch(patterns, error)
}

/// Whether it is `rejoin.branches_failed` and each failed branch's error is matched, at any depth.
fn matches_each_branch(patterns: &[&str], error: &ErrorValue) -> bool {
    let Some(types) = branch_types(error) else { return false };
    let any = |kind: &str| patterns.iter().any(|pattern| glob(pattern, kind));
    // Only so many branches are listed, but all are counted by type; a nested failure is judged by what is listed of it.
    let plain = types
        .iter()
        .filter(|kind| *kind != BRANCHES_FAILED)
        .all(|kind| any(kind));
    plain && branch_errors(error).iter().all(|branch| matches_any(patterns, branch))
}

/// Types of the failed branches' errors of `rejoin.branches_failed`; `None` for any other error.
pub(crate) fn branch_types(error: &ErrorValue) -> Option<Vec<String>> {
    if error.kind != BRANCHES_FAILED {
        return None;
    }
    let by_type = error.details.as_ref()?.get("by_type")?.as_object()?;
    (!by_type.is_empty()).then(|| by_type.keys().map(ToString::to_string).collect())
}

/// The failed branches' errors that are listed.
pub(crate) fn branch_errors(error: &ErrorValue) -> Vec<ErrorValue> {
    let listed = error
        .details
        .as_ref()
        .and_then(|details| details.get("branches"))
        .and_then(Json::as_list);
    let errors = listed
        .unwrap_or_default()
        .iter()
        .filter_map(|branch| branch.get("error"));
    errors
        .filter_map(|error| rejoin_shared::json::read_own(&error.to_bytes()).ok())
        .collect()
}

/// Whether `pattern` matches the whole of `text`; `*` stands for any characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_dots_too() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a.b"),
            ("http.*", "http.status_500"),
            ("a*c*e", "abcde"),
            ("a*", "a"),
            ("x", "x"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("x", "xy"),
            ("http.*", "https"),
            ("a*b*", "ac"),
            ("ab*ba", "aba"),
            ("", "a"),
        ] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn exclusions_alone_match_nothing() {
        let error = ErrorValue::new("card.declined", "", "/pay");
        let list = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(matches_list(&list(&["*", "!rejoin.*"]), &error));
        assert!(!matches_list(&list(&["*", "!card.*"]), &error));
        assert!(!matches_list(&list(&["!rejoin.*"]), &error));
    }
}
