//! Alerts about what ends otherwise than it should: steps that run twice or are lost, runs that fail, dead letters.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Address, Link as _, Message};
use serde_json::json;

use super::super::proxy::{Mode, Proxy};
use super::super::services::services;
use super::watch::{Watch, fleet, sleepers};

const RUN_MAX: Duration = Duration::from_secs(180);
/// Branches of a load that lasts for longer than its test.
const ENDLESS: usize = 50_000;

live!(
    /// What workers publish arrives, and the connection ends before they hear that it has: they publish it again. Only where it
    /// is much: what a connection begins with is let through.
    duplicate_completions_fires_while_workers_lose_the_confirms_of_what_they_completed {
        let (alone, fleet) = fleet().await?;
        let proxy = Proxy::before(fleet.routes.servers()?.1).await?;
        let mut proxied = fleet.routes.clone();
        proxied.broker_at(proxy.port())?;
        let mut watch = Watch::over((alone, fleet), 1).await?;
        watch.fleet.routes = proxied;
        watch.add_workers("default", 32, 3).await?;
        let run = watch.run(&sleepers("load", "default", ENDLESS, 100)).await?;
        watch.fleet.wait_for_progress(&run, 100, RUN_MAX).await?;
        watch.is_silent("RejoinDuplicateCompletions").await?;
        proxy.set(Mode::CutAnswers { request_bytes: 600, times: 100_000 });
        proxy.reset()?;
        watch.fires("RejoinDuplicateCompletions").await?;
        proxy.set(Mode::Pass);
        proxy.assert_struck()?;
        watch.falls_silent("RejoinDuplicateCompletions").await?;
        watch.end().await
    }
);

/// What stands before the names of the fleet's queues.
async fn prefix(watch: &Watch) -> Result<String> {
    for _ in 0..300 {
        if let Some(queue) = watch.fleet.event_queues()?.first() {
            let prefix = queue.split("rejoin.events.").next().context("an event queue")?;
            return Ok(prefix.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the fleet has no event queue")
}

/// Empties a queue every eight seconds for a minute: one call, for `rabbitmqctl` takes seconds to start. Not more often: what asks
/// whether messages were lost travels by the same queue.
const PURGES: &str = "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"NAME\">>)), \
    lists:foreach(fun(_) -> rabbit_amqqueue:purge(Q), timer:sleep(8000) end, lists:seq(1, 8)).";

live!(
    dispatches_lost_fires_while_a_queue_is_emptied_again_and_again {
        let mut watch = Watch::start(1, 2).await?;
        let run = watch.run(&sleepers("load", "default", ENDLESS, 400)).await?;
        watch.fleet.wait_for_progress(&run, 20, RUN_MAX).await?;
        let queue = format!("{}rejoin.tasks.default", prefix(&watch).await?);
        watch.is_silent("RejoinDispatchesLost").await?;
        let purging = tokio::task::spawn_blocking(move || services(&["rabbit", "ctl", "eval", &PURGES.replace("NAME", &queue)]));
        watch.fires("RejoinDispatchesLost").await?;
        purging.await??;
        watch.falls_silent("RejoinDispatchesLost").await?;
        watch.end().await
    }
);

live!(
    runs_failing_fires_when_every_second_run_of_a_workflow_fails {
        let mut watch = Watch::start(2, 1).await?;
        let document = json!({
            "workflow": "halves",
            "steps": [{ "step": "act", "uses": "rejoin.fail", "with": { "type": "alert.no", "retryable": false, "times": "= ctx.times" } }],
        });
        watch.fleet.register(&document).await?;
        watch.is_silent("RejoinRunsFailing").await?;
        let strike = async |watch: &Watch| {
            for times in [0, 1] {
                watch.fleet.start_run("halves", json!({ "times": times })).await?;
            }
            Ok(())
        };
        watch.fires_while("RejoinRunsFailing", strike).await?;
        watch.falls_silent("RejoinRunsFailing").await?;
        watch.end().await
    }
);

live!(
    /// The first of its workflow since the coordinator started: its counter is not there before, and not 0.
    compensation_failed_fires_at_the_first_run_that_could_not_be_undone {
        let mut watch = Watch::start(2, 1).await?;
        let undo = json!({ "uses": "rejoin.fail", "with": { "type": "alert.undo", "retryable": false } });
        let document = json!({
            "workflow": "undone",
            "steps": [
                { "step": "act", "uses": "rejoin.noop", "compensate": undo },
                { "fail": "no", "error": { "type": "alert.no" } },
            ],
        });
        watch.is_silent("RejoinCompensationFailed").await?;
        let run = watch.run(&document).await?;
        let view = watch.fleet.wait_for_end(&run, RUN_MAX).await?;
        ensure!(view["state"] == "compensation_failed", "{view}");
        watch.fires("RejoinCompensationFailed").await?;
        watch.falls_silent("RejoinCompensationFailed").await?;
        watch.end().await
    }
);

live!(
    dead_letters_fires_when_a_message_comes_that_nobody_understands {
        let mut watch = Watch::start(1, 0).await?;
        let prefix = prefix(&watch).await?;
        watch.is_silent("RejoinDeadLetters").await?;
        let queue = watch.fleet.event_queues()?.pop().context("no event queue")?;
        let link = AmqpLink::connect(AmqpConfig::new(&watch.fleet.routes.amqp_url, "a worker of a protocol to come"));
        let message = Message { protocol: 99, ..Message::new("completion", true, b"{}".to_vec()) };
        let mut state = link.state();
        tokio::time::timeout(RUN_MAX, state.wait_for(|state| matches!(state, rejoin_shared::link::LinkState::Up(_)))).await??;
        let published = link.publish(&Address::Queue(queue), message).await;
        ensure!(published.is_ok(), "{published:?}");
        link.close().await;
        watch.fires("RejoinDeadLetters").await?;
        services(&["rabbit", "ctl", "-q", "purge_queue", &format!("{prefix}rejoin.dead")])?;
        watch.falls_silent("RejoinDeadLetters").await?;
        watch.end().await
    }
);
