"""``python -m tinytrace``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # `-m` puts the working directory first: a json.py there must not become ours.
    if sys.path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
        del sys.path[0]
    from tinytrace.cli import script

    script()
