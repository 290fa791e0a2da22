//! The page about the settings, rendered from their types, their docs and their defaults.

use serde_json::Value;

use super::{OTHER_VARIABLES, PREFIX, Settings};

const HEAD: &str = "\
# Configuration

Every setting. This page is generated from the types that read them (`shared/src/config.rs`).

Settings come from a TOML file (`--config FILE`, else `rejoin.toml` in the working directory if there is one), then from
`REJOIN_*` variables (`REJOIN_SECTION__KEY`), then from flags; later ones win. A key or variable that nobody knows is an
error that names it. `rejoin coordinator --print-config` shows what results, passwords masked. Durations are text:
`250ms`, `1.5s`, `1h30m`, `3d`.

```toml
[database]
url = \"postgres://rejoin:secret@db:5432/rejoin\"

[amqp]
url = \"amqp://guest:guest@mq:5672/%2f\"
```

A worker reads `[amqp]`, `[log]`, `[tracing]` and `[limits]` only. What TLS does, and how to set it up: [security.md](security.md).
";

/// The page as Markdown.
///
/// # Panics
/// Never: settings are plain tables.
#[must_use]
pub fn reference() -> String {
    let schema = schemars::schema_for!(Settings).to_value();
    let defaults = serde_json::to_value(Settings::default()).expect("settings are plain tables");
    let mut page = HEAD.to_owned();
    for (section, keys) in defaults.as_object().into_iter().flatten() {
        let about = section_schema(&schema, section);
        page.push_str(&format!("\n## `[{section}]`\n\n"));
        page.push_str("| key | variable | default | meaning |\n|---|---|---|---|\n");
        for (key, default) in keys.as_object().into_iter().flatten() {
            let variable = format!("{PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase());
            let doc = about["properties"][key]["description"].as_str().unwrap_or_default();
            let doc = doc.replace('\n', " ").replace('|', "\\|");
            page.push_str(&format!("| `{key}` | `{variable}` | {} | {doc} |\n", shown(default)));
        }
    }
    page.push_str("\n## Variables that are no settings\n\n");
    page.push_str("Client commands, handlers, scripts and tests have these; all `REJOIN_TEST_*` belong to tests.\n\n");
    for variable in OTHER_VARIABLES {
        page.push_str(&format!("- `{variable}`\n"));
    }
    page
}

fn section_schema<'a>(schema: &'a Value, section: &str) -> &'a Value {
    let reference = schema["properties"][section]["$ref"].as_str().unwrap_or_default();
    let name = reference.rsplit('/').next().unwrap_or_default();
    &schema["$defs"][name]
}

fn shown(default: &Value) -> String {
    match default {
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => format!("`{default}`"),
    }
}
