"""The train script and its figures, end to end on a small text; the byte-level pieces against numbers by hand."""

import json
import math
import random

import pytest
import torch
from continual import Learner, Task, all_judged
from continual.text import bits_per_byte, load_domain, read_bytes, spread, unigram_bits
from continual.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(88)

DOMAINS = ("shakespeare", "bible", "recipes", "code")


@pytest.fixture
def data(tmp_path):
    """Four domains, each of its own letters, in the folders that make writes."""
    for i, name in enumerate(DOMAINS):
        rng = random.Random(i)
        letters = "abcdefghijklmnopqrstuvwxyz"[6 * i : 6 * i + 6] + " "
        for part, n in (("train", 4000), ("val", 600)):
            text = "".join(rng.choice(letters) for _ in range(n))
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{part}.txt").write_text(f"{text[: n // 2]}\n<|endoftext|>\n{text[n // 2 :]}\n")
    return tmp_path


def start(train, data, out, *more):
    return train.main([*more, "--preset", "smoke", "--data", str(data), "--out", str(out), "--threads", "1"])


def test_smoke_writes_every_number_that_is_told_about(load_script, data, tmp_path):
    """The whole path in seconds: four domains, the rows of always and replay, one results file, its figures."""
    out = tmp_path / "out"
    metrics = start(load_script("week13", "train"), data, out)
    record = json.loads((out / "smoke.json").read_text())
    assert json.loads(json.dumps(metrics)) == record["metrics"] and record["preset"] == "smoke"
    for method in ("naive", "replay", "joint"):
        rows = metrics[method]["matrix"]
        assert len(rows) == 4 and all(len(row) == 4 and all(0 < x < 20 for x in row) for row in rows)
        assert metrics[method]["acc"] == pytest.approx(sum(rows[-1]) / 4, abs=1e-4)  # rounded to four places
        assert metrics[method]["seconds"] > 0
    assert metrics["naive"]["matrix"][0] == metrics["replay"]["matrix"][0], "during the first task replay is naive"
    assert metrics["naive"]["baseline"] == metrics["joint"]["baseline"], "every method starts from the same weights"
    assert metrics["naive"]["baseline"][0] == pytest.approx(8, abs=0.3)  # fresh weights: nearly uniform over 256
    assert math.log2(7) < metrics["unigram_floor"]["bible"] < 3.5  # 7 letters; adding one to 256 counts costs the rest
    figures = load_script("week13", "figures")
    figures.main(["--preset", "smoke", "--results", str(out), "--out", str(tmp_path / "png")])
    drawn = {"matrices.png", "first-domain.png", "over-time.png", "cost.png"}
    assert {f.name for f in (tmp_path / "png").iterdir()} == drawn
    compared = start(load_script("week13", "train"), data, out, "compare")
    assert compared["domains"]["replay"] == metrics["replay"], "the comparison reads the same cells"
    assert compared["domains_best"] == "replay"


def test_a_table_says_what_its_cells_took(load_script, data, tmp_path):
    """Whichever command measured them. Older cells tell it in two parts."""
    train, out = load_script("week13", "train"), tmp_path / "out"
    start(train, data, out)
    cells = sorted((out / "cells").rglob("*.json"))
    for path in cells:
        cell = json.loads(path.read_text())
        assert cell.pop("took") >= 0  # a floor takes less than a millisecond
        cell |= {"seconds": [30, 20], "judging_seconds": 7} if "replay" in path.name else {"took": 100}
        path.write_text(json.dumps(cell))
    start(train, data, out)
    assert json.loads((out / "smoke.json").read_text())["seconds"] == 57 + 100 * (len(cells) - 1)


def test_the_same_seed_gives_the_same_numbers(load_script, data, tmp_path):
    """Determinism by seed: without it no difference between two methods could be trusted."""
    train = load_script("week13", "train")
    first, again, other = (
        start(train, data, tmp_path / name, "--seed", seed) for name, seed in (("a", "5"), ("b", "5"), ("c", "6"))
    )
    assert first["replay"]["matrix"] == again["replay"]["matrix"] != other["replay"]["matrix"]


def test_expected_failures_are_sentences(load_script, data, tmp_path):
    """Data not yet made, a text too short, bytes that are no text, a budget below zero: each says what to do."""
    train = load_script("week13", "train")
    with pytest.raises(Mistake, match=r"shakespeare does not exist; run: make data/shakespeare"):
        start(train, tmp_path / "nowhere", tmp_path / "o")
    with pytest.raises(Mistake, match="keep_rows is -1; use 0"):
        start(train, data, tmp_path / "o", "domains", "--methods", "replay:keep_rows=-1")
    with pytest.raises(Mistake, match="no method is called 'magic'; choose from naive"):
        start(train, data, tmp_path / "o", "domains", "--methods", "magic")
    with pytest.raises(Mistake, match="holds no table yet; run: python weeks/week13/train.py domains"):
        start(train, data, tmp_path / "o", "compare")
    (data / "code" / "train.txt").write_text("x = 1\n")
    with pytest.raises(Mistake, match=r"code/train.txt holds 7 bytes of text, too few.*give a longer text"):
        start(train, data, tmp_path / "o")
    (data / "code" / "train.txt").write_bytes(b"caf\xe9 " * 100)
    with pytest.raises(Mistake, match="train.txt is not UTF-8: byte 3 is 0xe9"):
        start(train, data, tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_figures_say_which_run_is_missing(load_script, tmp_path):
    """Figures are drawn from results alone; without them the command that makes them is named."""
    with pytest.raises(Mistake, match="run: python weeks/week13/train.py --preset default --out"):
        load_script("week13", "figures").main(["--results", str(tmp_path)])


def test_documents_are_closed_by_byte_zero(tmp_path):
    """The 13 letters of the separator line would be learned as text; one byte that no text holds stands for it."""
    path = tmp_path / "a.txt"
    path.write_text("one\n<|endoftext|>\n\n<|endoftext|>\ntwo é\n")
    assert bytes(read_bytes(path).tolist()) == "one\n\0two é\n\0".encode()
    path.write_text("one\n<|endoftext|>\n<|endoftext|>\ntwo\n")
    assert bytes(read_bytes(path).tolist()) == b"one\n\0two\n\0", "two separators in a row separate once"
    path.write_text("<|endoftext|>\n")
    with pytest.raises(Mistake, match="holds nothing but"):
        read_bytes(path)


def test_spread_takes_rows_from_the_whole_file():
    """The first rows alone would be one play, one book, one module."""
    assert spread(torch.arange(10), 4).tolist() == [0, 2, 5, 7] and spread(torch.arange(3), 4).tolist() == [0, 1, 2]


class Table(torch.nn.Module):
    """A model that knows one distribution and no context."""

    def __init__(self, probabilities):
        super().__init__()
        self.logits = torch.nn.Parameter(probabilities.log())

    def forward(self, tokens, targets=None, cache=None):
        logits = self.logits.expand(*tokens.shape, -1)
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def test_bits_per_byte_of_a_known_model():
    """A model that gives each byte 1/256 needs 8 bits, on any rows; batches that do not fill must not weigh more.

    130 rows are judged as 64 + 64 + 2; only the last two hold byte 1, which the second model finds four times likelier.
    """
    rows = torch.zeros(130, 5, dtype=torch.long)
    rows[-2:] = 1
    task = Task("t", all_judged(rows), all_judged(rows))
    uniform = torch.full((256,), 1 / 256)
    assert bits_per_byte(Learner(Table(uniform)), task) == pytest.approx(8, abs=1e-5)  # float32 log-softmax
    skewed = torch.tensor([1 / 8, 1 / 2] + [3 / 8 / 254] * 254)
    assert bits_per_byte(Learner(Table(skewed)), task) == pytest.approx((128 * 3 + 2 * 1) / 130, abs=1e-5)


def test_unigram_bits_by_hand():
    """Train: 254 times byte 0, 254 times byte 1; plus one each, 255 of 764. A byte never seen is 1 of 764."""
    train = torch.cat([torch.zeros(254, 2, dtype=torch.long), torch.ones(254, 2, dtype=torch.long)])
    valid = torch.tensor([[9, 0], [9, 1], [9, 2]])
    want = (2 * math.log2(764 / 255) + math.log2(764)) / 3
    assert unigram_bits(Task("t", all_judged(train), all_judged(valid))) == pytest.approx(want, rel=1e-9)


def test_the_floor_is_what_a_model_without_context_reaches(data):
    """unigram_bits and bits_per_byte are two roads to one number: a table of frequencies, judged as a model."""
    task = load_domain(data / "bible", "bible", length=16, train_rows=200, valid_rows=20)
    counts = torch.bincount(task.train.ids[:, 1:].flatten(), minlength=256) + 1.0
    model = Learner(Table(counts / counts.sum()))
    assert bits_per_byte(model, task) == pytest.approx(unigram_bits(task), abs=1e-5)  # float32 against float64
