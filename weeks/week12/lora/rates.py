"""LoRA+: a higher learning rate for B than for A. Hayou, Ghosh, Yu 2024, "LoRA+", sections 4 and 5.

B starts at 0 and A does not, and in a wide layer one rate for both lets A's changes add little. The paper sets B's rate
to `ratio` times A's and finds 16 good (section 5; there for tasks far from what the base has learned).
"""

from .adapter import parameters


def groups(model, name, *, lr, ratio=16.0):
    """Two groups for an optimizer of adapter `name`: A at `lr`, B and vectors at ratio * lr. Frozen ones in neither.

    PEFT counts vectors among what writes to the output, too; its third rate, for embeddings, is left out.
    An optimizer that is given no rate of its own for a group takes these: torch.optim.AdamW(groups(...)).
    """
    if not ratio >= 1:
        raise ValueError(f"ratio must be at least 1, got {ratio!r}: B learns faster than A; 16 is a good start")
    slow, fast = [], []
    for key, p in parameters(model, name).items():
        if p.requires_grad:
            (fast if key.endswith(".lora_B") or p.ndim == 1 else slow).append(p)
    return [group for group in ({"params": slow, "lr": lr}, {"params": fast, "lr": lr * ratio}) if group["params"]]
