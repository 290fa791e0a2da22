//! A client of the HTTP API. Values stay exact: bodies are read with the engine's own JSON.

use std::time::Duration;

use rejoin_shared::config::Span;
use rejoin_shared::json::Json;
use reqwest::{Method, Request, RequestBuilder, Response, StatusCode};
use tokio::time::timeout;

use crate::args::Global;
use crate::exit::{self, Failure};
use crate::settings::{self, Target};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that has said nothing for so long is away: one that lacks its database, or an owner of a run, says so after 10 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A body may take its time on a slow line, but no more than so.
const UPLOAD_BYTES_PER_SECOND_MIN: usize = 32 << 10;
/// Many runs are operated on one after the other before this is answered.
const BULK_TIMEOUT: Duration = Duration::from_secs(300);
/// Where that is asked for.
pub const BULK_PATH: &str = "/v1/runs:bulk";

/// The server, the namespace and the token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    target: Target,
    answer_timeout: Duration,
}

/// An answer's text and value.
pub struct Answer {
    /// As the server wrote it: keys in its order.
    pub text: Vec<u8>,
    pub json: Json,
    pub status: u16,
}

impl Client {
    /// From flags, variables and the client's file.
    pub fn of(global: &Global) -> Result<Client, Failure> {
        let target = settings::target(global)?;
        // Encryption needs files, which plain HTTP does without.
        let tls = match target.server.starts_with("https://") {
            true => target.tls.config().map_err(|e| Failure::usage(e.to_string()))?,
            false => rejoin_shared::tls::of_nobody(),
        };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .build();
        Ok(Client {
            http: http.map_err(|e| Failure::general(e.to_string()))?,
            target,
            answer_timeout: ANSWER_TIMEOUT,
        })
    }

    /// A request; `path` begins with a slash.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.target.server));
        if let Some(token) = &self.target.token {
            request = request.bearer_auth(token);
        }
        if let Some(namespace) = &self.target.namespace {
            request = request.header("Rejoin-Namespace", namespace);
        }
        request
    }

    /// Sends a request; an error answer becomes a failure that says what the server said.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let mut response = self.open(request).await?;
        let status = response.status().as_u16();
        let text = self.body(&mut response).await?;
        let json = match text.is_empty() {
            true => Json::Null,
            false => Json::parse_own(&text).map_err(|e| Failure::general(format!("the server's answer is {e}")))?,
        };
        Ok(Answer { text, json, status })
    }

    /// Sends a request whose answer is read piece by piece.
    pub async fn open(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let (http, request) = request.build_split();
        let request = request.map_err(|e| self.away(&e))?;
        let limit = self.patience(&request);
        let answer = timeout(limit, http.execute(request)).await;
        let mut response = answer.map_err(|_| self.silent(limit))?.map_err(|e| self.away(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // What was read of it says something; the status says enough.
        let text = self.body(&mut response).await.unwrap_or_default();
        Err(refusal(status, &text))
    }

    /// How long the beginning of an answer may take: longer for what the server was asked to wait for, and for what is sent to it.
    fn patience(&self, request: &Request) -> Duration {
        let waits = request.url().query_pairs().find(|(key, _)| key == "wait");
        let asked = waits.and_then(|(_, wait)| wait.parse::<Span>().ok());
        let bytes = request.body().and_then(|body| body.as_bytes()).map_or(0, <[u8]>::len);
        let upload = bytes / UPLOAD_BYTES_PER_SECOND_MIN;
        let bulk = (request.url().path().ends_with(BULK_PATH)).then_some(BULK_TIMEOUT);
        self.answer_timeout
            + asked.map_or(Duration::ZERO, |span| span.0)
            + Duration::from_secs(u64::try_from(upload).unwrap_or(u64::MAX))
            + bulk.unwrap_or_default()
    }

    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        while let Some(bytes) = self.chunk(response, self.answer_timeout).await? {
            text.extend_from_slice(&bytes);
        }
        Ok(text)
    }

    /// The next piece of an answer, for which it is waited so long; none at its end.
    pub async fn chunk(&self, response: &mut Response, limit: Duration) -> Result<Option<Vec<u8>>, Failure> {
        let chunk = timeout(limit, response.chunk()).await;
        let chunk = chunk.map_err(|_| self.silent(limit))?;
        chunk.map(|bytes| bytes.map(Vec::from)).map_err(|e| self.away(&e))
    }

    /// Reads `path` with these query parameters.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        self.send(self.request(Method::GET, &with_query(path, query))).await
    }

    /// Posts a JSON body.
    pub async fn post(&self, path: &str, body: &Json) -> Result<Answer, Failure> {
        self.send_json(Method::POST, path, body).await
    }

    /// Patches with a JSON body.
    pub async fn patch(&self, path: &str, body: &Json) -> Result<Answer, Failure> {
        self.send_json(Method::PATCH, path, body).await
    }

    async fn send_json(&self, method: Method, path: &str, body: &Json) -> Result<Answer, Failure> {
        let request = self.request(method, path).header("Content-Type", "application/json");
        self.send(request.body(body.to_bytes())).await
    }

    /// All items of a list, up to `limit`, page by page.
    pub async fn list(&self, path: &str, query: &[(&str, String)], limit: usize) -> Result<Vec<Json>, Failure> {
        let mut items: Vec<Json> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", (limit - items.len()).clamp(1, 1000).to_string()));
            query.extend(after.take().map(|cursor| ("after", cursor)));
            let answer = self.get(path, &query).await?;
            let page = answer.json.get("items").and_then(Json::as_list).unwrap_or_default();
            items.extend_from_slice(page);
            after = answer.json.get("next").and_then(Json::as_str).map(str::to_owned);
            if after.is_none() || items.len() >= limit {
                items.truncate(limit);
                return Ok(items);
            }
        }
    }

    /// The server has said nothing for so long.
    pub fn silent(&self, limit: Duration) -> Failure {
        let (server, seconds) = (&self.target.server, limit.as_secs_f64().round().max(1.0));
        Failure::new(
            exit::SERVER_AWAY,
            format!("no answer from {server} within {seconds} s (is a coordinator running there?)"),
        )
        .passing()
    }

    /// A failure to reach the server.
    pub fn away(&self, error: &reqwest::Error) -> Failure {
        if error.is_connect() && error.is_timeout() {
            return self.silent(CONNECT_TIMEOUT);
        }
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            text = inner.to_string();
            cause = inner.source();
        }
        let server = &self.target.server;
        Failure::new(
            exit::SERVER_AWAY,
            format!("no answer from {server}: {text} (is a coordinator running there?)"),
        )
        .passing()
    }
}

