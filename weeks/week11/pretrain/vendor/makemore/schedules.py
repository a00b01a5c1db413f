# vendored from weeks/week03-04/makemore/schedules.py, sha256 4c4af80784e3ec4a705161e7087fd603083e947688a02fdb8b57e7305508bd85; edit there, then run: make vendor
"""Learning-rate schedules: which share of its peak the rate has at each step.

    f(step, steps, warmup=0, floor=0.0) -> multiplier of the peak rate, between 0 and 1

Steps are counted from 0, and `steps` is the end, where a falling schedule has reached `floor`; the last step taken is
the one before it, so that none is wasted at a floor of 0. Every row of SCHEDULES first rises in a line over `warmup`
steps, from 1 / (warmup + 1), for a first step at rate 0 would be wasted too; step `warmup` is the first at the peak, 1.

Left out: restarts, a plateau before the fall (week 10). A further schedule is one function and one row.
"""

import math


def place(step, steps, warmup, floor):
    """(rise, passed, whole): the factor of the warm-up, and how many of the `whole` steps after it have passed.

    During the warm-up rise grows in a line from 1 / (warmup + 1) at step 0, and passed is 0; after it rise is 1. whole
    is at least 1, also where the warm-up is longer than the training.
    Raises ValueError where there is no such step: a rate from a wrong count would train badly and say nothing.
    - steps below 1, or 2**53 and more: "a training of 0 steps has no schedule; give 1 or more, and fewer than 2**53"
    - step outside of 0 ... steps: "step 11 is none of the 10 steps; count from 0, and give ..."
    - warmup below 0, or 2**53 and more: "a warm-up of -1 steps cannot be counted; give 0 or more, and ..."
    - floor outside of 0 ... 1: "floor is 2.0, but it is a share of the peak rate; give a number from 0 to 1"
    A number that is nan is refused too.
    """
    if not 1 <= steps < 2**53:  # from there on a float cannot tell two steps apart
        raise ValueError(f"a training of {steps} steps has no schedule; give 1 or more, and fewer than 2**53")
    if not 0 <= step <= steps:
        raise ValueError(f"step {step} is none of the {steps} steps; count from 0, and give as many steps as are taken")
    if not 0 <= warmup < 2**53:
        raise ValueError(f"a warm-up of {warmup} steps cannot be counted; give 0 or more, and fewer than 2**53")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is {floor}, but it is a share of the peak rate; give a number from 0 to 1")
    return min(1.0, (step + 1) / (warmup + 1)), max(0, step - warmup), max(1, steps - warmup)


def cosine(step, steps, warmup=0, floor=0.0):
    """Half a cosine from 1 to floor: slow at both ends. Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5."""
    rise, passed, whole = place(step, steps, warmup, floor)
    return rise * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * passed / whole)))


def linear(step, steps, warmup=0, floor=0.0):
    """A line from 1 to floor. Defazio et al. 2023, arXiv:2310.07831."""
    rise, passed, whole = place(step, steps, warmup, floor)
    return rise * (floor + (1 - floor) * ((whole - passed) / whole))


def constant(step, steps, warmup=0, floor=0.0):
    """1 to the end, above any floor: for short runs, and to see what the fall of the others buys."""
    rise, _, _ = place(step, steps, warmup, floor)
    return rise


SCHEDULES = {"cosine": cosine, "linear": linear, "constant": constant}
