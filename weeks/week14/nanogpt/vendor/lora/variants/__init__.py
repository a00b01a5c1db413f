# vendored from weeks/week12/lora/variants/__init__.py, sha256 f52302bffc39955949b5af9abb43747925f4e7873496f1c829bcbdb4a075a1cd; edit there, then run: make vendor
"""The kinds of adapter that a LoRAConfig can name. A further one is a class with `Variant`'s members, and a row."""

from .base import Variant
from .lora import LoRA

VARIANTS = {"lora": LoRA}

__all__ = ["VARIANTS", "LoRA", "Variant"]
