"""Memories of past rows with a fixed budget, each with its own random generator.

The budget is a number of *rows* over all tasks together: it does not grow with the number of tasks.
Three ways to spend it: Reservoir (every row ever seen has the same chance), Balanced (every task has the same room) and
KMeans (every task has the same room, for the rows that represent it best). The random choice is the baseline to beat.
Left out: choosing rows by their gradients or their loss.
"""

import torch

from .kmeans import by_nearness
from .rows import Rows, cat

CLUSTERS = 20  # of a task's rows: the number of Huang et al. 2024


class Memory:
    """Base of all: holds M Rows, the task of each, and the generator. Subclasses say which rows stay."""

    def __init__(self, budget, seed=0):
        if budget < 0:
            raise ValueError(f"a memory of {budget} rows cannot be; use 0 (keep nothing) or more")
        self.budget = budget
        # Its own generator: a run with a memory shuffles its data and drops its units exactly as one without.
        self.generator = torch.Generator().manual_seed(seed)
        self.rows = None  # Rows on the CPU; None until a row is kept, for only then its shape is known
        self.tasks = []  # M names: whose row it is

    def __len__(self):
        return len(self.tasks)

    def add(self, task_name, rows, embed=None):
        """See the Rows of a task and keep some. May be called many times, also again for the same task.

        embed(rows) -> (N, C), such as `learner.embed`, is called only by a memory that looks at what is in the rows.
        """
        raise NotImplementedError

    def sample(self, k):
        """k Rows, each drawn from all that are kept (with replacement); None where there is nothing to draw.

        Drawing nothing leaves the generator alone.
        """
        if not self.tasks or k < 1:
            return None
        return self.rows[torch.randint(len(self), (k,), generator=self.generator)]

    def counts(self):
        """Rows kept for each task, in the order in which the tasks came."""
        return {name: self.tasks.count(name) for name in dict.fromkeys(self.tasks)}

    def state(self):
        """A flat dict of tensors and JSON values: see Strategy.state."""
        state = {"generator": self.generator.get_state(), "budget": self.budget, "tasks": list(self.tasks)}
        tensors = {} if self.rows is None else self.rows.map(torch.clone).tensors
        return state | {f"rows.{name}": t for name, t in tensors.items()}

    def load(self, state):
        if state["budget"] != self.budget:
            raise ValueError(
                f"the state is of a memory of {state['budget']} rows, but this one has {self.budget}; "
                f"build it with budget={state['budget']}"
            )
        kept = {key.removeprefix("rows."): t.clone() for key, t in state.items() if key.startswith("rows.")}
        rows = Rows(**kept) if kept else None
        held = 0 if rows is None else len(rows)
        if len(state["tasks"]) != held:
            raise ValueError(
                f"the state has {held} rows, and tasks for {len(state['tasks'])}; load it as it was written"
            )
        self.generator.set_state(state["generator"])
        self.tasks, self.rows = list(state["tasks"]), rows


class Reservoir(Memory):
    """Algorithm R (Vitter 1985): after n rows, each of them is kept with the same probability budget / n."""

    def __init__(self, budget, seed=0):
        super().__init__(budget, seed)
        self.seen = 0

    def add(self, task_name, rows, embed=None):
        rows = rows.to("cpu")
        if self.budget == 0 or len(rows) == 0:
            return
        free = min(self.budget - len(self), len(rows))  # the first rows fill the memory ...
        self.rows = rows[:free].map(torch.clone) if self.rows is None else cat([self.rows, rows[:free]])
        self.tasks += [task_name] * free
        # ... and the n-th row then takes a place drawn from n: kept if that place is one of the budget's.
        n = torch.arange(self.seen + free + 1, self.seen + len(rows) + 1, dtype=torch.float64)
        places = (torch.rand(len(n), generator=self.generator, dtype=torch.float64) * n).long().tolist()
        chosen = {place: free + i for i, place in enumerate(places) if place < self.budget}  # the last one stays
        for place in chosen:
            self.tasks[place] = task_name
        if chosen:
            places, sources = torch.tensor(list(chosen)), torch.tensor(list(chosen.values()))
            for name, kept in self.rows.tensors.items():
                kept[places] = rows.tensors[name][sources]
        self.seen += len(rows)

    def state(self):
        return {**super().state(), "seen": self.seen}

    def load(self, state):
        super().load(state)
        if state["seen"] < len(self):
            raise ValueError("the state holds more rows than it has seen; load it as it was written")
        self.seen = state["seen"]


class Balanced(Memory):
    """The budget divided evenly over the tasks seen; older tasks give up rows as new ones come.

    Each row gets a random key when it is first seen, and a task keeps the rows with its smallest keys: a uniform sample
    of all its rows, whether they came at once or in pieces, and still one after the task has shrunk.
    A task with fewer rows than its share leaves the rest unused.
    """

    def __init__(self, budget, seed=0):
        super().__init__(budget, seed)
        self.keys = torch.empty(0, dtype=torch.float64)  # (M,)
        self.names = []  # tasks seen, also those that the budget has no row for

    def add(self, task_name, rows, embed=None):
        rows = rows.to("cpu")
        if self.budget == 0 or len(rows) == 0:
            return
        keys = torch.cat([self.keys, self.keys_of(rows, embed)])
        tasks = self.tasks + [task_name] * len(rows)
        self.names += [task_name] if task_name not in self.names else []
        share, rest = divmod(self.budget, len(self.names))  # the first `rest` tasks get one row more
        kept = []
        for i, name in enumerate(self.names):
            own = torch.tensor([j for j, owner in enumerate(tasks) if owner == name], dtype=torch.long)
            kept += own[keys[own].argsort(stable=True)[: share + (i < rest)]].tolist()
        old, new = [j for j in kept if j < len(self)], [j for j in kept if j >= len(self)]
        parts = [rows[[j - len(self) for j in new]]]  # only what stays is copied: new rows may be many, and wide
        self.rows = cat(parts if self.rows is None else [self.rows[old], *parts])
        self.keys, self.tasks = keys[old + new], [tasks[j] for j in old + new]

    def keys_of(self, rows, embed):
        """(N,) float64: the rows with the smallest ones stay longest."""
        return torch.rand(len(rows), generator=self.generator, dtype=torch.float64)

    def state(self):
        return {**super().state(), "keys": self.keys.clone(), "names": list(self.names)}

    def load(self, state):
        super().load(state)
        if len(state["keys"]) != len(self) or not set(self.tasks) <= set(state["names"]):
            raise ValueError("the keys or names of the state are not those of its rows; load it as it was written")
        self.keys, self.names = state["keys"].clone(), list(state["names"])


class KMeans(Balanced):
    """As Balanced, but a task keeps the rows nearest the centres of its clusters, of each cluster its share."""

    def keys_of(self, rows, embed):
        if embed is None:
            raise ValueError("a k-means memory chooses rows by what is in them; give embed, for example learner.embed")
        return by_nearness(embed(rows), CLUSTERS, self.generator)


MEMORIES = {"reservoir": Reservoir, "balanced": Balanced, "kmeans": KMeans}
