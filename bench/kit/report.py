"""One table for people, one JSON document for programs."""

import os
import platform
import statistics
import time

HEADS = ("", "branches/s", "steps/s", "idle p50 ms", "idle p99 ms", "repeats", "workers", "durability")


def quantile(values, share):
    """The value below which this share of all lies; one that was measured."""
    ordered = sorted(values)
    place = next(n for n in range(1, len(ordered) + 1) if n / len(ordered) >= share)
    return ordered[place - 1]


def percentiles(row):
    """(p50, p99) of a row of milliseconds; of Rejoin's that is all there is."""
    return row if isinstance(row, tuple) else (quantile(row, 0.5), quantile(row, 0.99))


def of_result(result):
    rows = [percentiles(row) for row in result.latency]
    median = lambda values: round(statistics.median(values), 1) if values else None
    return {
        "name": result.name,
        "branches_per_second": median(result.fanout),
        "steps_per_second": median(result.runs),
        "idle_p50_ms": median([p50 for p50, _ in rows]),
        "idle_p99_ms": median([p99 for _, p99 in rows]),
        "values": {
            "branches_per_second": [round(value, 1) for value in result.fanout],
            "steps_per_second": [round(value, 1) for value in result.runs],
            "idle_ms": [{"p50": round(p50, 2), "p99": round(p99, 2)} for p50, p99 in rows],
        },
        "workers": result.workers,
        "durability": result.durability,
        "versions": result.versions,
        "failure": result.failure or None,
    }


def document(results, versions, size):
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()[0]},
        "versions": {**versions, "python": platform.python_version()},
        "settings": vars(size),
        "results": [of_result(result) for result in results],
    }


def table(told):
    lines = [HEADS, *(cells(result) for result in told["results"])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    # Numbers to the right, words to the left.
    fit = lambda cell, column: cell.rjust(widths[column]) if 1 <= column <= 5 else cell.ljust(widths[column])
    text = ["  ".join(fit(cell, column) for column, cell in enumerate(line)).rstrip() for line in lines]
    failures = [f"{result['name']}: {result['failure']}" for result in told["results"] if result["failure"]]
    return "\n".join([*text, "", *failures, *about(told)])


def cells(result):
    number = lambda value: "—" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    keys = ("branches_per_second", "steps_per_second", "idle_p50_ms", "idle_p99_ms")
    repeats = "/".join(str(len(values)) for values in result["values"].values())
    return (result["name"], *(number(result[key]) for key in keys), repeats, result["workers"], result["durability"])


def about(told):
    size, machine = told["settings"], told["machine"]
    versions = {**told["versions"]}
    for result in told["results"]:
        versions.update(result["versions"])
    return [
        f"{size['branches']:,} branches; {size['runs']:,} runs of 7 steps; {size['latency_runs']} idle runs in a row; "
        f"medians of up to {size['repeat']} after a warm-up (repeats: of each workload)",
        f"{machine['cpus']} cpus, load {machine['load']:.1f} at the end; "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
