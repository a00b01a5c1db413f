# vendored from weeks/week12/lora/variants/lora.py, sha256 72d10dbe2177608cf1fb0961597fded044d5a46a648a4f61362059fccb80c69c; edit there, then run: make vendor
"""The plain kind: y = x W^T + b + scale * dropout(x) A^T B^T. Hu et al. 2021, section 4.1."""

import math

from torch import nn
from torch.nn import functional as F

from .base import Variant

# Starts that leave the base weights alone. Others (pissa, olora, corda, loftq) change them: the file is not enough.
PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
HARMLESS = ("megatron_core", "qalora_group_size", "runtime_config")  # these change nothing that is computed here


class LoRA(Variant):
    KEYS = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight"}

    @classmethod
    def shapes(cls, n_in, n_out, rank):
        return {"lora_A": (rank, n_in), "lora_B": (n_out, rank)}

    def start(self, base):
        # B = 0 makes the first output bit-equal to the base. A must not be 0 as well: B's gradient is A x, so with
        # both at zero neither would ever move.
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x, base):
        """Costs r * (in + out) multiplications a row, not in * out."""
        x = self.dropout(x.to(self.lora_A.dtype))
        return F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scale  # (..., in) -> (..., r) -> (..., out)

    def weight(self, base):
        return base.weight.to(self.lora_A.dtype) + self.scale * (self.lora_B @ self.lora_A)

    @classmethod
    def to_peft(cls, config):
        return {
            "peft_type": "LORA",
            "r": config.rank,
            "lora_alpha": config.alpha,
            "lora_dropout": config.dropout,
            "use_rslora": config.rslora,
            "use_dora": False,
            "init_lora_weights": True,
        }

    @classmethod
    def from_peft(cls, fields):
        if fields.get("peft_type") != "LORA":
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
