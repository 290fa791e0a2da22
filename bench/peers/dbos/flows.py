"""The workflows of both DBOS peers."""

import asyncio
import os

from dbos import DBOS, DBOSConfig

# Parents have a queue of their own: in that of the branches they would hold the slots that their branches wait for.
PARENTS, BRANCHES = "parents", "branches"
# Queues are polled: by default once a second, which would be all that an idle run's time shows. Not more often than this:
# workers that meet at a queue back off, twice as long each time.
POLL_SECONDS = 0.1
# Likewise for results.
RESULT_POLL_SECONDS = 0.02


def config(executor):
    return DBOSConfig(
        name="bench",
        system_database_url=os.environ["BENCH_DATABASE_URL"],
        executor_id=executor,
        application_version="bench",
        log_level="WARNING",
    )


@DBOS.step()
async def noop():
    """A step."""


@DBOS.workflow()
async def steps_at_once(branches):
    """Branches as steps of one workflow, in its process."""
    await asyncio.gather(*(noop() for _ in range(branches)))


@DBOS.workflow()
async def small():
    await noop()
    await noop()
    await asyncio.gather(*(noop() for _ in range(4)))
    await noop()


@DBOS.workflow()
async def branch():
    """A branch that any worker may take: a workflow of its own in the queue."""
    await noop()


async def queued(branches):
    handles = await asyncio.gather(*(DBOS.enqueue_workflow_async(BRANCHES, branch) for _ in range(branches)))
    await asyncio.gather(*(handle.get_result(polling_interval_sec=RESULT_POLL_SECONDS) for handle in handles))


@DBOS.workflow()
async def queued_at_once(branches):
    await queued(branches)


@DBOS.workflow()
async def queued_small():
    await noop()
    await noop()
    await queued(4)
    await noop()
