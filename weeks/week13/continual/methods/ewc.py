"""EWC: a weight matters as much as the Fisher information of the old tasks says (Kirkpatrick et al. 2017).

The diagonal of the Fisher information is the mean square of the gradient of log p(target), the target drawn from the
model's own prediction. It is the second-order rise of the loss when that one weight moves. Here it is that of one
target: the square of a row's summed gradient, divided by its targets. Targets drawn from the prediction have gradients
that cancel on average, so that this is right for a row of any length, and the same strength serves short and long rows.
"""

from dataclasses import dataclass, field

import torch
from torch.nn.functional import cross_entropy

from .quadratic import Quadratic, QuadraticConfig, per_row

ALL_MOST = 1000  # gradients that labels="all" may take for a row


@dataclass(frozen=True)
class EWCConfig(QuadraticConfig):
    strength: float = field(default=10.0, metadata={"help": "weight of the pull towards the old weights"})
    fisher_rows: int = field(default=64, metadata={"help": "training rows of a task that its Fisher is estimated from"})
    gamma: float = field(default=1.0, metadata={"help": "share of the old Fisher that stays at a new task"})
    labels: str = field(default="data", metadata={"help": "whose targets the Fisher takes: data, model or all"})
    anchors: str = field(default="last", metadata={"help": "pull to the last weights, or to those of each task"})

    def __post_init__(self):
        super().__post_init__()
        if self.fisher_rows < 1:
            raise ValueError(f"fisher_rows is {self.fisher_rows}; use 1 or more")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma is {self.gamma}; use 1 (all tasks count alike), 0 (only the last), or between")
        for name, known in (("labels", ("data", "model", "all")), ("anchors", ("last", "each"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; use one of {', '.join(known)}")


class EWC(Quadratic):
    """L2, where each weight counts by the Fisher information of all tasks so far.

    gamma: 1 sums the Fishers of the tasks, less is online EWC with decay (Schwarz et al. 2018, section 3.1). Their
    penalty takes gamma times the sum once more: a factor on the strength, and nothing else.

    labels: "data" takes the targets of the rows (the empirical Fisher: cheap, and near 0 where the task is learned
    well); "model" draws one from the prediction (the Fisher itself, with the noise of the draw); "all" weighs every
    possible target by its probability (no noise, a gradient a target and class: for pictures of ten digits).

    anchors: "last" pulls with the whole Fisher to the weights after the last task; "each" is the penalty of the paper,
    one for each task to that task's weights. The sum over tasks i of F_i (w - a_i)^2 equals F (w - a)^2 plus a
    constant, where F is the sum of the F_i and a the mean of the a_i, weighted by them. So it needs no more memory, and
    is still exact.
    """

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(EWCConfig() if config is None else config)
        self.generator = torch.Generator().manual_seed(seed)
        self.gamma = self.config.gamma

    def start(self, learner, task):
        if self.config.labels == "all":  # told now by one row, not after the task
            with learner.evaluating(), torch.no_grad():
                row = task.train[:1]
                affordable(learner.count(row), learner.predict(row)[0].shape[-1])
        return super().start(learner, task)

    def importance(self, learner, task):
        def take(row):
            return learner.loss(row) if self.config.labels == "data" else self.sampled(learner, row)

        if self.config.labels == "all":
            return self.over_all_labels(learner, task)
        fisher, total = {name: torch.zeros_like(p) for name, p in learner.parameters().items()}, 0
        for count, gradient in per_row(learner, task.train, self.config.fisher_rows, self.generator, take):
            total += count
            for name, g in gradient.items():
                fisher[name] += (count * g) ** 2
        return {name: f / max(total, 1) for name, f in fisher.items()}

    def sampled(self, learner, row):
        """Mean loss of a row on targets that the model itself draws. What is read stays the data."""
        logits = learner.predict(row)[0].float()  # (n, V)
        drawn = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=self.generator)[:, 0]
        return cross_entropy(logits, drawn.to(logits.device))

    def over_all_labels(self, learner, task):
        named = learner.parameters()
        fisher, total = {name: torch.zeros_like(p) for name, p in named.items()}, 0
        chosen = torch.randperm(len(task.train), generator=self.generator)[: self.config.fisher_rows]
        with learner.evaluating(), torch.enable_grad():
            for row in task.train[chosen].split(1):
                log_p = learner.predict(row)[0].float().log_softmax(-1)  # (n, V)
                affordable(*log_p.shape)
                total += len(log_p)
                for value in log_p.flatten():
                    found = torch.autograd.grad(value, list(named.values()), retain_graph=True, allow_unused=True)
                    for name, g in zip(named, found):
                        if g is not None:
                            fisher[name] += value.detach().exp() * g**2
        return {name: f / max(total, 1) for name, f in fisher.items()}

    def move(self, name, value, found):
        old = self.anchor.get(name)
        if self.config.anchors == "last" or old is None:
            return super().move(name, value, found)
        whole = self.weight[name]  # already with `found`
        share = torch.where(whole > 0, found / whole, torch.ones_like(whole))  # no pull at all: any anchor will do
        return old + share * (value - old)

    def state(self):
        return {**super().state(), "generator": self.generator.get_state()}

    def load(self, state):
        super().load(state)
        self.generator.set_state(state["generator"])


def affordable(targets, classes):
    """ValueError where a row of so many targets would take more gradients than anybody waits for."""
    if targets * classes > ALL_MOST:
        raise ValueError(
            f"labels is 'all', but a row has {targets} targets of {classes} classes, and would take "
            f"{targets * classes} gradients; use 'model'"
        )
