"""`python tools/website`: commands.py says more."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # tools/, where website and shared are packages

from shared.errors import entry  # noqa: E402

from website.commands import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(entry(main))
