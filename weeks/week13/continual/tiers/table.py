"""A table of runs that survives being stopped: every cell is kept as soon as it is measured.

A cell is one method on one order with one seed. It is a small JSON file; a table that is started again measures only
the cells that are missing. Rows that stand in every table, for a number alone says little:

    floor     what needs no model: the most frequent answer, byte frequencies
    base      the model before it learned any task
    naive     each task after the other, nothing protected
    separate  a model of its own for every task: nothing to forget, and as many models as tasks
    joint     all tasks at once, from the start
"""

import functools
import json
import re
import time
from pathlib import Path

import torch

from ..loop import judge, learn, learn_sequence
from ..methods import METHODS, make
from ..rows import Rows
from ..strategy import Strategy
from ..task import Task
from ..vendor.makemore.schedules import linear
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write
from ..vendor.shared.progress import bar
from ..vendor.shared.results import commit, machine, to_json
from ..weights import nbytes, swapped
from .scores import nats

ALWAYS = ("floor", "base", "naive", "separate", "joint")  # rows of every table; all but naive know no order
ORDERLESS = ("floor", "base", "separate", "joint")
BOUND = ("naive", "joint")  # what recovery is measured between
BUDGET = {"keep_rows": "budget", "replay_rows": "replay_rows"}  # a method's setting: the scenario's
REALIGNED = 10  # rows of an old task that a model is shown, to tell what it only seems to have forgotten


def parse(spec):
    """ "replay:keep_rows=20,memory=reservoir" -> ("replay", {"keep_rows": 20, "memory": "reservoir"})."""
    name, colon, rest = spec.partition(":")
    if name not in METHODS and name not in ALWAYS:
        raise Mistake(f"no method is called {name!r}; choose from {', '.join(METHODS)}")
    if colon and name not in METHODS:
        raise Mistake(f"{spec!r}: {name} is a row of every table and no method, so it has no settings; leave them out")
    config = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise Mistake(f"{spec!r}: {part!r} sets nothing; write {name}:setting=value")
        try:
            config[key] = json.loads(value)
        except json.JSONDecodeError:
            config[key] = value
    return name, config


class Table:
    """The cells of one scenario below `folder`."""

    def __init__(self, scenario, folder):
        self.scenario, self.folder = scenario, Path(folder)

    def path(self, spec, order, seed):
        order = "any" if parse(spec)[0] in ORDERLESS else order
        return self.folder / f"{order}-{re.sub('[^a-zA-Z0-9_.=,-]', '+', spec)}-s{seed}.json"

    def cell(self, spec, order, seed):
        """The record of a cell: from its file, or measured now and written to it."""
        if parse(spec)[0] in ORDERLESS:
            order = "forward"  # one file for all orders, so it must not depend on which was asked for first
        path, settings = self.path(spec, order, seed), {**self.scenario.settings, "data": self.scenario.digest()}
        if path.exists():
            record = read_cell(path)
            changed = [
                key for key in {**settings, **record["settings"]} if settings.get(key) != record["settings"].get(key)
            ]
            if changed:
                raise Mistake(
                    f"{path} was measured with other settings than these ({', '.join(changed)}); "
                    "move the old table away, or give another folder with --out"
                )
            if record["order"] != order:
                raise Mistake(
                    f"{path} was measured in the {record['order']} order, and its columns do not match those of other "
                    "cells; move this file away, and it is measured anew"
                )
            return record
        record = {"tier": self.scenario.tier, "order": order, "method": spec, "seed": seed, "settings": settings}
        record |= {"higher_is_better": self.scenario.higher_is_better, "unit": self.scenario.unit}
        began = time.perf_counter()
        record |= measure(self.scenario, spec, order, seed)
        record["took"] = round(time.perf_counter() - began, 3)
        record |= here(torch.get_num_threads())
        atomic_write(path, to_json(record) + "\n")
        return record

    def check(self, specs):
        """Tell what cannot be before any training: a ValueError or a Mistake for settings that a method has not."""
        for spec in specs:
            name, config = parse(spec)
            if config:
                method(self.scenario, name, config)

    def part(self, spec, order, seed):
        """The record of a cell; None where its method takes no part, such as one that writes rows where no text is."""
        try:
            return self.cell(spec, order, seed)
        except (Mistake, ValueError, FloatingPointError) as why:
            if spec in ALWAYS or self.path(spec, order, seed).exists():
                raise
            print(f"{spec} takes no part: {why}", flush=True)

    def fill(self, specs, orders, seeds):
        """Measure what is missing, the bounds first. Returns all records."""
        self.check(specs)
        wanted = [*ALWAYS, *(spec for spec in specs if spec not in ALWAYS)]
        places = {}
        for seed in seeds:
            for order in orders:
                for spec in wanted:
                    places.setdefault(self.path(spec, order, seed), (spec, order, seed))
        return [record for place in places.values() if (record := self.part(*place))]