/// What an error answer says, with the places in the document.
fn refusal(status: StatusCode, text: &[u8]) -> Failure {
    let problem = Json::parse_own(text).unwrap_or_default();
    let field = |key| problem.get(key).and_then(Json::as_str).unwrap_or_default();
    let mut message = match (field("title"), field("detail")) {
        ("", "") => match failing(&problem) {
            None => format!("the server answered {status}"),
            Some(checks) => format!("the server is not ready: {checks}"),
        },
        (title, "") => title.to_owned(),
        (_, detail) => detail.to_owned(),
    };
    let errors = problem.get("errors").and_then(Json::as_list).unwrap_or_default();
    for (at, error) in errors.iter().enumerate() {
        let part = |key| error.get(key).map(ToString::to_string).unwrap_or_default();
        let text = error.get("message").and_then(Json::as_str).unwrap_or_default();
        // The detail says what is wrong first too: as a whole, or behind its place. The same elsewhere is not said yet.
        if field("detail") == text || at == 0 && field("detail").contains(&format!(": {text}")) {
            continue;
        }
        message.push_str(&match error.get("line") {
            Some(_) => format!("\n  {}:{}: {text}", part("line"), part("column")),
            None => format!("\n  {text}"),
        });
    }
    let failure = Failure::answered(status.as_u16(), message);
    match status.as_u16() {
        429 | 502..=504 => failure.passing(),
        _ => failure,
    }
}

/// What `/readyz` says that the server lacks.
fn failing(readiness: &Json) -> Option<String> {
    let checks = readiness.get("checks").and_then(Json::as_list)?;
    let failing = checks.iter().filter(|check| check.get("ok") != Some(&Json::Bool(true)));
    let told = failing.map(|check| {
        let part = |key| check.get(key).and_then(Json::as_str).unwrap_or_default();
        format!("{}: {}", part("name"), part("detail"))
    });
    Some(told.collect::<Vec<_>>().join("; "))
}

