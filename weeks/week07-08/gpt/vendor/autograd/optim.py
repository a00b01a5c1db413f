# vendored from weeks/week01-02/autograd/optim.py, sha256 602e49d26f759d5ea2e0c4c6b8a1ca7c44648ed356433da852c0a50919947de9; edit there, then run: make vendor
"""Optimizers: how a gradient becomes a step. Each gives the numbers of torch's of the same name.

A parameter whose gradient is None is left as it is. `step` gives the parameter a new array and never writes into the
old one, so a graph that still needs the old values stays right. Left out: parameter groups, amsgrad, dampening.
"""

import math

import numpy as np


class Optimizer:
    """Keeps the parameters and, for each, the arrays that a method remembers. `lr` may be set before each step."""

    def __init__(self, parameters, lr):
        self.parameters, self.lr = list(parameters), lr
        if not self.parameters:
            raise ValueError("there are no parameters to optimize; pass model.parameters()")
        if not 0 <= lr < math.inf:  # nan is not below 0 either, and a step of it leaves nothing but nan
            raise ValueError(f"the learning rate is {lr}; it must be 0 or more, and finite")
        self.memory = [self.start(p.data) for p in self.parameters]
        self.steps = [0] * len(self.parameters)  # how many steps each has taken part in

    def start(self, x):
        """What is remembered of a parameter before the first step."""
        return ()

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def step(self):
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                self.steps[i] += 1
                p.data = self.update(p.data, p.grad, self.steps[i], *self.memory[i])

    def update(self, x, g, t, *memory):
        """The new array of a parameter x with gradient g in its step t = 1, 2, ...; writes into `memory` only."""
        raise NotImplementedError(f"{type(self).__name__} has no update(x, g, t, ...); write one")


class SGD(Optimizer):
    """x -= lr v, with v = momentum v + g; Nesterov looks ahead: x -= lr (g + momentum v).

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    """

    def __init__(self, parameters, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        if nesterov and not momentum:
            raise ValueError("nesterov=True looks ahead along the momentum, which is 0; give a momentum such as 0.9")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        super().__init__(parameters, lr)

    def start(self, x):
        return (np.zeros_like(x),) if self.momentum else ()

    def update(self, x, g, t, v=None):
        """v: the velocity, an array that is changed in place; None without momentum. weight_decay * x joins g first."""
        if self.weight_decay:
            g = g + self.weight_decay * x
        if v is not None:
            v *= self.momentum
            v += g
            g = g + self.momentum * v if self.nesterov else v
        return x - self.lr * g


class Adam(Optimizer):
    """x -= lr m' / (sqrt(v') + eps): m and v are running means of g and g^2, m' and v' freed of their start at 0.

    weight_decay here is L2: it joins the gradient, and so is divided by sqrt(v') too.
    Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
    """

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        if not all(0 <= b < 1 for b in betas):  # at 1 a memory takes in nothing new, and its correction divides by 0
            raise ValueError(f"betas are {betas}; each must be 0 or more and less than 1")
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        super().__init__(parameters, lr)

    def start(self, x):
        return np.zeros_like(x), np.zeros_like(x), np.empty_like(x)

    def update(self, x, g, t, m, v, room):
        if self.weight_decay:
            g = g + self.weight_decay * x
        return x - self.direction(g, t, m, v, room)

    def direction(self, g, t, m, v, room):
        """What `update` subtracts from x: lr m' / (sqrt(v') + eps), for the gradient g of step t = 1, 2, ...

        m and v are arrays of this parameter, 0 at first, changed in place and kept from step to step. `room` is a third
        one to compute in, so that no array need be made anew; it may be returned. m and v may be kept as running
        sums, of which two numbers, c1 and c2, make means at the end, or as running means: as right, only slower.
        """
        b1, b2 = self.betas
        c1, c2 = (1 - b1) / (1 - b1**t), math.sqrt((1 - b2) / (1 - b2**t))
        m *= b1
        m += g
        v *= b2
        v += np.multiply(g, g, out=room)
        # lr c1 m / (c2 sqrt(v) + eps), with c2 pulled out of the arrays
        np.sqrt(v, out=room)
        room += self.eps / c2
        np.divide(m, room, out=room)
        room *= self.lr * c1 / c2
        return room


class AdamW(Adam):
    """Adam whose decay does not pass through the division: x -= lr weight_decay x, then Adam's step.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
    """

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update(self, x, g, t, m, v, room):
        """x itself must not change: it may belong to a graph. m, v and room are what `direction` takes."""
        x = x * (1 - self.lr * self.weight_decay)
        x -= self.direction(g, t, m, v, room)
        return x


def cosine(step, steps, warmup=0):
    """Multiplier of the learning rate: up in a line over `warmup` steps, then half a cosine down to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
