"""Week 12: low-rank adapters from scratch, and their exchange with PEFT."""

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
    unmerge,
    using,
)
from .peft_format import load, save
from .variants import VARIANTS, LoRA, Variant

__all__ = [
    "BASE", "VARIANTS", "LoRA", "LoRAConfig", "LoRALinear", "Variant", "adapters", "attach", "base_state", "detach",
    "load", "merge", "parameters", "save", "unmerge", "using",
]  # fmt: skip
