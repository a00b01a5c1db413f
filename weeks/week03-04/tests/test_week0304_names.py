"""Day 15: names as data: reading, splitting, whole names and windows."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from makemore import names
from makemore.names import IGNORE, Names, load, read, rows, windows
from week0304_made_up import WORDS, made_up

pytestmark = pytest.mark.day(15)


def write(folder, content):
    path = folder / "names.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_file_is_read_line_by_line(tmp_path):
    """Blank lines and blanks around a name are no letters; a name that stands twice counts twice, as in a census."""
    assert read(write(tmp_path, "emma\n\n  olivia \nava\nemma")) == ["emma", "olivia", "ava", "emma"]


@pytest.mark.parametrize(
    "content", [b"emma\r\nava\r\n", b"\xef\xbb\xbfemma\nava\n", b"\xef\xbb\xbfemma\rava"], ids=["CRLF", "BOM", "CR"]
)
def test_files_of_other_systems_read_alike(tmp_path, content):
    """Windows ends lines with two characters and may begin a file with a mark; neither is a letter of a name."""
    assert read(write(tmp_path, content)) == ["emma", "ava"]


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("emma\nAnn-Lee\n", r"names.txt, line 2: 'Ann-Lee' holds '-', 'A', 'L', which the alphabet 'abc.*z' does not;"),
        ("emma\n\nzoë\n", r"line 3: 'zoë' holds 'ë', .*--alphabet"),
        (b"emma\nzo\xeb\n", r"names.txt is not UTF-8 \(byte 7\); save it as UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(tmp_path, content, sentence):
    """With 32,000 lines nobody finds the one bad letter without its line and what is wrong with it."""
    with pytest.raises(ValueError, match=sentence):
        read(write(tmp_path, content))


@pytest.mark.parametrize("content", ["", "\n \n", "emma\nava\n"])
def test_too_few_names_are_refused(tmp_path, content):
    """With fewer than ten a part of the split is empty, and its loss would be 0 / 0."""
    with pytest.raises(ValueError, match=r"names.txt holds [02] names; give ten or more"):
        load(write(tmp_path, content))


def test_an_alphabet_of_ones_own(tmp_path):
    """None takes the letters that the file holds, in order; the border stays refused, for it would end the name."""
    path = write(tmp_path, "zoë\n" * 5 + "åse\n" * 5)
    with pytest.raises(ValueError, match="line 1"):
        load(path)
    found = load(path, alphabet=None)
    assert found.alphabet == "eoszåë" and found.vocab_size == 7 and found.decode(found.encode("zoë")) == "zoë"
    assert load(path, alphabet="åëzose").encode("åse") == [1, 5, 6]
    with pytest.raises(ValueError, match=r"line 11: 'a.b' holds '\.'"):
        load(write(tmp_path, "ab\n" * 10 + "a.b\n"), alphabet=None)
    for alphabet in ("abc.", "aba"):
        with pytest.raises(ValueError, match="holds a letter twice, or '.', the border; leave that out"):
            load(path, alphabet)


def test_the_split_is_that_of_the_lectures(tmp_path):
    """Shuffle with the seed, cut at 80 and 90 per cent, rounding down: each name in one part, and always the same."""
    words = [a + b for a in "abcdefg" for b in "hijkl"]  # 35
    found = load(write(tmp_path, "\n".join(words)))
    random.Random(42).shuffle(words)
    assert (found.train, found.val, found.test) == (words[:28], words[28:31], words[31:])
    assert load(write(tmp_path, "\n".join(sorted(words))), seed=1).train != found.train


def test_makemores_file_splits_into_the_lectures_windows(repo_root):
    """The lectures count 182,625, 22,655 and 22,866 windows: with other parts no loss could be compared to theirs."""
    path = repo_root / "data" / "names-makemore" / "names.txt"
    if not path.exists():
        pytest.skip("no data/names-makemore; to measure on the lectures' file: make data/names-makemore")
    found = load(path)
    counts = [sum(len(word) + 1 for word in part) for part in (found.train, found.val, found.test)]
    assert counts == [182_625, 22_655, 22_866]


# --- letters as numbers -----------------------------------------------------------------------------------------------


def test_encode_and_decode():
    """The border is 0, so letters begin at 1; whatever is drawn after the first border is no part of the name."""
    known = Names(["ab"], ["b"], ["c"], "abc")
    assert known.encode("cab") == [3, 1, 2] and known.decode([3, 1, 2, 0, 1, 0]) == "cab" and known.decode([0]) == ""
    assert known.decode(torch.tensor([2, 0])) == "b" and known.vocab_size == 4 and known.longest == 2
    with pytest.raises(ValueError, match="'abd' holds 'd', which the alphabet 'abc' does not"):
        known.encode("abd")
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=f"the id {wrong} is no letter; give ids from 0 to 3"):
            known.decode([1, wrong])


def test_rows_by_hand():
    """The example of the docstring, and a name of one letter: border before, border after, IGNORE behind."""
    known = Names(["ab", "abc", "c"], [], [], "abc")
    tokens, targets = rows(known, ["ab", "abc", "c"])
    assert tokens.tolist() == [[0, 1, 2, 0], [0, 1, 2, 3], [0, 3, 0, 0]]
    assert targets.tolist() == [[1, 2, 0, -1], [1, 2, 3, 0], [3, 0, -1, -1]]


def test_windows_by_hand():
    """The example of the docstring; a context of 1 sees one letter; a one-letter name gives two windows."""
    known = Names(["ab", "c"], [], [], "abc")
    tokens, targets = windows(known, ["ab"], 2)
    assert tokens.tolist() == [[0, 0], [0, 1], [1, 2]] and targets.tolist() == [1, 2, 0]
    tokens, targets = windows(known, ["ab", "c"], 1)
    assert tokens.tolist() == [[0], [1], [2], [0], [3]] and targets.tolist() == [1, 2, 0, 3, 0]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), st.integers(1, 6))
def test_windows_against_a_plain_loop(words, context):
    """A loop over letters, as the lecture has it, for any names and context; no window may reach into another name."""
    known = made_up()
    expected = []
    for word in words:
        before = [0] * context
        for target in [*known.encode(word), 0]:
            expected.append((before, target))
            before = [*before[1:], target]
    tokens, targets = windows(known, words, context)
    assert [(b, t) for b, t in zip(tokens.tolist(), targets.tolist())] == expected
    assert (rows(known, words)[1] != IGNORE).sum() == len(expected)


@pytest.mark.parametrize("context", [0, -1, 7])
def test_a_context_longer_than_any_name_is_refused(context):
    """Its first column would hold nothing but borders: parameters that learn nothing."""
    with pytest.raises(ValueError, match=rf"a context of {context} letters .* at most 6; give a number from 1 to 6"):
        windows(made_up(), ["mika"], context)


def test_windows_do_not_depend_on_which_names_stand_beside():
    """A part of shorter names than the longest takes the full context too, or its windows would not fit the model."""
    tokens, _ = windows(made_up(), ["ka"], 6)
    assert tokens.shape == (3, 6) and names.BORDER == "."
