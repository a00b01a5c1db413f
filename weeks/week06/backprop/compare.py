"""Two tensors side by side: equal to the bit, equal as far as rounding goes, and how far apart at most."""

import torch


def cmp(name, mine, theirs):
    """Print one line about two gradients and return their largest difference.

        logits                (32, 27)      exact no    approximate yes  max difference 4.7e-09

    exact: every bit agrees. approximate: torch.allclose with its usual tolerances. Raises ValueError where the shapes
    differ, for a gradient has the shape of what it is the gradient of.
    """
    difference = max_difference(name, mine, theirs)
    exact = "yes" if torch.equal(mine, theirs) else "no"
    near = "yes" if torch.allclose(mine, theirs) else "no"
    shape = str(tuple(mine.shape))
    print(f"{name:<28} {shape:<15} exact {exact:<3}  approximate {near:<3}  max difference {difference:.1e}")
    return difference


def max_difference(name, mine, theirs):
    """The largest |mine - theirs|; a NaN on either side counts as infinitely far."""
    if mine.shape != theirs.shape:
        raise ValueError(
            f"the gradient of {name} has the shape {tuple(mine.shape)}, but autograd's has {tuple(theirs.shape)}; "
            "sum over what was broadcast, or transpose"
        )
    difference = (mine.detach() - theirs.detach()).abs().max().item() if mine.numel() else 0.0
    return difference if difference == difference else float("inf")
