"""nanoGPT's model and training step, written anew in plain eager torch, to be timed beside ours.

From its architecture (github.com/karpathy/nanoGPT: model.py, train.py): no biases, exact GELU, one linear map for q, k
and v, the fused attention call, tied matrices; AdamW in two groups, decay for matrices only, gradients clipped to 1;
the cross-entropy of all positions. Its fused AdamW needs a GPU, so here torch chooses. Left out: compile, accumulation,
scaling of gradients, several devices, loading.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .loop import precision


class PlainBlock(nn.Module):
    def __init__(self, C, H, dropout):
        super().__init__()
        self.n_head, self.share = H, dropout
        self.ln_1, self.ln_2 = nn.LayerNorm(C, bias=False), nn.LayerNorm(C, bias=False)
        self.c_attn, self.c_proj = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.c_fc, self.c_out = nn.Linear(C, 4 * C, bias=False), nn.Linear(4 * C, C, bias=False)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(C, dim=2)
        q, k, v = (part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.share if self.training else 0.0, is_causal=True)
        x = x + self.drop(self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C)))
        return x + self.drop(self.c_out(F.gelu(self.c_fc(self.ln_2(x)))))


class PlainGPT(nn.Module):
    """tokens (B, T), targets (B, T) -> logits (B, T, V), loss."""

    def __init__(self, V, T, n_layer, n_head, C, dropout=0.0):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, C), nn.Embedding(T, C)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(PlainBlock(C, n_head, dropout) for _ in range(n_layer))
        self.ln_f, self.head = nn.LayerNorm(C, bias=False), nn.Linear(C, V, bias=False)
        self.wte.weight = self.head.weight
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, targets):
        x = self.drop(self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1])))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.ln_f(x))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)


def plain_optimizer(model, lr=1e-3, weight_decay=0.1, betas=(0.9, 0.99)):
    decay = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    return torch.optim.AdamW([{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}],
                             lr=lr, betas=betas)  # fmt: skip


def plain_batch(data, batch_size, block_size):
    """Windows at random places, cut out one by one and stacked, as its get_batch does: two (B, T)."""
    starts = torch.randint(len(data) - block_size, (batch_size,))
    inputs = torch.stack([data[i : i + block_size] for i in starts])
    return inputs, torch.stack([data[i + 1 : i + 1 + block_size] for i in starts])


def plain_step(model, optimizer, data, batch_size, block_size, half="float32"):
    """One step of training; returns the loss, a float. On a CPU nanoGPT has no autocast: "bf16" is to be fair to it."""
    with precision(half):
        _, loss = model(*plain_batch(data, batch_size, block_size))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()