@functools.cache
def here(threads):
    """What measured a cell: the code as it was when the command began, and the machine."""
    return {"commit": commit(Path(__file__).parent), "machine": machine(threads)}


def took(record):
    """Seconds that a cell took, judging included; older ones say it of the training and the judging alone."""
    return record.get("took", sum(record.get("seconds", ())) + record.get("judging_seconds", 0))


def read_cell(path):
    """One record; a Mistake where the file is not one."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        record["method"], record["order"], record["final"], record["settings"]
        return record
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} is not a cell of a table ({error!r}); move it away, and it is measured anew") from None


def read_cells(folder):
    """All records below a folder, in the order of their names."""
    return [read_cell(path) for path in sorted(Path(folder).rglob("*-s*.json"))]


# --- one cell ---------------------------------------------------------------------------------------------------------


def measure(scenario, spec, order, seed):
    """Run one cell. Returns its numbers: the final scores by name and task, and for a sequence its matrices."""
    tasks, (name, _) = scenario.ordered(order), parse(spec)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # the first one imports for seconds, which are no method's
    names = [task.name for task in tasks]
    if name == "floor":
        floors = [scenario.floor(task) for task in tasks]
        return {"tasks": names, "final": {score: [each[score] for each in floors] for score in floors[0]}}
    if name == "base":
        learner, each = scenario.learner(seed, "naive"), Judge(scenario)
        judge(learner, Strategy(), tasks, each)
        return {"tasks": names, "final": each.rows()[0], "generic": generic(scenario, learner)}
    if name == "separate":
        return {"tasks": names, **separate(scenario, tasks, seed)}
    return {"tasks": names, **sequence(scenario, tasks, spec, seed)}


class Judge:
    """`evaluate` for the loop: gives it the score that counts, and keeps all of them and the time that they took."""

    def __init__(self, scenario):
        self.scenario, self.seen, self.spent = scenario, [], [0.0, 0.0]

    def __call__(self, learner, task):
        began = clocks()
        scores = self.scenario.judge(learner, task)
        self.spent = [total + now - then for total, now, then in zip(self.spent, clocks(), began)]
        self.seen.append(scores)
        return mean(next(iter(scores.values())))

    def rows(self):
        """[{score: [mean on every task]}] of every moment, as many tasks each as the scenario has."""
        n, names = len(self.scenario.tasks), list(self.seen[0])
        moments = [self.seen[i : i + n] for i in range(0, len(self.seen), n)]
        return [{name: [round(mean(task[name]), 6) for task in moment] for name in names} for moment in moments]


def clocks():
    """[seconds by the wall, seconds of this process's processors]: the second is not moved by what else they do."""
    return [time.perf_counter(), time.process_time()]


def sequence(scenario, tasks, spec, seed):
    """The whole sequence with one method, from the same first weights as every other."""
    name, config = parse(spec)
    learner = scenario.learner(seed, name)
    strategy = method(scenario, name, config, seed, tasks)
    each, seconds, kept = Judge(scenario), [], []
    size, before = weights(learner), generic(scenario, learner)
    last = clocks()  # without the judging: when the task that is being learned began

    def on_task(i, row):
        nonlocal last
        now = [clock - judging for clock, judging in zip(clocks(), each.spent)]
        seconds.append([round(b - a, 3) for a, b in zip(last, now)])
        kept.append(max(state_bytes(strategy), weights(learner) - size))  # adapters stand on the model and in the state
        last = now

    settings = training(scenario, joint=name == "joint", total=len(tasks), label=f"{spec} seed {seed}")
    with settings.pop("line"):
        matrix = learn_sequence(
            learner, strategy, tasks, evaluate=each, baseline=False, higher_is_better=scenario.higher_is_better,
            on_task=on_task, seed=seed, **settings,
        )  # fmt: skip
    moments = each.rows()
    with strategy.view(learner, tasks[-1].name):  # the model that is served, as everywhere
        after = generic(scenario, learner)
    numbers = {
        "final": moments[-1],
        "matrix": {score: [moment[score] for moment in moments] for score in moments[0]},
        "seconds": [wall for wall, _ in seconds],
        "cpu_seconds": [cpu for _, cpu in seconds],
        "judging_seconds": round(each.spent[0], 3),
        "extra_bytes": kept,
        "generic": before + after,
        "last": [[round(x, 4) for x in next(iter(scores.values()))] for scores in each.seen[-len(tasks) :]],
    }
    if name != "joint" and len(matrix.rows) > 1:
        numbers["realigned"] = realigned(scenario, learner, strategy, tasks, seed)
    return numbers


def separate(scenario, tasks, seed):
    """A model of its own for every task: what is learned where nothing disturbs, at the price of a model a task."""
    each, seconds, size = Judge(scenario), [], 0
    for task in tasks:
        learner, began = scenario.learner(seed, "naive"), clocks()
        settings = training(scenario, total=1, label=f"{task.name} alone, seed {seed}")
        with settings.pop("line"):
            learn(learner, Strategy(), task, seed=seed, **settings)
        seconds.append([round(b - a, 3) for a, b in zip(began, clocks())])
        size += sum(p.numel() * p.element_size() for p in learner.parameters().values())
        judge(learner, Strategy(), [task], each)
    final = {score: [round(mean(task[score]), 6) for task in each.seen] for score in each.seen[0]}
    wall, cpu = map(list, zip(*seconds))
    return {"final": final, "seconds": wall, "cpu_seconds": cpu, "extra_bytes": [size]}


def method(scenario, name, config, seed=0, tasks=()):
    """A fresh method with the budget that all have in common; joint alone is told the future."""
    common = {setting: scenario.settings[key] for setting, key in BUDGET.items() if key in scenario.settings}
    own = METHODS[name][0].__dataclass_fields__
    common = {key: value for key, value in common.items() if key in own} | scenario.configs.get(name, {})
    config = {**common, **config}
    return make(name, config, seed=seed, tasks=tasks if name == "joint" else ())


def recipe(scenario, joint=False):
    """Rate, schedule and batches of `learn`, the same for every method.

    Joint training gets as many rows a step as replay does, or the bound would have seen less than what it bounds.
    """
    s = scenario.settings
    return dict(
        steps=s["steps"], clip=1.0, batch_size=s["batch_size"] + (s.get("replay_rows", 0) if joint else 0),
        # up in a line, then down in a line, anew for each task
        schedule=lambda step: linear(step, s["steps"], warmup=s["steps"] // 10),
        make_optimizer=lambda named: torch.optim.AdamW(
            named.values(), lr=s["lr"], betas=(0.9, s.get("beta2", 0.95)), weight_decay=s.get("weight_decay", 0.01)
        ),
    )  # fmt: skip


def training(scenario, *, total=1, joint=False, label=""):
    """What `learn` takes: the recipe, and a progress bar as `line`."""
    line = bar(total=total * scenario.settings["steps"], label=label, unit="step")

    def on_step(step, info):
        line.set_postfix(loss=f"{info['loss']:.3f}", refresh=False)
        line.update()

    return dict(line=line, on_step=on_step, **recipe(scenario, joint))


def realigned(scenario, learner, strategy, tasks, seed, steps=10):
    """Score of each old task after a short look at ten of its rows. The model is put back as it was."""
    scores, lr = [], scenario.settings["lr"] / 10
    for task in tasks[:-1]:
        shown = Task(task.name, task.train[: min(REALIGNED, len(task.train))])
        with strategy.view(learner, task.name), swapped(learner, dict(learner.model.named_parameters())):
            learns = learner.loss(shown.train[:1]).requires_grad  # an old adapter learns no more
            learn(
                learner, Strategy(), shown, steps=steps if learns else 0, batch_size=len(shown.train), seed=seed,
                make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=lr, weight_decay=0.0),
            )  # fmt: skip
            scores += judge(learner, Strategy(), [task], Judge(scenario))
    return [round(score, 6) for score in scores]


def generic(scenario, learner):
    """[loss on text of no task], or [] where the model never knew any."""
    if not isinstance(scenario.generic, Rows):
        return []
    with learner.evaluating(), torch.no_grad():
        return [round(nats(learner, scenario.generic), 6)]


def weights(learner):
    """Bytes of the model, each tensor once: tied weights are one."""
    return sum({p.data_ptr(): p.numel() * p.element_size() for p in learner.model.parameters()}.values())


def state_bytes(strategy):
    """Bytes that a method keeps between tasks: its state as it would be stored."""
    state = strategy.state()
    return nbytes(state) + len(json.dumps({key: value for key, value in state.items() if not torch.is_tensor(value)}))


def mean(values):
    return sum(values) / len(values)
