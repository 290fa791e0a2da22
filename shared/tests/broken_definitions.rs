//! Broken definitions: what is noted, and where.
//!
//! The table lies in `broken_definitions.txt`. Each case is `### name`, a line `# code line:column` (with
//! `~ suggestion` behind it where one is given) for every error expected, and the document. Documents that need no
//! top of their own begin with their nodes and get one of two lines in front, so that their first line is line 3.

use std::collections::HashSet;

use rejoin_shared::definition::{Format, parse};
use rejoin_shared::limits::Limits;

struct Case<'t> {
    name: &'t str,
    expected: Vec<String>,
    document: String,
}

fn cases(table: &str) -> Vec<Case<'_>> {
    table.split("### ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case<'_> {
    let (name, rest) = text.split_once('\n').expect("a name alone in its line");
    let (heads, body): (Vec<&str>, Vec<&str>) = rest.lines().partition(|line| line.starts_with("# "));
    let body = body.join("\n");
    let top = if body.starts_with('-') {
        "workflow: w\nsteps:\n"
    } else {
        ""
    };
    Case {
        name,
        expected: heads
            .iter()
            .map(|head| head.trim_start_matches("# ").to_owned())
            .collect(),
        document: format!("{top}{}\n", body.trim_end()),
    }
}

/// The errors of `document` in the table's form, without those about what this release does not run yet.
fn noted(document: &str) -> Vec<String> {
    let Err(errors) = parse(document.as_bytes(), Format::Auto, &Limits::default()) else {
        return Vec::new();
    };
    let errors = errors.0.into_iter().filter(|e| e.code != "not_supported_yet");
    errors
        .map(|e| {
            assert!(!e.message.is_empty());
            let meant = e.suggestion.map(|s| format!(" ~ {s}")).unwrap_or_default();
            format!("{} {}:{}{meant}", e.code, e.line, e.column)
        })
        .collect()
}

#[test]
fn every_mistake_is_noted_at_its_place() {
    let cases = cases(include_str!("broken_definitions.txt"));
    assert!(cases.len() >= 100, "{}", cases.len());
    let names: HashSet<&str> = cases.iter().map(|c| c.name).collect();
    assert_eq!(names.len(), cases.len(), "names of cases are unique");
    let mut wrong = String::new();
    for case in &cases {
        let noted = noted(&case.document);
        if noted != case.expected || noted.is_empty() {
            wrong += &format!(
                "### {}\n{}\nexpected {:#?}\nnoted {noted:#?}\n",
                case.name, case.document, case.expected
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_pointer_leads_to_the_value_through_escaped_keys() {
    let document = "workflow: w\nsteps:\n- branch: b\n  on: ctx.a\n  cases:\n    a/b~c: [ { stepp: x } ]\n";
    let errors = parse(document.as_bytes(), Format::Yaml, &Limits::default())
        .expect_err("no such kind")
        .0;
    assert_eq!(errors[0].pointer, "/steps/0/cases/a~1b~0c/0/stepp");
    let shown = serde_json::to_value(&errors[0]).expect("serializable");
    assert_eq!(shown["code"], "unknown_kind");
    assert_eq!(shown["suggestion"], "step");
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let first = |bytes: &[u8]| {
        let errors = parse(bytes, Format::Auto, &Limits::default()).expect_err("not text").0;
        (errors[0].code, errors[0].line, errors[0].column)
    };
    assert_eq!(first(b"workflow: w\nd: \xff"), ("not_utf8", 2, 4));
    assert_eq!(first(b"workflow: w\nd: a\0b"), ("nul", 2, 5));
    assert_eq!(first("workflow: \u{e9}\u{0}".as_bytes()), ("nul", 1, 12));
}
