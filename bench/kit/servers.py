"""Servers for one call: private, on loopback, on free ports, with data in the kit's folder, and durable."""

import contextlib
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

from .environments import environment, prepare
from .paths import ROOT, WORK
from .processes import Broken, await_true, free_port, port_answers, run, running

SERVICES = ROOT / "scripts" / "services"
# Packages may have to be installed.
UP_SECONDS = 900


class Services:
    """The PostgreSQL and the RabbitMQ of scripts/services, in a folder of their own."""

    def __init__(self):
        self.env = {**os.environ, "REJOIN_SERVICES_DIR": str(WORK / "services")}
        self.urls = {}
        self.databases = 0

    def __enter__(self):
        self._call("reset")
        self._call("up")
        self.urls = dict(re.findall(r"export (REJOIN_(?:DATABASE|AMQP)__URL)='([^']*)'", self._call("env")))
        return self

    def __exit__(self, *_):
        self._call("reset")

    def _call(self, *arguments):
        return run([SERVICES, *arguments], UP_SECONDS, env=self.env)

    def amqp_url(self):
        return self.urls["REJOIN_AMQP__URL"]

    def database_url(self):
        return self.urls["REJOIN_DATABASE__URL"]

    def new_database(self):
        """The URL of an empty database."""
        self.databases += 1
        name = f"peer_{self.databases}"
        self._call("pg", "psql", "-q", "-c", f"CREATE DATABASE {name}")
        return urllib.parse.urlsplit(self.database_url())._replace(path=f"/{name}").geturl()

    def versions(self):
        settings = ("server_version", "fsync", "synchronous_commit")
        ask = "SELECT " + ", ".join(f"current_setting('{name}')" for name in settings)
        version, fsync, commit = self._call("pg", "psql", "-Atqc", ask).strip().split("|")
        rabbit = self._call("rabbit", "ctl", "-q", "version").strip().splitlines()[-1]
        return {
            "postgresql": f"{version} (fsync {fsync}, synchronous_commit {commit})",
            "rabbitmq": rabbit,
        }


def redis_binary():
    found = shutil.which("redis-server")
    if not found:
        # scripts/lib keeps the system's own server from being started by the installation.
        install = f"cd {ROOT}/scripts && . lib/common.sh && . lib/packages.sh && install_packages redis-server"
        run(["bash", "-c", install], UP_SECONDS)
        found = shutil.which("redis-server")
    if not found:
        raise Broken("redis-server is missing")
    return found


@contextlib.contextmanager
def redis(folder):
    """A Redis that syncs its log to the disk before it answers a write."""
    binary, port = redis_binary(), free_port()
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    command = [binary, "--bind", "127.0.0.1", "--port", port, "--dir", folder, *durable]
    with running("redis", command, folder, environment()) as process:
        await_true("redis-server", process, lambda: port_answers(port))
        version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
        versions = {"redis": re.search(r"v=(\S+)", version)[1] + " (appendonly, appendfsync always)"}
        yield {"BENCH_REDIS_URL": f"redis://127.0.0.1:{port}"}, versions


@contextlib.contextmanager
def restate(folder):
    """Restate's server with its own defaults: a log that is synced before it is acknowledged, one node."""
    binary = prepare("restate") / "node_modules" / ".bin" / "restate-server"
    ingress, admin, node, worker = (free_port() for _ in range(4))
    settings = {
        "RESTATE_BASE_DIR": str(folder / "data"),
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_ADVERTISED_HOST": "127.0.0.1",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_PORT": str(node),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_LOG_FILTER": "warn",
    }
    with running("restate-server", [binary, "--no-logo"], folder, environment(**settings)) as process:
        health = f"http://127.0.0.1:{admin}/health"
        await_true("restate-server", process, lambda: answers(health) and port_answers(ingress))
        yield {
            "BENCH_SERVER": f"http://127.0.0.1:{ingress}",
            "BENCH_ADMIN": f"http://127.0.0.1:{admin}",
            "BENCH_WORKER_PORT": str(worker),
        }, {}


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def temporal(folder):
    """Temporal's development server, on a file: without one it would keep everything in memory."""
    binary, port = prepare("temporal") / "bin" / "temporal", free_port()
    command = [binary, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", port]
    command += ["--db-filename", folder / "temporal.db", "--log-level", "error"]
    # Its ports for metrics and the console would be well-known ones.
    command += ["--metrics-port", free_port(), "--ui-port", free_port(), "--disable-config-file"]
    with running("temporal", command, folder, environment()) as process:
        await_true("temporal", process, lambda: port_answers(port))
        version = run([binary, "--version"], 30).strip()
        yield {"BENCH_SERVER": f"127.0.0.1:{port}"}, {"temporal": version.removeprefix("temporal version ")}
