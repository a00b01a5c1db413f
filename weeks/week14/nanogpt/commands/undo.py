"""`nanogpt undo`: back to the state before the last task."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .. import checkpoint
from ..vendor.shared.files import locked


@dataclass
class Undo:
    """Go back to what a model was before its last task; a second time, forward again. Nothing is deleted.

    examples:
      nanogpt undo checkpoints/helper
    """

    folder: Positional[Path]
    """Folder of a model that learned something."""

    def run(self):
        checkpoint.read_index(self.folder)
        with locked(self.folder):
            checkpoint.undo(self.folder)
        learned = checkpoint.read_index(self.folder)["record"].get("learned") or ["nothing"]
        print(f"{self.folder} is now the model that learned {', '.join(learned)}; the same command again goes back")
