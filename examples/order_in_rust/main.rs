//! A workflow and the worker for it in one program: registers the workflow with a server, and serves its handlers until it
//! is told to stop (Ctrl-C, SIGTERM).

mod handlers;
mod workflow;

use anyhow::{Context, Error, Result, bail};
use rejoin_shared::config::Settings;
use rejoin_shared::link::Link;
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::tls::ClientTls;
use rejoin_worker::workflow::Document;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<()> {
    register(&workflow::order().to_document()?).await?;

    // As `rejoin worker` does: rejoin.toml, then the variables.
    let settings = Settings::load(None, std::env::vars())?;
    let link = AmqpLink::connect(AmqpConfig::of(&settings.amqp, "order_in_rust").map_err(Error::msg)?);
    let worker = handlers::worker().topology(settings.amqp.prefix).build(link.clone())?;
    let served = worker.run(stopping()?).await;
    link.close().await;
    Ok(served?)
}

/// Registers the workflow: the same content again is the same version, whoever sends it.
async fn register(document: &Document) -> Result<()> {
    let server = std::env::var("REJOIN_SERVER").unwrap_or_else(|_| "http://127.0.0.1:7070".to_owned());
    let tls = match server.starts_with("https://") {
        true => ClientTls::default().config()?,
        false => rejoin_shared::tls::of_nobody(),
    };
    let http = reqwest::Client::builder().tls_backend_preconfigured(tls).build()?;
    let mut request = http.put(format!("{server}/v1/workflows")).json(document);
    if let Ok(token) = std::env::var("REJOIN_TOKEN") {
        request = request.bearer_auth(token);
    }
    let answer = request
        .send()
        .await
        .with_context(|| format!("no answer from {server}"))?;
    let (status, body) = (answer.status(), answer.text().await?);
    if !status.is_success() {
        bail!("{server} did not take the workflow: {status} {body}");
    }
    println!("{body}");
    Ok(())
}

/// Is cancelled when the process is told to stop.
fn stopping() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let stopping = CancellationToken::new();
    let told = stopping.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        told.cancel();
    });
    Ok(stopping)
}
