"""Scaling laws: fit the loss as a function of parameters and tokens, and ask the fit for advice.

    L(N, D) = E + A / N^alpha + B / D^beta          Hoffmann et al. 2022, arXiv:2203.15556, section 3.3

N: parameters, D: training tokens, L: loss in nats a token. E is what no model could do better, the next term what a
model of N parameters leaves, the last what D tokens leave. Pure functions of numbers; torch's L-BFGS does the search.
Left out: the learning-rate schedule as a third variable, data that is seen twice.
"""

import itertools
import math
from typing import NamedTuple

import torch

HUBER = 1e-3  # residuals of log L beyond this count by their size, not their square: one bad run must not bend the law
STARTS = tuple(itertools.product((1.0,), (2.0, 6.0), (0.4,), (2.0, 6.0), (0.3,)))  # log E, log A, alpha, log B, beta


class Law(NamedTuple):
    """The five numbers of a fit."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def loss(self, n, d):
        """Nats a token that a model of `n` parameters reaches after `d` tokens."""
        return self.E + self.A / n**self.alpha + self.B / d**self.beta

    def best(self, product):
        """(n, d) with n * d = `product` and the lowest loss: Hoffmann et al. 2022, equation 4."""
        g = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        n = g * product ** (self.beta / (self.alpha + self.beta))
        return n, product / n


def fit(rows, starts=STARTS):
    """The Law of rows (n, d, loss), by L-BFGS on the Huber loss of log L, from several starts; the best is returned.

    Raises ValueError for fewer rows than the law has numbers, or for rows that no law can have.
    """
    rows = [(float(n), float(d), float(loss)) for n, d, loss in rows]
    if len(rows) < len(Law._fields):
        raise ValueError(f"{len(rows)} runs cannot fix the {len(Law._fields)} numbers of a law; give more runs")
    if bad := [row for row in rows if not all(math.isfinite(x) and x > 0 for x in row)]:
        raise ValueError(f"{bad[0]} is no run: parameters, tokens and loss must be finite and above 0; leave it out")
    n, d, loss = torch.tensor(rows, dtype=torch.float64).T
    found = [descend(n.log(), d.log(), loss.log(), start) for start in starts]
    _, (log_e, log_a, alpha, log_b, beta) = min(found, key=lambda pair: pair[0])
    return Law(math.exp(log_e), math.exp(log_a), alpha, math.exp(log_b), beta)


def descend(log_n, log_d, log_loss, start):
    """(objective, parameters) where L-BFGS ends from one start. Logarithms keep every number of a size near 1."""
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([x], max_iter=200, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def objective():
        e, a, alpha, b, beta = x
        terms = torch.stack([e.expand_as(log_n), a - alpha * log_n, b - beta * log_d])
        # subtle: in units of HUBER. As they are, a thousandth each, L-BFGS would call the first step small and stop
        residual = (torch.logsumexp(terms, dim=0) - log_loss) / HUBER
        return torch.nn.functional.huber_loss(residual, torch.zeros_like(residual), reduction="sum")

    def closure():
        search.zero_grad()
        value = objective()
        (x.grad,) = torch.autograd.grad(value, x)
        return value

    search.step(closure)
    value = objective().item()
    return (value if math.isfinite(value) else math.inf), x.detach().tolist()


def residuals(law, rows):
    """Relative errors of a law on rows: predicted over measured, less 1."""
    return [law.loss(n, d) / loss - 1 for n, d, loss in rows]


def bootstrap(rows, count=100, seed=0):
    """`count` laws, each fitted to as many rows drawn with replacement: how far the fit depends on single runs.

    rows: tuples or lists. Each search starts at the fit of all rows. ValueError where too few of the rows differ.
    """
    rows = [tuple(row) for row in rows]  # lists, as JSON has them, cannot be counted in a set
    if len(set(rows)) < len(Law._fields):
        raise ValueError(
            f"{len(set(rows))} different runs cannot fix the {len(Law._fields)} numbers of a law; give more"
        )
    whole = fit(rows)
    start = (math.log(whole.E), math.log(whole.A), whole.alpha, math.log(whole.B), whole.beta)
    generator = torch.Generator().manual_seed(seed)
    laws = []
    while len(laws) < count:
        chosen = [rows[i] for i in torch.randint(len(rows), (len(rows),), generator=generator).tolist()]
        if len(set(chosen)) >= len(Law._fields):
            laws.append(fit(chosen, starts=[start]))
    return laws


def interval(values, share=0.8):
    """(low, high) that holds the middle `share` of the values."""
    ordered = sorted(values)
    low = (1 - share) / 2 * (len(ordered) - 1)
    pick = lambda place: ordered[int(place)] + (place % 1) * (ordered[math.ceil(place)] - ordered[int(place)])
    return pick(low), pick(len(ordered) - 1 - low)


def parabola(sizes, losses):
    """The size with the lowest loss by a parabola in log size: one IsoFLOP curve (Hoffmann et al. 2022, section 3.2).

    (size, loss) at its bottom; None where the parabola opens downwards or its bottom lies outside of what was measured.
    """
    x = torch.tensor(sizes, dtype=torch.float64).log()
    table = torch.stack([torch.ones_like(x), x, x * x], dim=1)
    c, b, a = torch.linalg.lstsq(table, torch.tensor(losses, dtype=torch.float64)[:, None]).solution[:, 0].tolist()
    if a <= 0 or not x.min() <= -b / (2 * a) <= x.max():
        return None
    return math.exp(-b / (2 * a)), c - b * b / (4 * a)


def power(x, y):
    """(c, e) of y = c x^e, a line through the logarithms: Kaplan et al. 2020, arXiv:2001.08361, section 1.2.

    Raises ValueError for fewer than two points, or for a number that has no logarithm.
    """
    if len(x) < 2 or not all(0 < value < math.inf for value in [*x, *y]):
        raise ValueError(f"{len(x)} points fix no power law; give two or more, of finite numbers above 0")
    table = torch.tensor([[1.0, math.log(value)] for value in x], dtype=torch.float64)
    target = torch.tensor([math.log(value) for value in y], dtype=torch.float64)[:, None]
    c, e = torch.linalg.lstsq(table, target).solution[:, 0].tolist()
    return math.exp(c), e


def valleys(rows):
    """[(budget, size, loss), ...] at the bottom of each IsoFLOP curve of rows (budget, size, loss); see `parabola`."""
    found = []
    for budget in sorted({budget for budget, _, _ in rows}):
        sizes, losses = zip(*sorted((size, loss) for other, size, loss in rows if other == budget))
        if len(sizes) >= 3 and (bottom := parabola(sizes, losses)):
            found.append((budget, *bottom))
    return found


def best_by(rows):
    """{x: lowest loss} of rows (x, loss): what a size, or a number of tokens, reached at its best."""
    return {x: min(loss for other, loss in rows if other == x) for x in sorted({x for x, _ in rows})}
