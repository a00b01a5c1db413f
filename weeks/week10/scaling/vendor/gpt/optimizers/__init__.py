# vendored from weeks/week07-08/gpt/optimizers/__init__.py, sha256 317f900ee29c0ece1e98a237aebc32de0956d01c648866109f9d20e075a05c1c; edit there, then run: make vendor
"""The optimizers that a recipe can name. A further one is a file with one function, and a row of OPTIMIZERS.

f(named, *, lr, weight_decay, betas) -> torch.optim.Optimizer        named: {name: Parameter}
"""

from .adamw import adamw
from .groups import groups
from .sgd import sgd

OPTIMIZERS = {"adamw": adamw, "sgd": sgd}

__all__ = ["OPTIMIZERS", "adamw", "groups", "make", "sgd"]


def make(name, named, *, lr, weight_decay, betas=(0.9, 0.99)):
    """The optimizer `name` for the parameters {name: Parameter}; an unknown name raises ValueError."""
    if name not in OPTIMIZERS:
        raise ValueError(f"there is no optimizer {name!r}; choose from {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name](named, lr=lr, weight_decay=weight_decay, betas=betas)
