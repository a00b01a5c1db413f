"""Sizes and settings that stand in one place: the defaults of the commands, and what the main job runs with."""

from dataclasses import dataclass, replace

from .train import TrainConfig, option
from .vendor.lora.adapter import VARIANTS, LoRAConfig
from .vendor.shared.errors import Mistake


@dataclass(frozen=True)
class Shape:
    """The model's size. n_head must divide n_embd, and n_kv_head must divide n_head."""

    vocab_size: int = option(2048, "tokens of the vocabulary")
    block_size: int = option(256, "longest context in tokens")
    n_layer: int = option(5, "blocks")
    n_head: int = option(6, "query heads of a block")
    n_kv_head: int = option(2, "key/value heads, shared by query heads")
    n_embd: int = option(192, "width")
    dropout: float = option(0.0, "share of activations that training leaves out")


@dataclass(frozen=True)
class Lora:
    """The adapter of a published model, whose own weights stay as they are."""

    rank: int = option(8, "rank of each layer's correction")
    alpha: float = option(16.0, "the correction is scaled by alpha / rank")
    targets: str = option("all-linear", "layers to adapt, such as attn.q,attn.v")
    variant: str = option("lora", f"kind of adapter: {', '.join(VARIANTS)}")

    @classmethod
    def of(cls, config):
        """The options that give the adapter of a LoRAConfig."""
        return cls(config.rank, config.alpha, ",".join(config.targets), config.variant)

    def config(self):
        try:
            return LoRAConfig(self.rank, self.alpha, targets=tuple(self.targets.split(",")), variant=self.variant)
        except ValueError as error:
            raise Mistake(str(error)) from error


SHAPE = Shape()
PRETRAIN = TrainConfig()
LATER = TrainConfig(steps=80, warmup=8, lr=1e-3)  # a later domain of a small model: fewer steps, and half the rate
ADAPT_ROWS = TrainConfig(steps=80, lr=1e-3, warmup=5, weight_decay=0.0)  # LoRA; the steps follow from the rows
ADAPT_TEXT = replace(ADAPT_ROWS, batch_size=4)  # every token of a row is judged, and a large vocabulary makes that dear
EPOCHS = 2  # passes over the rows of a task
ROW_LENGTH = 256  # tokens of a training row of a published model
REPLAY_ROWS = 4  # kept rows that join a step on a published model, whose rows are dear
