"""Where things are. All that the kit makes lies in one folder that git ignores."""

import pathlib

BENCH = pathlib.Path(__file__).resolve().parents[1]
ROOT = BENCH.parent
PEERS = BENCH / "peers"
WORK = BENCH / ".work"
ENVIRONMENTS = WORK / "environments"
