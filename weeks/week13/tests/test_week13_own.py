"""One's own files as tasks: what is learned, what judges, and what is left out."""

import json
import random

import pytest
from continual.pairs import Pair
from continual.tiers import own
from continual.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(91)


def jsonl(path, pairs):
    path.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in pairs))
    return path


def test_a_sorted_file_is_seen_as_a_whole(tmp_path):
    """Ten labels, one after the other, and two that take turns: every label is learned and judged by."""
    answers = {"sorted": [f"{i // 50}" for i in range(500)], "turns": ["ab"[i % 2] for i in range(500)]}
    files = [jsonl(tmp_path / f"{n}.jsonl", [(f"{n}{i}", a) for i, a in enumerate(of)]) for n, of in answers.items()]
    found, said = own.parts(files, 100, 20)
    for name, (train, test) in found.items():
        assert len(train) == 100 and len(test) == 20 and not set(train) & set(test)
        for pairs in (train, test):
            assert {pair.response for pair in pairs} == set(answers[name])
    assert said[0] == "sorted.jsonl: 100 of 450 rows are learned, 20 of 50 held-out ones judge" and len(said) == 2
    assert own.parts(files, 100, 20) == (found, said), "the same rows every time"
    found, said = own.parts(files, 450, 50)
    assert [len(pairs) for pairs in found["sorted"]] == [450, 50] and not said, "nothing was left out"


def test_one_row_of_every_ten_is_held_out(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [(f"{i}", "x") for i in range(200)])
    held = sorted(int(pair.prompt) // 10 for pair in own.parts([path], 999, 999)[0]["a"][1])
    assert held == list(range(20))


@pytest.mark.parametrize("turn", [1, -1])
def test_what_judges_one_task_is_learned_in_none(tmp_path, turn):
    """Files that overlap by half, in either order: no row is both learned and judged by, and the count is told."""
    rows = [(f"{i}", f"{i}") for i in range(150)]
    files = [jsonl(tmp_path / "a.jsonl", rows[:100]), jsonl(tmp_path / "b.jsonl", rows[50:])][::turn]
    found, said = own.parts(files, 999, 999)
    learned, judging = ({pair for both in found.values() for pair in both[part]} for part in (0, 1))
    assert not learned & judging and len(judging) > 10
    gone = 90 - len(found["a"][0])
    assert gone > 0 and f"a.jsonl: {gone} of 90 rows judge another task: not learned" in said


@pytest.mark.parametrize("turn", [1, -1])
def test_a_file_inside_another_one_is_refused(tmp_path, turn):
    rows = [(f"{i}", f"{i}") for i in range(9)]
    files = [jsonl(tmp_path / "whole.jsonl", rows), jsonl(tmp_path / "inside.jsonl", rows[3:])][::turn]
    with pytest.raises(Mistake, match="every row of .*inside.jsonl stands in .*whole.jsonl too; leave one"):
        own.parts(files, 9, 9)


def test_too_few_rows_that_are_ones_own_are_told(tmp_path):
    """Each of three files holds what judges the others: one row is left to learn from."""
    first = jsonl(tmp_path / "a.jsonl", [(f"{i}", "x") for i in range(3)])
    (judge,) = own.parts([first], 9, 9)[0]["a"][1]
    other = [("new", "y"), ("newer", "y"), ("newest", "y")]
    at = int(judge.prompt)  # the row that is drawn stands at the same place in every file of three
    other[(at + 1) % 3] = (judge.prompt, judge.response)
    second = jsonl(tmp_path / "b.jsonl", other)
    with pytest.raises(Mistake, match="b.jsonl has 1 of 2 rows to learn from .*fewer rows in common"):
        own.parts([first, second], 9, 9)


def test_one_of_each_stretch_is_picked():
    pairs = [Pair(f"{i}", "x") for i in range(random.Random(0).randrange(50, 60))]
    got = [int(pair.prompt) for pair in own.picked(pairs, 7)]
    assert [at * 7 // len(pairs) for at in got] == list(range(7)) and own.picked(pairs[:7], 7) == pairs[:7]


def test_half_a_character_is_told(tmp_path):
    """JSON can hold it, and no encoder can write it; a whole pair of halves is a character."""
    path = tmp_path / "a.jsonl"
    whole = '{"prompt": "\\ud83d\\ude00", "response": "b"}\n'
    path.write_text(whole + '{"prompt": "a", "response": "b\\ud800"}\n')
    with pytest.raises(Mistake, match=r'a.jsonl, line 2: "response" holds .ud800, half of a character'):
        own.parts([path], 9, 9)
