"""Makes the folder of a picture (prepare), and joins its tiles into one PNG (assemble)."""

import hashlib
import json
import os
import struct
import sys
import tempfile
import zlib

from render import edges, write_whole


def prepare(request):
    # A folder a run. Workers on several machines would need one that they share.
    base = os.environ.get("EXAMPLE_FOLDER") or os.path.join(tempfile.gettempdir(), f"rejoin-examples-{os.getuid()}")
    folder = os.path.join(base, "image_tiles", request["run"])
    os.makedirs(folder, exist_ok=True)
    return {"folder": folder}


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, rgb):
    stride = width * 3
    # Each row begins with the number of its filter: none.
    rows = b"".join(b"\0" + rgb[y * stride : (y + 1) * stride] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def assemble(request):
    ctx = request["input"]
    stride = ctx["width"] * 3
    rgb = bytearray(stride * ctx["height"])
    for tile, rendered in enumerate(ctx["tiles"]):
        (x0, x1), (y0, y1) = edges(tile, ctx)
        with open(os.path.join(ctx["folder"], rendered["file"]), "rb") as file:
            for y in range(y0, y1):
                at = y * stride + x0 * 3
                rgb[at : at + (x1 - x0) * 3] = file.read((x1 - x0) * 3)
    path = os.path.join(ctx["folder"], "picture.png")
    write_whole(path, png(ctx["width"], ctx["height"], bytes(rgb)))
    # Of the pixels, not of the file: compressed bytes differ between versions of zlib.
    digest = hashlib.sha256(rgb).hexdigest()
    return {"file": path, "width": ctx["width"], "height": ctx["height"], "pixels_sha256": digest}


request = json.load(sys.stdin)
json.dump({"prepare": prepare, "assemble": assemble}[request["handler"]](request), sys.stdout)
