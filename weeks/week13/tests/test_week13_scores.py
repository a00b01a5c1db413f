"""How answers are scored: by hand, against slow definitions, and the traps that others paid for."""

import math

import pytest
import torch
from continual import Learner, all_judged
from continual.pairs import Pair
from continual.rows import content_only
from continual.text import bits_per_byte
from continual.tiers import scores
from continual.tiers.base import byte_format
from continual.tiers.domains import byte_gpt

pytestmark = pytest.mark.day(91)

SETTINGS = dict(n_layer=1, n_head=2, n_embd=16, length=40)


@pytest.fixture(scope="module")
def learner():
    model = byte_gpt(SETTINGS, seed=3).eval()
    with torch.no_grad():  # sharper than fresh weights: choices that differ from place to place
        for p in model.parameters():
            p.mul_(3)
    return Learner(model, text=byte_format(40))


PAIRS = [Pair("is it?", "yes"), Pair("a longer question, is it?", "no"), Pair("x", "maybe")]


def test_exact_by_hand():
    """Spaces around an answer do not count, capitals do."""
    assert scores.exact(" yes\n", "yes") == 1 and scores.exact("Yes", "yes") == 0


def test_bits_of_rows_average_to_bits_per_byte(learner):
    """Two roads to one number: the rows' own bits, and the sum that week 13's text counts."""
    rows = all_judged(torch.randint(256, (70, 21), generator=torch.Generator().manual_seed(0)))
    task = type("T", (), {"valid": rows})
    with torch.no_grad():
        got = scores.bits(learner, rows)
        assert sum(got) / 70 == pytest.approx(bits_per_byte(learner, task), rel=1e-5)  # float32, another order of sums
        assert scores.nats(learner, rows) / math.log(2) == pytest.approx(sum(got) / 70, rel=1e-5)


@pytest.mark.parametrize("at_once", [1, 2, 70])
def test_a_probe_does_not_depend_on_the_batch_size(learner, at_once, monkeypatch):
    """Float32 and rows that do not see each other: only the rounding of other matrix shapes is left, about 1e-6."""
    rows = all_judged(torch.randint(256, (7, 21), generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        want = scores.bits(learner, rows)
        chosen = scores.likeliest(learner, [[65, 66], [67], [68, 69, 70]], ["yes", "no"])
        monkeypatch.setattr(scores, "AT_ONCE", at_once)
        assert scores.bits(learner, rows) == pytest.approx(want, abs=1e-5)
        assert scores.likeliest(learner, [[65, 66], [67], [68, 69, 70]], ["yes", "no"]) == chosen


def test_long_rows_are_read_a_few_at_a_time(learner, monkeypatch):
    """Rows of 20 targets where 50 are read at once: two by two, and a row of more than 50 alone. No row is lost."""
    rows = all_judged(torch.randint(256, (7, 21), generator=torch.Generator().manual_seed(1)))
    want, sizes, predict = scores.bits(learner, rows), [], learner.predict
    monkeypatch.setattr(learner, "predict", lambda part: sizes.append(len(part)) or predict(part))
    for targets, expected in ((50, [2, 2, 2, 1]), (10, [1] * 7), (2048, [7])):
        monkeypatch.setattr(scores, "TARGETS", targets)
        assert scores.bits(learner, rows) == pytest.approx(want, abs=1e-5) and sizes == expected
        sizes.clear()


def test_teacher_forced_looks_at_the_answer_and_not_at_its_end(learner):
    """An answer that the model itself writes is all right, whatever it says about where to stop."""
    text = learner.text
    with torch.no_grad():
        ids = text.prompt_ids("is it?")
        written = []
        for _ in range(4):
            logits = learner.model(torch.tensor([[*ids, *written]]))[0][0, -1]
            logits[128:] = -math.inf  # the answer must be text
            logits[text.end] = -math.inf
            written.append(int(logits.argmax()))
        rows = text.rows([Pair("is it?", text.decode(written))])
        cut = content_only(rows, text.end)
        assert cut.judged.sum() == rows.judged.sum() - 1 == 4
        assert not cut.judged[rows.ids.eq(text.end) & rows.judged].any()
        _, hits = scores.at_targets(learner, cut)
        free = all(int(learner.model(torch.tensor([[*ids, *written[:i]]]))[0][0, -1].argmax()) == written[i]
                   for i in range(4))  # fmt: skip
        assert scores.teacher_forced(learner, [Pair("is it?", text.decode(written))]) == [float(free)]
        assert hits.sum() == sum(
            int(learner.model(torch.tensor([[*ids, *written[:i]]]))[0][0, -1].argmax()) == written[i] for i in range(4)
        )


def test_a_pair_of_one_learner_is_scored_alike_by_a_learner_of_judged_positions(learner):
    """(B, T, V) or (M, V): the learner that computes less gives the same log-probabilities."""

    class Judged(Learner):
        def forward(self, rows):
            logits, loss = super().forward(rows)
            return logits[rows.judged[:, 1:]], loss

    rows, other = learner.text.rows(PAIRS), Judged(learner.model, text=learner.text)
    with torch.no_grad():
        for one, two in zip(scores.at_targets(learner, rows), scores.at_targets(other, rows)):
            assert torch.equal(one, two)
        prompts = [learner.text.prompt_ids(pair.prompt) for pair in PAIRS]
        labels = ["yes", "no", "maybe"]
        assert scores.likeliest(learner, prompts, labels) == scores.likeliest(other, prompts, labels)


def test_the_likeliest_label_is_that_of_the_whole_labels(learner):
    """Where labels share a beginning: the sum of log-probabilities up to where they part, by hand, one by one."""
    labels, ids = ["abba", "abc", "x"], learner.text.prompt_ids("q")

    def log(sequence, token):
        return learner.model(torch.tensor([sequence]))[0][0, -1].log_softmax(-1)[token].item()

    with torch.no_grad():
        a, b, c, x = (ord(letter) for letter in "abcx")
        stem = log(ids, a) + log([*ids, a], b)
        by_hand = {"abba": stem + log([*ids, a, b], b), "abc": stem + log([*ids, a, b], c), "x": log(ids, x)}
        assert scores.likeliest(learner, [ids], labels) == [max(by_hand, key=by_hand.get)]
    assert scores.stems({label: list(label) for label in labels}) == {
        "abba": list("abb"),
        "abc": list("abc"),
        "x": ["x"],
    }


def test_a_label_that_begins_another_is_refused():
    """Its likelihood can never be below the longer one's: it would always win."""
    with pytest.raises(ValueError, match="'no'"):
        scores.stems({"no": [1, 2], "not": [1, 2, 3]})
