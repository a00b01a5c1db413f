"""`nanogpt undo`: back to the state before the last task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import locked
from .options import words


@dataclass
class Undo:
    """Go back to what a model was before its last task; a second time, forward again. What was undone stays until
    the model learns something else.

    examples:
      nanogpt undo checkpoints/helper
    """

    folder: Annotated[Positional[Path], words(Path, "DIR")]
    """Folder of a model that learned something."""

    def run(self):
        from .. import checkpoint  # in here, for torch takes a second and --help does not need it

        if not checkpoint.exists(self.folder):  # nothing here to open by a name, or to train first
            raise Mistake(f"no model at {self.folder}; give the folder of one that learned something")
        checkpoint.read_index(self.folder)
        with locked(self.folder):
            checkpoint.undo(self.folder)
        now = checkpoint.read_index(self.folder)["record"]
        learned, begun = now.get("learned") or ["nothing"], now.get("progress")
        under_way = f", stopped while it learned {begun['task']}" if begun else ""
        print(f"{self.folder} is now the model that learned {', '.join(learned)}{under_way}; once more changes it back")
