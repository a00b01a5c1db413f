"""Self-generated KL replay: stay near the old model's predictions on texts that it wrote itself (Marek et al. 2026).

No row of the user's is kept: before each task the model writes samples, its predictions on them are stored, and every
step some of them join, with the loss KL(old || new).
"""

from dataclasses import dataclass, field

import torch

from ..rows import Rows, laid
from ..strategy import Config, Strategy
from .distilled import join, joint_loss, predictions
from .rehearsal import at_least, at_once


@dataclass(frozen=True)
class KLReplayConfig(Config):
    strength: float = field(default=1.0, metadata={"help": "weight of the KL divergence from the old model"})
    samples: int = field(default=64, metadata={"help": "texts that the model writes before each task"})
    replay_rows: int = field(default=2, metadata={"help": "of these, how many join each step", "free": True})
    top: int = field(default=32, metadata={"help": "log-probabilities stored for each of their tokens"})

    def __post_init__(self):
        at_least(self, 0, "strength")
        at_once(self, "samples", "replay_rows")
        at_least(self, 1, "top")


class KLReplay(Strategy):
    """A step's loss: mean over the new rows, plus strength * mean KL(old || new) over sampled ones."""

    keeps = "synthetic"
    needs_text = True

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(KLReplayConfig() if config is None else config)
        self.generator = torch.Generator().manual_seed(seed)
        self.samples, self.under_way = None, ""  # Rows, and the task that they were written before

    def start(self, learner, task):
        idle = self.config.strength == 0 or self.config.samples == 0
        if not idle and self.under_way != task.name:  # else the run goes on in the middle of it
            self.samples, self.under_way = self.write(learner), task.name
        return super().start(learner, task)

    def write(self, learner):
        """Rows of texts at temperature 1, from where every prompt begins, with the model's `top` log-probabilities."""
        text = learner.needs_text("KL replay")
        opening, width = text.opening(), text.length + 1
        seed = int(torch.randint(2**31, (1,), generator=self.generator))
        prompts, new = [opening] * self.config.samples, width - len(opening)
        written = learner.generate(prompts, new, temperature=1.0, seed=seed, stop=())
        # a context no wider than a row leaves one place empty
        rows = laid([[*opening, *answer] for answer in written], width)
        with learner.evaluating(), torch.no_grad():
            k = min(self.config.top, learner.logits(rows[:1]).shape[-1])
        top, value = predictions(learner, rows, k, log_probs=True)
        return Rows(**rows.tensors, top=top, value=value)

    def batch(self, learner, rows):
        k = self.config.replay_rows
        if self.samples is None or k == 0:
            return rows
        return join(learner, rows, self.samples[torch.randint(len(self.samples), (k,), generator=self.generator)])

    def loss(self, learner, batch):
        return joint_loss(learner, batch, lambda old: self.config.strength * self.divergence(learner, old))

    def divergence(self, learner, old):
        """Scalar mean KL(old || new) in nats a token, over the stored tokens and one class for all others."""
        new = learner.predict(old)[0].float().log_softmax(dim=-1)  # (M, V)
        mask = learner.mask(old)
        top, value = (t[mask].to(new.device) for t in (old.top.long(), old.value))  # (M, k)
        return coarse_kl(value, new.gather(1, top))

    def finish(self, learner, task):
        self.under_way = ""

    def state(self):
        samples = {} if self.samples is None else self.samples.map(torch.clone).tensors
        state = {"generator": self.generator.get_state(), "under_way": self.under_way}
        return state | {f"samples.{name}": t for name, t in samples.items()}

    def load(self, state):
        self.generator.set_state(state["generator"])
        self.under_way = state["under_way"]
        samples = {k.removeprefix("samples."): t.clone() for k, t in state.items() if k.startswith("samples.")}
        self.samples = Rows(**samples) if samples else None


def coarse_kl(old, new):
    """Mean of KL(old || new) over M positions, from (M, k) log-probabilities of the same k tokens under both.

    What is left of 1 is one more class. Merging classes only lowers a KL divergence, so this is a lower bound.
    """
    rest_old, rest_new = ((1 - x.exp().sum(dim=1)).clamp(min=1e-6) for x in (old, new))  # (M,): rounding may give -1e-8
    kl = (old.exp() * (old - new)).sum(dim=1) + rest_old * (rest_old.log() - rest_new.log())
    return kl.mean()
