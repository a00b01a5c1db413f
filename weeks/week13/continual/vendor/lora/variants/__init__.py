# vendored from weeks/week12/lora/variants/__init__.py, sha256 7299d3413081e8b68cdd30452ce6c2d923411d3edc345c98e2c3c285d2b53735; edit there, then run: make vendor
"""The kinds of adapter that a LoRAConfig can name. A further one is a class with `Variant`'s members, and a row."""

from .base import Variant
from .dora import DoRA
from .fused import Fused
from .lora import LoRA
from .lora_fa import LoRAFA
from .principal import OLoRA, PiSSA

VARIANTS = {"lora": LoRA, "dora": DoRA, "lora_fa": LoRAFA, "pissa": PiSSA, "olora": OLoRA, "fused": Fused}

__all__ = ["VARIANTS", "DoRA", "Fused", "LoRA", "LoRAFA", "OLoRA", "PiSSA", "Variant"]
