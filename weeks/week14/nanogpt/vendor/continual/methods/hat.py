# vendored from weeks/week13/continual/methods/hat.py, sha256 cacb3aa6acaa77941bd01855ed7423aa93005fb1b81243878d2cd8c52fed5986; edit there, then run: make vendor
"""HAT, hard attention to the task (Serra et al. 2018): each task learns which hidden units it uses.

A task has one number e for each hidden unit, and the unit is multiplied by sigmoid(s * e). While the task is learned,
s rises from almost 0 to `s_max`: the soft choice hardens into on or off. What comes into or goes out of a unit that an
earlier task uses may not move any more; a penalty keeps tasks from taking more units than they need.

Which units: the outputs of a Linear layer, up to the layer that reads them, written "writer>reader". What no unit
guards (attention, embeddings, norms) belongs to the first task. After a task its choice is made hard, so its score
never changes: BWT is 0 to the bit, at the price of knowing the task.

Four things are not the paper's. s rises once a task and then stays, for our tasks are steps, not epochs. A held weight
is put back after the step, for Adam makes a whole step of a gradient however much a mask has shrunk it. A learned
choice is on or off, where the paper's is a sigmoid at s_max, almost so. And the gradient of e lacks a factor (`grads`).
"""

import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn

from ..strategy import Config
from ...lora.config import matches
from ..weights import named
from .holding import Holding

MOST = 6.0  # e is kept within +-6, s * e within +-50: beyond, a sigmoid is flat (section 2.5)
FLAT = 50.0


@dataclass(frozen=True)
class HATConfig(Config):
    units: str = field(default="mlp.up>mlp.down", metadata={"help": "hidden units to choose among, as writer>reader"})
    s_max: float = field(default=400.0, metadata={"help": "how hard the choice becomes"})
    anneal_steps: int = field(default=100, metadata={"help": "steps of a task in which it hardens"})
    sparsity: float = field(default=0.75, metadata={"help": "weight of the penalty on units that a task takes"})

    def __post_init__(self):
        for pair in self.units.split():
            if pair.count(">") != 1 or not all(pair.split(">")):
                raise ValueError(
                    f"units holds {pair!r}; write layer>layer, such as mlp.up>mlp.down, blanks between pairs"
                )
        if not self.units.strip():
            raise ValueError("units is empty; name at least one pair of layers, such as mlp.up>mlp.down")
        if not 1 <= self.s_max < math.inf:
            raise ValueError(f"s_max is {self.s_max}; use 1 or more")
        if self.anneal_steps < 1:
            raise ValueError(f"anneal_steps is {self.anneal_steps}; use 1 or more")
        if not self.sparsity >= 0:
            raise ValueError(f"sparsity is {self.sparsity}; use 0 (take what helps) or more")


def joints(model, units):
    """{path of a reader: path of its writer} for all that `units` names; a pair that fits nowhere raises."""
    modules = {path: m for path, m in model.named_modules() if isinstance(m, nn.Linear)}
    found = {}
    for pair in units.split():
        writers, readers = ([path for path in modules if matches(path, pattern)] for pattern in pair.split(">"))
        if not writers or len(writers) != len(readers):
            raise ValueError(
                f"{pair!r} names {len(writers)} layers that write and {len(readers)} that read, of the Linear layers "
                f"{', '.join(list(modules)[:8])}; name as many of both"
            )
        for writer, reader in zip(writers, readers):
            if modules[writer].out_features != modules[reader].in_features:
                raise ValueError(
                    f"{reader} does not read the units of {writer}: their numbers differ; name the next layer"
                )
            found[reader] = writer
    return found


