"""What every kind of adapter offers. Nothing else in this week knows the shapes or the settings of a kind."""

import torch
from torch import nn


class Variant(nn.Module):
    """One adapter on one layer. The exam of every kind: base(x) + forward(x, base) == linear(x, weight(base), bias).

    `base` is the layer: its weight (out, in) and its bias are read, never written.
    """

    KEYS = {}  # parameter -> its name in PEFT's file, behind the module's path

    def __init__(self, base, config, rank, alpha):
        super().__init__()
        self.config, self.rank, self.alpha = config, rank, alpha
        self.scale = config.scale(rank, alpha)
        # At least float32: a bf16 weight is too coarse to take an optimizer's small steps, and these are cheap.
        kind = {"dtype": torch.promote_types(base.weight.dtype, torch.float32), "device": base.weight.device}
        for attribute, shape in self.shapes(base.in_features, base.out_features, rank).items():
            self.register_parameter(attribute, nn.Parameter(torch.zeros(shape, **kind)))
        self.dropout = nn.Dropout(config.dropout)
        with torch.no_grad():
            self.start(base)

    @classmethod
    def shapes(cls, n_in, n_out, rank):
        """{parameter: shape} on a layer with n_in inputs and n_out outputs."""
        raise NotImplementedError(f"{cls.__name__} has no shapes(n_in, n_out, rank); write one")

    def start(self, base):
        """Fill the parameters, which are 0, so that the first output is the base's to the bit."""

    def forward(self, x, base):
        """What to add to base's output: x (..., in) -> (..., out)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(x, base); write one")

    def weight(self, base):
        """The weight (out, in) of the plain layer that computes the same without dropout, in at least float32."""
        raise NotImplementedError(f"{type(self).__name__} has no weight(base); write one")

    @classmethod
    def to_peft(cls, config):
        """The fields of PEFT's adapter_config.json that say which kind this is, and its settings."""
        raise NotImplementedError(f"{cls.__name__} has no to_peft(config); write one")

    @classmethod
    def from_peft(cls, fields):
        """The other way: arguments of LoRAConfig, rank and alpha among them; None where the fields are another kind's.

        Takes what it understands out of `fields`; what it leaves and would change the result is refused by the reader.
        """
        raise NotImplementedError(f"{cls.__name__} has no from_peft(fields); write one")
