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
