# vendored from tools/shared/progress.py, sha256 39e8ec2322aea42285d9e200a7c1f4d778e6cdd17792e313edb8746fed4c4b98; edit there, then run: make vendor
"""Progress bars: tqdm's on a terminal; anywhere else, such as a log, a plain line every ten seconds at most."""

import sys
import time

from tqdm import tqdm

EVERY = 10  # seconds


def bar(iterable=None, label=None, **options):
    """A tqdm bar on stderr that disappears when it is done; `options` are tqdm's own."""
    options = {"desc": label, "leave": False, "mininterval": 0.5, **options}
    if not sys.stderr.isatty():
        options |= {"file": Lines, "mininterval": EVERY, "miniters": 1, "dynamic_ncols": False, "ascii": True}
    return tqdm(iterable, **options)


class Lines:
    """A file for tqdm: what it would draw over and over becomes a line, and only when the last one is old enough.

    A run of seconds writes none. What only moves the cursor (of a bar inside another) is dropped.
    """

    last, clock = None, time.monotonic  # when the last line was written, by whichever bar

    @classmethod
    def write(cls, text):
        line, now = text.strip(), cls.clock()
        if cls.last is None:
            cls.last = now
        if text.startswith("\r") and line and now - cls.last >= EVERY:
            cls.last = now
            sys.stderr.write(f"{line}\n")

    @staticmethod
    def flush():
        sys.stderr.flush()
