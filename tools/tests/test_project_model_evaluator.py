"""The model evaluator opens both kinds of models, judges what it says it judges, and its page holds everything."""

import base64
import html
import importlib
import random
import re
import sys

import pytest
import torch

WORDS = ("fox", "crow", "cheese", "tree", "said", "sly", "old", "the", "flew", "away", "and", "never")


@pytest.fixture(scope="module")
def evaluate(repo_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / "projects")
        yield importlib.import_module("model_evaluator.evaluate")


@pytest.fixture(scope="module")
def report(evaluate):
    return sys.modules[evaluate.page.__module__]


@pytest.fixture(scope="module")
def texts():
    draw = random.Random(0)
    text = lambda: " ".join(draw.choice(WORDS) for _ in range(80)) + "."
    return {"train": [text() for _ in range(30)], "test": [text() for _ in range(6)]}


@pytest.fixture
def home(evaluate, texts, tmp_path, monkeypatch):
    """A folder with held-out and training text and a model of week 11."""
    monkeypatch.setattr(evaluate, "OUT", tmp_path / "out")
    monkeypatch.setattr(evaluate, "PIECES", 290)
    for name, documents in texts.items():
        (tmp_path / f"{name}.txt").write_text("\n<|endoftext|>\n".join(documents) + "\n")
    from pretrain.vendor.gpt.model import GPT, GPTConfig

    tokenizer = evaluate.Tokenizer.train(texts["train"], 300)
    torch.manual_seed(0)
    evaluate.models.save(tmp_path / "mine/model", GPT(GPTConfig(300, 64, 1, 2, 16)), tokenizer)
    return tmp_path


@pytest.fixture
def ask(evaluate, home):
    """ask(models, options) -> the sittings, with small exams on the small texts."""
    small = "--items 4 --bytes 400 --samples 3 --length 20 --exams grammar --threads 1".split()

    def ask(*given):
        paths = ["--text", str(home / "test.txt"), "--training", str(home / "train.txt")]
        return evaluate.main([*map(str, given), *small, *paths])

    return ask


def test_a_model_of_week_11_beside_bigrams(ask, home, capsys):
    """Every number of the table is on the page too; an untrained model is worse than pairs that were counted."""
    mine, pairs = ask(home / "mine/model")
    assert (mine.name, pairs.name) == ("mine/model", "bigrams")
    assert pairs.scores["bpb"].high < mine.scores["bpb"].low < 8.5
    assert mine.scores["grammar_chance"] == 0.5 and mine.scores["grammar_acc"].count == 4
    out = capsys.readouterr().out
    text = html.unescape(next((home / "out").glob("*.html")).read_text())
    for shown in (mine.scores["bpb"], mine.scores["grammar_acc"], pairs.scores["bpb"]):
        assert str(shown) in out and str(shown) in text
    assert mine.samples[0].strip() in text and len(mine.samples) == 3


def test_the_same_command_gives_the_same_numbers_and_overwrites_nothing(ask, home):
    first, second = (ask(home / "mine/model")[0] for _ in range(2))
    assert first == second
    assert sorted(path.name for path in (home / "out").iterdir()) == ["mine-model-2.html", "mine-model.html"]


def test_a_model_of_week_14_sits_the_same_exams(ask, home, texts, evaluate):
    """The folder that week 14 wrote gives the model that was saved, bit for bit; both kinds stand on one page."""
    from nanogpt import checkpoint
    from nanogpt.model import GPT, GPTConfig
    from nanogpt.vendor.bpe.fast import Tokenizer

    torch.manual_seed(0)
    model = GPT(GPTConfig(300, 64, 1, 2, 1, 16))
    checkpoint.save(home / "course", model, Tokenizer.train(texts["train"], 300), {"kind": "model"})
    found, again, _ = ask(home / "course", home / "mine/model")
    assert (found.name, again.name) == ("course", "mine/model")
    assert 0 < found.scores["bpb"].value < 10 and len(found.samples) == 3
    ids = torch.randint(300, (1, 9), generator=torch.Generator().manual_seed(1))
    reopened = evaluate.loaded(home / "course").model
    torch.testing.assert_close(reopened(ids)[0], model(ids)[0], rtol=0, atol=0)


def test_whose_folder_it_is(evaluate, home):
    """A published folder has a config.json too, with other fields."""
    assert evaluate.is_ours(home / "mine/model") and not evaluate.is_ours(home)
    (home / "config.json").write_text('{"model_type": "llama"}')
    assert not evaluate.is_ours(home)
    (home / "config.json").write_text("{")
    assert not evaluate.is_ours(home)


