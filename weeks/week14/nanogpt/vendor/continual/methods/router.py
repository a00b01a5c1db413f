# vendored from weeks/week13/continual/methods/router.py, sha256 b43794fa17f3fc788af689c72d83040ec4287b3587e0e323bc2de824e919bc9c; edit there, then run: make vendor
"""An adapter for each task, learned on the bare base, and a gate that reads the prompt and chooses one of them.

Nothing learned is ever touched again, so all that can be lost is lost by routing: `routed` says how well that goes.
What prompts are embedded with (Learner.embed) is the base with no adapter running, which never changes.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

from ...lora.adapter import BASE, using
from .gate import Gate, routing, some
from .grown import AdapterConfig, Grown, label

ROUTER_ROWS = field(default=256, metadata={"help": "training rows of a task that its prompts' mean is taken of"})


@dataclass(frozen=True)
class RouterConfig(AdapterConfig):
    router_rows: int = ROUTER_ROWS

    def __post_init__(self):
        super().__post_init__()
        check_rows(self.router_rows)


def check_rows(router_rows):
    if router_rows < 2:
        raise ValueError(f"router_rows is {router_rows}; use 2 or more, for a spread needs two")


class RoutedLoRA(Grown):
    """One adapter a task, each on the bare base; every row is answered by the adapter that its prompt is nearest to."""

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(RouterConfig() if config is None else config, seed=seed)
        self.gate = Gate()

    def running(self):
        return range(len(self.adapters))[-1:]  # the others are no part of what the newest learns on

    def start(self, learner, task):
        rows = super().start(learner, task)
        if len(self.gate.means) < len(self.names):
            self.gate.add(self.embedded(learner, some(task.train, self.config.router_rows)))
        return rows

    def embedded(self, learner, rows):
        """(N, C): what the base makes of the prompts."""
        with using(learner.model, BASE):
            return learner.embed(rows)

    def route(self, learner, rows):
        """The number of the task, for each row: (N,) int64."""
        return self.gate.nearest(self.embedded(learner, rows))

    def routed(self, learner, name, rows):
        """Share of these rows of the task `name` that its own adapter answers."""
        return (self.route(learner, rows) == self.names.index(name)).double().mean().item()

    def view(self, learner, name):
        self.place(learner.model)
        if not self.names:
            return nullcontext()
        return routing(learner, partial(self.route, learner), lambda number: using(learner.model, label(number)))

    def state(self):
        return super().state() | self.gate.state()

    def load(self, state):
        super().load(state)
        self.gate.load(state, len(self.names))
