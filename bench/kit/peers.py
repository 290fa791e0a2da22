"""The peers: what is installed, which servers they stand on, how workers and measurement are started."""

from dataclasses import dataclass, field

from . import servers
from .paths import ENVIRONMENTS, PEERS

WORKERS = 2
CONCURRENCY = 64


@dataclass(frozen=True)
class Peer:
    """Commands begin with the name of a program of the environment, and run in peers/FOLDER."""

    name: str
    folder: str
    measure: tuple
    durability: str
    # Run to its end before all others; {BENCH_…} as in env.
    setup: tuple = ()
    # One process each; {n} is the worker's number.
    worker: tuple = ()
    workers: int = WORKERS
    # What a worker may do at once, for people.
    concurrency: str = str(CONCURRENCY)
    # Of the services that every peer may use: "database", "amqp".
    services: tuple = ()
    # A server of its own: a context manager of kit.servers.
    server: object = None
    env: dict = field(default_factory=dict)

    def cwd(self):
        return PEERS / self.folder

    def command(self, parts, **given):
        program, *rest = (part.format(**given) for part in parts)
        venv = ENVIRONMENTS / self.folder / "bin"
        return [venv / program if venv.is_dir() else program, *rest]


def celery_worker(pool, concurrency):
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
    return ("celery", "--app", "tasks", "worker", "--hostname", "worker-{n}", "--pool", pool, "--concurrency",
            str(concurrency), *quiet)


POSTGRESQL = "PostgreSQL, fsync on"
SENT = "durable queue, persistent messages, publisher confirms, late acks"

PEERS_ALL = (
    Peer(
        "celery-redis", "celery", ("python", "measure.py"), f"{SENT}; results in Redis, appendfsync always",
        worker=celery_worker("threads", CONCURRENCY), services=("amqp",), server=servers.redis,
        env={"BENCH_RESULTS_URL": "{BENCH_REDIS_URL}/0"},
    ),
    Peer(
        "celery-postgresql", "celery", ("python", "measure.py"), f"{SENT}; results in {POSTGRESQL}",
        # Processes, and few: this backend pools connections in forked processes only.
        worker=celery_worker("prefork", 4), concurrency="4 processes", services=("amqp", "database"),
        env={"BENCH_RESULTS_URL": "db+postgresql+psycopg2{BENCH_DATABASE_REST}"},
    ),
    Peer(
        "dbos", "dbos", ("python", "measure_in_process.py"), POSTGRESQL,
        workers=0, concurrency="in the starting process", services=("database",),
    ),
    Peer(
        "dbos-queue", "dbos", ("python", "measure_queue.py"), POSTGRESQL,
        # Workers that start together would migrate together.
        setup=("dbos", "migrate", "--sys-db-url", "{BENCH_DATABASE_URL}"),
        worker=("python", "worker.py", "worker-{n}"), services=("database",),
    ),
    Peer(
        "duroxide", "duroxide", ("python", "measure.py"), POSTGRESQL,
        worker=("python", "worker.py"), concurrency="8 activities", services=("database",),
    ),
    Peer(
        "restate-calls", "restate", ("node", "measure.js", "calls"), "its own log, synced, one node",
        # One command forks the workers: they share a port.
        worker=("node", "worker.js"), workers=1, concurrency="as its server sends", server=servers.restate,
    ),
    Peer(
        "restate-actions", "restate", ("node", "measure.js", "actions"), "its own log, synced, one node",
        worker=("node", "worker.js"), workers=1, concurrency="as its server sends", server=servers.restate,
    ),
    Peer(
        "bullmq", "bullmq", ("node", "measure.js"), "Redis, appendfsync always",
        worker=("node", "worker.js"), server=servers.redis,
    ),
    Peer(
        "temporal-dev", "temporal", ("python", "measure.py"), "development server, SQLite file",
        worker=("python", "worker.py"), server=servers.temporal,
    ),
)
