"""On-policy replay (OPR): rehearse the newest model's own answers, but only those that are good (Chen et al. 2026).

After every task the model answers old prompts again; a score against the true answer says which own answers stay.
Three times as many prompts are kept as are rehearsed, so a task costs the same however many came before. (The paper's
code answers all training prompts of all old tasks.)
"""

import torch

from ..answers import answer_rows
from ..memory import MEMORIES
from ..rouge import rouge_l
from ..rows import Rows, cat
from .rehearsal import Rehearsal

CANDIDATES = 3  # prompts answered for each row that is rehearsed


class OPR(Rehearsal):
    """Replay from a buffer that is rebuilt after each task: own answers at or above their task's median score.

    The score is ROUGE-L (for one word: exact match). Where the own answer scores 0 the true one is rehearsed.
    """

    needs_text = True

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(config, seed=seed)
        self.memory = MEMORIES[self.config.memory](CANDIDATES * self.config.keep_rows, seed)  # prompts, true answers
        self.buffer = None  # Rows; None until a task is finished
        self.report = {}  # task -> {"median", "mean"}: how its last answers scored; "gold": kept rows with the true one

    def start(self, learner, task):
        learner.needs_text("on-policy replay")  # told now, not after the task
        return super().start(learner, task)

    def batch(self, learner, rows):
        k = self.config.replay_rows
        if self.buffer is None or k == 0:
            return rows
        return cat([rows, self.buffer[torch.randint(len(self.buffer), (k,), generator=self.memory.generator)]])

    def finish(self, learner, task):
        super().finish(learner, task)
        counts = self.memory.counts()
        share, rest = divmod(self.config.keep_rows, max(1, len(counts)))
        parts = []
        for i, name in enumerate(counts):
            own = [j for j, owner in enumerate(self.memory.tasks) if owner == name]
            parts.append(self.best(learner, name, self.memory.rows[own], share + (i < rest)))
        self.buffer = cat(parts) if sum(map(len, parts)) else None

    def best(self, learner, name, gold, most):
        """At most `most` of a task's rows: the first whose own answers score at or above the median.

        Of an even number of scores the median is the lower of the two in the middle, as torch has it. `report` gets an
        entry for the task.
        """
        answered, answers = answer_rows(learner, gold)
        decode = learner.text.decode
        golds = learner.text.responses(gold)
        scores = torch.tensor([rouge_l(decode(said), decode(right)) for said, right in zip(answers, golds)])
        median = scores.median()
        kept = (scores >= median).nonzero().flatten()[:most]
        failed = scores[kept] == 0
        self.report[name] = {"median": median.item(), "mean": scores.mean().item(), "gold": int(failed.sum())}
        return Rows(**{k: choose(failed, gold.tensors[k][kept], answered.tensors[k][kept]) for k in ("ids", "judged")})

    def state(self):
        buffer = {} if self.buffer is None else self.buffer.map(torch.clone).tensors
        return {**super().state(), "report": dict(self.report)} | {f"buffer.{k}": t for k, t in buffer.items()}

    def load(self, state):
        super().load(state)
        self.report = dict(state["report"])
        buffer = {k.removeprefix("buffer."): t.clone() for k, t in state.items() if k.startswith("buffer.")}
        self.buffer = Rows(**buffer) if buffer else None


def choose(first, a, b):
    """(N, T): a's row where `first` (N,) is true, else b's."""
    return torch.where(first[:, None], a, b)
