# vendored from weeks/week13/continual/methods/gate.py, sha256 39624047edc9771ce1ccf95c9ca8e53aa5261706c0f10199303589bc2ebcfdc9; edit there, then run: make vendor
"""The gate of methods that keep something for each task: it reads a prompt and says whose it is.

It knows each task by the mean of its prompts' embeddings and takes the nearest, measured against how prompts scatter
within a task: Fisher's linear discriminant. Plain distances are ruled by the directions in which all text varies. No
task needs to be named; but where prompts carry an instruction that tells the task, this is as good as being told, and a
table should say so.

Keeps a mean for each task and one matrix of covariances for all, no rows. Left out: a gate that is learned, and a
mixture for prompts (GainLoRA's gates).
"""

from contextlib import contextmanager
from dataclasses import field

import torch

from ..learner import EMBED_BATCH, prompted
from ..rows import asked, at
from ...shared.progress import bar

WIDEST = 1024  # coordinates of an embedding: of a wider one, those that lie this far apart are summed
RIDGE = 0.1  # of the mean variance, added to all: a direction that varied little by chance must not decide alone
ROUTER_ROWS = field(default=256, metadata={"help": "training rows of a task that its prompts' mean is taken of"})


def check_rows(router_rows):
    if router_rows < 2:
        raise ValueError(f"router_rows is {router_rows}; use 2 or more, for a spread needs two")


class Gate:
    """`add` what prompts of a new task were embedded as, (N, C); `nearest` gives (N,) numbers of tasks.

    All must come from one model that never changes, or the means of old tasks are no longer comparable.
    """

    def __init__(self):
        self.means = []  # (C,) of each task
        self.within = 0.0  # (C, C), the covariance within a task, summed over the tasks
        self.white = None  # (C, C), in which distances are measured: made when it is first needed

    def add(self, found):
        found = folded(found)
        self.means.append(found.mean(0))
        self.within = self.within + (found - found.mean(0)).T @ (found - found.mean(0)) / len(found)
        self.white = None

    def nearest(self, found):
        if self.white is None:
            ridge = RIDGE * self.within.diagonal().mean() + 1e-12
            scatter = self.within + ridge * torch.eye(len(self.within), device=self.within.device)
            self.white = torch.linalg.inv(torch.linalg.cholesky(scatter)).T
        return torch.cdist(folded(found) @ self.white, torch.stack(self.means) @ self.white).argmin(dim=1)

    def state(self):
        means = {f"mean{i}": t.clone() for i, t in enumerate(self.means)}
        return means | ({"within": self.within.clone()} if means else {})

    def load(self, state, tasks):
        """Take back what `state` gave when it knew so many tasks."""
        self.means = [state[f"mean{i}"].clone() for i in range(tasks)]
        self.within, self.white = state["within"].clone() if tasks else 0.0, None
        if any(self.within.shape != (len(mean), len(mean)) for mean in self.means):
            raise ValueError("the state's means and covariances are of different widths; load it as it was written")


def folded(found):
    """(N, C), C at most WIDEST."""
    if found.shape[1] <= WIDEST:
        return found
    return found.new_zeros(len(found), WIDEST).index_add_(1, torch.arange(found.shape[1]) % WIDEST, found)


def beginnings(learner, task, n):
    """(n, C): what the prompts of `n` rows of a task, evenly spaced, are embedded as; of all where there are fewer."""
    n = min(n, len(task.train))
    rows = task.train[torch.arange(n) * len(task.train) // n]
    with bar(total=n, label=f"read prompts of {task.name}", unit="row") as line:
        found = []
        for part in rows.split(EMBED_BATCH):
            found.append(learner.embed(part))
            line.update(len(part))
    return torch.cat(found)


@contextmanager
def routing(learner, nearest, running, mixed=None, chosen=None):
    """Inside, each row that the learner is asked is answered by the weights that `running` its number puts in place.

    `nearest` gives rows their numbers, (N,) int64; `chosen(forward, prompts)` lists of ids, if that is not the same.
    `mixed(forward, rows)` answers rows that have no prompt. Logits come at the judged positions alone, (M, V).
    """
    chosen = chosen or (lambda forward, prompts: nearest(asked(prompts)))
    forward, generate = learner.forward, learner.generate

    def route(rows):
        if mixed is None:
            return nearest(rows)
        numbers, asks = torch.full((len(rows),), -1), prompted(rows.judged)
        if asks.any():
            numbers[asks.cpu()] = nearest(rows[asks]).cpu()
        return numbers

    def routed_forward(rows):
        mask = learner.mask(rows)
        owner = torch.arange(len(rows)).repeat_interleave(mask.sum(dim=1).cpu())  # (M,) the row of each target
        logits, total = None, 0.0
        for number, places in groups(route(rows)):
            if number < 0:
                part, loss = mixed(forward, rows[places])
            else:
                with running(number):
                    part, loss = forward(rows[places])
            part = at(learner.mask(rows[places]), part)
            logits = part.new_empty(len(owner), part.shape[1]) if logits is None else logits
            logits[torch.isin(owner, places).to(part.device)] = part
            total = total + loss * len(part) if len(part) else total  # of nothing judged the mean is nan
        return logits, total / len(owner)

    def routed_generate(prompts, n, **options):
        answers = [None] * len(prompts)
        for number, places in groups(chosen(forward, prompts) if prompts else torch.empty(0)):
            with running(number):
                found = generate([prompts[i] for i in places.tolist()], n, **options)
            for i, answer in zip(places.tolist(), found):
                answers[i] = answer
        return answers

    learner.forward, learner.generate = routed_forward, routed_generate
    try:
        yield
    finally:
        learner.forward, learner.generate = forward, generate


def groups(numbers):
    """[(number, places (k,) that have it)] of a tensor of numbers."""
    return [(number, (numbers == number).nonzero().flatten().cpu()) for number in numbers.unique().tolist()]
