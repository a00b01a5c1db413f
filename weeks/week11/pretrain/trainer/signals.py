"""Ctrl-C and SIGTERM become a wish to stop: the step in progress is finished, and the run saves before it ends.

A second signal of the kind does what it always does, for whoever cannot wait.
"""

import signal
import threading

WISHES = (signal.SIGINT, signal.SIGTERM)


class Wish:
    """`number` is the signal that came, or 0. A context: outside it signals are what they were."""

    def __init__(self):
        self.number, self._before = 0, {}

    def _note(self, number, frame):
        self.number = number
        signal.signal(number, self._before[number])

    def __enter__(self):
        self.number = 0
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread listen
            for number in WISHES:
                self._before[number] = signal.getsignal(number)
                signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
