# vendored from weeks/week12/lora/combine.py, sha256 7ad32073c2c8d7c7babd162c4c4e74d160ff4d3654382737f83e4b0f213f4e00; edit there, then run: make vendor
"""Several adapters merged into one: a further adapter, made of others without training.

`using(model, {"a": 0.5, "b": 0.5})` already runs a weighted sum, at the price of both. What stands here makes one
adapter of it, of one rank. A merge is a row of MERGES: from the adapters' changes of one layer to one change.

    linear     A = sum_i +-sqrt|w_i| A_i and B = sum_i sqrt|w_i| B_i: cheap, and crossed terms B_i A_j come along
    cat        A_i stacked, B_i side by side: exactly the sum, rank = the sum of the ranks
    svd        the sum, cut to its largest singular values
    ties       of each change only the largest numbers, one sign for each place, mean of those that have it;
               cut as svd (Yadav et al. 2023, "TIES-Merging", section 4)
    dare       of each change random numbers dropped and the others enlarged, so that the mean stays; summed; cut as svd
               (Yu et al. 2024, "Language Models are Super Mario", section 3)
    dare_ties  the dropping of dare, then the signs of ties

The names and what they compute are PEFT's (linear, cat, svd, ties_svd, dare_linear_svd, dare_ties_svd).
"""

import math
from dataclasses import dataclass

import torch

from .adapter import attach, require
from .config import LoRAConfig, is_number
from .variants.lora import LoRA


def changes(pairs):
    """What each pair (A, B) changes of the weight: a list of (out, in)."""
    return [B @ A for A, B in pairs]


def total(changes, shares):
    return sum(share * change for share, change in zip(shares, changes))


def cut(change, rank):
    """(A (rank, in), B (out, rank)): the best approximation of a change (out, in) of that rank."""
    U, S, Vh = torch.linalg.svd(change, full_matrices=False)
    A, B = change.new_zeros(rank, change.shape[1]), change.new_zeros(change.shape[0], rank)
    k = min(rank, len(S))
    A[:k], B[:, :k] = Vh[:k], U[:, :k] * S[:k]
    return A, B


def largest(change, density):
    """The share `density` of the numbers that is largest in size; 0 for the others."""
    kept = torch.zeros_like(change).flatten()
    kept[change.abs().flatten().topk(int(density * change.numel())).indices] = 1
    return change * kept.view_as(change)


def at_random(change, density, generator):
    """Each number kept with probability `density`, and divided by it: the mean over the draws is `change`."""
    p = torch.full_like(change, density, device="cpu")
    return change * torch.bernoulli(p, generator=generator).to(change.device) / density


def agreed(kept, shares):
    """For each place the sign of the sum of all; then the shares' sum over those that have it, a mean by count."""
    stack = torch.stack(kept)  # (n, out, in)
    sign = torch.where(stack.sum(0) >= 0, 1, -1)
    same = stack.sign() == sign
    weights = stack.new_tensor(shares)[:, None, None]
    return (stack * weights * same).sum(0) / same.sum(0).clamp(min=1)


# ----------------------------------------------------------------------------------------------------------------------
# the rows: (pairs [(A, B)], shares, rank, density, generator) -> (A, B)


def linear(pairs, shares, rank, density, generator):
    roots = [math.sqrt(abs(share)) for share in shares]
    A = sum(math.copysign(root, share) * A for root, share, (A, _) in zip(roots, shares, pairs))
    return A, sum(root * B for root, (_, B) in zip(roots, pairs))


def cat(pairs, shares, rank, density, generator):
    return torch.cat([share * A for share, (A, _) in zip(shares, pairs)]), torch.cat([B for _, B in pairs], dim=1)


def svd(pairs, shares, rank, density, generator):
    return cut(total(changes(pairs), shares), rank)


def ties(pairs, shares, rank, density, generator):
    return cut(agreed([largest(change, density) for change in changes(pairs)], shares), rank)


def dare(pairs, shares, rank, density, generator):
    return cut(total([at_random(change, density, generator) for change in changes(pairs)], shares), rank)


def dare_ties(pairs, shares, rank, density, generator):
    return cut(agreed([at_random(change, density, generator) for change in changes(pairs)], shares), rank)


