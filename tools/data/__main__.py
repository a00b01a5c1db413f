"""`python tools/data list`, `make NAME` or `verify`: engine.py says more."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # tools/, where data and shared are packages

from shared.errors import entry  # noqa: E402

from data.engine import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(entry(main))
