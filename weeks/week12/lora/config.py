"""What an adapter is, as settings that a file can hold: which layers, how large, which kind."""

import math
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase

from .variants import VARIANTS

BIASES = ("none", "all", "lora_only")
MOST_RANK = 2**15  # a change of higher rank than the layer's width is no other change


def matches(path, pattern):
    """Is `pattern` the path, an end of it, or a glob of either?  "qkv" and "attn.q*" match "blocks.0.attn.qkv"."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*.{pattern}")


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class LoRAConfig:
    """What to attach, and where.

    `targets`: "all-linear", or patterns. A pattern is the end of a module's dotted path ("attn.qkv") or a glob
    ("blocks.*.mlp.*"). `rank_pattern` and `alpha_pattern` override rank and alpha on the layers that they match.
    `bias` and `modules_to_save` name what is trained whole: the adapter has its own copies, and the base keeps its own.
    """

    rank: int = 8
    alpha: float = 16  # alpha / rank = 2: with it fixed, a higher rank makes no larger steps
    dropout: float = 0.0  # on the adapter's input only; the base layer sees everything
    targets: str | tuple[str, ...] = "all-linear"
    rslora: bool = False  # scale by alpha / sqrt(rank): keeps gradients alive at high rank
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    variant: str = "lora"  # a row of VARIANTS
    bias: str = "none"  # or "lora_only": of the targets; or "all": of every linear layer and LayerNorm
    modules_to_save: tuple[str, ...] = ()  # patterns of modules without parts, such as a new output layer
    parts: str = "qkv"  # variant "fused": which thirds of the fused layer get an adapter of their own

    def __post_init__(self):
        for name in ("rank_pattern", "alpha_pattern"):
            patterns = getattr(self, name)
            if not isinstance(patterns, dict) or not all(isinstance(key, str) and key for key in patterns):
                raise ValueError(f'{name} must be {{pattern: value}}, got {patterns!r}; {{"mlp.up": 4}} is one')
        for rank in (self.rank, *self.rank_pattern.values()):
            if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
                raise ValueError(f"rank must be a whole number from 1 up, got {rank!r}; 8 is a good start")
            if rank > MOST_RANK:  # told before it fills the memory
                raise ValueError(f"rank is {rank:,}, more than any layer is wide; 8 is a good start")
        for alpha in (self.alpha, *self.alpha_pattern.values()):
            if not is_number(alpha) or not 0 < alpha < math.inf:
                raise ValueError(f"alpha must be a positive number, got {alpha!r}; twice the rank is a good start")
        if not is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}; 0 is a good start")
        if not isinstance(self.rslora, bool):
            raise ValueError(f"rslora must be true or false, got {self.rslora!r}; false is a good start")
        targets = (self.targets,) if isinstance(self.targets, str) else self.targets
        named = isinstance(targets, (list, tuple)) and all(isinstance(pattern, str) and pattern for pattern in targets)
        if not named or not targets:
            raise ValueError(f'targets must name at least one layer, got {self.targets!r}; "all-linear" takes them all')
        if "all-linear" in targets and len(targets) > 1:
            raise ValueError(f'"all-linear" stands alone in targets, got {targets!r}; leave the others out')
        if not isinstance(self.variant, str) or self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r} is not known; choose from {', '.join(VARIANTS)}")
        if self.bias not in BIASES:
            raise ValueError(f"bias must be one of {', '.join(BIASES)}, got {self.bias!r}; none is a good start")
        whole = self.modules_to_save
        if not isinstance(whole, (list, tuple)) or not all(isinstance(pattern, str) and pattern for pattern in whole):
            raise ValueError(f'modules_to_save must be a list of names, got {whole!r}; ["head"] is one')
        if self.parts not in ("q", "k", "v", "qk", "qv", "kv", "qkv"):
            raise ValueError(f"parts must be some of the letters qkv in that order, got {self.parts!r}; try qv")
        if self.parts != "qkv" and self.variant != "fused":
            raise ValueError(f'parts {self.parts!r} is for variant "fused", got {self.variant!r}; leave parts out')
        object.__setattr__(self, "targets", tuple(targets))
        object.__setattr__(self, "modules_to_save", tuple(whole))

    def to_dict(self):
        """All of it as JSON can hold it; `from_dict` is the way back."""
        return asdict(self) | {"targets": list(self.targets), "modules_to_save": list(self.modules_to_save)}

    @classmethod
    def from_dict(cls, fields):
        """The config that `to_dict` wrote; what is not given has its default, what is not known raises ValueError."""
        if not isinstance(fields, dict):
            raise ValueError(f"settings of an adapter are names and values, got {fields!r}; give what to_dict gave")
        if unknown := [name for name in fields if name not in cls.__dataclass_fields__]:
            known = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"an adapter has no setting {', '.join(map(repr, unknown))}; leave it out or use {known}")
        return cls(**fields)

    def for_layer(self, path):
        """(rank, alpha) of the layer at `path`; the first pattern that matches wins."""
        rank = next((r for pattern, r in self.rank_pattern.items() if matches(path, pattern)), self.rank)
        alpha = next((a for pattern, a in self.alpha_pattern.items() if matches(path, pattern)), self.alpha)
        return rank, alpha

    def scale(self, rank, alpha):
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank
