"""An adapter for each task, learned on the bare base, and a gate that reads the prompt and chooses one of them.

Nothing learned is ever touched again, so all that can be lost is lost by routing: `routed` says how well that goes.
What prompts are embedded with (Learner.embed) is the base with no adapter running, which never changes.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from ..rows import asked
from ..vendor.lora.adapter import BASE, using
from .gate import ROUTER_ROWS, Gate, beginnings, check_rows, routing
from .grown import AdapterConfig, Grown, label


@dataclass(frozen=True)
class RouterConfig(AdapterConfig):
    router_rows: int = ROUTER_ROWS

    def __post_init__(self):
        super().__post_init__()
        check_rows(self.router_rows)


class RoutedLoRA(Grown):
    """One adapter a task, each on the bare base; every row is answered by the adapter that its prompt is nearest to."""

    needs_prompt = True

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(RouterConfig() if config is None else config, seed=seed)
        self.gate = Gate()

    def running(self):
        return range(len(self.adapters))[-1:]  # the others are no part of what the newest learns on

    def start(self, learner, task):
        rows = super().start(learner, task)
        if len(self.gate.means) < len(self.names):
            with using(learner.model, BASE):
                self.gate.add(beginnings(learner, task, self.config.router_rows))
        return rows

    def nearest(self, learner, rows):
        """The number of the task, for each row: (N,) int64."""
        with using(learner.model, BASE):
            return self.gate.nearest(learner.embed(rows))

    def routed(self, learner, name, rows):
        """Share of these rows of the task `name` that its own adapter answers."""
        return (self.nearest(learner, rows) == self.names.index(name)).double().mean().item()

    def view(self, learner, name):
        self.place(learner.model)
        if not self.names:
            return nullcontext()
        return routing(learner, partial(self.nearest, learner), partial(self.answering, learner))

    def answering(self, learner, number):
        return using(learner.model, label(number))

    def serving(self, learner, prompt):
        self.place(learner.model)
        if not self.names:
            return nullcontext()
        return self.answering(learner, *self.nearest(learner, asked([prompt[-learner.context() :]])).tolist())

    def state(self):
        return super().state() | self.gate.state()

    def load(self, state):
        super().load(state)
        self.gate.load(state, len(self.names))
