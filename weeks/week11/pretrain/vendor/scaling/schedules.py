# vendored from weeks/week10/scaling/schedules.py, sha256 0b53f40dedc9ee32260f3801bcb9d61b75bb21f74a99331eddb10acf3d66c094; edit there, then run: make vendor
"""Learning-rate schedules for runs whose end may move: week 3's three, and two that hold the rate before they fall.

    f(step, steps, warmup=0, floor=0.0) -> multiplier of the peak rate, between 0 and 1

The contract is week 3's (vendor/makemore/schedules.py): steps are counted from 0, `steps` is the end, and every row
rises in a line over `warmup` steps first. A cosine is tied to its end: another end is another rate at every step. The
two below are the same for every end until their fall begins, so one long run gives a checkpoint to fall from at many
lengths, and none of them costs a run of its own.

Source: Haegele et al. 2024, arXiv:2405.18392; the infinite one: Ibrahim et al. 2024, arXiv:2403.08763.
"""

import math

from ..makemore.schedules import SCHEDULES as WEEK3
from ..makemore.schedules import place


def stable_decay(step, steps, warmup=0, floor=0.0, *, decay=0.2):
    """Warm-up, stable, decay: 1, then a line down to floor over the last share `decay` of all steps, 1 step at least.

    Where the warm-up leaves less room, the fall is shorter. ValueError for another share than 0 < decay <= 1: "decay is
    1.5, but it is the share of the steps that the fall takes; ..."
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay is {decay}, but it is the share of the steps that the fall takes; give 0 < decay <= 1")
    rise, passed, whole = place(step, steps, warmup, floor)
    length = max(1, min(whole, round(decay * steps)))  # where the warm-up leaves less room, the fall is shorter
    fallen = max(0, passed - (whole - length)) / length
    return rise * (floor + (1 - floor) * (1 - fallen))


def infinite(step, steps=None, warmup=0, floor=0.0, *, anneal=0):
    """1 for ever; then, once an end is known, 1 - sqrt down to floor over the `anneal` steps before it.

    steps=None: no end yet. Training that goes on at the constant rate needs no new warm-up, which would cost what
    was learned; only the copy to be used falls. anneal=0: never falls. ValueError for an anneal below 0, or for a fall
    without an end: "a fall of 5 steps has no place before the end None; give both, or anneal=0"
    """
    if anneal < 0 or (anneal and steps is None):
        raise ValueError(f"a fall of {anneal} steps has no place before the end {steps}; give both, or anneal=0")
    rise, passed, whole = place(step, max(1, step) if steps is None else steps, warmup, floor)
    if not anneal:
        return rise
    length = min(whole, anneal)
    fallen = max(0, passed - (whole - length)) / length
    return rise * (floor + (1 - floor) * (1 - math.sqrt(fallen)))


SCHEDULES = {**WEEK3, "stable_decay": stable_decay, "infinite": infinite}
