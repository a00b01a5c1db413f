"""O-LoRA (Wang et al. 2023, section 3): a new adapter each task, which reads other directions than the old ones do.

    loss + strength * sum over layers and old adapters of sum |A_old A_new^T|

The rows of A span what an adapter reads of its input. Where the new ones are orthogonal to the old, the new adapter
hardly answers to what the old ones answer to. The sum of absolute values is that of the authors' code; the paper
writes squares.
"""

from dataclasses import dataclass, field

from .grown import AdapterConfig
from .lora import IncLoRA


@dataclass(frozen=True)
class OLoRAConfig(AdapterConfig):
    strength: float = field(default=0.5, metadata={"help": "weight of the overlap with older adapters"})

    def __post_init__(self):
        super().__post_init__()
        if not self.strength >= 0:
            raise ValueError(f"strength is {self.strength}; use 0 (no penalty) or more")


class OLoRA(IncLoRA):
    """IncLoRA with a penalty on the overlap of the adapters."""

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(OLoRAConfig() if config is None else config, seed=seed)

    def loss(self, learner, batch):
        loss = super().loss(learner, batch)
        if len(self.adapters) < 2 or self.config.strength == 0:
            return loss
        return loss + self.config.strength * self.overlap()

    def overlap(self):
        """Scalar: sum of |A_old A_new^T| over all layers and old adapters; A is (r, in)."""
        *old, new = self.adapters
        return sum(
            (adapter[key].detach() @ A.T).abs().sum()
            for key, A in new.items() if key.endswith("lora_A")
            for adapter in old
        )  # fmt: skip
