"""Byte-level BPE, twice: `plain` recounts everything and reads like the definition, `fast` is the one to use."""

from .fast import PATTERNS, Tokenizer, from_visible, to_visible

__all__ = ["PATTERNS", "Tokenizer", "from_visible", "to_visible"]
