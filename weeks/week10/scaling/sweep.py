"""Many small runs from scratch, each with a budget of compute: what the law is fitted on.

A budget (floating-point operations of training) is spent by models of several sizes: the smaller a model, the more
tokens it sees. Finished runs are rows in a file, written one by one; the same command goes on after an interruption.
Models this small cannot keep two cores busy together, so each core makes a run of its own.
Left out: several seeds a run. The law is fitted through all of them, which averages their noise.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import torch

from .race import Setting, digest, train
from .vendor.gpt.model import GPT, GPTConfig
from .vendor.shared.errors import Mistake
from .vendor.shared.files import atomic_write
from .vendor.shared.progress import bar
from .vendor.shared.results import to_json
from .workers import spread

BLOCK, BATCH = 128, 8  # tokens in a window, windows in a step: on few tokens, more steps beat larger ones
FEWEST = 700_000  # tokens; with fewer a model knows pairs and no more, whatever its size: no law speaks of that
REST = 0.4  # AdamW's rate, for what Muon leaves to it, over Muon's
HEAD = 16  # channels a head; every width below is a multiple of it
SHAPES = (  # (layers, width)
    (1, 16), (2, 16), (2, 32), (2, 48), (3, 64), (4, 80), (4, 112), (5, 144), (6, 176), (7, 208)
)  # fmt: skip
KEYS = {
    "layers": int, "width": int, "budget": float, "params": int, "tokens": int, "flops": float, "loss": float,
    "lr": float, "seconds": float,
}  # fmt: skip


class Trial(NamedTuple):
    """One run: a shape, and the floating-point operations that it may spend."""

    layers: int
    width: int
    budget: float

    def config(self, vocab_size):
        return GPTConfig(vocab_size, BLOCK, self.layers, self.width // HEAD, self.width)

    def steps(self, vocab_size):
        """How many steps the budget pays for: whole ones, and 1 at least."""
        each = cost(self.config(vocab_size)) * BLOCK * BATCH
        return max(1, round(self.budget / each))

    def tokens(self, vocab_size):
        return self.steps(vocab_size) * BLOCK * BATCH

    def params(self, vocab_size):
        with torch.device("meta"):
            return GPT(self.config(vocab_size)).n_params()

    @property
    def name(self):
        return f"{self.layers}x{self.width} at {self.budget:.2g}"


def cost(config):
    """Floating-point operations to train on one token."""
    with torch.device("meta"):
        return GPT(config).flops_per_token()


def rate(width):
    """Muon's peak learning rate by width: the same for all, for its step has AdamW's size at every width."""
    return 0.02


def advised(law, budget, vocab_size, shapes=SHAPES):
    """The trial of this budget whose loss the law foretells to be the lowest."""
    return min((Trial(*shape, budget) for shape in shapes),
               key=lambda trial: law.loss(trial.params(vocab_size), trial.tokens(vocab_size)))  # fmt: skip


def trials(budgets, vocab_size, shapes_each=4, fewest=FEWEST):
    """For each budget the `shapes_each` largest shapes that still see `fewest` tokens; small budgets have fewer."""
    found = []
    for budget in budgets:
        every = [Trial(*shape, budget) for shape in SHAPES]
        found += [trial for trial in every if trial.tokens(vocab_size) >= fewest][-shapes_each:]
    return found


def run(trial, corpus, seed=0, judged=262_144, lr=None, shown=True):
    """Train from scratch with Muon and judge; the row of the sweep's file.

    judged: tokens of the validation text that are read, from its start. lr: the peak rate, instead of the rule's.
    Raises FloatingPointError at a loss of nan.
    """
    vocab_size = corpus.tokenizer.vocab_size
    config, steps = trial.config(vocab_size), trial.steps(vocab_size)
    lr = rate(trial.width) if lr is None else lr
    setting, val = Setting("muon", lr, rest=REST * lr), corpus.val[:judged]
    done = train(config, corpus.train, val, setting, steps, batch_size=BATCH, seed=seed, points=1, shown=shown)
    tokens = trial.tokens(vocab_size)
    return {
        "layers": trial.layers, "width": trial.width, "budget": float(trial.budget),
        "params": trial.params(vocab_size), "tokens": tokens, "flops": float(cost(config) * tokens),
        "loss": done.loss, "lr": lr, "seconds": round(done.seconds, 3),
    }  # fmt: skip


def pace(shape, vocab_size, steps=2):
    """Floating-point operations a second that training reaches here, at this shape."""
    config = Trial(*shape, 1.0).config(vocab_size)
    noise = torch.randint(vocab_size, (10 * BLOCK,), generator=torch.Generator().manual_seed(0))
    setting, seconds = Setting("muon", 1e-3, rest=1e-3), math.inf
    for _ in range(2):  # the first call allocates
        done = train(config, noise, noise[:2], setting, steps, batch_size=BATCH, points=1, shown=False)
        seconds = min(seconds, done.seconds)
    return cost(config) * steps * BLOCK * BATCH / seconds


# --- the file of rows -------------------------------------------------------------------------------------------------


def read_rows(path):
    """The finished runs of a sweep's file, [] where there is none; a Mistake names the row that cannot be read."""
    path = Path(path)
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["runs"]
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} is no file of a sweep ({error!r}); move it away to start anew") from None
    for number, row in enumerate(rows, 1):
        wrong = [key for key, kind in KEYS.items() if not isinstance(row, dict) or not isinstance(row.get(key), kind)
                 or not 0 < row[key] < math.inf]  # fmt: skip
        if wrong:
            raise Mistake(f"{path}, run {number}: {', '.join(wrong)} missing or not a number above 0; delete this row, "
                          "and the same command makes it again")  # fmt: skip
    return rows


def same_sweep(path, about):
    """A Mistake where the file of a sweep has another seed, vocabulary or text than `about`: its rows are of other
    runs."""
    found = json.loads(Path(path).read_text(encoding="utf-8")) if Path(path).exists() else {}
    for key, value in about.items():
        if found.get(key, value) != value:
            raise Mistake(f"{path} holds runs of {key} {found[key]}, and this sweep is of {key} {value}; "
                          "give --out another folder, or move the file away")  # fmt: skip


def done(rows, trial):
    """Is this trial's row among them?"""
    same = [row for row in rows if (row["layers"], row["width"]) == (trial.layers, trial.width)]
    return any(math.isclose(row["budget"], trial.budget, rel_tol=1e-6) for row in same)


def sweep(wanted, corpus, path, seed=0, judged=262_144, workers=1):
    """Make the runs that are not in the file yet, cheapest first, and write each as it ends; returns all rows.

    workers: processes of one thread each that make runs at the same time; the rows are the same, in another order.
    A file of another seed, vocabulary or text is refused: `same_sweep`.
    """
    about = {"vocab_size": corpus.tokenizer.vocab_size, "seed": seed, "text": digest(corpus.train)}
    rows = read_rows(path)
    same_sweep(path, about)
    missing = [trial for trial in sorted(wanted, key=lambda trial: trial.budget) if not done(rows, trial)]
    alone = workers == 1
    with bar(total=len(missing), label=f"{len(missing)} runs", unit="run", disable=alone) as line:
        for row in spread(run, missing, (corpus, seed, judged, None, alone), workers):
            rows = [*rows, row]
            atomic_write(path, to_json({**about, "runs": rows}) + "\n")
            line.update()
    return rows
