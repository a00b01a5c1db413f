# vendored from tools/shared/progress.py, sha256 08797fbffb563ef9deb193bc513fc7b8f7a8d41e8160270c59d7211053ed67d0; edit there, then run: make vendor
"""Progress bars: tqdm's on a terminal; anywhere else, such as a log, a plain line every ten seconds at most."""

import math
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
    """A file for tqdm: what it would draw over and over becomes a line, and only when the last one is old enough."""

    last, clock = -math.inf, time.monotonic  # of all bars together

    @classmethod
    def write(cls, text):
        text, now = text.strip(), cls.clock()
        if text and now - cls.last >= EVERY:
            cls.last = now
            sys.stderr.write(f"{text}\n")

    @staticmethod
    def flush():
        sys.stderr.flush()
