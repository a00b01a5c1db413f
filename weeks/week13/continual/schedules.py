"""Learning rates over a sequence of tasks, for continual pre-training: what happens to the rate where a task begins.

    f(i, n, steps) -> schedule, that is step -> multiplier of the peak rate, of task i of n with `steps` steps each

`rewarm` is the recipe of Ibrahim et al. 2024 (arXiv:2403.08763), together with a few old rows in each batch (the method
"replay": they take about 5 % of a batch where the new text is like the old one, 25 % where it is not). The other two
are what it is measured against. All three are arguments of the loop, not methods: they protect nothing by themselves.

Left out: the same paper's infinite schedule, a constant rate between a first warm-up and a fall at the end (week 10).
"""

from .vendor.makemore.schedules import cosine

WARMUP = 0.01  # share of a task's steps, at least one step
FLOOR = 0.1  # share of the peak where the fall ends


def rewarm(i, n, steps):
    """Up to the full peak again, and down again, for each task. What is learned well, and what forgets the most."""
    return lambda step: cosine(step, steps, warmup=max(1, round(WARMUP * steps)), floor=FLOOR)


def stay_low(i, n, steps):
    """The first task rises and falls; the later ones go on at the floor: little is forgotten, and little learned."""
    return rewarm(i, n, steps) if i == 0 else lambda step: FLOOR


def once(i, n, steps):
    """One rise and one fall over all tasks together: what joint training would do. It must know `n` beforehand."""
    return lambda step: cosine(i * steps + step, n * steps, warmup=max(1, round(WARMUP * n * steps)), floor=FLOOR)


SCHEDULES = {"rewarm": rewarm, "stay_low": stay_low, "once": once}
