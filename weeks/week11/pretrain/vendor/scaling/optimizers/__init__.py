# vendored from weeks/week10/scaling/optimizers/__init__.py, sha256 95e8dc7690cfc6bd301c8beb9baa51046bc47c74ae2f67a08bbf5bffb5be07a4; edit there, then run: make vendor
"""The optimizers, each one equation: a further one is a file with a Rule, and a row of OPTIMIZERS.

`Stepper` is the one loop over parameters that all of them share, a torch.optim.Optimizer, so that schedules, saving,
loading and torch.distributed treat them like torch's own. `make` builds one for a model.
"""

import math
from collections import defaultdict

import torch

from ..groups import groups, hidden, vectors
from .adamw import ADAMW
from .lion import LION
from .muon import MUON
from .rule import Rule
from .sgd import SGD

OPTIMIZERS = {"sgd": SGD, "adamw": ADAMW, "lion": LION, "muon": MUON}
COMMON = {"lr", "weight_decay", "parts"}  # what a group of any rule may set

__all__ = ["OPTIMIZERS", "Rule", "Stepper", "make"]


class Stepper(torch.optim.Optimizer):
    """Walks the groups; each names its rule, and holds lr, weight_decay and the rule's settings.

    groups: as groups.groups gives them, each with "rule". A group may set parts=k: its matrices are k maps, one below
    the other, that are one matrix only for speed (a qkv of attention is 3), and a rule of matrices treats them apart.
    """

    def __init__(self, groups, *, lr, weight_decay=0.0):
        groups = [{key: value for key, value in group.items() if key != "names"} for group in groups]
        for group in groups:
            rule = _rule(group["rule"])
            unknown = set(group) - COMMON - set(rule.settings) - {"params", "rule"}
            if unknown:
                raise ValueError(
                    f"{group['rule']} has no setting {', '.join(map(repr, sorted(unknown)))}; "
                    f"choose from {', '.join(sorted(COMMON | set(rule.settings)))}"
                )
            for key, value in {**rule.settings, "parts": 1}.items():
                group.setdefault(key, value)
            if not 0 <= group.get("lr", lr) < math.inf:
                raise ValueError(f"the learning rate is {group.get('lr', lr)}; give a number from 0 up")
            for p in group["params"] if rule.matrices else ():
                if p.dim() != 2 or p.shape[0] % group["parts"]:
                    raise ValueError(
                        f"{group['rule']} needs matrices of rows in {group['parts']} equal parts, but one has shape "
                        f"{tuple(p.shape)}; give it to another rule, such as adamw"
                    )
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Move every parameter that has a gradient; no gradient is written to."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rule = _rule(group["rule"])
            ready = [p for p in group["params"] if p.grad is not None]
            for p in ready:
                if not self.state[p]:
                    self.state[p].update(rule.start(p))
            walk = self._together if rule.matrices else self._each
            for p, step in walk(rule, ready, group):
                if group["weight_decay"]:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(step, alpha=-group["lr"])
        return loss

    def _each(self, rule, ready, group):
        settings = {key: group[key] for key in rule.settings}
        for p in ready:
            yield p, rule.update(p.grad, self.state[p], **settings)

    def _together(self, rule, ready, group):
        """All matrices of one shape in one call: on small ones, calls cost more than arithmetic.

        Where FSDP gives each process some rows of a matrix, every process gathers the whole, and keeps its own rows.
        """
        settings = {key: group[key] for key in rule.settings}
        shapes = defaultdict(list)
        for p in ready:
            shapes[p.shape].append(p)
        for (rows, columns), same in shapes.items():
            part = (-1, rows // group["parts"], columns)
            grads = torch.stack([_whole(p.grad) for p in same]).view(part)  # (n * parts, rows / parts, columns)
            names = self.state[same[0]]
            state = {name: torch.stack([_whole(self.state[p][name]) for p in same]).view(part) for name in names}
            steps = rule.update(grads, state, **settings).reshape(-1, rows, columns)
            for i, p in enumerate(same):
                for name in names:
                    self.state[p][name].copy_(_as_kept(state[name].view(-1, rows, columns)[i], p))
                yield p, _as_kept(steps[i], p)

    def load_state_dict(self, state_dict):
        """Go on with a saved state; one of other rules raises ValueError, for its memories mean something else."""
        saved = [group.get("rule") for group in state_dict["param_groups"]]
        own = [group["rule"] for group in self.param_groups]
        if saved != own:
            raise ValueError(
                f"the state is of {saved}, but the groups here are of {own}; build the optimizer that it was saved from"
            )
        super().load_state_dict(state_dict)


def _whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _as_kept(tensor, p):
    """A whole tensor, which every process has, in the shards that p is kept in."""
    if not hasattr(p, "full_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    same = DTensor.from_local(tensor, p.device_mesh, [Replicate()] * p.device_mesh.ndim, run_check=False)
    return same.redistribute(placements=p.placements)


def _rule(name):
    if name not in OPTIMIZERS:
        raise ValueError(f"there is no optimizer {name!r}; choose from {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


def make(name, named, *, lr, weight_decay=0.0, recipe=None, rest=None, **settings):
    """The optimizer `name` for {name: Parameter} or a model.

    settings: of the rule (its file says which). weight_decay reaches matrices alone. recipe: as groups.groups takes it,
    instead of the usual groups; each entry may name another "rule", lr, weight_decay or settings. A rule of matrices
    gets the hidden ones, and AdamW gets the rest, with the settings in `rest` (such as {"lr": 1e-3}).
    """
    rule = _rule(name)
    if rest and not rule.matrices:
        raise ValueError(f"{name} takes all parameters, so rest = {rest} is for none of them; leave it out")
    if recipe is None:
        own, other = {"rule": name, **settings}, {"rule": "adamw", **(rest or {})}
        if rule.matrices:  # q, k and v of attention are three maps, in one matrix only for speed (Jordan 2024)
            qkv = ("*[0-9].attn.qkv.weight", {**own, "parts": 3})
            recipe = [(vectors, {**other, "weight_decay": 0.0}), qkv, (hidden, own), ("*", other)]
        else:
            recipe = [(vectors, {**own, "weight_decay": 0.0}), ("*", own)]
        found = groups(named, recipe, strict=False)
    else:
        found = groups(named, [(pattern, {"rule": name, **settings, **given}) for pattern, given in recipe])
    return Stepper(found, lr=lr, weight_decay=weight_decay)
