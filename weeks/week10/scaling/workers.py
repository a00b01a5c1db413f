"""Several runs at the same time, each in a process of one thread: small models leave a second core idle.

Left out: other machines (parallel.py has those), and work that is cheaper than starting a process (about 3 s).
"""

import signal

import torch
from torch import multiprocessing

given = ()  # in a worker: what `spread` was given


def spread(function, jobs, given=(), workers=1):
    """function(job, *given) for each job, in the order in which they end; here where there is one worker or one job.

    function: of a module, for the other process imports it. Tensors in `given` are shared, not copied. Processes start
    afresh: one that is forked may inherit a lock that a thread held.
    """
    if workers == 1 or len(jobs) < 2:
        yield from (function(job, *given) for job in jobs)
        return
    with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs)), _begin, given) as pool:
        yield from pool.imap_unordered(_Work(function), jobs)
        pool.close()
        pool.join()


def _begin(*things):
    global given
    given = things
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer: it ends the pool
    torch.set_num_threads(1)


class _Work:
    def __init__(self, function):
        self.function = function

    def __call__(self, job):
        return self.function(job, *given)
