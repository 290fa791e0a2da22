"""The workflows of the Temporal peer. Temporal loads this file anew into its sandbox: nothing else stands here."""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow

TASK_QUEUE = "bench"


@activity.defn
async def noop() -> None:
    """A step."""


def step():
    return workflow.execute_activity(noop, start_to_close_timeout=timedelta(seconds=60))


@workflow.defn
class FanOut:
    @workflow.run
    async def run(self, branches: int) -> None:
        await asyncio.gather(*(step() for _ in range(branches)))


@workflow.defn
class Small:
    @workflow.run
    async def run(self) -> None:
        await step()
        await step()
        await asyncio.gather(*(step() for _ in range(4)))
        await step()
