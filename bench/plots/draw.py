"""Draws what was measured: draw.py FOLDER RESULT.json OUT. A plot whose documents are missing is left as it is."""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
# Text stays text, and the same figures give the same file.
matplotlib.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "rejoin", "font.family": "sans-serif", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e5e7eb",
    "axes.edgecolor": "#6b7280", "axes.axisbelow": True, "legend.frameon": False,
})
from matplotlib import pyplot

BLUE, ORANGE, GREEN, GREY = "#2563eb", "#ea580c", "#16a34a", "#9ca3af"


def read(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def medians(document):
    return {measure["scenario"]: measure["median"] for measure in document["measures"]}


def save(figure, out, name):
    figure.tight_layout()
    figure.savefig(out / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


def throughput(own, out):
    found = read(own / "fanout.json")
    if not found:
        return
    values = medians(found)
    values.update(medians(read(own / "million.json") or {"measures": []}))
    points = sorted((int(name.split()[1]), value) for name, value in values.items() if name.startswith("fanout "))
    figure, axes = pyplot.subplots(figsize=(7, 3.6))
    axes.plot(*zip(*points), marker="o", color=BLUE, label="fan-out and join")
    for pack, style in (("50 a message", "--"), ("1 a message", ":")):
        limit = sorted((int(name.split()[1].rstrip(",")), value) for name, value in values.items()
                       if name.startswith("composed ") and name.endswith(f", {pack}"))
        if limit:
            axes.plot(*zip(*limit), color=GREY, linestyle=style, label=f"composed, {pack}: no engine")
    axes.set(xscale="log", yscale="log", xlabel="branches of one run", ylabel="branches a second")
    axes.legend(loc="lower right")
    save(figure, out, "throughput")


def cost(own, out):
    found = read(own / "cost.json")
    if not found:
        return
    rows = {}
    for name, value in medians(found).items():
        branches, what = name.removeprefix("cost of one of ").split(" branches: ")
        rows.setdefault(what, []).append((int(branches), value))
    figure, (times, sizes) = pyplot.subplots(1, 2, figsize=(9, 3.4))
    for axes, names, unit in (
        (times, ("coordinators", "workers"), "µs of processor time a branch"),
        (sizes, ("messages", "write-ahead log", "table and index"), "bytes a branch"),
    ):
        for what, color in zip(names, (BLUE, ORANGE, GREEN)):
            axes.plot(*zip(*sorted(rows[what])), marker="o", color=color, label=what)
        axes.set(xscale="log", xlabel="branches of one run", ylabel=unit)
        axes.set_ylim(bottom=0)
        axes.legend()
    save(figure, out, "cost")


def scale(own, out):
    runs = {}
    for path in own.glob("slow-*.json"):
        found = read(path)
        settings = found["settings"]
        slots = settings["workers"] * settings["concurrency"]
        runs.setdefault(settings["coordinators"], []).append((settings["workers"], found["measures"][0]["median"], slots))
    if not runs:
        return
    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    best = sorted({(workers, slots / 0.020) for points in runs.values() for workers, _, slots in points})
    axes.plot(*zip(*best), color=GREY, linestyle="--", label="all slots, all the time")
    for (coordinators, points), color in zip(sorted(runs.items()), (BLUE, ORANGE)):
        line = sorted((workers, value) for workers, value, _ in points)
        axes.plot(*zip(*line), marker="o", color=color, label=f"{coordinators} coordinator{'s' if coordinators > 1 else ''}")
    axes.set(xlabel="worker processes of 64 slots", ylabel="branches of 20 ms a second", xticks=[1, 2, 4])
    axes.set_ylim(bottom=0)
    axes.legend()
    save(figure, out, "scale")


def peers(result, out):
    told = read(result)
    if not told:
        return
    kinds = (("branches_per_second", "1,000 branches: branches/s"), ("steps_per_second", "small runs: steps/s"),
             ("idle_p50_ms", "idle run, p50: ms (less is better)"))
    results = [one for one in told["results"] if not one["failure"]]
    figure, columns = pyplot.subplots(1, 3, figsize=(11, 0.4 * len(results) + 1.2), sharey=True)
    names = [one["name"] for one in results][::-1]
    for axes, (key, title) in zip(columns, kinds):
        values = [one[key] for one in results][::-1]
        bars = axes.barh(names, values, color=[BLUE if name == "rejoin" else GREY for name in names])
        labels = [f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" for value in values]
        axes.bar_label(bars, labels=labels, padding=3, fontsize=8)
        axes.set(xscale="log", title=title)
        axes.set_xlim(right=max(values) * 8)
        axes.title.set_fontsize(10)
        axes.grid(axis="y", visible=False)
    save(figure, out, "peers")


def main():
    own, result, out = (pathlib.Path(argument) for argument in sys.argv[1:4])
    out.mkdir(parents=True, exist_ok=True)
    throughput(own, out)
    cost(own, out)
    scale(own, out)
    peers(result, out)


if __name__ == "__main__":
    main()
