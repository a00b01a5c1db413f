# vendored from weeks/week12/lora/variants/principal.py, sha256 d3decadfc06fb3f741661e108fc4267aafa76cd55ef8629621d93750c884a4ac; edit there, then run: make vendor
"""PiSSA and OLoRA: start A and B from the weight itself, and train what is large in it.

    y = x (W - scale B0 A0)^T + b + scale * x A^T B^T        A = A0 and B = B0 at the start

PiSSA (Meng et al. 2024, section 3): scale B0 A0 is the best approximation of W of rank r, from its singular values.
OLoRA (Buyukakyuz 2024, section 3): W = Q R, B0 = Q[:, :r], A0 = R[:r].

The papers write W - scale B0 A0 into the weights. Here W stays, and A0 and B0 are kept beside A and B: twice the rank
to compute, and a base that other adapters share and that is the same to the byte afterwards. The file is a plain LoRA
of rank 2r, [A; A0] and [B, -B0], which any reader takes without knowing how it began.
"""

import torch
from torch.nn import functional as F

from .base import matrix
from .lora import LoRA


class Principal(LoRA):
    SAVED_AS = "lora"
    FROZEN = ("first_A", "first_B")

    @classmethod
    def shapes(cls, n_in, n_out, rank, config):
        own = super().shapes(n_in, n_out, rank, config)
        return own | {"first_A": own["lora_A"], "first_B": own["lora_B"]}

    @staticmethod
    def factors(weight, rank, scale):
        """(A0, B0) of a weight (out, in), both of at most `rank`."""
        raise NotImplementedError("a start from the weight needs factors(weight, rank, scale); write one")

    def start(self, base):
        super().start(base)  # a rank beyond the weight's own is plain LoRA
        A, B = self.factors(matrix(base).to(self.lora_A.dtype), self.rank, self.scale)
        self.lora_A[: len(A)], self.lora_B[:, : len(A)] = A, B
        self.first_A.copy_(self.lora_A)
        self.first_B.copy_(self.lora_B)

    def forward(self, x, base, y):
        # Two products of one shape: equal factors give equal numbers, and their difference is 0 to the bit.
        now, first = self.low(x, base, self.lora_A, self.first_A)  # (..., r) each
        return (F.linear(now, self.lora_B) - F.linear(first, self.first_B)) * self.scale

    def pair(self):
        return torch.cat([self.lora_A, self.first_A]), torch.cat([self.lora_B, -self.first_B], dim=1)

    @classmethod
    def times(cls, config):
        return 2


class PiSSA(Principal):
    @staticmethod
    def factors(weight, rank, scale):
        U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
        root = (S[:rank] / scale).sqrt()
        return root[:, None] * Vh[:rank], U[:, :rank] * root


class OLoRA(Principal):
    @staticmethod
    def factors(weight, rank, scale):
        Q, R = torch.linalg.qr(weight)
        return R[:rank], Q[:, :rank]
