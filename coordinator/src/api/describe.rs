//! What a route says of itself. Requests are checked by it, and the OpenAPI document is made of it, so that the two cannot
//! differ; a route cannot be made without.

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::Api;
use super::access::Need;
use super::problem::Code;
use super::rules::{self, Asked, Rules};
use crate::store::tokens::Scope;

/// What an address answers to a method, and who answers.
pub struct Route {
    pub method: Method,
    /// As it is documented: what follows a variable in its segment (`{name}:pause`) is told apart by the handler.
    pub path: &'static str,
    /// Names the operation for programs.
    pub id: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What else is to be known.
    pub about: &'static str,
    pub query: Vec<Parameter>,
    pub headers: Vec<Parameter>,
    pub body: Option<Body>,
    pub answers: Vec<Answer>,
    /// Beside those that every such route may answer with.
    pub problems: Vec<Code>,
    /// Of whoever asks, where tokens are required.
    pub need: Need,
    pub(super) handler: MethodRouter<Api>,
}

/// A parameter of the query, or a header.
#[derive(Clone)]
pub struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    /// Of one value.
    pub schema: Value,
    /// Whether it may be repeated, or hold several with commas.
    pub is_list: bool,
}

/// The body of a request.
pub struct Body {
    /// Media types, each with its schema.
    pub content: Vec<(&'static str, Value)>,
    pub is_required: bool,
}

/// What an answer carries.
pub enum Content {
    /// Nothing.
    Empty,
    /// JSON of a type.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Text of this media type.
    Text(&'static str),
}

/// An answer that is no problem.
pub struct Answer {
    pub status: u16,
    pub about: &'static str,
    pub content: Content,
    pub headers: &'static [(&'static str, &'static str)],
}

impl Route {
    fn new<H: Handler<T, Api>, T: 'static>(method: Method, path: &'static str, id: &'static str, handler: H) -> Route {
        let filter = MethodFilter::try_from(method.clone()).expect("one of the usual methods");
        Route {
            path,
            id,
            summary: "",
            about: "",
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            answers: Vec::new(),
            problems: Vec::new(),
            need: Need::Scope(match method {
                Method::GET => Scope::Viewer,
                _ => Scope::Operator,
            }),
            method,
            handler: on(filter, handler),
        }
    }

    /// One line, and what else is to be known.
    pub fn says(mut self, summary: &'static str, about: &'static str) -> Route {
        (self.summary, self.about) = (summary, about);
        self
    }

    /// Parameters of the query; others are refused.
    pub fn query(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Route {
        self.query.extend(parameters);
        self
    }

    /// A header that it reads.
    pub fn header(mut self, parameter: Parameter) -> Route {
        self.headers.push(parameter);
        self
    }

    /// A JSON body that may be left out.
    pub fn body(self, schema: Value) -> Route {
        self.content([("application/json", schema)], false)
    }

    /// A JSON body that must be there.
    pub fn needs(self, schema: Value) -> Route {
        self.content([("application/json", schema)], true)
    }

    /// A body of these media types.
    pub fn content(mut self, content: impl IntoIterator<Item = (&'static str, Value)>, is_required: bool) -> Route {
        let content = content.into_iter().collect();
        self.body = Some(Body { content, is_required });
        self
    }

    /// Answers `status` with a `T`.
    pub fn answers<T: JsonSchema>(self, status: u16, about: &'static str) -> Route {
        let schema = |generator: &mut SchemaGenerator| generator.subschema_for::<T>();
        self.answer(status, about, Content::Json(schema))
    }

    /// Answers `status` with text.
    pub fn answers_text(self, status: u16, about: &'static str, media: &'static str) -> Route {
        self.answer(status, about, Content::Text(media))
    }

    /// Answers `status` without a body.
    pub fn answers_empty(self, status: u16, about: &'static str) -> Route {
        self.answer(status, about, Content::Empty)
    }

    fn answer(mut self, status: u16, about: &'static str, content: Content) -> Route {
        let headers = &[];
        self.answers.push(Answer {
            status,
            about,
            content,
            headers,
        });
        self
    }

    /// Headers of the answer that was named last.
    pub fn with_headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Route {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers = headers;
        }
        self
    }

    /// It takes a token of scope admin.
    pub fn admin(self) -> Route {
        self.needing(Need::Scope(Scope::Admin))
    }

    /// What it asks of a token, where that does not follow from its method.
    pub fn needing(mut self, need: Need) -> Route {
        self.need = need;
        self
    }

    /// Problems beside those that follow from what it takes.
    pub fn problems(mut self, codes: impl IntoIterator<Item = Code>) -> Route {
        self.problems.extend(codes);
        self
    }

    /// Every problem that it may answer with.
    pub fn all_problems(&self) -> Vec<Code> {
        let mut codes = vec![Code::Malformed, Code::UnknownParameter, Code::HeadersTooLarge];
        if self.path.contains('{') {
            codes.push(Code::NotFound);
        }
        if self.path.contains("/runs/{id}") {
            codes.push(Code::Ambiguous);
        }
        if self.body.is_some() {
            codes.extend([Code::MalformedJson, Code::TooLarge, Code::UnsupportedMediaType]);
            codes.push(Code::InvalidRequest);
        }
        if self.need != Need::Nothing {
            codes.extend([Code::Unauthorized, Code::Forbidden, Code::TooMany]);
        }
        if !matches!(self.method, Method::GET) {
            codes.push(Code::ReadOnly);
        }
        codes.extend([Code::Unavailable, Code::Internal]);
        let more = self.problems.iter().filter(|code| !codes.contains(code)).copied();
        let more: Vec<Code> = more.collect();
        codes.extend(more);
        codes
    }

    /// The address as the router has it, which cannot match a part of a segment.
    pub fn routed(&self) -> &'static str {
        match self.path.rfind('}') {
            Some(end) if self.path[end + 1..].starts_with(':') => &self.path[..=end],
            Some(_) | None => self.path,
        }
    }

    /// Whether an address is one of its own: segments that vary may hold anything, but end as it says.
    pub fn is_at(&self, path: &str) -> bool {
        let (own, asked): (Vec<&str>, Vec<&str>) = (self.path.split('/').collect(), path.split('/').collect());
        own.len() == asked.len()
            && own.iter().zip(asked).all(|(own, asked)| match own.split_once('}') {
                Some((_, end)) => {
                    asked.len() > end.len() && asked.ends_with(end) && end.is_empty() != asked.contains(':')
                }
                None => *own == asked,
            })
    }

    /// The handler behind the checks of whoever asks and of its query.
    pub(super) fn checked(&self, rules: &Rules) -> MethodRouter<Api> {
        let asked = Asked {
            rules: rules.clone(),
            operation: self.id,
            need: self.need,
            known: self.query.iter().map(|parameter| parameter.name).collect(),
        };
        let check = move |request: Request, next: Next| rules::check(asked.clone(), request, next);
        self.handler.clone().route_layer(from_fn(check))
    }
}

macro_rules! methods {
    ($($name:ident $method:ident)*) => { $(
        /// A route of this method; `id` names the operation for programs.
        pub fn $name<H: Handler<T, Api>, T: 'static>(path: &'static str, id: &'static str, handler: H) -> Route {
            Route::new(Method::$method, path, id, handler)
        }
    )* };
}
methods! { get GET post POST put PUT patch PATCH delete DELETE }
