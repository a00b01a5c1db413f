"""What a run says of itself: JSON lines that survive it, no step twice; TensorBoard as an extra.

    {"kind": "step", "step": 100, "batch": 99, "loss": 2.1, "norm": 0.8, "rate": 0.0006, "judged": 4096, "seconds": 0.4}

A row is written after its step, and handed to the system at once, so `tail -f` shows it. A run that goes on from a
checkpoint of 80 steps first cuts the rows of later ones, which it is about to do again. On a full disk rows wait in
memory until there is room.
"""

import importlib.util
import json
from pathlib import Path

from ..vendor.shared.errors import Mistake
from .disk import Disk, is_full


def read_rows(path) -> list[dict]:
    """The rows of a log; a line without its end, which a dying process left, is none. A Mistake for any other."""
    path = Path(path)
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    rows = []
    for number, line in enumerate(whole, 1):
        try:
            row = json.loads(line)
            rows.append(row)
            row["step"], row["kind"]
        except (ValueError, TypeError, KeyError):
            raise Mistake(
                f"line {number} of {path} is {line[:40].decode(errors='replace')!r}, no row of a log; "
                "correct it or move the file away"
            ) from None
    return rows


class Log:
    """Appends rows to `path`; `waiting` holds those that a full disk refused."""

    def __init__(self, path, disk: Disk):
        self.path, self.disk, self.waiting = Path(path), disk, []

    def cut(self, step: int):
        """Keep the rows of at most `step` steps."""
        kept = [row for row in read_rows(self.path) if row["step"] <= step]
        part = self.path.with_name(f".{self.path.name}.part")
        self.waiting = []
        self.disk.write(part, b"".join(map(_line, kept)))
        self.disk.flush(part)
        self.disk.rename(part, self.path)
        self.disk.settle(self.path.parent)

    def add(self, row: dict):
        self.waiting.append(_line(row))
        try:
            self._push()
        except OSError as error:
            if not is_full(error):
                raise

    def _push(self):
        before = self.path.stat().st_size
        try:
            self.disk.append(self.path, b"".join(self.waiting))
        except OSError:
            with open(self.path, "rb+") as file:
                file.truncate(before)  # a part of a row may have found room
            raise
        self.waiting = []

    def flush(self):
        """What was added survives the machine's death too; an OSError where the disk is still full."""
        if self.waiting:
            self._push()
        self.disk.flush(self.path)


def _line(row: dict) -> bytes:
    return json.dumps(row).encode() + b"\n"


class Board:
    """The numbers of each row as TensorBoard's curves, in `folder`. A Mistake where TensorBoard is not installed."""

    def __init__(self, folder):
        if importlib.util.find_spec("tensorboard") is None:
            raise Mistake("TensorBoard is not installed; run: pip install tensorboard, or leave the board out")
        self.folder, self.writer = folder, None

    def cut(self, step: int):
        """Curves after `step` are drawn again."""
        from torch.utils.tensorboard import SummaryWriter  # here: it takes seconds, and most runs do without

        if self.writer:
            self.writer.close()
        self.writer = SummaryWriter(str(self.folder), purge_step=step + 1)

    def add(self, row: dict):
        for name, value in row.items():
            if isinstance(value, int | float) and name != "step":
                self.writer.add_scalar(f"{row['kind']}/{name}", value, row["step"])
            elif name == "text":
                self.writer.add_text(row["kind"], value, row["step"])

    def flush(self):
        self.writer.flush()
