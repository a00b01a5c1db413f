# vendored from weeks/week12/lora/variants/lora.py, sha256 adb05b489d11cb3f21b9bdd0e216eb1c3cc6f5d67ee6bb0a0ac27ba52e5f2de2; edit there, then run: make vendor
"""The plain kind: y = x W^T + b + scale * dropout(x) A^T B^T. Hu et al. 2021, section 4.1."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..product import adapted_linear
from .base import Variant, matrix

# Starts that leave the base weights alone. Others (pissa, olora, corda, loftq) change them: the file is not enough.
PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
HARMLESS = ("megatron_core", "qalora_group_size", "runtime_config")  # these change nothing that is computed here


class LoRA(Variant):
    KEYS = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight"}
    EMBEDDING_KEYS = {"lora_A": "lora_embedding_A", "lora_B": "lora_embedding_B"}

    @classmethod
    def shapes(cls, n_in, n_out, rank, config):
        return {"lora_A": (rank, n_in), "lora_B": (n_out, rank)}

    def start(self, base):
        # B = 0 makes the first output bit-equal to the base. A must not be 0 as well: B's gradient is A x, so with
        # both at zero neither would ever move. On an embedding A^T is a table of r numbers an id, drawn as tables are.
        if isinstance(base, nn.Embedding):
            nn.init.normal_(self.lora_A)
        else:
            nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def low(self, x, base, *factors):
        """[x A^T for A in factors]: (..., in) -> (..., r) each, under one mask of dropout.

        Dropout of a one-hot row keeps its single 1 or drops it, so on an embedding a token's change is there or not.
        """
        if isinstance(base, nn.Embedding):
            kept = self.dropout(torch.ones_like(x, dtype=factors[0].dtype))[..., None]
            return [F.embedding(x, A.T) * kept for A in factors]
        x = self.dropout(x.to(factors[0].dtype))
        return [F.linear(x, A) for A in factors]

    def forward(self, x, base, y):
        """Costs r * (in + out) multiplications a row, not in * out."""
        (low,) = self.low(x, base, self.lora_A)
        return F.linear(low, self.lora_B) * self.scale  # (..., r) -> (..., out)

    def with_base(self, x, base):
        """Both products in one, where nothing but them is asked for: no dropout, no bias, no kind's own forward."""
        plain = type(self).forward is LoRA.forward and self.bias is None and isinstance(base, nn.Linear)
        if not plain or (self.training and self.dropout.p):
            return None
        return adapted_linear(x, base, self.lora_A, self.lora_B, self.scale)

    def pair(self):
        """(A, B) of the plain LoRA of the same scale that computes the same: change of the weight = scale * B A."""
        return self.lora_A, self.lora_B

    def weight(self, base):
        A, B = self.pair()
        return matrix(base).to(A.dtype) + self.scale * (B @ A)

    @classmethod
    def times(cls, config):
        """How many times config.rank the rank of `pair` is."""
        return 1

    @classmethod
    def size_in_file(cls, config, rank, alpha):
        """The scale stays: alpha / rank, or alpha / sqrt(rank)."""
        times = cls.times(config)
        return rank * times, alpha * (math.sqrt(times) if config.rslora and times > 1 else times)

    def own_tensors(self):
        return dict(zip(("lora_A", "lora_B"), self.pair()))

    @classmethod
    def to_peft(cls, config):
        rank, alpha = cls.size_in_file(config, config.rank, config.alpha)
        return {
            "peft_type": "LORA",
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": config.dropout,
            "use_rslora": config.rslora,
            "use_dora": False,
            "init_lora_weights": True,
        }

    @classmethod
    def from_peft(cls, fields):
        if cls.SAVED_AS or fields.get("peft_type") != "LORA":
            return None
        for name in ("peft_type", *HARMLESS):
            fields.pop(name, None)
        if not fields.get("use_dora"):
            fields.pop("use_dora", None)
        start = fields.get("init_lora_weights")
        if start is None or isinstance(start, (bool, str)) and start in PLAIN_STARTS:
            fields.pop("init_lora_weights", None)
        return {
            "rank": fields.pop("r", 8),  # where a field is absent: PEFT's own default
            "alpha": fields.pop("lora_alpha", 8),
            "dropout": fields.pop("lora_dropout", 0.0),
            "rslora": fields.pop("use_rslora", None) or False,
        }
