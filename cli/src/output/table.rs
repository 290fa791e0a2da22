//! Tables for people: columns as wide as they must be.

use rejoin_shared::json::Json;

use super::{escape, style};

/// Widest cell; longer ones are cut with a mark.
const CELL_CHARS_MAX: usize = 80;
/// Room for the name of a row.
const ROW_NAME_CHARS: usize = 12;

/// A column: its head, and what it shows of an item.
pub struct Column {
    pub head: &'static str,
    pub cell: fn(&Json) -> String,
}

/// The table of `items`.
pub fn render(columns: &[Column], items: &[Json]) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| columns.iter().map(|c| cut((c.cell)(item))).collect())
        .collect();
    let head: Vec<String> = columns.iter().map(|c| c.head.to_owned()).collect();
    let width = |i: usize| {
        std::iter::once(&head)
            .chain(&rows)
            .map(|row| row[i].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = line(&head, &widths);
    for row in &rows {
        out.push_str(&line(row, &widths));
    }
    out
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut out = String::new();
    for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
        let pad = width - cell.chars().count();
        out.push_str(&style::state(cell));
        if i + 1 < row.len() {
            out.extend(std::iter::repeat_n(' ', pad + 2));
        }
    }
    format!("{}\n", out.trim_end())
}

fn cut(text: String) -> String {
    // Here rather than where it is written: the columns are as wide as what is shown.
    let text = escape::line(&text);
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Adds a row of names and values. What a value has of more lines stands below it, so that none of them looks like a row.
pub fn row(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        let value = value.replace('\n', &format!("\n{:ROW_NAME_CHARS$}", ""));
        out.push_str(&format!("{name:<ROW_NAME_CHARS$}{value}\n"));
    }
}

/// A member as text; nothing for null.
pub fn member(item: &Json, key: &str) -> String {
    item.get(key).map(shown).unwrap_or_default()
}

/// A value as a cell.
pub fn shown(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::Str(text) => text.to_string(),
        Json::List(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_and_number() -> [Column; 2] {
        [
            Column {
                head: "NAME",
                cell: |i| member(i, "n"),
            },
            Column {
                head: "N",
                cell: |i| member(i, "v"),
            },
        ]
    }

    #[test]
    fn columns_are_aligned_and_nothing_hangs_over() {
        let items = [
            Json::parse(br#"{"n":"a","v":1}"#).expect("json"),
            Json::parse(br#"{"n":"longer","v":null}"#).expect("json"),
        ];
        assert_eq!(render(&name_and_number(), &items), "NAME    N\na       1\nlonger\n");
    }

    #[test]
    fn a_cell_is_one_line_and_shows_its_control_characters() {
        let items = [Json::parse(br#"{"n":"a\u001b[2J\nb\u009b","v":1}"#).expect("json")];
        let shown = "a\\u001b[2J\\nb\\u009b";
        assert_eq!(
            render(&name_and_number(), &items),
            format!("{:<19}  N\n{shown}  1\n", "NAME")
        );
    }

    #[test]
    fn lines_of_a_value_do_not_look_like_rows() {
        let mut out = String::new();
        row(&mut out, "error", "app.no: a\nstate       completed");
        row(&mut out, "owner", "");
        assert_eq!(out, "error       app.no: a\n            state       completed\n");
    }
}
