//! Lists are read page by page.

use schemars::JsonSchema;
use serde::Serialize;

/// One page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What `after` is to be to get the next page; null on the last one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The first `limit` of `items`, of which one more than that was fetched if there is a next page; `cursor` says where
    /// that one begins behind the last item shown.
    pub fn cut(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Page { items, next }
    }

    /// A list that is on one page as a whole.
    pub fn whole(items: Vec<T>) -> Page<T> {
        Page { items, next: None }
    }

    /// The same page with each item as it is shown.
    pub fn map<V>(self, show: impl FnMut(T) -> V) -> Page<V> {
        Page {
            items: self.items.into_iter().map(show).collect(),
            next: self.next,
        }
    }
}
