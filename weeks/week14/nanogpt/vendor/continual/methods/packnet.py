# vendored from weeks/week13/continual/methods/packnet.py, sha256 3778c6c7abe32b9c7a49dfd95779bf8fdf2fc06586cf99a406eb63a51cb6c703; edit there, then run: make vendor
"""PackNet (Mallya & Lazebnik 2018): each task gets weights of its own, which no later task may move.

A task trains the weights that are free; then the smallest of them are given back, set to zero, and the rest of its
steps heal what that broke. What it kept is held for good. A later task reads the weights of the earlier ones and adds
its own; to judge an earlier task, the weights that came after it are taken away. So its score never changes: BWT is 0
to the bit, at the price of knowing the task, and of room that shrinks with every one.

As in the paper only matrices are shared out; biases and norms belong to the first task. Embeddings are matrices here.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from ..strategy import Config
from ..weights import copied, named, part, swapped
from .holding import Holding


@dataclass(frozen=True)
class PackNetConfig(Config):
    prune: float = field(default=0.5, metadata={"help": "share of a task's weights that is given back to later ones"})
    prune_step: int = field(default=50, metadata={"help": "step of a task after which it gives them back"})

    def __post_init__(self):
        if not 0 < self.prune < 1:
            raise ValueError(
                f"prune is {self.prune}; use a share between 0 and 1: of 1 or 0 one task would get nothing"
            )
        if self.prune_step < 1:
            raise ValueError(f"prune_step is {self.prune_step}; use 1 or more")


class PackNet(Holding):
    """Train what is free, prune it, hold what is left."""

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(PackNetConfig() if config is None else config)
        self.names = []  # tasks, the one under way included: the number of a task is its place here, from 1
        self.owner = {}  # {matrix: uint8 tensor: number of the task that a weight belongs to; 0 is free}
        self.steps, self.pruned = 0, False  # of the task under way

    def start(self, learner, task):
        if self.begins(task):
            if len(self.names) == 255:
                raise ValueError(f"{task.name!r} would be task 256, and one byte numbers 255; start another model")
            self.names.append(task.name)
            self.steps, self.pruned = 0, False
        for name, p in learner.parameters().items():
            if p.dim() > 1:
                self.owner.setdefault(name, torch.zeros(p.shape, dtype=torch.uint8, device=p.device))
            elif len(self.names) > 1:
                p.requires_grad_(False)
        return super().start(learner, task)

    def free(self, learner):
        """Before pruning all that no task holds; after it only what this task has kept."""
        wanted = len(self.names) if self.pruned else 0
        return {name: owner.to(p.device) == wanted for name, p, owner in self.matrices(learner)}

    def matrices(self, learner):
        return [(name, p, self.owner[name]) for name, p in learner.parameters().items() if name in self.owner]

    def stepped(self, learner):
        super().stepped(learner)
        self.steps += 1
        if self.steps == self.config.prune_step:
            self.give_back(learner)

    @torch.no_grad()
    def give_back(self, learner):
        """Of each matrix's free weights the smallest share goes back, as zeros; the others are this task's."""
        for name, p, owner in self.matrices(learner):
            owner = owner.to(p.device).clone()
            places = (owner.flatten() == 0).nonzero().flatten()
            sizes = p.flatten()[places].abs()
            kept = places[sizes.topk(len(places) - int(self.config.prune * len(places))).indices]
            owner.view(-1)[kept] = len(self.names)
            p.masked_fill_(owner == 0, 0.0)
            self.owner[name] = owner
        self.pruned = True

    def finish(self, learner, task):
        if not self.pruned:  # a task of few steps: nothing is left to heal with
            self.give_back(learner)

    @torch.no_grad()
    def view(self, learner, name):
        if name not in self.names or (name == self.names[-1] and not self.pruned):
            return nullcontext()
        number = self.names.index(name) + 1
        own = dict(learner.model.named_parameters())
        values = {}
        for key, owner in self.owner.items():
            mine = ((owner > 0) & (owner <= number)).to(own[key].device)
            values[key] = own[key] * mine
        return swapped(learner, values)

    def state(self):
        fields = {"names": list(self.names), "steps": self.steps, "pruned": self.pruned}
        return fields | named("owner", copied(self.owner))

    def load(self, state):
        self.names, self.steps, self.pruned = list(state["names"]), state["steps"], state["pruned"]
        self.owner = part(state, "owner")
