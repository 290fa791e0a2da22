//! The limit of these servers on this machine: what a program without features reaches that takes the same way.
//!
//! ```text
//! publish ─▶ tasks ─▶ consume ─▶ publish, confirmed ─▶ events ─▶ consume ─▶ one insert of all that is there ─▶ ack
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rejoin_shared::ids::Namespace;
use rejoin_shared::link::amqp::AmqpLink;
use rejoin_shared::link::{Address, Consumer, Delivery, Link, LinkError, Message, Settle};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::database::{self, Connection, failure};
use super::fleet::Fleet;
use crate::exit::Failure;

/// Bytes of a step beside its number, about those of a no-op branch.
const STEP_BYTES: usize = 200;
/// Unsettled messages of a consumer.
const PREFETCH: u16 = 512;
/// Messages whose rows go into one insert.
const BATCH_MAX: usize = 512;
const KIND: &str = "bench";

/// Queues, a table and a worker.
pub struct Pipeline {
    sender: Arc<AmqpLink>,
    recorder: Arc<AmqpLink>,
    completed: Box<dyn Consumer>,
    database: Connection,
    tasks: String,
    _worker: AbortOnDropHandle<Result<(), LinkError>>,
}

impl Pipeline {
    /// Declares and connects everything.
    pub async fn open(fleet: &Fleet) -> Result<Pipeline, Failure> {
        let sender = fleet.link("rejoin bench sender").await?;
        let recorder = fleet.link("rejoin bench recorder").await?;
        let worker = fleet.link("rejoin bench worker").await?;
        let tasks = fleet.topology.task_queue(&Namespace::default_name(), "default");
        let events = fleet.topology.event_queue(0);
        for queue in [&tasks, &events] {
            sender.declare(queue).await.map_err(|e| broken(&e))?;
        }
        let database = database::connect(&fleet.database_url, None).await?;
        let table = "create table bench_steps (run uuid, seq bigint, body bytea, primary key (run, seq))";
        database.client.batch_execute(table).await.map_err(|e| failure(&e))?;
        let completed = recorder.consume(&events.name, PREFETCH).await.map_err(|e| broken(&e))?;
        let work = tokio::spawn(work(worker, tasks.name.clone(), events.name));
        Ok(Pipeline {
            sender,
            recorder,
            completed,
            database,
            tasks: tasks.name,
            _worker: AbortOnDropHandle::new(work),
        })
    }

    /// Passes so many steps through it, so many a message: the time until the last is recorded.
    pub async fn pass(&mut self, steps: u32, pack: u32) -> Result<Duration, Failure> {
        let began = Instant::now();
        let to = Address::Queue(self.tasks.clone());
        let sender = self.sender.clone();
        let (sent, recorded) = tokio::join!(send(&sender, &to, steps, pack), self.record(steps));
        sent.and(recorded)?;
        Ok(began.elapsed())
    }

    /// Ends its connections.
    pub async fn close(self) {
        self.sender.close().await;
        self.recorder.close().await;
    }

    async fn record(&mut self, steps: u32) -> Result<(), Failure> {
        let run = Uuid::now_v7();
        let mut left = i64::from(steps);
        while left > 0 {
            let batch = take_what_is_there(self.completed.as_mut()).await;
            if batch.is_empty() {
                return Err(broken(&LinkError::Down));
            }
            left -= self.insert(run, &batch).await?;
            for delivery in batch {
                let settled = self.recorder.settle(delivery.receipt, Settle::Ack).await;
                settled.map_err(|e| broken(&e))?;
            }
        }
        Ok(())
    }

    async fn insert(&self, run: Uuid, batch: &[Delivery]) -> Result<i64, Failure> {
        let mut numbers: Vec<i64> = Vec::new();
        for delivery in batch {
            let read: Vec<i64> =
                serde_json::from_slice(&delivery.message.body).map_err(|e| Failure::general(e.to_string()))?;
            numbers.extend(read);
        }
        let bodies: Vec<&[u8]> = vec![&[b' '; 100]; numbers.len()];
        let insert =
            "insert into bench_steps select $1, s.seq, s.body from unnest($2::bigint[], $3::bytea[]) as s (seq, body)";
        let done = self.database.client.execute(insert, &[&run, &numbers, &bodies]).await;
        let done = done.map_err(|e| failure(&e))?;
        Ok(i64::try_from(done).unwrap_or(i64::MAX))
    }
}

async fn send(sender: &AmqpLink, to: &Address, steps: u32, pack: u32) -> Result<(), Failure> {
    let pack = usize::try_from(pack).unwrap_or(1).max(1);
    let all: Vec<u32> = (0..steps).collect();
    let mut under_way = FuturesUnordered::new();
    for steps in all.chunks(pack) {
        let body = vec![b' '; steps.len() * STEP_BYTES];
        let numbers = serde_json::to_vec(steps).map_err(|e| Failure::general(e.to_string()))?;
        let message = Message::new(KIND, true, [numbers, body].concat());
        under_way.push(sender.publish(to, message));
    }
    while let Some(published) = under_way.next().await {
        published.map_err(|e| broken(&e))?;
    }
    Ok(())
}

/// Answers each message with one of the same numbers; acknowledges it once that is confirmed.
async fn work(link: Arc<AmqpLink>, tasks: String, events: String) -> Result<(), LinkError> {
    let mut consumer = link.consume(&tasks, PREFETCH).await?;
    let to = Address::Queue(events);
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                let Some(delivery) = delivery else { return Ok(()) };
                let message = Message::new(KIND, true, delivery.message.body.to_vec());
                let (link, to) = (&link, &to);
                under_way.push(async move {
                    link.publish(to, message).await?;
                    link.settle(delivery.receipt, Settle::Ack).await
                });
            }
            Some(done) = under_way.next(), if !under_way.is_empty() => drop(done?),
        }
    }
}

async fn take_what_is_there(consumer: &mut dyn Consumer) -> Vec<Delivery> {
    let mut batch: Vec<Delivery> = consumer.next().await.into_iter().collect();
    while batch.len() < BATCH_MAX
        && let Some(next) = consumer.try_next()
    {
        batch.push(next);
    }
    batch
}

fn broken(error: &LinkError) -> Failure {
    Failure::general(format!("broker: {error}"))
}
