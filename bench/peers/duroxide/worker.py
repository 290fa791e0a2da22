"""A process that runs duroxide's orchestrations and activities."""

import os
import signal
import threading

from duroxide import PostgresProvider, Runtime, RuntimeOptions


def noop(ctx, value):
    """A step."""


def fan_out(ctx, branches):
    yield ctx.all([ctx.schedule_activity("noop", None) for _ in range(branches)])


def small(ctx, value):
    yield ctx.schedule_activity("noop", None)
    yield ctx.schedule_activity("noop", None)
    yield ctx.all([ctx.schedule_activity("noop", None) for _ in range(4)])
    yield ctx.schedule_activity("noop", None)


# Its own defaults (4 orchestrations, 8 activities at once): each slot is a loop that polls the database, and with 64 of each
# they are all that the database does.
runtime = Runtime(
    PostgresProvider.connect(os.environ["BENCH_DATABASE_URL"]),
    RuntimeOptions(dispatcher_poll_interval_ms=10, log_level="warn"),
)
runtime.register_activity("noop", noop)
runtime.register_orchestration("fan_out", fan_out)
runtime.register_orchestration("small", small)
threading.Thread(target=runtime.start, daemon=True).start()
signal.sigwait({signal.SIGTERM, signal.SIGINT})
runtime.shutdown(1000)
