"""Work on batches in several processes, with the answers in order and never more than a few batches in memory.

A pool's own map would read all of the input at once, so that a fast reader fills the memory. Here a batch is read only
when one has been answered. Left out: threads (Python works on one at a time), machines.
"""

import multiprocessing
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from ..vendor.shared.errors import Mistake

WAITING = 2  # batches for each process: one at work, one ready


def ordered(function, batches, workers, start, *given):
    """function(batch) for every batch, in order, computed by `workers` processes after each has called start(*given).

    With one worker everything happens here, in this process. `function` and `start` must be at the top of a module.
    """
    if workers == 1:
        start(*given)
        yield from map(function, batches)
        return
    # spawn: a new process inherits neither threads nor memory, and it is the same on every system
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(start, *given))
    try:
        running = deque()
        for batch in batches:
            running.append(pool.submit(function, batch))
            if len(running) >= WAITING * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except BrokenProcessPool:
        raise Mistake(
            "a worker was ended from outside, most likely for want of memory; give fewer workers, and start again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(start, *given):
    """Ctrl-C reaches every process of a terminal; the one that started the others answers it, and ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start(*given)


def batched(items, most):
    """Lists of items whose lengths add up to about `most`: a batch ends with the item that reaches it."""
    batch, size = [], 0
    for item in items:
        batch.append(item)
        size += len(item) + 1  # also empty items need a little
        if size >= most:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
