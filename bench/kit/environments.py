"""Environments of the peers: a venv or a node_modules each, made once, and anew when its pinned versions change."""

import hashlib
import os
import shutil
import sys

from .paths import ENVIRONMENTS, PEERS
from .processes import Broken, run

INSTALL_SECONDS = 900
# Told, because some of these packages report their use to their makers.
QUIET = {"SCARF_ANALYTICS": "false", "DO_NOT_TRACK": "1", "RESTATE_DISABLE_TELEMETRY": "true"}


def environment(**more):
    """Ours, without what means something to Rejoin, plus more."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("REJOIN_")}
    return {**keep, **QUIET, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", **more}


def prepare(name, source=None):
    """Makes the environment of peers/NAME, or of another folder, where it is not there, and returns its folder."""
    source = source or PEERS / name
    pinned = source / "requirements.txt"
    make = make_python
    if not pinned.exists():
        pinned, make = source / "package-lock.json", make_node
    folder, digest = ENVIRONMENTS / name, hashlib.sha256(pinned.read_bytes()).hexdigest()
    stamp = folder / "made-from"
    if not (stamp.exists() and stamp.read_text() == digest):
        print(f"{name}: installing what {pinned.relative_to(PEERS.parent)} says …", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(pinned, folder)
        # Last, so that an installation that broke off counts as none.
        stamp.write_text(digest)
    return folder


def make_python(pinned, folder):
    run([sys.executable, "-m", "venv", folder], INSTALL_SECONDS)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
    run([*pip, "--requirement", pinned], INSTALL_SECONDS, env=environment())


def make_node(pinned, folder):
    if not shutil.which("npm"):
        raise Broken("npm is missing")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(pinned.parent / name, folder)
    # Scripts of packages only fetch or report; the binaries that are needed are packages of their own.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    run(command, INSTALL_SECONDS, cwd=folder, env=environment())
