# vendored from tools/shared/kept.py, sha256 eb009f56cf2d86a660495c9a3a191d0f01950caa5568024f1508ae2f00364d87; edit there, then run: make vendor
"""What an interrupted run has measured: the same command goes on with it, and takes it away at its end."""

import hashlib
import json
from collections import UserDict
from contextlib import suppress
from pathlib import Path

from .files import atomic_write
from .results import Stopwatch


def code_of(script):
    """A hash of the script and of its week's package: numbers of other code must not be mixed with those of this."""
    week, digest = Path(script).resolve().parent, hashlib.sha256()
    for path in sorted([Path(script).resolve(), *week.glob("*/**/*.py")]):
        if "tests" not in path.relative_to(week).parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Kept(UserDict):
    """Results by name, of what JSON has. They lie in a file, too, which is written whenever one is added.

        with Kept(path, __file__, args.preset) as kept:
            for name in names:
                if name not in kept:
                    kept[name] = measure(name)
            ...  # and the results file is written

    What lies there is used only where the code of `script` is the same and so is `setting`: all else that the results
    hang on.
    At the end of the block the file goes; after an interruption it stays, and the KeyboardInterrupt says where.
    `seconds` is what all runs took together, `path.parent` is made. Left out: two runs at once (files.py :: locked).
    """

    def __init__(self, path, script, *setting):
        super().__init__()
        self.path, self.setting = path, [code_of(script), *map(str, setting)]
        self.watch, self.before = Stopwatch(), 0.0
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["setting"] == self.setting:
                self.before, self.data = found["seconds"], dict(found["kept"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none there, or not one of ours

    def __setitem__(self, name, value):
        super().__setitem__(name, value)
        content = {"setting": self.setting, "seconds": self.seconds, "kept": self.data}
        atomic_write(self.path, json.dumps(content))

    @property
    def seconds(self):
        return self.before + self.watch.seconds

    def __enter__(self):
        if self:
            print(f"{len(self)} results of an interrupted run are in {self.path}; they are not measured again")
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.path.unlink(missing_ok=True)
            with suppress(OSError):  # of a folder that was made for this file alone nothing stays
                self.path.parent.rmdir()
        elif kind is KeyboardInterrupt and self:
            raise KeyboardInterrupt(f"{len(self)} results are kept in {self.path}; the same command goes on") from None
