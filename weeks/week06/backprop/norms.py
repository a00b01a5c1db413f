"""Batch norm and layer norm, forward and back by hand: first name by name, then in one expression.

    batch norm: every column of x is brought to mean 0 and variance 1 over the rows
    layer norm: every row of x is brought to mean 0 and variance 1 over its columns

They are one formula with another axis. The plain forms keep every intermediate value under a name (those of Karpathy's
fourth makemore lecture, without their prefix) and give back the gradient of each. Left out: running statistics, which
no gradient reaches.
"""

import torch


def sizes(x, layer):
    """(axes that the statistics go over, how many numbers each is of)."""
    axes = (-1,) if layer else tuple(range(x.dim() - 1))  # (B, T, C): batch norm goes over B and T, not B alone
    n = x.shape[-1] if layer else x.numel() // x.shape[-1]
    if n < 2:
        what = "one column" if layer else "one row"
        raise ValueError(f"{what} has no variance; give {'layer' if layer else 'batch'} norm two or more")
    return axes, n


# --- name by name -----------------------------------------------------------------------------------------------------


def norm_plain_forward(x, gain, bias, layer=False, correction=0, eps=1e-5):
    """x (..., C), gain (C,), bias (C,). correction 1 divides the variance by n - 1, as the lecture does."""
    axes, n = sizes(x, layer)
    v = {"x": x, "gain": gain, "axes": axes, "n": n, "correction": correction}
    v["mean"] = x.sum(axes, keepdim=True) / n
    v["diff"] = x - v["mean"]
    v["diff2"] = v["diff"] ** 2
    v["var"] = v["diff2"].sum(axes, keepdim=True) / (n - correction)
    v["inv"] = (v["var"] + eps) ** -0.5
    v["raw"] = v["diff"] * v["inv"]
    return gain * v["raw"] + bias, v


def norm_plain_backward(g, v):
    """A dictionary: the gradient of x, gain, bias and of every value by its name. Batch norm and layer norm use it."""
    axes, n = v["axes"], v["n"]
    leading = tuple(range(g.dim() - 1))  # gain and bias were stretched over these, whatever the statistics went over
    d = {"bias": g.sum(leading), "gain": (g * v["raw"]).sum(leading)}
    d["raw"] = g * v["gain"]
    d["inv"] = (d["raw"] * v["diff"]).sum(axes, keepdim=True)
    d["var"] = -0.5 * v["inv"] ** 3 * d["inv"]  # (s^(-1/2))' = -1/2 s^(-3/2), and inv is s^(-1/2)
    d["diff2"] = (d["var"] / (n - v["correction"])).expand_as(v["x"])  # a sum sends its gradient to all it summed
    d["diff"] = d["raw"] * v["inv"] + 2 * v["diff"] * d["diff2"]  # two ways back
    d["mean"] = -d["diff"].sum(axes, keepdim=True)
    d["x"] = d["diff"] + d["mean"] / n  # two ways back
    return d


# --- in one expression ------------------------------------------------------------------------------------------------


def norm_backward(g, saved):
    """dx = inv (h - mean(h) - raw mean(h raw) n / (n - correction)) with h = g gain: the README collapses it."""
    raw, inv, gain, axes, n, correction = saved
    leading = tuple(range(g.dim() - 1))
    h = g * gain
    along = (h * raw).sum(axes, keepdim=True) / (n - correction)  # how much of h goes along raw
    dx = inv * (h - h.mean(axes, keepdim=True) - raw * along)
    return dx, (g * raw).sum(leading), g.sum(leading)


def batch_norm_forward(x, gain, bias, correction=0, eps=1e-5):
    """Statistics over all axes but the last; the pair of batch_norm_backward."""
    return _forward(x, gain, bias, False, correction, eps)


def batch_norm_backward(g, saved):
    """(dx, dgain, dbias). The two sums in dx go over the same axes as dbias and dgain, so they are these two."""
    raw, inv, gain, axes, n, correction = saved
    dbias, dgain = g.sum(axes), (g * raw).sum(axes)
    dx = gain * inv * (g - dbias / n - raw * (dgain / (n - correction)))
    return dx, dgain, dbias


def layer_norm_forward(x, gain, bias, eps=1e-5):
    """Statistics over the last axis; the pair of norm_backward (Ba, Kiros and Hinton 2016)."""
    return _forward(x, gain, bias, True, 0, eps)


def _forward(x, gain, bias, layer, correction, eps):
    axes, n = sizes(x, layer)
    var, mean = torch.var_mean(x, axes, correction=correction, keepdim=True)
    inv = (var + eps).rsqrt()
    raw = (x - mean) * inv
    return gain * raw + bias, (raw, inv, gain, axes, n, correction)
