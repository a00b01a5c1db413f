# vendored from weeks/week10/scaling/optimizers/rule.py, sha256 aa8142d010420ec061031242825b88edbf3c0331d6574c14d9bd59d97517a2a9; edit there, then run: make vendor
"""What a row of OPTIMIZERS is: a pure update function, what it remembers, and its settings.

    update(grad, state, **settings) -> step        then, whatever the rule:  x -= lr * weight_decay * x;  x -= lr * step

"Pure" means: the step follows from the arguments alone. `update` writes into `state`, its memory from step to step; it
never writes into `grad`, and it never sees x. So the decay of every rule is decoupled from the gradient, as in SGDW and
AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, section 2).
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rule:
    """How one gradient becomes one step."""

    update: Callable  # (grad, state, **settings) -> step, of grad's shape
    start: Callable  # (parameter) -> state: a dict of tensors, before the first step
    settings: dict = field(default_factory=dict)  # the defaults; a group may give others
    matrices: bool = False  # takes stacks (n, rows, columns) alone; what is no hidden matrix goes to AdamW
