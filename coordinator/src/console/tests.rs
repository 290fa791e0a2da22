//! The files of the console among themselves. How they are served is tested with the API.

use std::collections::BTreeSet;
use std::path::Path;

use super::{ASSETS, kind_of};

fn text(path: &str) -> &'static str {
    let found = ASSETS.iter().find(|(known, _)| *known == path);
    let (_, body) = found.unwrap_or_else(|| panic!("{path} is a file of the console"));
    std::str::from_utf8(body).expect("text")
}

fn scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
    let names = ASSETS.iter().map(|(path, _)| *path);
    names
        .filter(|path| path.ends_with(".js"))
        .map(|path| (path, text(path)))
}

/// What stands between the quotes after each `start`.
fn quoted<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let after = text.split(start).skip(1);
    after.filter_map(|rest| rest.split(['\'', '"']).next())
}

/// `target` as seen from the file at `from`.
fn resolved(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn files_below(dir: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().expect("a type").is_dir() {
            true => files_below(&entry.path(), &format!("{name}/"), found),
            false => drop(found.insert(name)),
        }
    }
}

#[test]
fn every_file_of_the_folder_is_served_and_has_a_type() {
    let mut there = BTreeSet::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets");
    files_below(&dir, "", &mut there);
    let served: BTreeSet<String> = ASSETS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(served, there);
    for path in served {
        assert_ne!(kind_of(&path), "application/octet-stream", "{path}");
    }
}

#[test]
fn every_import_leads_to_a_file_and_every_script_is_reached() {
    let mut reached = BTreeSet::from(["app.js".to_owned()]);
    for (path, script) in scripts() {
        for target in quoted(script, "from '") {
            let target = resolved(path, target);
            text(&target);
            reached.insert(target);
        }
    }
    let all: BTreeSet<String> = scripts().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(reached, all);
}

#[test]
fn every_file_that_the_page_names_is_served_beside_it() {
    let page = text("index.html");
    let named = quoted(page, "href=\"").chain(quoted(page, "src=\""));
    let files: Vec<&str> = named.filter(|target| !target.starts_with('#')).collect();
    assert!(files.contains(&"app.js") && files.contains(&"style.css"), "{files:?}");
    for file in files {
        text(file);
    }
}

#[test]
fn no_text_becomes_markup_or_a_script() {
    let forbidden = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "setHTMLUnsafe",
        "eval(",
        "new Function",
        "javascript:",
        "srcdoc",
    ];
    for (path, script) in scripts() {
        for word in forbidden {
            assert!(!script.contains(word), "{path}: {word}");
        }
    }
    let page = text("index.html");
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script type=\"module\" src=").count()
    );
    for inline in [" style=", " onclick=", " onload=", "<style"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    // The name of a vocabulary, not an address.
    const SVG: &str = "http://www.w3.org/2000/svg";
    for (path, body) in ASSETS {
        let body = std::str::from_utf8(body).expect("text").replace(SVG, "");
        for word in ["http://", "https://", "@import", "url(", "src=\"//"] {
            assert!(!body.contains(word), "{path}: {word}");
        }
    }
}
