"""The one training loop that every method goes through, and the only `backward` of training.

`step` is the heart: plain training is `step` with the default Strategy, and a resumed run needs no more than the
step's number, because `Shuffle.at(step)` is a pure function of it.
"""

import contextlib
import math

import torch

from .metrics import Matrix


class Shuffle:
    """Which rows belong to which step: a fresh permutation an epoch, batches running on across epoch ends.

    A pure function of (seed, step), so the data position of a stopped run *is* its step number.
    """

    def __init__(self, n_rows, batch_size, seed=0):
        if n_rows < 1 or batch_size < 1:
            raise ValueError(f"cannot draw batches of {batch_size} from {n_rows} rows; both must be 1 or more")
        self.n_rows, self.batch_size, self.seed = n_rows, batch_size, seed
        self._epoch, self._order = None, None  # the permutation used last: a cache, never a state

    def order(self, epoch):
        """The permutation of row numbers that `epoch` walks through."""
        if epoch != self._epoch:
            # Its own generator: what else draws random numbers cannot move the data, nor the data them.
            g = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            self._epoch, self._order = epoch, torch.randperm(self.n_rows, generator=g)
        return self._order

    def at(self, step):
        """Row numbers (batch_size,) of step 0, 1, 2, ..."""
        parts, position, end = [], step * self.batch_size, (step + 1) * self.batch_size
        while position < end:
            epoch, offset = divmod(position, self.n_rows)
            part = self.order(epoch)[offset : offset + end - position]
            parts.append(part)
            position += len(part)
        return torch.cat(parts)


def step(learner, strategy, optimizer, rows, *, parts=1, clip=1.0):
    """One update from the new `rows` of a step, in `parts` micro-batches that need less memory than one.

    The loss is the mean over all judged targets of the step, however the rows are parted and however long they are:
    each micro-batch weighs what it judges. `clip` bounds the norm of the gradient (None: never). A loss or gradient
    that is not finite raises FloatingPointError before any weight has moved: the model keeps its last good weights.

    Returns the step's loss, the norm of its gradient before clipping, and the learning rate that it took (the first
    group's): the schedule's, times what the strategy asked for.
    """
    optimizer.zero_grad(set_to_none=True)
    rows, total = strategy.batch(learner, rows), 0.0
    batches = rows.split(math.ceil(len(rows) / parts))
    counts = [learner.count(batch) for batch in batches]
    for batch, count in zip(batches, counts):
        if count:
            loss = strategy.loss(learner, batch) * (count / sum(counts))
            total += _finite(loss.item(), "loss", optimizer)
            loss.backward()
    strategy.grads(learner)
    bound = math.inf if clip is None else clip  # infinity scales by exactly 1: the norm is only measured
    norm = torch.nn.utils.clip_grad_norm_(learner.parameters().values(), bound)
    norm = _finite(norm.item(), "gradient norm", optimizer)
    with _scaled(optimizer, _finite(strategy.rate(total), "factor of the learning rate", optimizer)):
        optimizer.step()
        lr = optimizer.param_groups[0]["lr"]
    strategy.stepped(learner)
    return {"loss": total, "grad_norm": norm, "lr": lr}


@contextlib.contextmanager
def _scaled(optimizer, factor):
    """Every group's learning rate times `factor`, and as it was afterwards: the schedule knows nothing of it."""
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        if factor != 1:
            for group, lr in zip(optimizer.param_groups, rates):
                group["lr"] = lr * factor
        yield
    finally:
        for group, lr in zip(optimizer.param_groups, rates):
            group["lr"] = lr


def _finite(value, what, optimizer):
    if not math.isfinite(value):
        optimizer.zero_grad(set_to_none=True)  # nothing of the bad step may reach a later one
        raise FloatingPointError(
            f"the {what} is {value}; the weights are those of the step before. "
            "Lower the learning rate, or look for a broken row in the data"
        )
    return value


def learn(learner, strategy, task, *, steps, batch_size, make_optimizer, schedule=None, clip=1.0, seed=0, on_step=None):
    """Learn one task: start, build the optimizer, `steps` steps, finish. Returns the optimizer.

    make_optimizer(parameters): gets the dict name -> Parameter, **after** `start`, which may have added some.
    schedule(step) -> multiplier of each group's learning rate (None: constant).
    on_step(step, info) is called after each step; info holds loss, grad_norm and lr.
    """
    model = learner.model
    was_training = model.training
    try:
        rows = strategy.start(learner, task)
        shuffle = Shuffle(len(rows), batch_size, seed)
        optimizer = make_optimizer(learner.parameters())
        base = [group["lr"] for group in optimizer.param_groups]
        model.train()
        for i in range(steps):
            for group, lr in zip(optimizer.param_groups, base):
                group["lr"] = lr * (schedule(i) if schedule else 1.0)
            info = step(learner, strategy, optimizer, rows[shuffle.at(i)], clip=clip)
            if on_step:
                on_step(i, info)
        strategy.finish(learner, task)
    finally:
        model.train(was_training)
    return optimizer


def judge(learner, strategy, tasks, evaluate):
    """One row of the matrix: evaluate(learner, task) of every task, without dropout, inside the strategy's view."""
    model = learner.model
    was_training = model.training
    scores = []
    try:
        for task in tasks:
            model.eval()
            with torch.no_grad(), strategy.view(learner, task.name):
                scores.append(float(evaluate(learner, task)))
    finally:
        model.train(was_training)
    return scores


def learn_sequence(
    learner, strategy, tasks, *, evaluate, baseline=True, higher_is_better=True, on_task=None, **settings
):
    """Learn `tasks` in order; after each, judge **all** of them, also those still to come. Returns a Matrix.

    baseline: judge once before any training (FWT needs it). on_task(i, row) is called with -1 for that row,
    then after each task. `settings` go to `learn`.
    """
    matrix = Matrix([task.name for task in tasks], [], higher_is_better=higher_is_better)
    if baseline:
        matrix.baseline = judge(learner, strategy, tasks, evaluate)
        if on_task:
            on_task(-1, matrix.baseline)
    for i, task in enumerate(tasks):
        learn(learner, strategy, task, **settings)
        matrix.rows.append(judge(learner, strategy, tasks, evaluate))
        if on_task:
            on_task(i, matrix.rows[-1])
    return matrix
