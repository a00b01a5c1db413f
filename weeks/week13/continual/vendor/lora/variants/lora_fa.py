# vendored from weeks/week12/lora/variants/lora_fa.py, sha256 e62872fab0c31c58bdbf67614f793325c4ca1d9684f69715eeb1877c9a0d83d9; edit there, then run: make vendor
"""LoRA-FA: A stays as it was drawn, only B learns. Zhang et al. 2023, "LoRA-FA", section 3.

B's gradient needs A x, r numbers a token. A's would need x itself, `in` numbers a token: that is the memory saved.
"""

from .lora import LoRA


class LoRAFA(LoRA):
    SAVED_AS = "lora"
    FROZEN = ("lora_A",)
