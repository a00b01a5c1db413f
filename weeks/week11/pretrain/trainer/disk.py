"""Everything that the trainer does to the disk, in one small class, so that a test can let any single operation fail.

SQLite is tested that way: a layer below the database that fails, or loses power, at operation 1, then 2, and so on
(sqlite.org/testing.html, sections 3.1 to 3.3). A checkpoint must stand all of it, and the tests count the operations.

What reaches the disk, and when: `write` and `append` hand bytes to the system, which survives the death of the process
but not of the machine. `flush` (of a file) and `settle` (of the names in a folder) wait until the disk has them.
"""

import errno
import os
import shutil

FULL = {errno.ENOSPC, errno.EDQUOT}  # no space left; no space left for this user


def is_full(error: OSError) -> bool:
    return error.errno in FULL


class Disk:
    """The real one."""

    def make(self, folder):
        os.makedirs(folder)

    def write(self, path, content: bytes):
        with open(path, "wb") as file:
            file.write(content)

    def append(self, path, content: bytes):
        with open(path, "ab") as file:
            file.write(content)

    def flush(self, path):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())

    def rename(self, old, new):
        """A file takes the place of another at once; a folder only a free place."""
        os.replace(old, new)

    def settle(self, folder):
        """Until here a rename may be forgotten when the power goes. (Windows has no such call, and needs none.)"""
        if os.name == "nt":
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, folder):
        shutil.rmtree(folder)
