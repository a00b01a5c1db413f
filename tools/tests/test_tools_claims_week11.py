"""The claims of week 11: each compares what its sentence says, and nothing besides. Small text, few steps."""

import math
import random

import numpy as np
import pytest
import torch

WORDS = ("king", "river", "stone", "green", "under", "many", "towns", "old", "north", "war", "people", "bridge")


@pytest.fixture
def week(load_script, monkeypatch):
    """The script on made-up entries, with 40 of them where it takes thousands."""
    script = load_script("week11", "claims")
    draw = random.Random(0)
    text = lambda: " ".join(draw.choice(WORDS) + str(draw.randrange(50)) for _ in range(60))
    made = {"train": [text() for _ in range(160)], "val": [text() for _ in range(6)]}
    sizes = {"VOCAB": 300, "ENTRIES": 40, "REPEATED": 3, "COPIES": 10, "STEPS": 2, "SAMPLES": 3, "LENGTH": 10}
    for name, value in {**sizes, "WIDE": (1, 8), "SIZES": {"large": (2, 16), "small": (1, 8)}}.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(script, "entries", made.__getitem__)
    script.tokenizer.cache_clear()
    yield script
    script.tokenizer.cache_clear()


def run(week):
    return week.claims.Run(quick=False)


def test_duplicates_are_planted_and_the_pipeline_takes_them_out(week):
    """30 copies of 3 entries join 40: exact ones are all found; of edited ones none but an unlike one stays."""
    texts = week.with_duplicates(0)
    assert len(texts) == 40 + 3 * 10 and texts == week.with_duplicates(0) != week.with_duplicates(1)
    assert len(texts) - len(set(texts)) >= 3 * 5  # every second copy is exact
    kept = week.without_duplicates(texts)
    assert 40 <= len(kept) <= 45 and len(set(kept)) == len(kept)


def test_copied_is_the_mean_of_the_longest_runs(week):
    """By hand: "bcd" and "xy" of the training text, 3 and 2 bytes."""
    assert week.copied(["-bcd-", "=xy="], ["abcde", "wxyz"]) == 2.5


def test_both_models_see_the_same_and_are_shared(week, monkeypatch):
    """Two claims train two models, not four; the ratio and the difference are those of their parts."""
    counted, train = [], week.trained
    monkeypatch.setattr(week, "trained", lambda *given: counted.append(given[-1]) or train(*given))
    copies, loss = week.lee_copies(7, run(week)), week.lee_loss(7, run(week))
    assert counted == ["raw", "clean"]
    assert copies["value"] == copies["raw_copy"] / copies["clean_copy"] > 0
    assert loss["value"] == loss["raw"] - loss["clean"]
    assert (copies["documents"], copies["people_copy"] > 0) == (70, True)


def test_the_formula_of_the_bands_is_what_recall_is_held_against(week):
    """With every near duplicate taken for certain to be found, the number is recall less 1."""
    found = week.lee_minhash(0, week.claims.Run(quick=True))
    assert found["value"] == found["recall"] - found["expected"] and found["pairs"] == 20
    assert 0 < found["expected"] <= 1


def test_passages_are_in_the_text_as_often_as_said(week, monkeypatch):
    """What the model is trained on holds each passage as often as its group says, and the unseen ones never."""
    given, text = [], week.Text((1, 4, 16), 3, 40)

    def trained(run, seed, documents, *rest):
        given.extend(map(tuple, documents))
        return torch.nn.Identity()

    monkeypatch.setattr(week, "trained", trained)
    monkeypatch.setattr(week, "extracted", lambda model, ids, prompt: torch.zeros(len(ids), dtype=torch.bool))
    week.memory(run(week), 0, "large", text)
    entries, ids, unseen = week.passages(0, text)
    assert [given.count(tuple(row)) for row in ids.tolist()] == [1] * 3 + [4] * 3 + [16] * 3
    assert not any(tuple(row) in given for row in unseen.tolist()) and len(unseen) == 3
    assert len(given) == 40 + 3 * 21 and len(entries) == 40


def test_both_texts_have_about_as_many_tokens(week):
    """An entry of 1,024 pieces has about 180 ids: what differs between the two is what is repeated."""
    few, many = (
        180 * t.entries + (week.LONG + week.ANSWER) * t.passages * sum(t.repeats) for t in (week.FEW, week.MANY)
    )
    assert many / few == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("prompt", [4, 32])
def test_extracted_is_word_for_word(week, prompt):
    """A model that counts on from its last token gives back rows that count, and no row that strays at its end."""

    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config, self.weight = week.GPTConfig(100, 128, 1, 1, 8), torch.nn.Parameter(torch.zeros(1))

        def forward(self, tokens, targets=None, cache=None):
            if cache is not None:
                cache.offset += tokens.shape[1]
            return torch.nn.functional.one_hot((tokens + 1) % 100, 100).float(), None

    rows = torch.arange(week.LONG + week.ANSWER).repeat(3, 1)
    rows[1, -1] = 99  # its last token is another
    rows[2, : week.LONG - 1] = 7  # its beginning is another: what comes next still follows from the last token
    assert week.extracted(Counts(), rows, prompt).tolist() == [True, False, True]


def test_slopes_and_differences(week, monkeypatch):
    """A share of 0.2 a factor of ten, on a line; the small model and the short prompt give less by known amounts."""
    line = [0.1 + 0.2 * math.log10(count) for count in week.FEW.repeats]
    known = {"large": line, "small": [share - 0.05 for share in line]}

    def memory(run, seed, size, text=None):
        return {"long": known[size], "short": [share - 0.1 for share in known[size]], "unseen": 0.0}

    monkeypatch.setattr(week, "memory", memory)
    found = week.CLAIMS["carlini-repeats"](0, None)
    assert found["value"] == pytest.approx(0.2, abs=1e-12) and found["after_64"] == line[-1]
    assert week.carlini_size(0, None)["value"] == pytest.approx(0.05, abs=1e-12)
    assert week.CLAIMS["carlini-context"](0, None)["value"] == pytest.approx(0.1, abs=1e-12)


def test_a_row_is_read_by_the_sampler_as_its_documents(week):
    """Documents stand one after the other, each closed; before the first target stands the end."""
    row = week.row([[1, 2, 3], [4]], end=9)
    assert (len(row), row.end, row[:].tolist()) == (6, 9, [1, 2, 3, 9, 4, 9])
    sampler = week.Sampler(row, block_size=3, batch_size=2)
    inputs, targets = sampler.batch(0)
    assert sorted(map(tuple, targets.tolist())) == [(1, 2, 3), (9, 4, 9)]
    assert sorted(map(tuple, inputs.tolist())) == [(3, 9, 4), (9, 1, 2)] and inputs.dtype == np.int64
