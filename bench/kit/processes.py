"""Processes of our own: started with a log each, ended by their ids."""

import contextlib
import os
import signal
import socket
import subprocess
import time

START_SECONDS = 60
END_SECONDS = 15
LOOK_SECONDS = 0.05


class Broken(Exception):
    """What was to be measured did not come about; the text says why."""


@contextlib.contextmanager
def running(name, command, folder, env=None, cwd=None):
    """A process in a session of its own, so that what it starts ends with it."""
    log = folder / f"{name}.log"
    with open(log, "wb") as sink:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd or folder, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.log = log
    try:
        yield process
    finally:
        end(process)


def end(process):
    """TERM to the process alone, so that it can end its children in order; then KILL to what is left of its session."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def await_true(what, process, check):
    """Polls until check() is true; not longer than the process lives."""
    until = time.monotonic() + START_SECONDS
    while not check():
        if process.poll() is not None:
            raise Broken(f"{what} ended with exit code {process.returncode}: {tail(process.log)}")
        if time.monotonic() > until:
            raise Broken(f"{what} does not answer: {tail(process.log)}")
        time.sleep(LOOK_SECONDS)


def tail(log):
    return last_lines(log.read_text(errors="replace"))


def last_lines(text):
    """The end of what a program said, short enough for one line of a report."""
    return " | ".join(line.strip()[:200] for line in text.splitlines()[-4:])


def port_answers(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(command, seconds, **options):
    """Runs to the end, and returns what it wrote to stdout; Broken, with the end of stderr, where it fails."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, **options
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Broken(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        name = " ".join(command[:4])
        raise Broken(f"{name}: exit code {done.returncode}: {last_lines(done.stderr or done.stdout)}")
    return done.stdout
