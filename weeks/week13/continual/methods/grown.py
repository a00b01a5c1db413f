"""Methods that learn in adapters on a base that never changes (week 12's LoRA): what they share.

An adapter is grown in `start` and is called task0, task1, ... on the model. The state of such a method is all of its
adapters, so that it and the base are all that a served model needs. The base is frozen: it stays as it is, to the byte.
"""

from dataclasses import dataclass, field

import torch

from ..strategy import Config, Strategy
from ..vendor.lora.adapter import adapters, attach, layers, parameters, using
from ..vendor.lora.config import LoRAConfig
from ..weights import copied, named, part


@dataclass(frozen=True)
class AdapterConfig(Config):
    rank: int = field(default=8, metadata={"help": "rank of an adapter"})
    alpha: float = field(default=16.0, metadata={"help": "its strength: the change is scaled by alpha / rank"})
    targets: str = field(
        default="all-linear", metadata={"help": "layers that get one: all-linear, or names with commas"}
    )

    def __post_init__(self):
        self.lora()

    def lora(self):
        """The settings as week 12 has them; what cannot be raises ValueError there."""
        return LoRAConfig(rank=self.rank, alpha=self.alpha, targets=tuple(self.targets.split(",")))


class Grown(Strategy):
    """Base: adapters that are attached, kept and put back. Subclasses say when one is grown, and which of them run."""

    keeps = "weights"
    needs_view = True  # the base alone has learned nothing

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(AdapterConfig() if config is None else config)
        self.seed = seed
        self.names = []  # tasks, the one under way included
        self.adapters = []  # of each: {"path.lora_A": Parameter, or tensor where it is not on a model yet}

    def wanted(self):
        """How many adapters there are to be for the tasks in self.names."""
        return len(self.names)

    def running(self):
        """Numbers of the adapters that run while the newest task is learned, and are summed."""
        return range(len(self.adapters))

    def start(self, learner, task):
        if task.name not in self.names:
            self.names.append(task.name)
        self.place(learner.model)
        for i in range(len(self.adapters), self.wanted()):
            self.attach(learner.model, i)
            self.adapters.append(parameters(learner.model, label(i)))
        for i, adapter in enumerate(self.adapters):
            for p in adapter.values():
                p.requires_grad_(i == len(self.adapters) - 1)
        activate(learner.model, self.running())
        return super().start(learner, task)

    def attach(self, model, number):
        """Grow an adapter from a random start of its own: torch's global generator, which dropout uses, is put back."""
        if foreign := [name for name in adapters(model) if not name.startswith("task")]:
            raise ValueError(
                f"the model already has an adapter {foreign[0]!r}, and {type(self).__name__} grows its own on a bare "
                "model; merge or detach that one first"
            )
        with torch.random.fork_rng():
            torch.manual_seed((self.seed * 1_000_003 + number) % 2**63)
            attach(model, label(number), self.config.lora())

    def place(self, model):
        """Put the adapters of a loaded state on a model that does not have them yet."""
        for i, kept in enumerate(self.adapters):
            if all(isinstance(t, torch.nn.Parameter) for t in kept.values()):
                continue
            if label(i) not in adapters(model):
                self.attach(model, i)
            own = parameters(model, label(i))
            if {k: p.shape for k, p in own.items()} != {k: t.shape for k, t in kept.items()}:
                raise ValueError(
                    f"adapter {i} of the state has {len(kept)} tensors that do not fit this model and rank "
                    f"{self.config.rank} on {self.config.targets}; build the method and the model that wrote it"
                )
            with torch.no_grad():
                for key, p in own.items():
                    p.copy_(kept[key])
            self.adapters[i] = own

    def view(self, learner, name):
        """Nothing but the adapters that ran last: one model for all tasks."""
        self.place(learner.model)
        return using(learner.model, {label(i): 1.0 for i in self.running()})

    def state(self):
        tensors = {k: t for i, adapter in enumerate(self.adapters) for k, t in named(f"adapter{i}", adapter).items()}
        return {"names": list(self.names), "adapters": len(self.adapters), **copied(tensors)}

    def load(self, state):
        self.names = list(state["names"])
        self.adapters = [part(state, f"adapter{i}") for i in range(state["adapters"])]


def label(number):
    """The name of an adapter on the model."""
    return f"task{number}"


def activate(model, numbers):
    """From now on these adapters run, summed: what `using` does for a block."""
    for layer in layers(model).values():
        layer.active = {label(i): 1.0 for i in numbers}
