# vendored from weeks/week12/lora/variants/base.py, sha256 3917ce0b9a9babee583f4fd23f61a37fc6ccd2343589d2dae4c492809779ea91; edit there, then run: make vendor
"""What every kind of adapter offers. Nothing else in this week knows the shapes or the settings of a kind.

An embedding is the linear layer of one-hot rows: its ids pick columns of a weight (out, in) = table^T. So every kind
works on both, and what differs stands in `matrix`, `sizes` and `LoRA.low`.
"""

import torch
from torch import nn


def matrix(base):
    """The weight as (out, in): of an embedding, whose table is (in, out), the transpose."""
    return base.weight.T if isinstance(base, nn.Embedding) else base.weight


def sizes(base):
    """(in, out) of a linear layer or an embedding."""
    if isinstance(base, nn.Embedding):
        return base.num_embeddings, base.embedding_dim
    return base.in_features, base.out_features


class Variant(nn.Module):
    """One adapter on one layer. The exam of every kind: base(x) + forward(x, base, y) == linear(x, weight(base), bias).

    `base` is the layer: its weight and its bias are read, never written. y is what it gave for x.
    """

    KEYS = {}  # parameter -> its name in PEFT's file, behind the module's path
    EMBEDDING_KEYS = {}  # the same on an embedding
    SAVED_AS = None  # the row that a reader of the file gets, where it isn't this one
    FROZEN = ()  # parameters that no gradient moves
    CONSTANT = ()  # methods whose result the gradient takes as given

    def __init__(self, base, config, rank, alpha):
        super().__init__()
        self.config, self.rank, self.alpha = config, rank, alpha
        self.scale = config.scale(rank, alpha)
        # At least float32: a bf16 weight is too coarse to take an optimizer's small steps, and these are cheap.
        kind = {"dtype": torch.promote_types(base.weight.dtype, torch.float32), "device": base.weight.device}
        for attribute, shape in self.shapes(*sizes(base), rank, config).items():
            self.register_parameter(attribute, nn.Parameter(torch.zeros(shape, **kind), attribute not in self.FROZEN))
        self.dropout = nn.Dropout(config.dropout)
        self.bias = None
        if config.bias != "none" and getattr(base, "bias", None) is not None:
            self.bias = nn.Parameter(base.bias.detach().to(kind["dtype"], copy=True))  # the adapter's own, to train
        with torch.no_grad():
            self.start(base)

    @classmethod
    def shapes(cls, n_in, n_out, rank, config):
        """{parameter: shape} on a layer with n_in inputs and n_out outputs."""
        raise NotImplementedError(f"{cls.__name__} has no shapes(n_in, n_out, rank, config); write one")

    def start(self, base):
        """Fill the parameters, which are 0, so that the first output is the base's to the bit."""

    def forward(self, x, base, y):
        """What to add to y, the base's output: x (..., in), or ids (...), -> (..., out)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(x, base, y); write one")

    def weight(self, base):
        """The weight (out, in) of the plain layer that computes the same without dropout, in at least float32."""
        raise NotImplementedError(f"{type(self).__name__} has no weight(base); write one")

    def delta(self, x, base, y):
        """All that the layer adds to y: the kind's own, and the change of the bias."""
        own = self.forward(x, base, y)
        return own if self.bias is None else own + (self.bias - base.bias)

    def with_base(self, x, base):
        """The layer's whole output, base included, where there is a faster way to it than delta; else None."""

    def merged(self, base):
        """{attribute of base: its value in the plain layer that computes the same}."""
        weight = self.weight(base)
        out = {"weight": weight.T if isinstance(base, nn.Embedding) else weight}
        return out if self.bias is None else out | {"bias": self.bias.detach().clone()}

    # --- in a file ---

    @classmethod
    def size_in_file(cls, config, rank, alpha):
        """(rank, alpha) of the adapter as it is saved."""
        return rank, alpha

    def own_tensors(self):
        """{parameter of the saved kind: tensor}."""
        return {attribute: getattr(self, attribute) for attribute in self.KEYS}

    def in_file(self, base):
        """{name behind the module's path: tensor} as PEFT has it."""
        keys = self.EMBEDDING_KEYS if isinstance(base, nn.Embedding) else self.KEYS
        out = {keys[attribute]: tensor for attribute, tensor in self.own_tensors().items()}
        return out if self.bias is None else out | {"base_layer.bias": self.bias}

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