class HAT(Holding):
    """Choose units for each task; hold what an earlier task's units hang on."""

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(HATConfig() if config is None else config)
        self.seed = seed
        self.names, self.steps, self.learned = [], 0, 0  # tasks begun; steps of the last one; tasks finished
        self.choices = []  # for each task {reader: (units,) e}
        self.shown = None  # the number of the task that a view shows

    # --- the units in the model ---

    def start(self, learner, task):
        self.joints = joints(learner.model, self.config.units)
        if self.begins(task):
            self.names.append(task.name)
            self.choices.append(self.drawn(learner.model))
            self.steps = 0
        self.place(learner.model)
        if len(self.names) > 1:
            guarded = {id(p) for p in self.guarded(learner.model)}
            for p in learner.parameters().values():
                p.requires_grad_(id(p) in guarded)
        return super().start(learner, task)

    def drawn(self, model):
        g = torch.Generator().manual_seed(self.seed * 1_000_003 + len(self.names))
        sizes = {reader: model.get_submodule(reader).in_features for reader in self.joints}
        return {reader: torch.randn(n, generator=g) for reader, n in sizes.items()}  # as in the paper's code

    def place(self, model):
        """Hang every task's numbers on the reading layers, as parameters, and the hook that multiplies."""
        for reader in self.joints:
            layer = model.get_submodule(reader)
            for i, choice in enumerate(self.choices):
                if not isinstance(choice[reader], nn.Parameter):
                    choice[reader] = nn.Parameter(choice[reader].to(layer.weight.device))
                    layer.register_parameter(f"hat_{i}", choice[reader])
                choice[reader].requires_grad_(i == len(self.choices) - 1)
            if hasattr(layer, "hat_hook"):
                layer.hat_hook.remove()  # of the method that taught this model before it was stopped
            layer.hat_hook = layer.register_forward_pre_hook(lambda _, args, r=reader: (args[0] * self.mask(r),))

    def guarded(self, model):
        """What stays trainable after the first task: the weights around the units, and the newest choice."""
        for reader, writer in self.joints.items():
            layer = model.get_submodule(writer)
            yield from (layer.weight, model.get_submodule(reader).weight, self.choices[-1][reader])
            if layer.bias is not None:
                yield layer.bias

    # --- the choice ---

    def hardness(self):
        """s of the step under way, from 1 / s_max to s_max."""
        low = 1 / self.config.s_max
        return low + (self.config.s_max - low) * min(1.0, self.steps / self.config.anneal_steps)

    def hard(self, number, reader):
        """(units,) 0. or 1.: what task `number` uses."""
        return (self.choices[number][reader] > 0).to(self.choices[number][reader].dtype)

    def mask(self, reader):
        """What the hook multiplies a layer's input by."""
        number = len(self.choices) - 1 if self.shown is None else self.shown
        if number < self.learned:
            return self.hard(number, reader)
        return torch.sigmoid(self.hardness() * self.choices[number][reader])

    def taken(self, reader):
        """(units,) 1. where a finished task, other than the one under way, uses the unit."""
        other = [self.hard(i, reader) for i in range(len(self.choices) - 1)]
        return torch.stack(other).amax(0) if other else torch.zeros_like(self.choices[-1][reader])

    # --- the steps ---

    def loss(self, learner, batch):
        return super().loss(learner, batch) + self.config.sparsity * self.units_used()

    def units_used(self):
        """Scalar: of the units that no earlier task uses, the share that this one does (section 2.6)."""
        open_ = {reader: 1 - self.taken(reader) for reader in self.joints}
        used = sum((self.mask(reader) * part).sum() for reader, part in open_.items())
        return used / max(1.0, sum(part.sum().item() for part in open_.values()))

    def free(self, learner):
        """A weight is held where the units on both its sides are taken; a side without a choice counts as taken."""
        names = {id(p): name for name, p in learner.parameters().items()}
        model, free = learner.model, {}
        if len(self.choices) == 1:
            return free
        for reader, writer in self.joints.items():
            layer, next_layer = model.get_submodule(writer), model.get_submodule(reader)
            out = 1 - self.taken(reader)  # (units,)
            for p, share in ((layer.weight, out[:, None]), (layer.bias, out), (next_layer.weight, out[None])):
                if p is not None and id(p) in names:
                    name = names[id(p)]  # between two choices a weight is met twice: free where either side is
                    free[name] = torch.maximum(free[name], share) if name in free else share
        return free

    def grads(self, learner):
        super().grads(learner)
        s = self.hardness()
        for choice in self.choices[-1].values():
            if choice.grad is not None:
                # A hardening sigmoid starves e of gradient. This gives it that of sigmoid(e), whatever s is: equation 5
                # without its factor s_max, which would let the clipped norm be that of e alone.
                e = choice.detach().clamp(-MOST, MOST)
                steep = (s * e).clamp(-FLAT, FLAT)
                choice.grad.mul_((torch.cosh(steep) + 1) / (torch.cosh(e) + 1) / s)

    @torch.no_grad()
    def stepped(self, learner):
        super().stepped(learner)
        for choice in self.choices[-1].values():
            choice.clamp_(-MOST, MOST)
        self.steps += 1

    def finish(self, learner, task):
        self.learned = len(self.names)

    # --- what is served and kept ---

    def view(self, learner, name):
        """The task's own units; of one that was never learned, those of the newest."""
        if not self.choices:
            return nullcontext()
        self.joints = joints(learner.model, self.config.units)
        self.place(learner.model)  # a loaded state may meet a model that never saw a start
        return self.showing(self.names.index(name)) if name in self.names else nullcontext()

    @contextmanager
    def showing(self, number):
        before, self.shown = self.shown, number
        try:
            yield
        finally:
            self.shown = before

    def state(self):
        choices = {k: t.detach().clone() for i, c in enumerate(self.choices) for k, t in named(f"choice{i}", c).items()}
        return {"names": list(self.names), "steps": self.steps, "learned": self.learned, **choices}

    def load(self, state):
        self.names, self.steps, self.learned = list(state["names"]), state["steps"], state["learned"]
        starts = [f"choice{i}." for i in range(len(self.names))]
        self.choices = [{k.removeprefix(s): t.clone() for k, t in state.items() if k.startswith(s)} for s in starts]
