"""What can be read off an adapter and off a series of runs: frontier, directions, equal sizes, bytes.

Sources: Hu et al. 2021, sections 7.2 and 7.3 (subspaces, amplification); Biderman et al. 2024, section 4
(learning against forgetting, singular values of the change). Left out: everything that trains (lab.py).
"""

import torch
from torch.autograd.graph import saved_tensors_hooks

from .layers import find
from .variants.base import sizes

# --- learned against forgotten ----------------------------------------------------------------------------------------


def frontier(points):
    """The points (learned, forgot) that no other beats, by rising learned. Another beats it: learned no less, forgot
    no more, and not both equal."""
    kept = []
    for learned, forgot in sorted(set(map(tuple, points)), key=lambda point: (-point[0], point[1])):
        if not kept or forgot < kept[-1][1]:
            kept.append((learned, forgot))
    return kept[::-1]


def forgot_at(points, learned):
    """What must be forgotten to learn that much: on the frontier, straight lines between its points, and from (0, 0),
    the base. None where no point learned as much."""
    way = [(0.0, 0.0), *(point for point in frontier(points) if point[0] > 0)]
    for (x0, y0), (x1, y1) in zip(way, way[1:]):
        if x0 <= learned <= x1:
            return y0 + (y1 - y0) * (learned - x0) / (x1 - x0)
    return None


# --- the change of a weight -------------------------------------------------------------------------------------------


def directions(change, share=0.9):
    """How many of its largest singular values hold `share` of the sum of all their squares; 0 for no change."""
    squares = torch.linalg.svdvals(change.double()).square()
    if not squares.sum() > 0:
        return 0
    # A rounding more than the exact share must not cost a direction.
    return int((squares.cumsum(0) < share * squares.sum() * (1 - 1e-12)).sum()) + 1


def overlap(one, other, i, j):
    """How much the first i right singular vectors of `one` lie in the first j of `other`: 0 nothing, 1 all of them.

    Both (rows, in). Hu et al. 2021, equation 4. Of random ones about max(i, j) / in.
    """
    first = torch.linalg.svd(one.double(), full_matrices=False)[2][:i]  # (i, in)
    second = torch.linalg.svd(other.double(), full_matrices=False)[2][:j]
    return ((first @ second.T).square().sum() / min(i, j)).item()


def amplification(change, weight, rank):
    """|change| over the size of what `weight` does in the change's first `rank` directions (Frobenius norms).

    Hu et al. 2021, section 7.3: much above 1, the change strengthens directions that the weight hardly has.
    """
    U, _, Vh = torch.linalg.svd(change.double(), full_matrices=False)
    there = U[:, :rank].T @ weight.double() @ Vh[:rank].T  # (rank, rank)
    return (change.double().norm() / there.norm()).item()


# --- size -------------------------------------------------------------------------------------------------------------


def rank_for(model, targets, budget):
    """The rank at which plain adapters on `targets` have about `budget` parameters, 1 at least."""
    layers = [model.get_submodule(path) for path in find(model, tuple(targets))]
    return max(1, round(budget / sum(sum(sizes(layer)) for layer in layers)))


def training_bytes(model, optimizer, inputs, targets):
    """{"weights", "gradients", "optimizer", "activations"}: what one step holds, counted after having made it.

    Activations are what autograd keeps for the way back, each tensor once, parameters and buffers not among them.
    """
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    held = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage  # holding it keeps its address from being given to another
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        _, loss = model(inputs, targets)
    activations = sum(storage.nbytes() for storage in held.values())
    held.clear()
    learns = [p for p in model.parameters() if p.requires_grad]
    for p, gradient in zip(learns, torch.autograd.grad(loss, learns)):
        p.grad = gradient
    optimizer.step()
    size = lambda tensors: sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors}.values())
    state = [t for slots in optimizer.state.values() for t in slots.values() if torch.is_tensor(t)]
    return {
        "weights": size((*model.parameters(), *model.buffers())),
        "gradients": size(p.grad for p in model.parameters() if p.grad is not None),
        "optimizer": size(state),
        "activations": activations,
    }
