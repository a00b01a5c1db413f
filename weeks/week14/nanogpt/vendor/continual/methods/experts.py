# vendored from weeks/week13/continual/methods/experts.py, sha256 1cd8d9fc1e3f22089b5c8b95403a678d9c5554a642d24c27ee0d1af3070e9b22; edit there, then run: make vendor
"""Experts: after each task its weights are kept as they are, and what is read says later which of them to ask.

Training is naive, so a task profits from those before it, and nothing that was learned is touched again. A question
goes to the expert whose prompts it is like, as in Expert Gate (Aljundi et al. 2017, arXiv:1611.06194), whose gates are
autoencoders and whose new experts begin as the most related one; here they begin as the last. A prompt of no task goes
to one of them too, not to the model as it was at first. Plain text has no prompt. To predict it every expert, and the
first weights, say how likely each next token is: p(next) = sum of w_k p_k(next), w_k in proportion to the probability
that expert k gave all that the row has said so far (Bayes' rule; before the first token all are alike). No task is
named, and of a row of T tokens this costs at most log2(experts + 1) / T bits a token. What continues a text is one
expert to its end: the one who finds the beginning likeliest.

Keeps all weights that learn, once more for every task, and the first ones, which also embed prompts; no rows. With LoRA
that is one adapter a task. Left out: experts that are merged, or dropped; and snapshots of a rehearsed model. Tried on
tier 1's texts (one seed), these predicted worse than its newest weights alone, with 92.7 % recovered for 95.4: the
newest know old text best, and not to know whom to ask costs the bits above.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from ..learner import prompted
from ..rows import all_judged, asked, at
from ..strategy import Config, Strategy
from ..weights import copied, holding, named, part
from .first import First
from .gate import ROUTER_ROWS, Gate, beginnings, check_rows, routing


@dataclass(frozen=True)
class ExpertsConfig(Config):
    router_rows: int = ROUTER_ROWS

    def __post_init__(self):
        check_rows(self.router_rows)


class Experts(Strategy):
    """The weights of each task, and the gate."""

    keeps = "weights"
    needs_view = needs_prompt = True

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(ExpertsConfig() if config is None else config)
        self.names = []  # tasks, the one under way included
        self.experts = []  # {parameter: tensor} of each that has ended
        self.first = First()
        self.asking = []  # those whose rows have prompts: the gate knows them
        self.gate = Gate()

    def start(self, learner, task):
        if task.name in self.names[: len(self.experts)]:
            raise ValueError(
                f"{task.name!r} was learned before and its weights are kept; give the new rows a name of their own"
            )
        if task.name not in self.names:
            self.first.note(learner)
            if prompted(task.train.judged).any():
                with self.first.back(learner):
                    self.gate.add(beginnings(learner, task, self.config.router_rows))
                self.asking.append(task.name)
            self.names.append(task.name)
        return super().start(learner, task)

    def finish(self, learner, task):
        self.experts.append(copied(learner.parameters()))

    def nearest(self, learner, rows):
        """(N,) int64: the number of the expert for each row, by its prompt; -1 where no task has prompts."""
        if not self.asking:
            return torch.full((len(rows),), -1)
        with self.first.back(learner):
            found = self.gate.nearest(learner.embed(rows))
        return torch.tensor([self.names.index(name) for name in self.asking])[found.cpu()]

    def chosen(self, learner, forward, prompts):
        """(N,) int64: the number of the expert that continues each list of ids.

        Where any task has prompts each list is taken for one; else it is text, and who finds it likeliest goes on.
        """
        if self.asking:
            return self.nearest(learner, asked(prompts))
        numbers = range(-1, len(self.names))
        losses = [[self.loss_of(learner, forward, number, ids) for number in numbers] for ids in prompts]
        return torch.tensor(losses).flip(1).argmin(1).neg() + len(self.names) - 1  # of equal ones the newest

    @torch.no_grad()
    def loss_of(self, learner, forward, number, ids):
        """Mean loss of the ids, at most a context of the last ones; 0 for one alone."""
        if len(ids) < 2:
            return 0.0
        with self.running(learner, number):
            return forward(all_judged(torch.tensor([ids[-learner.context() - 1 :]])))[1].item()

    def running(self, learner, number):
        """The expert's weights, the first ones for -1; of the task that is being learned, the model's own."""
        if number >= len(self.experts):
            return nullcontext()
        return self.first.back(learner) if number < 0 else holding(learner, self.experts[number])  # for reading alone

    def mixed(self, learner, forward, rows):
        """Log-probabilities (M, V) at the judged positions, of all experts together; and their mean loss.

        The rows have no prompt. `forward(rows)` is the learner's own: `learner.forward` comes back to this method.
        """
        judged = learner.mask(rows)
        targets = rows.ids.to(judged.device)[:, 1:][judged]
        total = weight = None
        for number in range(-1, len(self.names)):
            with self.running(learner, number):
                logits, _ = forward(rows)
            logs = at(learner.mask(rows), logits).float().log_softmax(-1)  # (M, V)
            said = logs.gather(1, targets.to(logs.device)[:, None])[:, 0]  # (M,)
            rows_of = logs.new_zeros(judged.shape).masked_scatter_(judged.to(logs.device), said)  # (B, T)
            before = F.pad(rows_of.cumsum(1), (1, -1))[judged.to(logs.device)]  # (M,): of all that the row has said yet
            logs = logs + before[:, None]
            total = logs if total is None else torch.logaddexp(total, logs)
            weight = before if weight is None else torch.logaddexp(weight, before)
        mixture = total - weight[:, None]
        return mixture, F.nll_loss(mixture, targets.to(mixture.device))

    @contextmanager
    def view(self, learner, name):
        if not self.names:
            yield
            return
        parts = (partial(part, learner) for part in (self.nearest, self.running, self.mixed, self.chosen))
        with torch.no_grad(), routing(learner, *parts):  # no expert learns more
            yield

    def serving(self, learner, prompt):
        if not self.names:
            return nullcontext()
        prompt = prompt[-learner.context() :]
        return self.running(learner, *self.chosen(learner, learner.forward, [prompt]).tolist())

    def state(self):
        experts = {k: t for i, expert in enumerate(self.experts) for k, t in named(f"expert{i}", expert).items()}
        known = {"names": list(self.names), "asking": list(self.asking), "experts": len(self.experts)}
        return known | copied(experts) | self.first.state() | self.gate.state()

    def load(self, state):
        self.names, self.asking = list(state["names"]), list(state["asking"])
        self.experts = [part(state, f"expert{i}") for i in range(state["experts"])]
        self.first.load(state)
        self.gate.load(state, len(self.asking))
        under_way, wanted = len(self.names) - len(self.experts), shapes(self.first.weights)
        once = all(len(set(names)) == len(names) for names in (self.names, self.asking))
        whole = bool(self.names) == bool(wanted) and all(shapes(expert) == wanted for expert in self.experts)
        if under_way not in (0, 1) or not once or not whole or not set(self.asking) <= set(self.names):
            raise ValueError("the state's names and weights are not of the same tasks; load it as it was written")


def shapes(tensors):
    return {name: t.shape for name, t in tensors.items()}
