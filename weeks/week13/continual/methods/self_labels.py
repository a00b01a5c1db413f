"""Self-labelled replay: keep what was asked, and rehearse what the model answers to it after the task.

Huang et al. 2024 (SSR, figure 6): random rows with the newest model's own answers forget less than with the true ones.
An own answer asks for no change in the weights; a true one that the model did not learn asks for it again and again.
"""

from ..answers import answer_rows
from .rehearsal import Rehearsal


class SelfLabels(Rehearsal):
    """Replay, of which each kept row is answered anew, greedily and once, by the model that has just learned it."""

    needs_text = True

    def start(self, learner, task):
        learner.needs_text("self-labelled replay")  # told now, not after the task
        return super().start(learner, task)

    def finish(self, learner, task):
        super().finish(learner, task)
        own = [i for i, name in enumerate(self.memory.tasks) if name == task.name]
        if own:
            answered, _ = answer_rows(learner, self.memory.rows[own])
            for name in ("ids", "judged"):
                self.memory.rows.tensors[name][own] = answered.tensors[name]
