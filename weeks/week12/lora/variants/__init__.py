"""The kinds of adapter that a LoRAConfig can name. A further one is a class with `Variant`'s members, and a row."""

from .base import Variant
from .dora import DoRA
from .fused import Fused
from .lora import LoRA
from .lora_fa import LoRAFA
from .principal import OLoRA, PiSSA

VARIANTS = {"lora": LoRA, "dora": DoRA, "lora_fa": LoRAFA, "pissa": PiSSA, "olora": OLoRA, "fused": Fused}

__all__ = ["VARIANTS", "DoRA", "Fused", "LoRA", "LoRAFA", "OLoRA", "PiSSA", "Variant"]
