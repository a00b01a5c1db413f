"""Sizes and settings that stand in one place: the defaults of the commands, and what the main job runs with."""

from dataclasses import dataclass, fields, replace

from .config import GPTConfig
from .train import TrainConfig, option
from .vendor.lora.adapter import VARIANTS, LoRAConfig
from .vendor.shared.errors import Mistake


@dataclass(frozen=True)
class Shape:
    """The size of a new model. n_head must divide n_embd, and n_kv_head must divide n_head."""

    vocab_size: int = option(2048, "tokens of the vocabulary")
    block_size: int = option(256, "longest context in tokens")
    n_layer: int = option(4, "blocks")
    n_head: int = option(5, "query heads of a block")
    n_kv_head: int = option(1, "key/value heads, shared by query heads")
    n_embd: int = option(160, "width")
    dropout: float = option(0.0, "share of activations that training leaves out")


ADAPTERS = [name for name in VARIANTS if name != "fused"]  # q, k and v are layers of their own here


@dataclass(frozen=True)
class Lora:
    """The adapter of a published model, whose own weights stay as they are."""

    rank: int = option(8, "rank of each layer's correction")
    alpha: float = option(16.0, "the correction is scaled by alpha / rank")
    targets: str = option("all-linear", "layers to adapt, such as attn.q,attn.v")
    variant: str = option("lora", f"kind of adapter: {', '.join(ADAPTERS)}")

    @classmethod
    def of(cls, config):
        """The options that give the adapter of a LoRAConfig."""
        return cls(config.rank, config.alpha, ",".join(config.targets), config.variant)

    def config(self):
        if self.variant == "fused":
            known = ", ".join(ADAPTERS)
            raise Mistake(f"--variant fused is for q, k and v in one layer, and here each has its own; choose {known}")
        try:
            return LoRAConfig(self.rank, self.alpha, targets=tuple(self.targets.split(",")), variant=self.variant)
        except ValueError as error:
            raise Mistake(str(error)) from error


def ingredients(words):
    """{field: value} of words such as "mlp=gelu": the fields of the config that `Shape` gives no option."""
    sizes = {f.name for f in fields(Shape)}
    kinds = {f.name: f.type for f in fields(GPTConfig) if f.name not in sizes}
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            kind = kinds[name]
            found[name] = {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            known = ", ".join(f"{n}={'true' if k is bool else k.__name__}" for n, k in kinds.items())
            raise Mistake(f"--set {word} cannot be used; give NAME=VALUE, of: {known}") from None
    return found


# Fields of a new model's config: its size, and the ingredients that differ from the config's own defaults.
SHAPE = {**vars(Shape()), "ngram": 2, "mlp": "relu2", "tie": False, "qk_norm": True, "zero_init": True}
PRETRAIN = TrainConfig()
LATER = TrainConfig(steps=60, lr=3e-2, warmup=5)  # a later domain of a small model: fewer steps
ADAMW = TrainConfig(optimizer="adamw", beta2=0.99, schedule="cosine", min_lr=0.1)  # for adapters, which are thin
ADAPT_ROWS = replace(ADAMW, steps=80, lr=1e-3, warmup=5, weight_decay=0.0)  # LoRA; the steps follow from the rows
ADAPT_TEXT = replace(ADAPT_ROWS, batch_size=4)  # every token of a row is judged, and a large vocabulary makes that dear
EPOCHS = 2  # passes over the rows of a task
ROW_LENGTH = 256  # tokens of a training row of a published model
REPLAY_ROWS = 4  # kept rows that join a step on a published model, whose rows are dear
