# vendored from weeks/week07-08/gpt/sampling.py, sha256 b2264f4865fe85d1534d0619801be8aee9b6707812cafec0c24cf55abe319a65; edit there, then run: make vendor
"""From logits to a token: greedy, temperature, top-k, top-p, min-p. Pure functions on logits (B, V).

A filter sets what it drops to -inf and leaves the rest as it was; `sample` chains them in the usual order
(temperature, top-k, top-p, min-p) and draws. Left out: beam search. This file stands alone: week 14 vendors it.
"""

import torch


def greedy(logits):
    """The most likely token of each row: (B, V) -> (B,). Of equals, the lowest id."""
    return logits.argmax(dim=-1)


def temperature_scale(logits, temperature: float):
    """logits / temperature: below 1 sharpens, above 1 flattens."""
    if not 0.0 < temperature < float("inf"):
        raise ValueError(f"temperature is {temperature!r}; give a number above 0 (in sample(), 0 means greedy)")
    return logits / temperature


def top_k_filter(logits, k: int):
    """Keep the k most likely tokens of each row, and any that tie with the k-th; k beyond V keeps all."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"top_k is {k!r}; give a whole number of 1 or more, or None to keep every token")
    kth = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]  # (B, 1)
    return logits.masked_fill(logits < kth, float("-inf"))


def top_p_filter(logits, p: float):
    """Keep the smallest set of most likely tokens whose mass is at least p (Holtzman et al. 2020): never empty."""
    if not 0.0 < p <= 1.0:
        raise ValueError(f"top_p is {p!r}; give a mass above 0 and at most 1, or None to keep every token")
    if p == 1.0:
        return logits  # rounding in the sum below must not drop the tail
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)  # stable: of equals the lowest id, as greedy
    mass = ordered.float().softmax(dim=-1).cumsum(dim=-1)  # (B, V): the first 1, 2, 3 ... tokens together
    drop = mass.roll(1, dims=-1) >= p  # those before this token are enough without it
    drop[..., 0] = False  # the likeliest has none before it
    return logits.masked_fill(drop.scatter(-1, order, drop), float("-inf"))


def min_p_filter(logits, p: float):
    """Keep the tokens at least p times as likely as the likeliest (Nguyen et al. 2024)."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"min_p is {p!r}; give a share from 0 to 1, or None to keep every token")
    probs = logits.float().softmax(dim=-1)
    return logits.masked_fill(probs < p * probs.amax(dim=-1, keepdim=True), float("-inf"))


def penalise_repetition(logits, ids, penalty: float):
    """Make the tokens already in each row's text less likely (Keskar et al. 2019, section 4.1): a positive logit is
    divided by `penalty`, a negative one multiplied, once however often the token stands there.

    ids (B, L) int64, -1 where a row has fewer; 1 changes nothing, below 1 favours what was said.
    """
    if not 0.0 < penalty < float("inf"):
        raise ValueError(f"repetition_penalty is {penalty!r}; give a number above 0, where 1 changes nothing")
    said = torch.zeros_like(logits, dtype=torch.bool).scatter_add_(-1, ids.clamp(min=0), ids >= 0)  # (B, V)
    return torch.where(said, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def draw(probs, uniform):
    """The token of each row at which the summed mass passes that row's number: (B, V), (B,) -> (B,).

    uniform: float32 in [0, 1), so that its product with the whole mass stays below it. Rows do not share a generator:
    what one gets does not depend on the others.
    """
    mass = probs.double().cumsum(dim=-1)  # (B, V)
    return torch.searchsorted(mass, uniform.double()[:, None] * mass[:, -1:], right=True).squeeze(-1)


def sample(logits, *, temperature=1.0, top_k=None, top_p=None, min_p=None, generator=None, uniform=None):
    """Draw one token a row: (B, V) -> (B,) int64. temperature 0 is greedy; every wrong value raises ValueError.

    The same generator state and logits give the same tokens; or give `uniform` (B,), one number in [0, 1) for each
    row, which then decides that row alone. A row with nan, +inf, or nothing but -inf raises.
    """
    if logits.dim() != 2 or logits.shape[-1] == 0:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; give (batch, vocabulary), e.g. logits[:, -1]")
    if not torch.isfinite(logits.amax(dim=-1)).all():  # amax passes nan on
        raise ValueError(
            "logits hold nan, +inf, or a row of nothing but -inf, so there is nothing to draw from; "
            "the weights are probably broken: load an earlier checkpoint"
        )
    # the filters also run for temperature 0: a wrong value is told even where greedy would not use it
    filtered = logits if temperature == 0 else temperature_scale(logits, temperature)
    if top_k is not None:
        filtered = top_k_filter(filtered, top_k)
    if top_p is not None:
        filtered = top_p_filter(filtered, top_p)
    if min_p is not None:
        filtered = min_p_filter(filtered, min_p)
    if temperature == 0:
        return greedy(logits)
    probs = filtered.float().softmax(dim=-1)
    if uniform is not None:
        return draw(probs, uniform)
    return torch.multinomial(probs, num_samples=1, generator=generator).squeeze(-1)
