# vendored from tools/shared/files.py, sha256 6672dcdaab8001fd6ac4cd7d5d3759aa8e96b6c1e3c9f46cf3070a36fb5c7111; edit there, then run: make vendor
"""Files that are whole or absent, and a folder that one command at a time writes to."""

import os
from contextlib import contextmanager
from pathlib import Path

from .errors import Mistake

LOCK = ".lock"


def need(path, made_by):
    """`path` if it exists; else a Mistake that names the make target which writes it."""
    path = Path(path)
    if not path.exists():
        raise Mistake(f"{path} does not exist; run: {made_by}")
    return path


def atomic_write(path, content):
    """Write text or bytes so that `path` holds either the old content or all of the new, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder):
    """Keep other commands from writing to `folder` while the block runs; a Mistake where one already does.

    The system takes the lock off when a process ends, however it ends. The file stays beside what was written: deleting
    it would let two processes lock two files of one name. A folder that was made here and is empty is taken away again.
    """
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a") as file:
        try:
            _lock(file)
        except OSError:
            raise Mistake(
                f"another command is at work in {folder}; wait until it has ended, or give another folder"
            ) from None
        try:
            yield
        finally:
            if made and [inside.name for inside in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()
            _unlock(file)


if os.name == "nt":  # no machine here runs it: written from the documentation of msvcrt
    import msvcrt

    def _lock(file):
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file):
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file):
        fcntl.flock(file, fcntl.LOCK_UN)
