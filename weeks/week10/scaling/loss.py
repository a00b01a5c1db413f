"""The last matmul and the cross-entropy as one: the logits of a large vocabulary are never whole.

    logits = x W^T        loss = mean over rows of logsumexp(logits) - logits[target]
    dloss/dlogits = (softmax(logits) - onehot(target)) / judged      so  dx = dlogits W,  dW = dlogits^T x

1,024 tokens x 50,257 logits are 206 MB in float32, and autograd goes over them several times. But a row's
gradient follows from that row alone. So a few rows at a time: logits, loss and both gradients at once, then forget
them. softmax = e / s, with e = exp(logits - max) and s its sum, is not even written: 1 / s scales the rows of the
small factors instead, and the onehot is a lookup.

Left out: half precision (all sums here are of the inputs' type), gradients of gradients.
Source: the idea is that of Hsu et al. 2024, arXiv:2410.10989 (fused linear cross-entropy).
"""

import torch
import torch.nn.functional as F

from .vendor.gpt.model import GPT, IGNORE

ROWS = 256  # 51 MB of GPT-2's logits; dW is read and written once per part, so not too few


def plain_loss(x, weight, targets):
    """x (N, C), weight (V, C), targets (N,) -> mean loss in nats over the targets that are not -100; logits whole."""
    return F.cross_entropy(x @ weight.T, targets, ignore_index=IGNORE)


def linear_loss(x, weight, targets, rows: int = ROWS):
    """What plain_loss gives, and its gradients, in parts of `rows` rows. 0, not nan, where nothing is judged.

    Raises ValueError for rows below 1, for more or fewer targets than rows of x, and for a target that is no row of W.
    """
    if rows < 1:
        raise ValueError(f"parts of {rows} rows hold nothing; give 1 or more")
    if targets.shape != x.shape[:1]:
        raise ValueError(f"x has {len(x)} rows, but the targets have the shape {tuple(targets.shape)}; give one a row")
    wrong = targets[((targets < 0) & (targets != IGNORE)) | (targets >= len(weight))]
    if len(wrong):
        raise ValueError(f"there is no token {wrong[0]} among {len(weight)}; give 0 to {len(weight) - 1}, or {IGNORE}")
    return _LinearLoss.apply(x, weight, targets, rows)


class _LinearLoss(torch.autograd.Function):
    """Computes both gradients in the forward, for an upstream gradient of 1; the backward scales them."""

    @staticmethod
    def forward(ctx, x, weight, targets, rows):
        share = 1.0 / max(1, int((targets != IGNORE).sum()))
        loss, dx, dw = x.new_zeros(()), torch.empty_like(x), torch.zeros_like(weight)
        for part, answers, out in zip(x.split(rows), targets.split(rows), dx.split(rows)):
            judged = (answers != IGNORE).to(x.dtype)[:, None] * share  # (n, 1): the weight of a row in the mean
            answers = answers.clamp(min=0)  # any token will do where the weight is 0
            logits = part @ weight.T  # (n, V)
            picked = logits.gather(1, answers[:, None])  # (n, 1)
            top = logits.amax(1, keepdim=True)
            e = logits.sub_(top).exp_()  # in place: (n, V) is what there must be only one of
            s = e.sum(1, keepdim=True)
            loss += ((s.log() + top - picked) * judged).sum()
            torch.mm(e, weight, out=out)
            out.mul_(judged / s).sub_(weight[answers] * judged)
            dw.addmm_(e.T, part * (judged / s))
            dw.index_add_(0, answers, part * judged, alpha=-1)
        ctx.save_for_backward(dx, dw)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        dx, dw = ctx.saved_tensors
        return upstream * dx, upstream * dw, None, None


class LeanGPT(GPT):
    """The GPT, trained with linear_loss. Same names, same weights, same loss; with targets it keeps no logits."""

    def forward(self, tokens, targets=None, cache=None):
        """As GPT's; but with targets and without a cache, the logits are (B, 0, V): none."""
        T = tokens.shape[-1]
        if targets is None or cache is not None or not 0 < T <= self.config.block_size:
            return super().forward(tokens, targets, cache)  # which says what is wrong with the length
        x = self.drop(self.wte(tokens) + self.wpe(torch.arange(T, device=tokens.device)))  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, :0]), linear_loss(x.flatten(0, 1), self.head.weight, targets.flatten())
