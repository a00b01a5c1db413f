# vendored from weeks/week13/continual/methods/slow_lora.py, sha256 1c131f990940950ac7632bf45cbfd8c2d896feb16f067aa2c01cd5592f5479a4; edit there, then run: make vendor
"""Slow EMA adapter: one adapter learns every task in turn, its moving average is served (SuRe, arXiv 2511.22367).

The average is of A and of B by themselves, as there: not of their product.
"""

from dataclasses import dataclass, field

from .ema import EMA, check_decay
from .grown import AdapterConfig
from .lora import SequentialLoRA


@dataclass(frozen=True)
class SlowLoRAConfig(AdapterConfig):
    decay: float = field(default=0.995, metadata={"help": "share of the slow adapter that a step leaves in place"})

    def __post_init__(self):
        super().__post_init__()
        check_decay(self.decay)


class SlowLoRA(EMA, SequentialLoRA):
    """EMA whose only weights are those of the adapter."""

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(SlowLoRAConfig() if config is None else config, seed=seed)

    def view(self, learner, name):
        self.place(learner.model)
        return super().view(learner, name)