@dataclass(frozen=True)
class Merge:
    function: object
    free_rank: bool = True  # does it take any rank? else the adapters' ranks decide
    thins: bool = True  # does it need a density?


MERGES = {
    "linear": Merge(linear, free_rank=False, thins=False),
    "cat": Merge(cat, free_rank=False, thins=False),
    "svd": Merge(svd, thins=False),
    "ties": Merge(ties),
    "dare": Merge(dare),
    "dare_ties": Merge(dare_ties),
}


@torch.no_grad()
def combine(model, name, shares, how="svd", *, rank=None, density=None, seed=0):
    """Attach a new plain LoRA `name`, made of the adapters {other: share} by a row of MERGES; returns its paths.

    A share may be negative: that takes an adapter's change away. Where an adapter has no part in a layer, the others
    make it. `rank` (default: the largest among them) and `density` (0 to 1, the share of numbers that is kept) are for
    the rows that use them. ValueError for anything that has no low-rank change of weights alone: DoRA, biases, modules.
    """
    row = _row(how, rank, density)
    found = _pairs(model, shares)
    ranks = {path: {A.shape[0] for A, _ in layer.values()} for path, layer in found.items()}
    if how == "linear" and (path := next((path for path, each in ranks.items() if len(each) > 1), None)):
        raise ValueError(
            f"linear adds factors of one rank, got ranks {sorted(ranks[path])} in {path}; use svd, which takes any"
        )
    rank = max(set.union(*ranks.values())) if rank is None else rank
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for path, layer in found.items():
        own = [shares[other] for other in layer]
        made[path] = row.function(list(layer.values()), own, rank, density, generator)
    # Every path, the longest first: a pattern is also the end of a longer path, which must have found its own by then.
    sizes = {path: made[path][0].shape[0] for path in sorted(made, key=len, reverse=True)}
    default = max(sizes.values())
    pattern = sizes if len(set(sizes.values())) > 1 else {}
    config = LoRAConfig(default, default, targets=tuple(made), rank_pattern=pattern, alpha_pattern=pattern)  # scale 1
    paths = attach(model, name, config, paths=made)
    for path, layer in require(model, name).items():
        part = layer.adapters[name]
        part.lora_A.copy_(made[path][0])
        part.lora_B.copy_(made[path][1])
    return paths


def _row(how, rank, density):
    if how not in MERGES:
        raise ValueError(f"there is no merge {how!r}; choose from {', '.join(MERGES)}")
    row = MERGES[how]
    if rank is not None and not row.free_rank:
        raise ValueError(f"rank {rank!r} is of no use to {how}, whose rank follows from the adapters; leave it out")
    if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool) or rank < 1):
        raise ValueError(f"rank must be a whole number from 1 up, got {rank!r}; leave it out for the largest")
    if density is not None and not row.thins:
        raise ValueError(f"density {density!r} is of no use to {how}, which keeps every number; leave it out")
    if row.thins and (not is_number(density) or not 0 < density <= 1):
        raise ValueError(f"{how} keeps a share of the numbers, so density must be above 0 and at most 1, got "
                         f"{density!r}; 0.5 is a good start")  # fmt: skip
    return row


def _pairs(model, shares):
    """{path: {adapter: (A, B)}} with each adapter's scale inside, its root in either factor."""
    if not isinstance(shares, dict) or not shares:
        raise ValueError(
            f'the adapters to combine must be {{name: share}}, got {shares!r}; {{"a": 0.5, "b": 0.5}} is one'
        )
    out = {}
    for other, share in shares.items():
        if not is_number(share) or not math.isfinite(share) or share == 0:
            raise ValueError(f"the share of {other!r} must be a number other than 0, got {share!r}; 1 takes all of it")
        for path, layer in require(model, other).items():
            part = layer.adapters[other]
            if not isinstance(part, LoRA) or part.bias is not None or set(part.own_tensors()) != {"lora_A", "lora_B"}:
                raise ValueError(
                    f"{other!r} changes {path} by more than a product of two factors ({type(part).__name__}), which "
                    "cannot be combined; merge it into the weights instead"
                )
            root = math.sqrt(part.scale)
            out.setdefault(path, {})[other] = tuple(root * factor for factor in part.pair())
    return out
