//! Paths (SPEC 1): the identity of a node visit inside a run, names from the outermost node inwards.

use std::fmt::Write as _;

use crate::limits::PATH_BYTES_MAX;

/// The path of the outermost flow: nothing stands before its nodes.
pub const ROOT: &str = "";

/// `parent` and below it visit number `visit` (from 1) of the node, branch or segment `name`.
///
/// `None` if the path would be longer than [`PATH_BYTES_MAX`].
#[must_use]
pub fn child(parent: &str, name: &str, visit: u32) -> Option<String> {
    let mut path = String::with_capacity(parent.len() + name.len() + 4);
    path.push_str(parent);
    path.push('/');
    path.push_str(name);
    if visit > 1 {
        write!(path, "#{visit}").expect("writing to a String");
    }
    within_limit(path)
}

/// The path of item `index` of a foreach over a list or an integer.
#[must_use]
pub fn item(foreach: &str, index: u32) -> Option<String> {
    let mut path = String::with_capacity(item_bytes(foreach, index));
    path.push_str(foreach);
    path.push('[');
    push_number(&mut path, index);
    path.push(']');
    within_limit(path)
}

/// Whether [`item`] has a path for this index.
#[must_use]
pub fn has_item(foreach: &str, index: u32) -> bool {
    item_bytes(foreach, index) <= PATH_BYTES_MAX
}

fn item_bytes(foreach: &str, index: u32) -> usize {
    foreach.len() + 2 + index.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// One of these is written for each branch: without the formatter it costs a third.
fn push_number(path: &mut String, number: u32) {
    let mut digits = [0_u8; 10];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    path.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

/// The path of the item at `key` of a foreach over a map.
#[must_use]
pub fn keyed_item(foreach: &str, key: &str) -> Option<String> {
    within_limit(format!("{foreach}[{}]", encode(key)))
}

/// The segment of a branch's case.
#[must_use]
pub fn case_segment(key: &str) -> String {
    encode(key)
}

fn within_limit(path: String) -> Option<String> {
    (path.len() <= PATH_BYTES_MAX).then_some(path)
}

/// Percent-encodes what has a meaning in paths: `/ ] [ # %`.
fn encode(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for c in key.chars() {
        match c {
            '/' => out.push_str("%2F"),
            ']' => out.push_str("%5D"),
            '[' => out.push_str("%5B"),
            '#' => out.push_str("%23"),
            '%' => out.push_str("%25"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_in_the_specification() {
        let notify = child(ROOT, "notify", 1).expect("short");
        let email = child(&notify, "email", 1).expect("short");
        assert_eq!(
            child(&email, "send_confirmation", 1).expect("short"),
            "/notify/email/send_confirmation"
        );
        assert_eq!(child("/poll", "check", 2).expect("short"), "/poll/check#2");
        assert_eq!(item("/process_items", 3).expect("short"), "/process_items[3]");
        assert_eq!(
            keyed_item("/each", "a/b#[%]").expect("short"),
            "/each[a%2Fb%23%5B%25%5D]"
        );
    }

    #[test]
    fn the_path_of_an_item_is_what_the_formatter_writes_up_to_the_limit() {
        for index in [0, 9, 10, 99, 12_345, 999_999, u32::MAX] {
            assert_eq!(item("/each", index), Some(format!("/each[{index}]")));
        }
        let longest = "p".repeat(PATH_BYTES_MAX - 5);
        assert!(item(&longest, 100).is_some() && has_item(&longest, 100));
        assert!(item(&longest, 1_000).is_none() && !has_item(&longest, 1_000));
    }

    #[test]
    fn a_path_of_2048_bytes_is_taken_and_2049_refused() {
        let parent = "x".repeat(PATH_BYTES_MAX - 2);
        assert!(child(&parent, "a", 1).is_some());
        assert!(child(&parent, "ab", 1).is_none());
    }
}
