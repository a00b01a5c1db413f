"""An adapter for each task, learned on the bare base, and a router that reads the prompt and chooses one of them.

Nothing learned is ever touched again, so all that can be lost is lost by routing: `routed` says how well that goes.
The router knows each task by the mean of its prompts' embeddings (Learner.embed, with no adapter running) and takes the
nearest, measured against how prompts scatter within a task: Fisher's linear discriminant. Plain distances are ruled by
the directions in which all text varies. No task needs to be named; but where prompts carry an instruction that tells
the task, this is as good as being told, and a table should say so.

Keeps a mean for each task and one matrix of covariances for all, no rows. Left out: a learned router, and a mixture of
adapters (GainLoRA's gates).
"""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch

from ..rows import Rows
from ..vendor.lora.adapter import BASE, using
from .grown import AdapterConfig, Grown, label

WIDEST = 1024  # coordinates of an embedding: of a wider one, those that lie this far apart are summed
RIDGE = 0.1  # of the mean variance, added to all: a direction that varied little by chance must not decide alone


@dataclass(frozen=True)
class RouterConfig(AdapterConfig):
    router_rows: int = field(
        default=256, metadata={"help": "training rows of a task that its prompts' mean is taken of"}
    )

    def __post_init__(self):
        super().__post_init__()
        if self.router_rows < 2:
            raise ValueError(f"router_rows is {self.router_rows}; use 2 or more, for a spread needs two")


class RoutedLoRA(Grown):
    """One adapter a task, each on the bare base; every row is answered by the adapter that its prompt is nearest to."""

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(RouterConfig() if config is None else config, seed=seed)
        self.means = []  # (C,) of each task
        self.within = 0.0  # (C, C), the covariance within a task, summed over the tasks
        self.white = None  # (C, C), in which distances are measured: made when it is first needed

    def running(self):
        return range(len(self.adapters))[-1:]  # the others are no part of what the newest learns on

    def start(self, learner, task):
        rows = super().start(learner, task)
        if len(self.means) < len(self.names):
            n = min(self.config.router_rows, len(task.train))
            found = self.embedded(learner, task.train[torch.arange(n) * len(task.train) // n])  # evenly spaced
            self.means.append(found.mean(0))
            self.within = self.within + (found - found.mean(0)).T @ (found - found.mean(0)) / n
            self.white = None
        return rows

    def embedded(self, learner, rows):
        """(N, C): what the base makes of the prompts. It never changes, so means of old tasks stay comparable."""
        with using(learner.model, BASE):
            found = learner.embed(rows)
        if found.shape[1] <= WIDEST:
            return found
        folded = found.new_zeros(len(found), WIDEST)
        return folded.index_add_(1, torch.arange(found.shape[1], device=found.device) % WIDEST, found)

    def route(self, learner, rows):
        """The number of the task, for each row: (N,) int64."""
        if self.white is None:
            ridge = RIDGE * self.within.diagonal().mean() + 1e-12
            scatter = self.within + ridge * torch.eye(len(self.within), device=self.within.device)
            self.white = torch.linalg.inv(torch.linalg.cholesky(scatter)).T
        found = self.embedded(learner, rows) @ self.white
        return torch.cdist(found, torch.stack(self.means) @ self.white).argmin(dim=1)

    def routed(self, learner, name, rows):
        """Share of these rows of the task `name` that its own adapter answers."""
        return (self.route(learner, rows) == self.names.index(name)).double().mean().item()

    def view(self, learner, name):
        self.place(learner.model)
        return self.routing(learner) if self.means else nullcontext()

    @contextmanager
    def routing(self, learner):
        """Inside, whatever the learner is asked goes to the adapter that each row's prompt is nearest to."""
        forward, generate = learner.forward, learner.generate

        def routed_forward(rows):
            numbers, judged = self.route(learner, rows), learner.mask(rows).sum(dim=1)  # (N,) targets of each row
            owner = torch.arange(len(rows)).repeat_interleave(judged.cpu())  # (M,) the row of each target
            logits, total = None, 0.0
            for number, places in groups(numbers):
                with using(learner.model, label(number)):
                    part, loss = forward(rows[places])
                flat = part.dim() == 2  # a learner may give the logits of targets alone, (M, V)
                if logits is None:
                    logits = part.new_empty(len(owner) if flat else len(rows), *part.shape[1:])
                mine = torch.isin(owner, places) if flat else places
                logits[mine.to(part.device)] = part
                count = learner.count(rows[places])
                total = total + loss * count if count else total  # of nothing judged the mean is nan
            return logits, total / learner.count(rows)

        def routed_generate(prompts, n, **options):
            answers = [None] * len(prompts)
            numbers = self.route(learner, as_rows(prompts)) if prompts else torch.empty(0)
            for number, places in groups(numbers):
                with using(learner.model, label(number)):
                    found = generate([prompts[i] for i in places.tolist()], n, **options)
                for i, answer in zip(places.tolist(), found):
                    answers[i] = answer
            return answers

        learner.forward, learner.generate = routed_forward, routed_generate
        try:
            yield
        finally:
            learner.forward, learner.generate = forward, generate

    def state(self):
        means = {f"mean{i}": t.clone() for i, t in enumerate(self.means)}
        return super().state() | means | ({"within": self.within.clone()} if means else {})

    def load(self, state):
        super().load(state)
        self.means = [state[f"mean{i}"].clone() for i in range(len(self.names))]
        self.within, self.white = state["within"].clone() if self.means else 0.0, None


def groups(numbers):
    """[(number, places (k,) that have it)] of a tensor of numbers."""
    return [(number, (numbers == number).nonzero().flatten()) for number in numbers.unique().tolist()]


def as_rows(prompts):
    """Lists of ids as Rows whose prompts they are: the token after each is judged, what follows is padding."""
    width = max(map(len, prompts)) + 1
    ids, judged = torch.zeros(len(prompts), width, dtype=torch.long), torch.zeros(len(prompts), width, dtype=torch.bool)
    for i, prompt in enumerate(prompts):
        ids[i, : len(prompt)] = torch.tensor(prompt)
        judged[i, len(prompt)] = True
    return Rows(ids=ids, judged=judged)
