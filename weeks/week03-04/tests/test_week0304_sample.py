"""Day 21: inventing names, and sorting them by whether they were shown; later models on the day that completes them."""

import math

import pytest
import torch
from makemore import models
from makemore.contract import LanguageModel
from makemore.counts import Counts
from makemore.names import Names
from makemore.sample import sample, sort_samples
from week0304_made_up import DAYS, distinct, made_up


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Told(LanguageModel):
    """Says a fixed row of names, one letter after the other, and writes down what it was shown."""

    def __init__(self, words, takes, context):
        super().__init__()
        self.words, self.takes, self.context, self.shown = words, takes, context, []

    def logits(self, tokens):
        self.shown.append(tokens.clone())
        logits = torch.full((len(tokens), 27), -math.inf)
        for row, word in zip(logits, self.words):
            row[word[len(self.shown) - 1] if len(self.shown) <= len(word) else 0] = 0.0
        return logits if self.takes == "windows" else logits[:, None].expand(-1, tokens.shape[1], -1)


@pytest.mark.day(21)
@pytest.mark.parametrize("takes, context", [("windows", 2), ("rows", None)])
def test_a_name_begins_at_the_border_and_ends_there(takes, context):
    """What the model is shown: borders alone, then its own letters, and in windows the last `context` of them."""
    known, model = made_up(), Told([[1, 2, 3], [5]], takes, context)
    assert sample(model, known, 2, generator()) == ["abc", "e"]
    expected = [[[0, 0], [0, 0]], [[0, 1], [0, 5]], [[1, 2], [5, 0]], [[2, 3], [0, 0]]]
    if takes == "rows":
        expected = [[[0], [0]], [[0, 1], [0, 5]], [[0, 1, 2], [0, 5, 0]], [[0, 1, 2, 3], [0, 5, 0, 0]]]
    assert [shown.tolist() for shown in model.shown] == expected  # and it stops when all have ended


@pytest.mark.day(21)
def test_a_name_without_end_is_cut():
    """A model that never draws the border would go on for ever."""
    known = made_up()
    assert sample(Told([[1] * 99], "rows", None), known, 1, generator()) == ["a" * 12]  # twice the longest
    assert sample(Told([[1] * 99], "rows", None), known, 1, generator(), longest=5) == ["aaaaa"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.day(max(21, DAYS.get(name, 27)))) for name in models.MODELS]
)
def test_the_same_generator_draws_the_same_names(name):
    """For every model of the table; its mode and the weights stay out of it."""
    known = made_up()
    model = models.build(name, known.vocab_size)
    first = sample(model, known, 5, generator(1))
    assert first == sample(model, known, 5, generator(1)) != sample(model, known, 5, generator(2))
    assert all(set(word) <= set(known.alphabet) for word in first)


@pytest.mark.day(21)
def test_letters_are_drawn_as_often_as_the_model_says():
    """4,000 first letters against the shares of a bigram: within four standard deviations of a count."""
    known = Names(["ab"] * 6 + ["b"] * 3 + ["ca"], [], [], "abc")
    model = Counts(4, 1, smoothing=0.0)
    model.count(model.data(known, known.train))
    drawn = sample(model, known, 4000, generator())
    for letter, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
        count = sum(word.startswith(letter) for word in drawn)
        assert abs(count - 4000 * share) < 4 * math.sqrt(4000 * share * (1 - share))
    assert {word for word in drawn} <= {"ab", "a", "b", "ca", "cab"}  # no pair that was never seen


@pytest.mark.day(21)
def test_temperature_sharpens_and_flattens():
    """Near 0 always the likeliest; very high, all letters alike, those that are impossible excepted; 0 is refused."""
    known = Names(["ab"] * 6 + ["ac"] * 4, [], [], "abc")
    model = Counts(4, 1, smoothing=0.0)
    model.count(model.data(known, known.train))
    assert set(sample(model, known, 50, generator(), temperature=0.01)) == {"ab"}
    hot = sample(model, known, 2000, generator(), temperature=100.0).count("ac")
    assert abs(hot - 1000) < 4 * math.sqrt(500)
    with pytest.raises(ValueError, match="a temperature of 0 cannot divide the logits; give one above 0"):
        sample(model, known, 1, generator(), temperature=0)


@pytest.mark.day(21)
def test_names_are_sorted_by_whether_they_were_shown():
    """In training it is a memory, in val or test a name it could not know, else an invention. Order and copies stay."""
    known = Names(["ab", "b"], ["ca"], ["cc", "b"], "abc")
    assert sort_samples(["ca", "ab", "x", "b", "cc", "", "ab"], known) == {
        "seen": ["ab", "b", "ab"],
        "held_out": ["ca", "cc"],
        "new": ["x", ""],
    }


@pytest.mark.day(21)
def test_a_model_that_knows_four_names_invents_nothing_else():
    """Counted without smoothing, on names that share no letter: every sample was shown."""
    known = distinct()
    model = Counts(known.vocab_size, 1, smoothing=0.0)
    model.count(model.data(known, known.train))
    found = sort_samples(sample(model, known, 40, generator()), known)
    assert len(found["seen"]) == 40 and set(found["seen"]) == set(known.train)
