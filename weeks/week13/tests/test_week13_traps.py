"""Traps that made others measure forgetting where there was none, or the other way round. Each one is a test.

Teacher-forced against generated scores, and spurious against real forgetting, are measured in the tables of the week.
"""

import pytest
import torch
from continual import METHODS, Learner, Rows, Task, all_judged, learn_sequence, make, text
from continual.metrics import bwt, forgetting
from continual.rows import content_only
from continual.text import bits_per_byte
from continual.vendor.gpt.model import GPT, GPTConfig

pytestmark = pytest.mark.day(91)

# methods that train the weights they are given, and are judged with these
TRAINED_ON = ["naive", "replay", "l2", "ewc", "si", "mas", "lwf", "finch"]
END = 1


def rows(n, seed=0):
    return all_judged(torch.randint(2, 13, (n, 7), generator=torch.Generator().manual_seed(seed)))


def tiny():
    torch.manual_seed(0)
    return Learner(GPT(GPTConfig(256, 6, n_layer=1, n_head=2, n_embd=8)))


@pytest.mark.parametrize("name", TRAINED_ON)
def test_a_learning_rate_of_nothing_forgets_nothing(name):
    """The null control: 1e-12 instead of 1e-2. Every score is *equal* to the untrained one, as float32 loss has it, and
    so BWT and forgetting are 0, not nearly 0. A probe with a random part, or that leaves dropout on, fails here.

    AdamW moves a weight by at most its rate a step. The nearest float32 to a weight of 1e-2 is 9e-10 away, so such a
    move is rounded off; only weights that were exactly 0, the biases, move, by 1e-11: too little for any loss to show.
    """
    assert name in METHODS
    tasks = [Task(str(i), rows(8, i), rows(8, i + 10)) for i in range(3)]
    matrix = learn_sequence(
        tiny(), make(name), tasks, evaluate=bits_per_byte, higher_is_better=False, steps=3, batch_size=4,
        make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=1e-12),
    )  # fmt: skip
    assert matrix.rows == [matrix.baseline] * 3
    assert bwt(matrix.rows, False) == forgetting(matrix.rows, False) == 0
    moved = learn_sequence(
        tiny(), make(name), tasks, evaluate=bits_per_byte, higher_is_better=False, steps=3, batch_size=4,
        make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=1e-2),
    )  # fmt: skip
    assert moved.rows[0] != matrix.baseline, "this control would not notice training"


class Table(torch.nn.Module):
    """Gives each token one probability, whatever came before."""

    def __init__(self, probabilities):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, tokens, targets=None, cache=None):
        logits = self.logits.expand(*tokens.shape, -1)
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def test_only_content_is_scored():
    """Two models that know the answers equally well, one of which no longer ends them: on all that is judged it seems
    to have forgotten, on content alone nothing has happened. `probability` of the answer 2, then of the end."""
    ids = torch.tensor([[0, 2, END], [0, 2, END]])
    judged = torch.tensor([[False, True, True]] * 2)
    answers = Rows(ids=ids, judged=judged)
    ends, goes_on = Learner(Table([0.1, 0.3, 0.6])), Learner(Table([0.39, 0.01, 0.6]))
    assert goes_on.loss(answers) > ends.loss(answers) + 1.5
    content = content_only(answers, END)
    assert goes_on.loss(content).item() == pytest.approx(ends.loss(content).item(), rel=1e-6)  # float32
    assert goes_on.count(content) == 2 and torch.equal(content.ids, ids)
    assert answers.judged.sum() == 4, "the rows that are trained on still teach to end"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_probe_does_not_depend_on_its_batch_size(size, monkeypatch):
    """The same weights and rows, judged 64 at once or `size`: equal but for the order in which float32 sums. Rows that
    judge little must not count for more because they share a batch."""
    probe = rows(50)
    probe.judged[:20, 1:6] = False
    task, learner = Task("a", rows(4), probe), tiny()
    with torch.no_grad():
        usual = bits_per_byte(learner, task)
        monkeypatch.setattr(text, "EVAL_BATCH", size)
        assert bits_per_byte(learner, task) == pytest.approx(usual, rel=1e-6)
        assert bits_per_byte(learner, task) == bits_per_byte(learner, task), "at one size it is exact"
