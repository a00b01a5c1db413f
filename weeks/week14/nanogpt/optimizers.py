"""The optimizers of a training: those of weeks 7 and 8, and Muon, whose rule week 10 teaches, with few calls a step.

f(named, *, lr, weight_decay, betas) -> torch.optim.Optimizer        named: {name: Parameter}
"""

from collections import defaultdict

import torch

from .vendor.gpt import optimizers
from .vendor.gpt.optimizers import adamw
from .vendor.scaling.optimizers.muon import MUON

SHARE = 0.5  # of the rate, for matrices under Muon: what small models on few tokens liked best
ROUNDS = 3  # of Newton and Schulz: five, the usual number, cost a fifth of a small model's step and bought nothing


class Muon(torch.optim.Optimizer):
    """Muon for the matrices of the blocks, fused AdamW for the rest. One rate serves both: Muon's steps have the size
    of AdamW's (Liu et al. 2025, arXiv:2502.16982), times SHARE.

    The momenta of all matrices of one shape lie in one tensor, so that a shape takes a few large products a step, and
    not a few small ones for each matrix.
    """

    def __init__(self, named, *, lr, weight_decay, betas=(0.9, 0.99)):
        inner = {name: p for name, p in named.items() if p.requires_grad and is_inner(name, p)}
        outer = {name: p for name, p in named.items() if name not in inner}
        self._adamw, found = None, []
        if not inner or any(p.requires_grad for p in outer.values()):
            self._adamw = adamw(outer, lr=lr, weight_decay=weight_decay, betas=betas)
            found = [{"muon": False, **group} for group in self._adamw.param_groups]
        if inner:
            found.append({"params": list(inner.values()), "muon": True})
        super().__init__(found, {"lr": lr, "weight_decay": weight_decay})
        self._share()

    def _share(self):
        """One state and one list of groups, which AdamW reads and writes for its part."""
        self._stacks = {}
        if self._adamw:
            self._adamw.state = self.state
            self._adamw.param_groups = [group for group in self.param_groups if not group["muon"]]

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._adamw:
            self._adamw.step()
        for group in self.param_groups:
            if group["muon"]:
                self._orthogonal(group)
        return loss

    def _orthogonal(self, group):
        """One step of the group's matrices: those of one shape together."""
        shapes = defaultdict(list)
        for p in group["params"]:
            if p.grad is not None:
                shapes[p.shape].append(p)
        for shape, same in shapes.items():
            grads = torch.stack([p.grad for p in same])  # (n, rows, columns)
            steps = MUON.update(grads, {"m": self._momenta(shape, same)}, **{**MUON.settings, "rounds": ROUNDS})
            torch._foreach_mul_(same, 1 - SHARE * group["lr"] * group["weight_decay"])
            torch._foreach_add_(same, list(steps.unbind()), alpha=-SHARE * group["lr"])

    def _momenta(self, shape, same):
        """(n, rows, columns): the state of each parameter is a part of it."""
        stack = self._stacks.get(shape)
        if stack is None or len(stack) != len(same):
            stack = torch.stack([self.state[p].get("m", torch.zeros_like(p)) for p in same])
            for p, m in zip(same, stack.unbind(), strict=True):
                self.state[p]["m"] = m
            self._stacks[shape] = stack
        return stack


def is_inner(name, p):
    """Whether it is a matrix of a numbered block: neither the embedding nor the head nor a table looked up by token."""
    return p.dim() == 2 and any(part.isdigit() for part in name.split(".")) and not name.endswith("attn.value.weight")


OPTIMIZERS = {**optimizers.OPTIMIZERS, "muon": Muon}
