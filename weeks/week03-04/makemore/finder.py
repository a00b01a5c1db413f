"""A learning rate in one short run: let it grow from far too small to far too large, and watch the loss.

Source: Smith 2017, arXiv:1506.01186, section 3.3 (a linear sweep there; an exponential one here, as it is used now).
"""

import copy

from .fit import Recipe, fit


def sweep(model, data, low=1e-5, high=10.0, steps=200, batch_size=512, weight_decay=0.0, seed=0):
    """(rates, losses) of `steps` steps of AdamW whose rate grows by one factor a step from low to high.

    The first rate is low, the last one high. `fit` takes the steps, with `rate_of`. Works on a copy: `model` stays as
    it was. Ends early where the loss is no finite number or above four times the best; that loss is left out, and there
    are as many rates as losses. ValueError without 0 < low < high or with fewer than 2 steps: "a sweep from 1 to 0.1 in
    200 steps has no way to grow; give 0 < low < high".
    """
    if not 0 < low < high or steps < 2:
        raise ValueError(f"a sweep from {low:g} to {high:g} in {steps} steps has no way to grow; give 0 < low < high")
    rates, losses = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)], []
    recipe = Recipe(steps, batch_size, weight_decay=weight_decay)
    try:
        for _, loss in fit(copy.deepcopy(model), data, recipe, seed, rate_of=lambda step, _: rates[step]):
            if losses and loss > 4 * min(losses):
                break
            losses.append(loss)
    except FloatingPointError:  # the curve ends here
        pass
    return rates[: len(losses)], losses


def smooth(losses, memory=0.9):
    """Running mean of each loss and those before it, each step back weighing `memory` times less: a list as long.

    The weights are divided by their sum, so the first mean is the first loss.
    """
    total, weight, means = 0.0, 0.0, []
    for loss in losses:
        total, weight = memory * total + loss, memory * weight + 1.0
        means.append(total / weight)
    return means


def suggest(rates, losses):
    """The rate where the smoothed loss falls fastest: below it time is wasted, at the minimum it is too wild.

    It is the rate of the step before the largest fall. Raises ValueError with fewer than two losses: "the loss flew
    apart before a second rate was tried; start the sweep at a lower rate". Where the loss never falls: "the loss only
    rises; start the sweep at a lower rate".
    """
    means = smooth(losses)
    if len(means) < 2:
        raise ValueError("the loss flew apart before a second rate was tried; start the sweep at a lower rate")
    falls = [before - after for before, after in zip(means, means[1:])]
    if max(falls) <= 0:
        raise ValueError("the loss only rises; start the sweep at a lower rate")
    return rates[max(range(len(falls)), key=falls.__getitem__)]
