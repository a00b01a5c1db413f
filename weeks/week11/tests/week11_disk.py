"""A disk that dies in the middle of an operation, for the tests of week 11's trainer."""

import os
from pathlib import Path

from pretrain.trainer.disk import Disk


class Killed(BaseException):
    """What no handler of the trainer may catch, as none can catch a kill."""


class Dying(Disk):
    """Dies at operation `at`, counted from 0, which is half done; with `power`, unflushed files lose their end."""

    def __init__(self, at=None, power=False):
        self.count, self.at, self.power, self.open = 0, at, power, set()

    def _now(self):
        self.count += 1
        return self.count - 1 == self.at

    def _die(self):
        if self.power:
            for path in filter(os.path.exists, self.open):
                os.truncate(path, os.path.getsize(path) // 2)
        raise Killed

    def write(self, path, content):
        if now := self._now():
            content = content[: len(content) // 2]
        super().write(path, content)
        self.open.add(str(path))
        if now:
            self._die()

    def append(self, path, content):
        if now := self._now():
            content = content[: len(content) // 2]
        super().append(path, content)
        if now:
            raise Killed

    def flush(self, path):
        if self._now():
            self._die()
        super().flush(path)
        self.open.discard(str(path))

    def remove(self, folder):
        if self._now():
            next(Path(folder).iterdir()).unlink()
            self._die()
        super().remove(folder)

    def make(self, folder):
        if self._now():
            self._die()
        super().make(folder)

    def rename(self, old, new):
        if self._now():
            self._die()
        super().rename(old, new)

    def settle(self, folder):
        if self._now():
            self._die()
        super().settle(folder)