/// Appends an encoded query.
pub fn with_query(path: &str, query: &[(&str, String)]) -> String {
    let mut out = path.to_owned();
    for (i, (key, value)) in query.iter().enumerate() {
        out.push(if i == 0 { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        out.push_str(&encode(value));
    }
    out
}

/// Percent-encodes a segment or a value.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(
            with_query("/v1/runs", &[("tag", "a:b c".into()), ("q", "é".into())]),
            "/v1/runs?tag=a%3Ab%20c&q=%C3%A9"
        );
    }

    #[test]
    fn a_refusal_shows_detail_and_places_and_carries_its_code() {
        let text = br#"{"detail":"no","errors":[{"line":3,"column":5,"message":"unknown key"}]}"#;
        let failure = refusal(StatusCode::CONFLICT, text);
        assert_eq!(failure.to_string(), "no\n  3:5: unknown key");
        assert_eq!(failure.code(), exit::CONFLICT);
        let text = br#"{"detail":"member at: no time","errors":[{"pointer":"/at","message":"member at: no time"}]}"#;
        let failure = refusal(StatusCode::UNPROCESSABLE_ENTITY, text);
        assert_eq!(failure.to_string(), "member at: no time");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>").code(), exit::SERVER_AWAY);
    }

    #[test]
    fn a_server_that_is_not_ready_says_what_it_lacks() {
        let text = br#"{"ready":false,"checks":[{"name":"database","ok":true,"detail":"answers"},
            {"name":"broker","ok":false,"detail":"not connected for 9 s"}]}"#;
        let failure = refusal(StatusCode::SERVICE_UNAVAILABLE, text);
        assert_eq!(
            failure.to_string(),
            "the server is not ready: broker: not connected for 9 s"
        );
        assert_eq!((failure.code(), failure.status()), (exit::SERVER_AWAY, Some(503)));
    }

    /// Of a server that takes connections and answers nothing, or only with this.
    async fn client_of_a_silent_server(answer: &'static [u8]) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let global = Global {
            server: Some(format!("http://{}", listener.local_addr().expect("its address"))),
            ..Global::default()
        };
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                // An answer before there is a request is none.
                let read = stream.read(&mut [0; 1024]).await.expect("a request");
                assert!(read > 0, "a request");
                stream.write_all(answer).await.expect("sent");
                taken.push(stream);
            }
        });
        let client = Client::of(&global).expect("a client");
        Client {
            answer_timeout: Duration::from_millis(200),
            ..client
        }
    }

    #[tokio::test]
    async fn a_server_that_never_answers_or_falls_silent_is_away() {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] {
            let client = client_of_a_silent_server(answer).await;
            let asked = timeout(Duration::from_secs(30), client.get("/v1/runs", &[])).await;
            let failure = asked.expect("bounded").err().expect("no answer");
            assert!(failure.is_passing());
            assert_eq!(
                (failure.code(), failure.status()),
                (exit::SERVER_AWAY, None),
                "{failure}"
            );
            assert!(failure.to_string().contains("within 1 s"), "{failure}");
        }
    }

    #[test]
    fn who_asks_the_server_to_wait_or_sends_much_waits_so_much_longer() {
        let client = Client::of(&Global::default()).expect("a client");
        let patience = |path: &str, bytes: usize| {
            let request = client.request(Method::POST, path).body(vec![b' '; bytes]);
            client.patience(&request.build().expect("a request")).as_secs()
        };
        assert_eq!(patience("/v1/runs", 100), 30);
        assert_eq!(patience("/v1/workflows/w/runs?wait=90s", 100), 120);
        assert_eq!(patience("/v1/workflows/w/runs", 16 << 20), 542);
        assert_eq!(patience(BULK_PATH, 100), 330);
    }

    #[test]
    fn what_the_detail_says_of_a_member_is_not_said_again() {
        let said = |text: &str| refusal(StatusCode::UNPROCESSABLE_ENTITY, text.as_bytes()).to_string();
        let every = r#"{"title":"The request is not valid","detail":"member every: \"5\" is no duration",
            "errors":[{"pointer":"/every","code":"bad_value","message":"\"5\" is no duration"}]}"#;
        assert_eq!(said(every), "member every: \"5\" is no duration");
        let cron = r#"{"detail":"member cron: 61 is no minute (at column 1)",
            "errors":[{"pointer":"/cron","line":1,"column":1,"message":"61 is no minute"}]}"#;
        assert_eq!(said(cron), "member cron: 61 is no minute (at column 1)");
        let alike = r#"{"detail":"2 errors; the first: 3:5: unknown key [key]",
            "errors":[{"line":3,"column":5,"message":"unknown key"},{"line":7,"column":5,"message":"unknown key"}]}"#;
        assert_eq!(
            said(alike),
            "2 errors; the first: 3:5: unknown key [key]\n  7:5: unknown key"
        );
        let several = r#"{"detail":"the input does not fit its schema: /a: no number",
            "errors":[{"pointer":"/a","message":"/a: no number"},{"pointer":"/b","message":"/b: no text"}]}"#;
        assert_eq!(
            said(several),
            "the input does not fit its schema: /a: no number\n  /b: no text"
        );
    }
}
