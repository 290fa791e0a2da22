"""Measures one peer, or Rejoin itself: values by workload, or the reason why there are none."""

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass, field

from .environments import environment, prepare
from .paths import ENVIRONMENTS, WORK
from .peers import CONCURRENCY, WORKERS
from .processes import Broken, end, run, running, tail

# Steps of a small run: three, and a parallel of four.
STEPS_A_RUN = 7


def patience(size):
    """The longest that all of a peer may take: beyond the budgets of its workloads, warm-ups and last repeats."""
    return 600 + 9 * size.budget


@dataclass
class Result:
    name: str
    durability: str
    workers: str
    versions: dict = field(default_factory=dict)
    # workload -> values: branches a second, steps a second, rows of milliseconds
    fanout: list = field(default_factory=list)
    runs: list = field(default_factory=list)
    latency: list = field(default_factory=list)
    failure: str = ""


def measure_peer(peer, services, size):
    """Never raises Broken: a peer that does not work is told of, and the next one has its turn."""
    workers = f"{WORKERS} × {peer.concurrency}" if peer.worker else peer.concurrency
    result = Result(peer.name, peer.durability, workers)
    try:
        prepare(peer.folder)
        with contextlib.ExitStack() as stack:
            run_peer(peer, services, size, result, stack)
    except Broken as broken:
        result.failure = f"{broken} (logs: bench/.work/peers/{peer.name})"
    return result


def run_peer(peer, services, size, result, stack):
    folder = stack.enter_context(own_folder(peer.name))
    given = {"BENCH_CONCURRENCY": str(CONCURRENCY), "BENCH_WORKERS": str(WORKERS)}
    if peer.server:
        given_by_server, result.versions = stack.enter_context(peer.server(folder))
        given.update(given_by_server)
    given.update(shared_services(peer, services))
    given.update({key: value.format(**given) for key, value in peer.env.items()})
    # Packages of Node are looked for where NODE_PATH says: they do not lie beside the scripts.
    env = environment(**given, NODE_PATH=str(ENVIRONMENTS / peer.folder / "node_modules"))
    if peer.setup:
        run(peer.command(peer.setup, **given), patience(size), env=env, cwd=peer.cwd())
    for n in range(1, peer.workers + 1 if peer.worker else 1):
        command = peer.command(peer.worker, n=n)
        stack.enter_context(running(f"worker-{n}", command, folder, env, peer.cwd()))
    command = [*peer.command(peer.measure), *size.flags()]
    measuring = stack.enter_context(running("measure", command, folder, env, peer.cwd()))
    try:
        await_end(measuring, patience(size))
    finally:
        # What was measured before a failure counts.
        for line in measuring.log.read_text(errors="replace").splitlines():
            take_line(line, size, result)
    if measuring.returncode != 0:
        raise Broken(f"ended with exit code {measuring.returncode}: {tail(measuring.log)}")


@contextlib.contextmanager
def own_folder(name):
    """For logs, which stay until the next call, and data, which do not."""
    folder = WORK / "peers" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix != ".log":
                path.unlink()


def shared_services(peer, services):
    given = {}
    if "amqp" in peer.services:
        given.update(BENCH_AMQP_URL=services.amqp_url(), BENCH_QUEUE=f"bench-{peer.name}")
    if "database" in peer.services:
        url = services.new_database()
        # Some name their driver in the scheme.
        given.update(BENCH_DATABASE_URL=url, BENCH_DATABASE_REST=url.removeprefix("postgres"))
    return given


def await_end(process, seconds):
    until = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > until:
            end(process)
            raise Broken(f"not done after {seconds:,.0f} s: {tail(process.log)}")
        time.sleep(0.1)


def take_line(line, size, result):
    """A peer writes an object a line; libraries write other things between."""
    try:
        told = json.loads(line)
    except ValueError:
        return
    if not isinstance(told, dict):
        return
    result.versions.update(told.get("versions", {}))
    if told.get("workload") == "fanout":
        result.fanout = [size.branches / seconds for seconds in told["seconds"]]
    elif told.get("workload") == "runs":
        result.runs = [size.runs * STEPS_A_RUN / seconds for seconds in told["seconds"]]
    elif told.get("workload") == "latency":
        result.latency = [[seconds * 1000 for seconds in row] for row in told["rows"]]


def measure_rejoin(binary, services, size):
    durability = "PostgreSQL, fsync on; quorum queues, publisher confirms"
    result = Result("rejoin", durability, f"{WORKERS} × {CONCURRENCY}")
    command = [binary, "bench", "fanout", "runs", "latency", "-o", "json"]
    command += ["--workers", WORKERS, "--concurrency", CONCURRENCY, *size.rejoin_flags()]
    env = {**environment(), **services.urls, "RUST_BACKTRACE": os.environ.get("RUST_BACKTRACE", "0")}
    try:
        told = json.loads(run(command, patience(size), env=env))
    except Broken as broken:
        result.failure = str(broken)
        return result
    result.versions = {"rejoin": told["versions"]["rejoin"]}
    values = {measure["scenario"]: measure["values"] for measure in told["measures"]}
    result.fanout = values[f"fanout {size.branches}"]
    result.runs = [runs * STEPS_A_RUN for runs in values[f"runs {size.runs}"]]
    # It tells percentiles of each row, not the row.
    name = f"latency {size.latency_runs}"
    result.latency = list(zip(values[f"{name} (p50)"], values[f"{name} (p99)"]))
    return result
