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
from .int8 import Int8Linear, memory
from .peft_format import load, save
from .variants import VARIANTS, LoRA, Variant

__all__ = [
    "BASE", "VARIANTS", "Int8Linear", "LoRA", "LoRAConfig", "LoRALinear", "Variant", "adapters", "attach", "base_state",
    "detach", "load", "memory", "merge", "parameters", "quantize", "save", "unmerge", "using",
]  # fmt: skip
