"""Two moons: points on two interleaved half circles, which no straight line can part; and a network that parts them.

The shapes are those of scikit-learn's `make_moons`; the labels are -1 and 1, for the hinge loss.
"""

import math
import random

from .engine import dot


def moons(n=100, noise=0.1, seed=0):
    """n points (x, y) and their n labels. The first half lies on the upper moon (-1), the second on the lower (1).

    The upper moon is the upper half of the unit circle, the lower one its mirror image, moved by (1, 0.5). `noise` is
    the standard deviation of what is added to each coordinate. Raises ValueError for a number of points that is odd
    or below 2, and for noise below 0 or infinite.
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
    """(loss, accuracy) over all points: mean hinge loss + decay * sum of squared parameters, and the share of hits.

    The hinge loss max(0, 1 - label * score) asks for a margin: a point on the right side still counts while its score
    is below 1.
    """
    scores = [model(point)[0] for point in points]
    losses = [(1 - label * score).relu() for label, score in zip(labels, scores)]
    parameters = model.parameters()
    loss = sum(losses) / len(losses) + decay * dot(parameters, parameters)
    hits = sum((score.data > 0) == (label > 0) for label, score in zip(labels, scores))
    return loss, hits / len(labels)


def train(model, points, labels, steps=100, rate=0.3, momentum=0.9, decay=1e-4):
    """Gradient descent on all points at once; yields (loss, accuracy) of each step as plain numbers, before the update.

    The learning rate falls in a line from `rate` to a tenth of it. Raises FloatingPointError where the loss is no
    longer a finite number.
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
