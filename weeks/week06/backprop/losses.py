"""Softmax and cross-entropy, forward and back by hand: first name by name, then in one expression.

The plain forms keep every intermediate value in a dictionary and return the gradient of each under the same name, so
that a mistake shows where it was made. Names and order follow Karpathy's fourth makemore lecture.
"""

import torch

# --- softmax ----------------------------------------------------------------------------------------------------------


def softmax_forward(x):
    """p_j = exp(x_j) / sum_k exp(x_k) along the last axis; a row of x may hold -inf, but not only."""
    counts = torch.exp(x - x.amax(-1, keepdim=True))
    p = counts / counts.sum(-1, keepdim=True)
    return p, (p,)


def softmax_backward(g, saved):
    """dx = p (g - sum_k g_k p_k): what is above the row's mean, weighted by p, is pushed up, the rest down."""
    (p,) = saved
    return (p * (g - (g * p).sum(-1, keepdim=True)),)


# --- cross-entropy, name by name --------------------------------------------------------------------------------------


def cross_entropy_plain_forward(logits, targets):
    """The mean of -log p[target] over N rows: logits (N, V), targets (N,). Returns (loss, every value by its name).

    A probability can be too small for a float. At logits [1000, 0] and target 1 it is 0, its log -inf: the loss is inf
    and the gradient nan, though the true loss is 1000. The form in one expression never takes the log of a probability.
    """
    check_targets(logits, targets)
    v = {"logits": logits, "targets": targets}
    v["maxes"] = logits.amax(1, keepdim=True)  # (N, 1); subtracted so that no exponential overflows
    v["norm"] = logits - v["maxes"]  # (N, V)
    v["counts"] = v["norm"].exp()  # (N, V)
    v["sums"] = v["counts"].sum(1, keepdim=True)  # (N, 1)
    v["inverse"] = v["sums"] ** -1  # (N, 1)
    v["probs"] = v["counts"] * v["inverse"]  # (N, V)
    v["logprobs"] = v["probs"].log()  # (N, V)
    loss = -v["logprobs"][torch.arange(len(targets)), targets].mean()  # ()
    return loss, v


def cross_entropy_plain_backward(g, v):
    """A dictionary with the gradient of every float tensor in v. g, the gradient of the loss, is one number."""
    N, V = v["logits"].shape
    d = {"logprobs": torch.zeros_like(v["logits"])}
    d["logprobs"][torch.arange(N), v["targets"]] = -1 / N  # only the target's entry was read; a mean gives 1 / N
    d["logprobs"] = d["logprobs"] * g
    d["probs"] = d["logprobs"] / v["probs"]  # log' = 1 / p
    d["inverse"] = (d["probs"] * v["counts"]).sum(1, keepdim=True)  # (N, 1) was stretched over V columns: a sum
    d["sums"] = -(v["sums"] ** -2) * d["inverse"]  # (1 / s)' = -1 / s^2
    d["counts"] = d["probs"] * v["inverse"] + d["sums"]  # two ways back: the product, and the sum (stretched again)
    d["norm"] = d["counts"] * v["counts"]  # exp' = exp
    d["maxes"] = -d["norm"].sum(1, keepdim=True)  # zero but for rounding: moving all logits changes no probability
    winner = torch.zeros_like(v["logits"])
    winner[v["logits"] == v["maxes"]] = 1.0
    winner = winner / winner.sum(1, keepdim=True)  # equal maxima share, as in PyTorch's amax
    d["logits"] = d["norm"] + winner * d["maxes"]  # two ways back again
    return d


# --- cross-entropy, in one expression ---------------------------------------------------------------------------------


def cross_entropy_forward(logits, targets):
    """The same loss from log-softmax."""
    check_targets(logits, targets)
    shifted = logits - logits.amax(1, keepdim=True)
    logprobs = shifted - shifted.exp().sum(1, keepdim=True).log()  # (N, V)
    return -logprobs.gather(1, targets[:, None]).mean(), (logprobs, targets)


def cross_entropy_backward(g, saved):
    """Probabilities minus truth, over N, times g: (p - onehot) g / N."""
    logprobs, targets = saved
    d = logprobs.exp()
    d[torch.arange(len(targets)), targets] -= 1
    return (d * (g / len(targets)),)


def check_targets(logits, targets):
    """Raises ValueError for targets that are no column of the logits, TypeError for targets that are no whole numbers.

    A negative one would otherwise be read from the row's end, and the loss would be quietly wrong.
    """
    if targets.dtype != torch.long:
        raise TypeError(f"targets of {targets.dtype} are no ids; give whole numbers, as targets.long()")
    if logits.dim() != 2 or targets.shape != logits.shape[:1]:
        shapes = f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)}"
        raise ValueError(f"{shapes} do not fit; give (N, V) and (N,)")
    if len(targets) == 0:
        raise ValueError("there are no rows, so they have no mean; give one row or more")
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise ValueError(
            f"targets from {targets.min()} to {targets.max()} do not fit logits of {logits.shape[1]} columns; "
            f"give ids from 0 to {logits.shape[1] - 1}"
        )
