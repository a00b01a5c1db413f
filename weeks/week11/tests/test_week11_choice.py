"""Day 76: multiple choice ranked by likelihood, cloze, and the files that hold the questions."""

import bz2
import json
import math

import pytest
from pretrain.evaluation.choice import LENGTHS, Item, Marks, ask, chance, choice, cloze, read_items
from pretrain.vendor.shared.errors import Mistake
from week11_small import bigram, encode, gpt, plainly

pytestmark = pytest.mark.day(76)

# What lm-eval 0.4.13 answers: (log-likelihoods, choices, gold) -> acc, acc_norm, acc_bytes, by its own process_results.
RECORDED = [
    ([-10.0, -12.0, -30.0], ("short", "a longer one", "the longest of them"), 0, (1, 0, 0)),
    ([-10.0, -12.0, -30.0], ("short", "a longer one", "the longest of them"), 1, (0, 1, 1)),
    ([-6.0, -7.0], ("öäü", "abcd"), 0, (1, 0, 1)),
    ([-6.0, -7.0], ("öäü", "abcd"), 1, (0, 1, 0)),
    ([-5.0, -5.0], ("same", "same"), 0, (1, 1, 1)),
    ([-5.0, -5.0], ("same", "same"), 1, (0, 0, 0)),
    ([-8.0, -4.0, -4.0, -2.0], ("abcdefgh", "ab", "abcd", "a"), 2, (0, 0, 0)),
    ([-8.0, -4.0, -4.0, -2.0], ("abcdefgh", "ab", "abcd", "a"), 0, (0, 1, 1)),
]


@pytest.mark.parametrize(("logs", "choices", "gold", "expected"), RECORDED)
def test_marks_are_those_of_lm_eval(logs, choices, gold, expected):
    """acc_norm divides by characters, acc_bytes by bytes of UTF-8; among equals the first wins."""
    scores = choice([Item("", choices, gold)], Marks([logs], [[False] * len(logs)], 0))
    assert tuple(scores[name].value for name in LENGTHS) == expected


def test_a_choice_is_scored_after_its_context():
    """Delimiter and choice, each token given all before it; 1e-4 nats, float32's sums."""
    small, item = gpt(), Item("The cat", ("sat", "is far away", "ä"), 1)
    marks = ask(small, [item])
    expected = [plainly(small, encode("The cat"), encode(f" {text}")) for text in item.choices]
    assert marks.logs[0] == pytest.approx(expected, abs=1e-4) and marks.cut == 0
    whole = ask(small, [Item("", item.choices, 1)], delimiter="").logs[0]
    assert whole == pytest.approx([plainly(small, [], encode(text)) for text in item.choices], abs=1e-4)


def test_contexts_that_were_cut_are_counted():
    """One of the two items is too long for 32 tokens, with both of its choices."""
    items = [Item("x" * 40, ("a", "b"), 0), Item("x", ("a", "b"), 0)]
    assert ask(gpt(), items).cut == 2


def test_a_model_that_knows_is_right():
    """Bigrams of a text tell its endings from others; acc of a table that has seen the answer is 1."""
    table = bigram("the cat sat. the dog ran. " * 5)
    items = [Item("the cat", ("sat.", "zzq."), 0), Item("the dog", ("qqx.", "ran."), 1)]
    scores = choice(items, ask(table, items))
    assert all(score.value == 1 for score in scores.values()) and scores["acc"].count == 2
    assert chance([*items, Item("", ("a", "b", "c", "d"), 0)]) == pytest.approx((0.5 + 0.5 + 0.25) / 3)


def test_cloze_counts_words_said_exactly():
    """acc: each token of the answer the likeliest; ppl: exp of the mean nats of an answer, as LAMBADA's in lm-eval."""
    table = bigram("ab" * 30)
    items = [Item("ab", ("ab",), 0), Item("ba", ("xx",), 0)]
    marks = ask(table, items, delimiter="")
    scores = cloze(items, marks)
    assert scores["acc"].value == 0.5
    assert scores["ppl"].value == pytest.approx(math.exp(-(marks.logs[0][0] + marks.logs[1][0]) / 2), rel=1e-9)


