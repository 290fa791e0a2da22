//! One life of the two connections: made, watched until the first failure, dropped.

use std::sync::Arc;
use std::time::Duration;

use async_rs::Runtime;
use futures_util::{Stream, StreamExt};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, Event};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin::Admin;
use super::config::AmqpConfig;
use super::consumer::Consumers;
use super::convert::short;
use super::publisher::{Outgoing, Publisher, confirm_channel};
use super::transport::Transport;
use crate::link::LinkState;

/// How often the connections are asked whether they live: events of the library may be missed, its state is not.
const WATCH_EVERY: Duration = Duration::from_secs(1);
const CLOSE_MAX: Duration = Duration::from_secs(2);

pub(super) struct Session {
    pub(super) generation: u64,
    /// A broker in need of memory stops reading this one: consumers and acks must not share it.
    pub(super) publishing: Connection,
    pub(super) consuming: Connection,
    pub(super) admin: Admin,
    pub(super) consumers: Arc<Consumers>,
    /// How long the broker may take to answer.
    pub(super) call_timeout: Duration,
    pub(super) outgoing: mpsc::UnboundedSender<Outgoing>,
    /// No more publishes; those under way are awaited.
    pub(super) draining: CancellationToken,
    /// The publisher has ended: told to, or with the session.
    pub(super) drained: CancellationToken,
    /// The first failure, or the end of the link.
    pub(super) ended: CancellationToken,
}

impl Session {
    /// Connects; the tasks that publish and ack run in `tracker`.
    pub(super) async fn open(
        config: &AmqpConfig,
        generation: u64,
        stop: &CancellationToken,
        tracker: &TaskTracker,
    ) -> Result<Arc<Session>, String> {
        let publishing = connect(config, "publish").await?;
        let consuming = connect(config, "consume").await?;
        let channel = confirm_channel(&publishing, config.call_timeout)
            .await
            .map_err(|error| error.to_string())?;
        let (outgoing, incoming) = mpsc::unbounded_channel();
        let ended = stop.child_token();
        let session = Arc::new(Session {
            generation,
            publishing,
            consuming,
            admin: Admin::new(config.call_timeout),
            consumers: Arc::new(Consumers::new(generation, ended.clone())),
            call_timeout: config.call_timeout,
            outgoing,
            draining: CancellationToken::new(),
            drained: CancellationToken::new(),
            ended,
        });
        let publisher = Publisher::new(
            session.clone(),
            channel,
            incoming,
            config.call_timeout,
            config.publish_timeout,
            config.user().and_then(|user| short(&user).ok()),
        );
        tracker.spawn(publisher.run());
        tracker.spawn(session.consumers.clone().send_acks());
        Ok(session)
    }

    /// Tells `state` of alarms until the session ends; returns the last error that was heard of.
    pub(super) async fn watch(&self, state: &watch::Sender<LinkState>) -> Option<lapin::Error> {
        // One listener a connection: several would compete for the events.
        let publish_events = self.publishing.events_listener();
        let consume_events = self.consuming.events_listener();
        tokio::pin!(publish_events, consume_events);
        let mut tick = tokio::time::interval(WATCH_EVERY);
        let mut last = None;
        self.show(state);
        while self.lives() {
            tokio::select! {
                () = self.ended.cancelled() => {}
                () = self.drained.cancelled() => {}
                error = next_error(&mut publish_events) => last = error.or(last),
                error = next_error(&mut consume_events) => last = error.or(last),
                _ = tick.tick() => {}
            }
            if self.lives() {
                self.show(state);
            }
        }
        self.ended.cancel();
        last
    }

    fn lives(&self) -> bool {
        let connected = self.publishing.status().connected() && self.consuming.status().connected();
        connected && !self.ended.is_cancelled() && !self.drained.is_cancelled()
    }

    fn show(&self, state: &watch::Sender<LinkState>) {
        let now = match self.publishing.status().blocked() {
            true => LinkState::Blocked(self.generation),
            false => LinkState::Up(self.generation),
        };
        state.send_if_modified(|shown| std::mem::replace(shown, now) != now);
    }

    /// Closes both connections, if the broker answers; a blocked one may not.
    pub(super) async fn close(&self) {
        self.ended.cancel();
        self.consumers.flush();
        let publishing = self.publishing.close(200, "bye".into());
        let consuming = self.consuming.close(200, "bye".into());
        let both = async { tokio::join!(publishing, consuming) };
        if tokio::time::timeout(CLOSE_MAX, both).await.is_err() {
            tracing::debug!("the broker did not answer a close");
        }
    }
}

/// Any event is a reason to look at the state again. An error may be of one channel only: the state tells.
async fn next_error(events: &mut (impl Stream<Item = Event> + Unpin)) -> Option<lapin::Error> {
    match events.next().await {
        Some(Event::Error(error)) => Some(error),
        Some(event) => {
            tracing::debug!(?event, "broker connection");
            None
        }
        None => std::future::pending().await,
    }
}

async fn connect(config: &AmqpConfig, direction: &str) -> Result<Connection, String> {
    let uri = config.uri()?;
    let name = format!("{} ({direction})", config.name);
    // No auto-recovery: it can hang with a full send buffer, and it recovers no channel.
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let transport = Transport::new(config.tls_to(&uri)?);
    let dialled = async |uri: AMQPUri, transport: Runtime<Transport>| {
        let address = transport.to_socket_addrs((uri.authority.host.clone(), uri.authority.port));
        Ok(AsyncTcpStream::connect(&transport, address).await?)
    };
    let connecting = Connection::connector(uri, Runtime::new(transport), dialled, properties);
    match tokio::time::timeout(config.connect_timeout, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", config.connect_timeout.as_millis())),
    }
}
