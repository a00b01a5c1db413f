# vendored from weeks/week12/lora/variants/dora.py, sha256 a8b015ec6d2e1a17dca91c249aca3273e85346f55fbd406984ecf8d24c9842c3; edit there, then run: make vendor
"""DoRA: length and direction of each output's weight learned apart. Liu et al. 2024, "DoRA", equation 5.

    weight = m * (W + scale * B A) / |W + scale * B A|        m (out,); the norm is of each row (out, in)

At the start m = |W|, so the weight is W. Section 4.3: the gradient takes the norm as given, which saves memory and
costs no accuracy there.
"""

import torch

from .lora import LoRA


class DoRA(LoRA):
    KEYS = LoRA.KEYS | {"magnitude": "lora_magnitude_vector"}
    EMBEDDING_KEYS = LoRA.EMBEDDING_KEYS | {"magnitude": "lora_magnitude_vector"}
    CONSTANT = ("norm",)

    @classmethod
    def shapes(cls, n_in, n_out, rank, config):
        return super().shapes(n_in, n_out, rank, config) | {"magnitude": (n_out,)}

    def start(self, base):
        super().start(base)
        self.magnitude.copy_(self.norm(base))

    @torch.no_grad()
    def norm(self, base):
        """(out,). A row of zeros has no direction; the smallest number in place of 0 keeps it a row of zeros."""
        norm = super().weight(base).norm(dim=1)
        return norm.clamp_min(torch.finfo(norm.dtype).tiny)

    def forward(self, x, base, y):
        gain = self.magnitude / self.norm(base)  # (out,)
        bias = getattr(base, "bias", None)
        plain = y if bias is None else y - bias
        return (gain - 1) * plain + gain * super().forward(x, base, y)

    def weight(self, base):
        return (self.magnitude / self.norm(base))[:, None] * super().weight(base)

    def own_tensors(self):
        return super().own_tensors() | {"magnitude": self.magnitude}

    @classmethod
    def to_peft(cls, config):
        return super().to_peft(config) | {"use_dora": True}

    @classmethod
    def from_peft(cls, fields):
        return super().from_peft(fields) if fields.pop("use_dora", False) is True else None