@pytest.mark.parametrize(
    ("choices", "gold", "sentence"),
    [
        ((), 0, "the question 'Who' has no choices; give one or more"),
        (("a", "  "), 0, "choice 1 of the question 'Who' is '  '; give a text that is not empty"),
        (("a", None), 0, "choice 1 of the question 'Who' is None; give a text"),
        (("a", "b"), 2, "the question 'Who' has 2 choices, and its answer is number 2; give 0 to 1"),
        (("a", "b"), -1, "its answer is number -1; give 0 to 1"),
        (("a", "b"), True, "its answer is number True; give 0 to 1"),
    ],
)
def test_items_that_are_no_question(choices, gold, sentence):
    with pytest.raises(ValueError, match=sentence):
        Item("Who", choices, gold)


# --- files ------------------------------------------------------------------------------------------------------------


def test_hellaswags_own_lines(tmp_path):
    """Its context as lm-eval puts it together: the label, ctx_b with a capital, the marks of WikiHow gone."""
    row = {
        "activity_label": "Baking", "ctx_a": "[header] How to bake [title] Mix it.", "ctx_b": "the cook",
        "ctx": "unused", "endings": ["eats [substeps] it.", " waits."], "label": "1",
    }  # fmt: skip
    path = tmp_path / "h.jsonl"
    path.write_text(json.dumps(row) + "\n\n" + json.dumps({"ctx": "[a]  b", "endings": ["c", "d"], "label": 0}) + "\n")
    first, second = read_items(path)
    assert first == Item("Baking: How to bake. Mix it. The cook", ("eats it.", "waits."), 1)
    assert second == Item("[a]  b", ("c", "d"), 0)


def test_the_plain_text_of_six_lines(tmp_path):
    """A context, a label, four endings; packed or not."""
    lines = "Roof: A man sits. he\n3\nsings.\nsleeps.\nfalls.\nworks.\n"
    (tmp_path / "h.txt").write_text(lines * 2)
    (tmp_path / "h.txt.bz2").write_bytes(bz2.compress(lines.encode()))
    item = Item("Roof: A man sits. he", ("sings.", "sleeps.", "falls.", "works."), 3)
    assert read_items(tmp_path / "h.txt") == [item, item] and read_items(tmp_path / "h.txt.bz2") == [item]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"ctx": "a", "endings": ["b", "c"]}', "line 1: it has no 'label'; expected"),
        ('{"ctx": "a", "endings": "bc", "label": 0}', 'line 1: endings is "bc", not a list of two texts or more'),
        ('{"ctx": "a", "endings": ["b"], "label": 0}', "line 1: endings is .* not a list of two texts or more"),
        (
            '{"ctx": "a", "endings": ["b", "c"], "label": 2}',
            "line 1: the question 'a' has 2 choices, and its answer is",
        ),
        ('{"ctx": "a", "endings": ["b", "c"], "label": "x"}', "line 1: invalid literal for int"),
        ('{"ctx": "a", "endings": ["b", "c"], "label": 0.9}', "line 1: label is 0.9, not the number of an ending"),
        ('{"ctx": "a", "endings": ["b", 3], "label": 0}', "line 1: endings is .*, not a list of two texts or more"),
        ('{"ctx": ["a"], "endings": ["b", "c"], "label": 0}', "line 1: ctx is .*, no text"),
        ('{"ctx": "a", "endings": ["b", "c"], "label": 0}\n{"ctx": ', "line 2: it is no JSON object"),
        ("{}\n", "line 1: it has no 'endings'"),
        ("\n\n", "has no questions; each line should be one like"),
        ("a\n1\nb\nc\nd\n", "has 5 lines, and a question takes 6; it is cut short: download it again"),
    ],
)
def test_files_that_are_no_exam(text, sentence, tmp_path):
    (tmp_path / "h.jsonl").write_text(text)
    with pytest.raises(Mistake, match=sentence):
        read_items(tmp_path / "h.jsonl")


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "h.txt.bz2").write_bytes(b"not packed")
    with pytest.raises(Mistake, match="h.txt.bz2 cannot be read as text .*; give a JSONL file with lines like"):
        read_items(tmp_path / "h.txt.bz2")
    with pytest.raises(Mistake, match="none.jsonl is no file; give the path of a JSONL file with lines like"):
        read_items(tmp_path / "none.jsonl")
