"""A worker of the peer with queues: takes parents and branches, up to BENCH_CONCURRENCY of each."""

import os
import signal
import sys

from dbos import DBOS
from flows import BRANCHES, PARENTS, POLL_SECONDS, config

DBOS(config=config(sys.argv[1]))
DBOS.launch()
for queue in (PARENTS, BRANCHES):
    DBOS.register_queue(
        queue, worker_concurrency=int(os.environ["BENCH_CONCURRENCY"]), polling_interval_sec=POLL_SECONDS
    )
signal.sigwait({signal.SIGTERM, signal.SIGINT})
DBOS.destroy()
