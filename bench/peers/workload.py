"""What every peer in Python is asked for, and how it is timed. Needs nothing but Python.

A peer gives three functions that return when the end is known to whoever asked:

    fanout(branches)   one run of so many no-op branches, joined
    runs(count)        so many runs of three steps and a parallel of four, started at once
    idle()             one run of three parallel branches

`measure` calls each to warm up, then repeats it, and prints one JSON object a line: a workload that is done stays known
when a later one breaks.
"""

import argparse
import json
import os
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

# Enough for connections, plans and caches; the same for every peer, and about what `rejoin bench` does.
WARM_UP_RUNS = 50
WARM_UP_IDLE = 5
# As many start requests under way at once as `rejoin bench` has.
STARTS_AT_ONCE = 64


def sizes():
    parser = argparse.ArgumentParser()
    parser.add_argument("--branches", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--latency-runs", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--budget", type=float, default=180, help="seconds after which a workload is not repeated again")
    return parser.parse_args()


def measure(versions, fanout, runs, idle):
    try:
        measure_all(sizes(), versions, fanout, runs, idle)
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        # Not by the ordinary way: what a library has under way might wait for its end.
        os._exit(1)


def measure_all(size, versions, fanout, runs, idle):
    say(versions=versions)
    fanout(size.branches)
    say(workload="fanout", seconds=repeat(size, lambda: seconds(fanout, size.branches)))
    runs(min(size.runs, WARM_UP_RUNS))
    say(workload="runs", seconds=repeat(size, lambda: seconds(runs, size.runs)))
    for _ in range(WARM_UP_IDLE):
        idle()
    say(workload="latency", rows=repeat(size, lambda: row_of_idle_runs(size, idle)))


def say(**values):
    print(json.dumps(values), flush=True)


def repeat(size, once):
    """Up to `--repeat` values; fewer, but at least one, where the budget ends before."""
    until = time.perf_counter() + size.budget
    values = [once()]
    while len(values) < size.repeat and time.perf_counter() < until:
        values.append(once())
    return values


def seconds(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def row_of_idle_runs(size, idle):
    """Seconds of each of so many runs, one after the other; a slow peer's row ends with the budget."""
    until = time.perf_counter() + size.budget
    row = []
    while len(row) < size.latency_runs and time.perf_counter() < until:
        row.append(seconds(idle))
    return row


def start_at_once(start, count):
    """Calls start(number) so many times, several at once, and returns what it returned."""
    with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
        return list(pool.map(start, range(count)))
