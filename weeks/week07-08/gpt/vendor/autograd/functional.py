# vendored from weeks/week01-02/autograd/functional.py, sha256 08e044dd6c4aad5d0d1bdaf7afe2360a9cdcc6d499c96d7636185f196e14ffce; edit there, then run: make vendor
"""Functions that networks are made of, each with a backward of its own: fused, they are stable and fast.

`log_softmax` followed by picking the target's entry is cross-entropy too, but its chain rule would build the same
small numbers three times over. The gradient of the fused one is a single line: probabilities minus the truth.
"""

import numpy as np

from .graph import record
from .tensor import as_tensor


def softmax(x, axis=-1):
    """exp(x) / sum(exp(x)) along `axis`, for a Tensor or an array x of any shape; nothing overflows."""
    x = as_tensor(x)
    out = np.exp(_log_softmax(x.data, axis))
    return record(out, (x, lambda g: out * (g - (g * out).sum(axis, keepdims=True))))


def log_softmax(x, axis=-1):
    """x - log(sum(exp(x))) along `axis`; nothing overflows."""
    x = as_tensor(x)
    out = _log_softmax(x.data, axis)
    return record(out, (x, lambda g: g - np.exp(out) * g.sum(axis, keepdims=True)))


def _log_softmax(x, axis):
    """log_softmax of a plain array: x - log(sum(exp(x))) along `axis`, in the shape and dtype of x.

    1000 and -1000 among the elements cause no overflow and no warning.
    """
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def cross_entropy(logits, targets):
    """Mean of -log p(target). logits (N, C): unnormalised log-probabilities; targets (N,): integers below C.

    Raises ValueError for other shapes ("logits of shape (2, 3) do not fit targets of shape (1,); give (N, C) and (N,),
    with N of 1 or more"). `_indices` refuses targets that are no integers, and such as 3 where C is 3.
    """
    logits = as_tensor(logits)
    targets = _indices(targets, logits.shape[-1] if logits.ndim else 0, "target")
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not targets.size:
        raise ValueError(
            f"logits of shape {logits.shape} do not fit targets of shape {targets.shape}; "
            "give (N, C) and (N,), with N of 1 or more"
        )
    rows, log_p = np.arange(len(targets)), _log_softmax(logits.data, 1)

    def to_logits(g):
        p = np.exp(log_p)
        p[rows, targets] -= 1
        p *= g / len(rows)
        return p

    return record(-log_p[rows, targets].mean(), (logits, to_logits))


def embedding(weight, indices):
    """Row `indices[...]` of weight (V, D) for each index: (...,) -> (..., D)."""
    return weight[_indices(indices, weight.shape[0], "index")]


def dropout(x, p, rng):
    """Each element is 0 with probability p, else divided by 1 - p, so that the expectation stays. Only for training.

    Dropped are the elements for which rng.random(x.shape, dtype=np.float32), one draw, is below p. The dtype of x
    stays; for p = 0 the very tensor comes back. Raises ValueError for p below 0, or 1 and more ("the dropout
    probability is 1.0; it must be 0 or more and less than 1").
    """
    x = as_tensor(x)
    if not 0 <= p < 1:
        raise ValueError(f"the dropout probability is {p}; it must be 0 or more and less than 1")
    if p == 0:
        return x
    mask = (rng.random(x.shape, dtype=np.float32) >= p) * x.dtype.type(1 / (1 - p))
    return record(x.data * mask, (x, lambda g: g * mask))


def layer_norm(x, weight, bias, eps=1e-5):
    """Mean 0 and variance 1 along the last axis, then scaled and shifted. x (..., D), weight and bias (D,).

    Source: Ba et al. 2016, arXiv:1607.06450. The variance is the biased one, as in torch; eps is added to it. Raises
    ValueError ("layer_norm of (2, 3) needs a weight and a bias of shape (3,), not (2,) and (3,)").
    """
    x = as_tensor(x)
    if weight.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError(
            f"layer_norm of {x.shape} needs a weight and a bias of shape {x.shape[-1:]}, not {weight.shape} "
            f"and {bias.shape}"
        )
    centred = x.data - x.data.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps)
    normal, w = centred * scale, weight.data

    def to_x(g):
        g = g * w
        # moving x changes its own mean and variance too: take out of g what points along 1 and along `normal`
        return scale * (g - g.mean(-1, keepdims=True) - normal * (g * normal).mean(-1, keepdims=True))

    return record(normal * w + bias.data, (x, to_x), (weight, lambda g: g * normal), (bias, lambda g: g))


def _indices(values, limit, what):
    """Integers in 0 ... limit - 1, as an array."""
    values = np.array(values)  # a copy: the caller may write into theirs before the gradient comes back
    if values.dtype.kind not in "iu":
        raise TypeError(f"a {what} must be an integer, not {values.dtype}; convert with .astype(np.int64)")
    wrong = values[(values < 0) | (values >= limit)]
    if wrong.size:
        raise ValueError(f"the {what} {wrong[0]} is outside of 0 to {limit - 1}; {limit} classes or rows are there")
    return values
