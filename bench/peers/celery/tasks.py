"""The tasks of both Celery peers. A worker is `celery --app tasks worker`."""

import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_AMQP_URL"], backend=os.environ["BENCH_RESULTS_URL"])
app.conf.update(
    # A queue of this call's own: the broker is shared with other peers.
    task_default_queue=os.environ["BENCH_QUEUE"],
    # At least once: a task is acknowledged when its result is stored, and one whose worker died goes to another.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # A message counts as sent when the broker has it (queue and messages are durable by default).
    broker_transport_options={"confirm_publish": True},
    # One connection for each start request under way.
    broker_pool_limit=64,
    # Nothing here listens to events, and control queues only add connections.
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)


@app.task
def noop():
    """A step."""


@app.task
def join(results):
    """What runs when all of a chord have ended; it gets their results."""
    return len(results)
