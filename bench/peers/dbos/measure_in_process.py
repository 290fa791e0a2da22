"""DBOS as a library: workflows and steps run in the process that starts them, and are recorded in PostgreSQL."""

import asyncio
import importlib.metadata
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import workload
from dbos import DBOS
from flows import config, small, steps_at_once


async def all_of(count, flow, *arguments):
    handles = await asyncio.gather(*(DBOS.start_workflow_async(flow, *arguments) for _ in range(count)))
    await asyncio.gather(*(handle.get_result() for handle in handles))


def main():
    DBOS(config=config("measure"))
    DBOS.launch()
    with asyncio.Runner() as runner:
        workload.measure(
            {"dbos": importlib.metadata.version("dbos")},
            lambda branches: runner.run(all_of(1, steps_at_once, branches)),
            lambda count: runner.run(all_of(count, small)),
            lambda: runner.run(all_of(1, steps_at_once, 3)),
        )
    DBOS.destroy()


if __name__ == "__main__":
    main()
