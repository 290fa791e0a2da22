//! A context as text, shared by all attempts that start from it; parsed at most once, and only if somebody asks.

use std::sync::{Arc, LazyLock, OnceLock};

use rejoin_shared::json::Json;

/// A context that several attempts may share.
#[derive(Debug)]
pub struct Base {
    text: Box<str>,
    json: OnceLock<Json>,
}

impl Base {
    /// A context from its JSON text, which must be a valid value.
    #[must_use]
    pub fn of_text(text: Box<str>) -> Base {
        Base {
            text,
            json: OnceLock::new(),
        }
    }

    /// What handlers find that do without the context.
    #[must_use]
    pub fn withheld() -> Arc<Base> {
        static WITHHELD: LazyLock<Arc<Base>> = LazyLock::new(|| Arc::new(Base::of_text("null".into())));
        WITHHELD.clone()
    }

    /// A context from its value.
    #[must_use]
    pub fn of_json(json: Json) -> Base {
        Base {
            text: json.to_string().into(),
            json: OnceLock::from(json),
        }
    }

    /// Its JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value. Text that is no JSON, which no owner sends, reads as null.
    #[must_use]
    pub fn json(&self) -> &Json {
        self.json
            .get_or_init(|| Json::parse_own(self.text.as_bytes()).unwrap_or_default())
    }
}
