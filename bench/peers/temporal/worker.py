"""A worker of the Temporal peer."""

import asyncio
import os
import signal

from flows import TASK_QUEUE, FanOut, Small, noop
from temporalio.client import Client
from temporalio.worker import Worker


async def main():
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = await Client.connect(os.environ["BENCH_SERVER"])
    concurrency = int(os.environ["BENCH_CONCURRENCY"])
    async with Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[FanOut, Small],
        activities=[noop],
        max_concurrent_activities=concurrency,
        max_concurrent_workflow_tasks=concurrency,
    ):
        await stop.wait()


asyncio.run(main())
