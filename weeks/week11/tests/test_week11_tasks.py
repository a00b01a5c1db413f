"""Day 76: one exam for every task of TASKS; a task that is added sits it too."""

import json
import re
from collections import Counter

import pytest
from pretrain.evaluation.choice import choice
from pretrain.evaluation.interval import metrics
from pretrain.evaluation.tasks import TASKS, examine, grammar, news, of_file
from pretrain.vendor.shared.errors import Mistake
from week11_small import bigram, gpt

pytestmark = pytest.mark.day(76)
END = "\n<|endoftext|>\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder as the data engine makes it, with a little made-up text in it."""
    home = tmp_path_factory.mktemp("data")
    speech = [f"And line {i} of this long speech is spoken {'so ' * (i % 3)}here" for i in range(80)]
    play = "\n".join(["A Play", "", "FOOL:", *speech[:40], "", "[Exit FOOL]", "", "KING:", *speech[40:]])
    fables = [
        "The fox saw a cage. He went into the cage.",
        "A wolf sat here. He ate the grapes.",
        "He ran. Then he ran.",
    ]
    morals = [{"ctx": fable, "endings": list("abcde"), "label": i} for i, fable in enumerate(fables)]
    stories = [
        {"prompt": f"Which topic?\n\nstory {k} of {label}", "response": label} for k in "12" for label in news.WORDS
    ]
    files = {
        "shakespeare/test.txt": play + END + play.replace("line", "verse") + END,
        "fables/val.txt": END.join(fables[:1]) + END,
        "fables/test.txt": END.join(fables[1:]) + END,
        "fable-morals/test.jsonl": "".join(json.dumps(row) + "\n" for row in morals),
        "reuters-r8/test.jsonl": "".join(json.dumps(row) + "\n" for row in stories),
    }
    for name, text in files.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text, encoding="utf-8")
    return home


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_an_exam(name, folder):
    """Questions of one kind, none twice, the same ones every time, and no place where the answer always stands."""
    task = TASKS[name]
    items = task.items(folder)
    assert items and items == task.items(folder)
    assert len(set(items)) == len(items) and task.about
    assert len({len(item.choices) for item in items}) == 1
    if task.marked is choice:
        places = Counter(item.gold for item in items)
        assert len(places) > 1 and max(places.values()) <= 0.6 * len(items)
        assert all(len(set(item.choices)) == len(item.choices) > 1 for item in items)
    else:
        assert all(len(item.choices) == 1 for item in items)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "grammar"])
def test_missing_data_names_the_command(name, tmp_path):
    with pytest.raises(Mistake, match="does not exist; run: make data/"):
        TASKS[name].items(tmp_path)


def test_a_table_of_scores(folder):
    """Every score with its interval, chance beside the choices, names as results files have them; `most` bounds."""
    found = examine(bigram("The fox went into the cage. This story is about grain"), TASKS, folder, most=4)
    assert {"grammar_acc", "next_line_acc_norm", "moral_acc_bytes", "last_word_ppl", "news_topic_acc"} <= found.keys()
    assert found["grammar_chance"] == 0.5 and found["next_line_chance"] == 0.25
    assert found["moral_chance"] == pytest.approx(0.2)
    assert "last_word_chance" not in found and found["grammar_cut"] == 0 < found["next_line_cut"]
    assert found["grammar_acc"].count == 4
    assert all(score.low <= score.value <= score.high for key, score in found.items() if key.endswith("acc"))
    rows = metrics(found, "bigram_")
    assert rows["bigram_grammar_acc"] == found["grammar_acc"].value and rows["bigram_grammar_chance"] == 0.5
    assert rows["bigram_grammar_acc_interval"] == [found["grammar_acc"].low, found["grammar_acc"].high]


def test_a_file_is_a_task(tmp_path):
    rows = [{"ctx": "The dog", "endings": ["ran.", "zzzz"], "label": 0}] * 2
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = examine(bigram("The dog ran. " * 9), {"own": of_file(tmp_path / "own.jsonl")}, tmp_path)
    assert found["own_acc"].value == 1 and found["own_chance"] == 0.5


def test_grammar_pairs_differ_in_little():
    """60 pairs of ten rules, six each; each pair has as many words, and no word apart from one or two differs."""
    items = grammar.items()
    assert len(items) == 60 and len(grammar.PARADIGMS) == 10
    assert all(len(list(paradigm())) == 6 and paradigm.__doc__ for paradigm in grammar.PARADIGMS)
    for item in items:
        good, bad = (text.split() for text in (item.choices[item.gold], item.choices[1 - item.gold]))
        differ = sum(a != b for a, b in zip(good, bad))
        assert len(good) == len(bad) and 1 <= differ <= 2 and item.context == ""


def test_no_rule_of_grammar_is_won_by_a_favourite_word():
    """Where a rule has two sides, the word that is right in one pair is wrong in another: a unigram gets half of it."""
    two_sided = (grammar.attraction, grammar.determiner, grammar.article, grammar.participle, grammar.comparative)
    for paradigm in two_sided:
        right = [set(good.split()) - set(bad.split()) for good, bad in paradigm()]
        kinds = Counter(bool(re.search(r"is$|this|an$|en$|er$", " ".join(words))) for words in right)
        assert len(kinds) == 2, paradigm.__name__


def test_an_untrained_model_knows_no_grammar():
    """Between a quarter and three quarters: far from chance would mean that the pairs give themselves away."""
    found = examine(gpt(block_size=64), {"grammar": TASKS["grammar"]}, None)
    assert 0.25 <= found["grammar_acc"].value <= 0.75


def test_the_next_line_is_hidden_among_its_like(folder):
    """The choices are of about one length and from one play, and the context ends where the true line begins."""
    plays = [text for text in (folder / "shakespeare/test.txt").read_text().split(END) if text]
    for item in TASKS["next-line"].items(folder):
        (play,) = [text for text in plays if f"{item.context}\n{item.choices[item.gold]}" in text]
        assert all(choice in play for choice in item.choices)
        assert max(map(len, item.choices)) - min(map(len, item.choices)) <= 10


def test_last_words_were_said_before(folder):
    """The cage is asked for; the grapes were not mentioned before, and "ran" is too short."""
    (item,) = TASKS["last-word"].items(folder)
    assert item.context == "The fox saw a cage. He went into the" and item.choices == ("cage",)


def test_topics_are_asked_in_words(folder):
    item = TASKS["news-topic"].items(folder)[0]
    assert item.context == "story 1 of acq\n\nThis story is about" and item.choices[item.gold] == news.WORDS["acq"]
    with pytest.raises(Mistake, match="line 2 is no story with its topic; run: make data/reuters-r8"):
        path = folder.parent / "broken/reuters-r8/test.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text('{"prompt": "q\\n\\ns", "response": "acq"}\n{"prompt": "q\\n\\ns", "response": "sport"}\n')
        news.items(folder.parent / "broken")
