"""Generative replay: distilled replay whose old rows the model wrote itself (Shin et al. 2017, arXiv:1705.08690).

Right after a task is learned the model writes rows as it now would, and these are kept in the place of the user's. The
paper trains a generator beside the classifier; a language model is its own. Of a task's rows only the first token of
some is taken, or nothing where all prompts begin alike. An old task gets no better than it was when its rows were
written, so they get less of a step here than rows of the user's do.
"""

from dataclasses import dataclass, field, replace

import torch

from ..rows import laid
from ..vendor.shared.progress import bar
from .distilled_replay import DistilledReplay, DistilledReplayConfig

BATCH = 64  # rows written at once


@dataclass(frozen=True)
class GenerativeReplayConfig(DistilledReplayConfig):
    share: float = field(default=0.35, metadata={"help": "part of a step's rows that are old", "free": True})
    strength: float = field(default=0.5, metadata={"help": "weight of the divergence from the old model", "free": True})


class GenerativeReplay(DistilledReplay):
    """Each task's part of the memory is written when the task ends, and never anew."""

    keeps = "synthetic"
    settings = GenerativeReplayConfig

    def start(self, learner, task):
        if "ids" not in task.train.tensors:
            raise ValueError(f"task {task.name!r} has rows of {', '.join(task.train.tensors)}; a model writes only ids")
        return super().start(learner, task)

    def finish(self, learner, task):
        if self.config.keep_rows:  # else nothing is kept; whatever the share, for the next task may have another
            task = replace(task, train=self.written(learner, task))
        super().finish(learner, task)

    def written(self, learner, task):
        """As many Rows as the task gets in the memory, at temperature 1; all that follows their beginning is judged."""
        ids, others = task.train.ids, len(self.memory.counts())
        n, width = max(1, self.config.keep_rows // (others + 1)), ids.shape[1]
        g = torch.Generator().manual_seed((self.seed * 1_000_003 + others) % 2**63)
        if learner.text is None:
            begin = ids[torch.randint(len(ids), (n,), generator=g), :1].tolist()
        else:
            begin = [learner.text.opening()] * n
        answers, new = [], width - len(begin[0])
        with bar(total=n, label=f"write rows of {task.name}", unit="row") as line:
            while len(answers) < n:
                part = begin[len(answers) : len(answers) + BATCH]
                seed = int(torch.randint(2**31, (1,), generator=g))
                answers += learner.generate(part, new, temperature=1.0, seed=seed, stop=())
                line.update(len(part))
        # a context no wider than a row leaves one place empty
        return laid([[*first, *more] for first, more in zip(begin, answers, strict=True)], width, len(begin[0]))
