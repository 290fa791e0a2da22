"""duroxide: orchestrations that replay over a history in PostgreSQL."""

import importlib.metadata
import os
import pathlib
import sys
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import workload
from duroxide import Client, PostgresProvider

END_MILLISECONDS = 600_000


def main():
    client = Client(PostgresProvider.connect(os.environ["BENCH_DATABASE_URL"]))

    def start(flow, value=None):
        instance = uuid.uuid4().hex
        client.start_orchestration(instance, flow, value)
        return instance

    def await_end(instance):
        ended = client.wait_for_orchestration(instance, END_MILLISECONDS)
        assert ended.status == "Completed", (ended.status, ended.error)

    def runs(count):
        for instance in workload.start_at_once(lambda _: start("small"), count):
            await_end(instance)

    workload.measure(
        {"duroxide": importlib.metadata.version("duroxide")},
        lambda branches: await_end(start("fan_out", branches)),
        runs,
        lambda: await_end(start("fan_out", 3)),
    )


if __name__ == "__main__":
    main()
