"""Temporal's development server: one process over one SQLite file."""

import asyncio
import contextlib
import importlib.metadata
import os
import pathlib
import sys
import uuid
from datetime import timedelta

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import workload
from flows import TASK_QUEUE, FanOut, Small
from temporalio.client import Client

END_SECONDS = 600


async def to_end(client, flow, *arguments, starts=contextlib.nullcontext()):
    async with starts:
        handle = await client.start_workflow(
            flow, *arguments, id=uuid.uuid4().hex, task_queue=TASK_QUEUE, rpc_timeout=timedelta(seconds=END_SECONDS)
        )
    await asyncio.wait_for(handle.result(), END_SECONDS)


async def all_of(client, count):
    starts = asyncio.Semaphore(workload.STARTS_AT_ONCE)
    await asyncio.gather(*(to_end(client, Small.run, starts=starts) for _ in range(count)))


def main():
    with asyncio.Runner() as runner:
        client = runner.run(Client.connect(os.environ["BENCH_SERVER"]))
        workload.measure(
            {"temporalio": importlib.metadata.version("temporalio")},
            lambda branches: runner.run(to_end(client, FanOut.run, branches)),
            lambda count: runner.run(all_of(client, count)),
            lambda: runner.run(to_end(client, FanOut.run, 3)),
        )


if __name__ == "__main__":
    main()
