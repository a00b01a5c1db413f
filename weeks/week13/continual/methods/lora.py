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
