# vendored from weeks/week13/continual/methods/lora.py, sha256 b15ec1642e78840b5590af707e9d0b5d4899d56a27dfd86722e3632552094827; edit there, then run: make vendor
"""The two plain ways to learn tasks in adapters: one that goes on (sequential LoRA), or one more each time (IncLoRA).

IncLoRA as in O-LoRA's tables (Wang et al. 2023): the old adapters are frozen, and all of them are summed. So it forgets
too: a new adapter changes what the old ones' outputs are added to.
"""

from .grown import Grown


class SequentialLoRA(Grown):
    """One adapter learns every task in turn."""

    def wanted(self):
        return min(1, len(self.names))


class IncLoRA(Grown):
    """A new adapter for every task, on top of all earlier ones."""
