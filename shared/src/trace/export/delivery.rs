//! The way to the collector: one HTTP client, one exporter, and the count of what it did not deliver.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as Export};
use reqwest::{RequestBuilder, Url};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::tally::Tally;
use crate::config::Tracing;
use crate::tls;

/// Longest wait for the collector, repeated requests included.
const DELIVER_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An exporter that counts what it could not deliver.
#[derive(Debug)]
pub(super) struct Counted {
    inner: SpanExporter,
    tally: Arc<Tally>,
}

/// The exporter as configured.
///
/// # Errors
/// Text that names the setting that cannot be used.
pub(super) fn exporter(settings: &Tracing, tally: Arc<Tally>) -> Result<Counted, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("tracing.otlp_endpoint = {}: {e}", settings.otlp_endpoint);
    let address = Url::parse(&settings.address()).map_err(|e| wrong(&e))?;
    let tls = match address.scheme() == "https" {
        true => {
            let files = settings
                .tls()
                .map_err(|e| format!("tracing.tls_cert, tracing.tls_key: {e}"))?;
            files.config().map_err(|e| wrong(&e))?
        }
        false => tls::of_nobody(),
    };
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(DELIVER_MAX)
        .redirect(reqwest::redirect::Policy::none());
    let post = Post {
        client: client.build().map_err(|e| wrong(&e))?,
        address: address.clone(),
        runtime: Handle::current(),
        tasks: TaskTracker::new(),
        tally: tally.clone(),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(post)
        .with_endpoint(without_password(address))
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(DELIVER_MAX)
        .build();
    let inner = exporter.map_err(|e| wrong(&e))?;
    Ok(Counted { inner, tally })
}

/// What the exporter may show in its errors.
fn without_password(mut address: Url) -> Url {
    // An address that can hold no password holds none.
    address.set_password(None).ok();
    address
}

impl Export for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let sent = self.inner.export(batch).await;
        let error = sent.as_ref().err().map(ToString::to_string);
        self.tally.note_sent(count, error.as_deref());
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Posts on the runtime of the process: the exporter's thread has none.
#[derive(Debug)]
struct Post {
    client: reqwest::Client,
    /// Itself, and not the request's: it may hold a password, which the client turns into a header.
    address: Url,
    runtime: Handle,
    tasks: TaskTracker,
    tally: Arc<Tally>,
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let post = self.client.post(self.address.clone()).headers(head.headers).body(body);
        let posted = self.tasks.spawn_on(send(post), &self.runtime);
        // It ends early only with the runtime.
        let answered = posted.await?;
        self.tally
            .note_cause(answered.as_ref().err().map_or(String::new(), |e| with_causes(&**e)));
        answered
    }
}

/// Sends a request and reads the answer; even to begin with it takes a runtime.
async fn send(post: RequestBuilder) -> Result<Response<Bytes>, HttpError> {
    let mut answer = post.send().await?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        headers.clone_from(answer.headers());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err("the collector's answer is too long".into());
        }
    }
    Ok(response.body(Bytes::from(body))?)
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}
