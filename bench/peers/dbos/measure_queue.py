"""DBOS with queues in PostgreSQL: whoever starts a run is not who runs it, and branches go to any worker."""

import importlib.metadata
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import workload
from dbos import DBOSClient
from flows import PARENTS, RESULT_POLL_SECONDS


def main():
    client = DBOSClient(system_database_url=os.environ["BENCH_DATABASE_URL"], lazy=True)

    def start(flow, *arguments):
        options = {"queue_name": PARENTS, "workflow_name": flow, "app_version": "bench"}
        return client.enqueue(options, *arguments)

    def await_end(handle):
        handle.get_result(polling_interval_sec=RESULT_POLL_SECONDS)

    def runs(count):
        for handle in workload.start_at_once(lambda _: start("queued_small"), count):
            await_end(handle)

    workload.measure(
        {"dbos": importlib.metadata.version("dbos")},
        lambda branches: await_end(start("queued_at_once", branches)),
        runs,
        lambda: await_end(start("queued_at_once", 3)),
    )


if __name__ == "__main__":
    main()
