"""Two moons: points on two interleaved half circles, which no straight line can part; and a network that parts them.

The shapes are those of scikit-learn's `make_moons`; the labels are -1 and 1, for the hinge loss.
"""

import math
import random

from .engine import dot


def moons(n=100, noise=0.1, seed=0):
    """n points (x, y) and their n labels. The first half lies on the upper moon (-1), the second on the lower (1).

    The upper moon is the upper half of the unit circle: n // 2 angles in equal steps from 0 to pi, both ends included
    (n = 2: angle 0 alone). The lower moon is made of the upper one: (x, y) becomes (1 - x, 0.5 - y). `noise` is the
    standard deviation of what is added to each coordinate, drawn from random.Random(seed).
    Raises ValueError for a number of points that is odd or below 2 ("two moons of equal size cannot have 7 points; give
    an even number, 2 or more"), and for noise that is below 0, infinite or nan ("noise -0.1 is not a standard
    deviation; give a number that is 0 or more, as 0.1").
    """
    if n < 2 or n % 2:
        raise ValueError(f"two moons of equal size cannot have {n} points; give an even number, 2 or more")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise {noise} is not a standard deviation; give a number that is 0 or more, as 0.1")
    rng = random.Random(seed)
    points, labels = [], []
    for label in (-1, 1):
        for i in range(n // 2):
            angle = math.pi * i / max(1, n // 2 - 1)
            x, y = math.cos(angle), math.sin(angle)
            if label == 1:
                x, y = 1 - x, 0.5 - y
            points.append((x + rng.gauss(0.0, noise), y + rng.gauss(0.0, noise)))
            labels.append(label)
    return points, labels


def objective(model, points, labels, decay=1e-4):
    """(loss, accuracy) over all points: a Value, and a plain number between 0 and 1.

    loss: the mean over the points of max(0, 1 - label * score), the hinge loss, plus decay * the sum of all squared
    parameters. The score of a point is model(point)[0]. The hinge loss asks for a margin: a point on the right side
    still costs something while label * score is below 1. accuracy: the share of points on the right side; a score above
    0 stands for the label 1, any other for -1.
    """
    scores = [model(point)[0] for point in points]
    losses = [(1 - label * score).relu() for label, score in zip(labels, scores)]
    parameters = model.parameters()
    loss = sum(losses) / len(losses) + decay * dot(parameters, parameters)
    hits = sum((score.data > 0) == (label > 0) for label, score in zip(labels, scores))
    return loss, hits / len(labels)


def train(model, points, labels, steps=100, rate=0.3, momentum=0.9, decay=1e-4):
    """Gradient descent on all points at once; yields (loss, accuracy) of each step as plain numbers, before the update.

    The update is torch's SGD with momentum: a velocity for each parameter, momentum * its last velocity + gradient; the
    parameter then loses (learning rate * velocity). The learning rate of step k = 0, 1, ... is
    rate * (1 - 0.9 * k / steps), a line from `rate` towards a tenth of it. Raises FloatingPointError where the loss is
    no longer a finite number ("the loss is nan at step 3; give a learning rate below 0.3").
    """
    parameters = model.parameters()
    velocity = [0.0] * len(parameters)
    for step in range(steps):
        loss, accuracy = objective(model, points, labels, decay)
        if not math.isfinite(loss.data):
            raise FloatingPointError(f"the loss is {loss.data} at step {step}; give a learning rate below {rate:g}")
        yield loss.data, accuracy
        model.zero_grad()
        loss.backward()
        pace = rate * (1.0 - 0.9 * step / steps)
        for i, parameter in enumerate(parameters):
            velocity[i] = momentum * velocity[i] + parameter.grad
            parameter.data -= pace * velocity[i]
