"""The kinds of adapter that a LoRAConfig can name. A further one is a class with `Variant`'s members, and a row."""

from .base import Variant
from .lora import LoRA

VARIANTS = {"lora": LoRA}

__all__ = ["VARIANTS", "LoRA", "Variant"]
