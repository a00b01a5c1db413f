"""`python tools/course COMMAND`: commands.py says more."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # tools/, where course and shared are packages

from shared.errors import entry  # noqa: E402

from course.commands import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(entry(main))