def test_the_page_stands_alone(ask, home):
    """One file: the picture is in it, and nothing is loaded. What a model wrote cannot become markup."""
    ask(home / "mine/model", "--figure", home / "seen.png", "--page", home / "page.html")
    text = (home / "page.html").read_text()
    assert re.findall(r'src="(\w+:)', text) == ["data:"] and "http" not in text and "<script" not in text
    inside = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    assert inside.startswith(b"\x89PNG") and inside == (home / "seen.png").read_bytes()


def test_what_a_model_wrote_is_text(report):
    score = report_score(0.6)
    sitting = report.Sitting("a<b", "small", {"bpb": score, "grammar_acc": score, "grammar_chance": 0.5}, ["<b>&"])
    text = report.page([sitting, sitting], ["grammar"], b"png", "command <x>", report_path("t<.txt"))
    assert "<pre>&lt;b&gt;&amp;</pre>" in text and "a&lt;b" in text and "<x>" not in text and "t&lt;.txt" in text
    assert "No text has four words" in text


def report_score(value, low=0.55, high=0.65):
    from pretrain.evaluation.interval import Score

    return Score(value, low, high, 10)


def report_path(name):
    from pathlib import Path

    return Path(name)


@pytest.mark.parametrize(("low", "said"), [(0.51, "1 of 1"), (0.5, "0 of 1"), (0.4, "0 of 1")])
def test_better_than_chance_is_the_whole_interval(report, low, said):
    """At chance is not above it; a cloze has no chance and is not named."""
    scores = {"grammar_acc": report_score(0.6, low), "grammar_chance": 0.5, "last_word_acc": report_score(0.9)}
    found = report.finding(report.Sitting("m", "", scores), ["grammar", "last-word"])
    assert found == f"m: better than chance in {said} exams with choices{': grammar' if low > 0.5 else ''}"


def test_people_are_held_against_their_own_text(evaluate, texts, home, monkeypatch):
    """A model that recites the training text: its copies are whole samples, people's are not."""
    args = evaluate.parser().parse_args(["x", "--training", str(home / "train.txt"), "--samples", "2"])
    recited = [text[:60] for text in texts["train"][:2]]
    monkeypatch.setattr(evaluate.recipe, "write", lambda *given: recited)
    samples, measures = evaluate.writing(None, None, texts["test"], args)
    assert samples == recited and measures["longest copy, mean (bytes)"][0] == 60
    assert measures["longest copy of all (bytes)"][1] < 60
    monkeypatch.setattr(evaluate.recipe, "write", lambda *given: ["", "one two"])
    assert evaluate.writing(None, None, texts["test"], args) == (["", "one two"], {})


def test_passages_come_from_all_over(evaluate):
    """20 documents of 3,000 letters, 8,000 bytes asked: four beginnings, not the first four."""
    texts = [f"{i:02}" + "x" * 2_998 for i in range(20)]
    found = evaluate.passages(texts, 8_000)
    assert [len(text) for text in found] == [2_000] * 4
    assert [text[:2] for text in found] == ["00", "01", "02", "03"] or found[-1][:2] > "03"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["nowhere"], "nowhere is no folder of week 11, and week 14 says: "),
        (["mine"], "mine holds no model; what was trained there lies in mine/model, so give that"),
        (["mine/run-0"], "mine/run-0 holds no model; what was trained there lies in mine/model, so give that"),
        (["mine/model", "--text", "none.txt"], "none.txt does not exist; run: make data/fables"),
        (["mine/model", "--text", "short.txt"], "and no held-out document is so long"),
    ],
)
def test_what_cannot_be_examined_is_a_sentence(evaluate, home, monkeypatch, given, sentence):
    monkeypatch.chdir(home)
    monkeypatch.setattr(evaluate.recipe, "write", lambda *given: ["a text of five words"])
    (home / "short.txt").write_text("a word.\n")
    small = ["--items", "2", "--bytes", "100", "--samples", "1", "--exams", "grammar", "--training", "train.txt"]
    with pytest.raises(evaluate.Mistake, match=re.escape(sentence)):
        evaluate.main([given[0], *small, "--text", "test.txt", *given[1:]])


def test_wrong_use_is_refused(evaluate, capsys):
    for given in (["m", "--items", "0"], ["m", "--seed", "-1"], ["m", "--exams", "latin"], []):
        with pytest.raises(SystemExit):
            evaluate.main(given)
    told = capsys.readouterr().err
    assert "'0' is no whole number of 1 or more" in told and "'-1' is no whole number of 0 or more" in told
