//! The request a generic handler gets, put together from raw parts: values are not parsed to be written again.

use serde::Serialize;

use crate::attempt::Attempt;

/// The request's JSON text.
pub(super) fn text_of(attempt: &Attempt) -> String {
    let order = attempt.order();
    let (input, context) = (attempt.input_text(), attempt.context_text());
    let mut text = String::with_capacity(256 + input.len() + context.len());
    add(&mut text, "{\"handler\":", &quoted(&order.handler));
    add(&mut text, ",\"run\":", &quoted(&order.run));
    add(&mut text, ",\"workflow\":", &quoted(&order.workflow));
    add(&mut text, ",\"path\":", &quoted(&order.path));
    add(&mut text, ",\"attempt\":", &order.attempt.to_string());
    add(&mut text, ",\"idempotency_key\":", &quoted(&order.idempotency_key()));
    add(&mut text, ",\"input\":", input);
    add(&mut text, ",\"context\":", context);
    add(&mut text, ",\"item\":", attempt.item_text().unwrap_or("null"));
    add(&mut text, ",\"index\":", attempt.index_text().unwrap_or("null"));
    add(
        &mut text,
        ",\"checkpoint\":",
        attempt.checkpoint_text().unwrap_or("null"),
    );
    text.push('}');
    text
}

/// The request as one line. A line break inside valid JSON is white space between two of its parts.
pub(super) fn line_of(attempt: &Attempt) -> String {
    let mut text = text_of(attempt);
    if text.contains(['\n', '\r']) {
        text = text.replace(['\n', '\r'], " ");
    }
    text.push('\n');
    text
}

fn add(text: &mut String, key: &str, value: &str) {
    text.push_str(key);
    text.push_str(value);
}

fn quoted(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text is always JSON")
}
