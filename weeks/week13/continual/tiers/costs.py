"""What a task costs with a method, in times of naive training: a step of each in turns.

Cells of a table are measured on different days, and the processor's seconds of the same work then differ by half. Here
a naive step follows each step of the method, in one process, so that whatever else the machine does meets both.
"""

import time

from ..loop import Shuffle, step
from ..vendor.shared.progress import bar
from .table import method, parse, recipe


class Side:
    """One of the two: a method that learns the first two tasks, and the processor's seconds that the second took."""

    def __init__(self, scenario, spec, seed):
        name, config = parse(spec)
        self.learner, self.spent = scenario.learner(seed, name), {}
        self.strategy = method(scenario, name, config, seed, scenario.tasks)
        self.recipe, self.seed, self.rate = recipe(scenario, joint=name == "joint"), seed, scenario.settings["lr"]

    def timed(self, what, do):
        began = time.process_time()
        found = do()
        self.spent[what] = self.spent.get(what, 0.0) + time.process_time() - began
        return found

    def start(self, task):
        self.spent = {}
        self.rows = self.timed("around", lambda: self.strategy.start(self.learner, task))
        self.learner.model.train()
        self.optimizer = self.recipe["make_optimizer"](self.learner.parameters())
        self.order = Shuffle(len(self.rows), self.recipe["batch_size"], self.seed)

    def step(self, i):
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * self.recipe["schedule"](i)
        rows, clip = self.rows[self.order.at(i)], self.recipe["clip"]
        update = lambda: step(self.learner, self.strategy, self.optimizer, rows, clip=clip)
        self.timed("steps" if i else "first", update)

    def finish(self, task):
        self.timed("around", lambda: self.strategy.finish(self.learner, task))

    def task(self, steps, whole):
        """Seconds of a task of `whole` steps, from the measured ones; the first, in which memory is fetched, apart."""
        return self.spent["around"] + whole * self.spent["steps"] / (steps - 1)


def cost(scenario, spec, seed=0, steps=40):
    """{"time_ratio": of a whole second task, "step_ratio": of its steps alone}, the method's seconds over naive ones.

    `steps` of them are measured: two at least, and at most as many as a task has. What comes before the steps and after
    them, such as a Fisher or rows to write, counts once.
    """
    if spec == "naive":
        return {"time_ratio": 1.0, "step_ratio": 1.0}
    sides, (first, second) = [Side(scenario, one, seed) for one in (spec, "naive")], scenario.tasks[:2]
    whole = scenario.settings["steps"]
    steps = max(2, min(steps, whole))
    with bar(total=steps, label=spec, unit="step") as line:
        for task, count in ((first, 2), (second, steps)):
            for side in sides:
                side.start(task)
            for i in range(count):
                for side in sides:
                    side.step(i)
                line.update(task is second)
            for side in sides:
                side.finish(task)
    ours, naive = (side.task(steps, whole) for side in sides)
    ratio = sides[0].spent["steps"] / max(sides[1].spent["steps"], 1e-9)
    return {"time_ratio": round(ours / max(naive, 1e-9), 4), "step_ratio": round(ratio, 4)}
