//! The generated pages of `docs/` are those that the code gives today.

use std::path::Path;

fn committed(page: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

#[test]
fn the_page_about_definitions_is_current() {
    let is_current = committed("definition.md") == rejoin_shared::definition::reference();
    assert!(is_current, "run scripts/docs");
}

#[test]
fn the_page_about_configuration_is_current() {
    let is_current = committed("configuration.md") == rejoin_shared::config::reference();
    assert!(is_current, "run scripts/docs");
}

#[test]
fn every_setting_has_its_meaning_on_the_page() {
    let page = rejoin_shared::config::reference();
    let without: Vec<&str> = page.lines().filter(|line| line.ends_with("|  |")).collect();
    assert_eq!(without, [""; 0]);
}

/// All Rust sources of the workspace's members, in one text.
fn sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

#[test]
fn the_tests_that_the_docs_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = String::new();
    for member in ["shared", "coordinator", "worker", "cli", "tests"] {
        sources(&root.join(member), &mut all);
    }
    for page in ["guarantees.md", "reliability.md", "tests.md"] {
        let text = committed(page);
        let quoted = text.split('`').skip(1).step_by(2);
        let is_claim =
            |name: &&str| name.matches('_').count() >= 3 && name.chars().all(|c| c == '_' || c.is_ascii_lowercase());
        for name in quoted.filter(is_claim) {
            assert!(all.contains(name), "{page} names {name}, which does not exist");
        }
    }
}
