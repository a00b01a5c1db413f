"""Week 12: low-rank adapters from scratch, their family, and their exchange with PEFT."""

from .adapter import (
    BASE,
    LoRAConfig,
    LoRALinear,
    adapters,
    attach,
    base_state,
    detach,
    merge,
    parameters,
    quantize,
    unmerge,
    using,
)
from .combine import MERGES, combine
from .int8 import Int8Linear, memory
from .peft_format import load, save
from .rates import groups
from .variants import VARIANTS, LoRA, Variant

__all__ = [
    "BASE", "MERGES", "VARIANTS", "Int8Linear", "LoRA", "LoRAConfig", "LoRALinear", "Variant", "adapters", "attach",
    "base_state", "combine", "detach", "groups", "load", "memory", "merge", "parameters", "quantize", "save", "unmerge",
    "using",
]  # fmt: skip
