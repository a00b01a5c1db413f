# vendored from weeks/week12/lora/variants/whole.py, sha256 6c4d5263c05205fc0ee7cfb36ca1e2c5ae6f4ff4f4b15df264a6e8309d7936d9; edit there, then run: make vendor
"""What an adapter trains whole: a copy of a module, or of its bias. No rows of VARIANTS, for they have no rank.

They add the difference between the copy's output and the base's, so they are chosen, summed, mixed by row and taken off
like any adapter, and the base never changes.
"""

import copy

import torch
from torch import nn


class Whole(nn.Module):
    """A copy of a module without parts, trained in place of it (PEFT's modules_to_save)."""

    def __init__(self, base, config):
        super().__init__()
        self.config = config
        self.copy = copy.deepcopy(base)
        if hasattr(self.copy, "adapters"):
            self.copy.release()  # of an earlier adapter
        self.copy.requires_grad_(True)

    def delta(self, x, base, y):
        return self.copy(x) - y

    def with_base(self, x, base):
        """The copy's output stands for the base's, which need not be computed."""
        return self.copy(x)

    def merged(self, base):
        return {key: p.detach().clone() for key, p in self.copy.named_parameters()}

    def in_file(self, base):
        return dict(self.copy.named_parameters())


class Bias(nn.Module):
    """A bias of one's own, on a layer that is no target (config.bias = "all")."""

    def __init__(self, base, config):
        super().__init__()
        self.config = config
        self.bias = nn.Parameter(base.bias.detach().to(torch.promote_types(base.bias.dtype, torch.float32), copy=True))

    def with_base(self, x, base):
        """No faster way."""

    def delta(self, x, base, y):
        return (self.bias - base.bias).expand_as(y)

    def merged(self, base):
        return {"bias": self.bias.detach().clone()}

    def in_file(self, base):
        return {"bias": self.bias}
