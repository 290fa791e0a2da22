"""Renders tiles of the Mandelbrot set. A stream handler: a request a line, a response a line."""

import json
import os
import sys
from math import sqrt

# What is shown: the whole set.
LEFT, RIGHT, TOP, BOTTOM = -2.0, 0.6, 1.3, -1.3


def edges(tile, job):
    """The tile's first column and row, and those after its last."""
    x, y = tile % job["tiles_x"], tile // job["tiles_x"]
    columns = [job["width"] * (x + i) // job["tiles_x"] for i in (0, 1)]
    rows = [job["height"] * (y + i) // job["tiles_y"] for i in (0, 1)]
    return columns, rows


def escape_time(real, imag, limit):
    # Written out in real numbers, so that every machine rounds each operation alike: compilers may fuse
    # the multiplications and additions inside a complex product.
    x = y = xx = yy = 0.0
    for step in range(limit):
        if xx + yy > 4.0:
            return step
        y = 2.0 * x * y + imag
        x = xx - yy + real
        xx, yy = x * x, y * y
    return limit


def colour(steps, limit):
    if steps == limit:
        return (6, 6, 20)
    # From blue over green and gold into the dark, most of the range near the edge of the set. Square roots
    # are rounded exactly everywhere, other powers are not.
    t = sqrt(sqrt(steps / limit))
    u = 1.0 - t
    return (int(2295 * u * t * t * t), int(3825 * u * u * t * t), int(2167 * u * u * u * t))


def render(job):
    (x0, x1), (y0, y1) = edges(job["tile"], job)
    pixels, total = bytearray(), 0
    for y in range(y0, y1):
        imag = TOP + (BOTTOM - TOP) * y / job["height"]
        for x in range(x0, x1):
            real = LEFT + (RIGHT - LEFT) * x / job["width"]
            steps = escape_time(real, imag, job["iterations"])
            total += steps
            pixels += bytes(colour(steps, job["iterations"]))
    return pixels, total


def write_whole(path, content):
    # A step may run twice, even at once: the file appears as a whole, or not at all.
    draft = f"{path}.{os.getpid()}"
    with open(draft, "wb") as file:
        file.write(content)
    os.replace(draft, path)


if __name__ == "__main__":
    for line in sys.stdin:
        job = json.loads(line)["input"]
        pixels, total = render(job)
        name = f"tile-{job['tile']:05}.rgb"
        write_whole(os.path.join(job["folder"], name), pixels)
        print(json.dumps({"file": name, "steps": total}), flush=True)
