"""The glossary names everything that the packages offer, and a glossary that does not is noticed."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import glossary
from shared.errors import Mistake

ROOT = Path(__file__).resolve().parents[2]

PAGE = """# Glossary

## Words

| word | plain meaning | explained in |
|---|---|---|
| apple | a fruit | [day 1](day001.md#fruits-of-day-1) |

## `toy`

| name | what it is | explained in |
|---|---|---|
| `grow` | makes an apple larger | [day 1](day001.md) |
| `Tree` | where apples hang | [day 1](day001.md) |

## `toy.COMMANDS`

| name | what it is | explained in |
|---|---|---|
| `pick` | takes an apple | [day 1](day001.md) |

## `toy/`

| name | what it is | explained in |
|---|---|---|
| `sub/leaf.py` | a leaf | [day 1](day001.md) |
"""


def make_toy(root):
    """A repository of one package: two names at its front door, one command, one file; copies do not count."""
    files = {
        "weeks/week01/toy/__init__.py": '__all__ = ["Tree", "grow"]\n',
        "weeks/week01/toy/commands/__init__.py": 'COMMANDS = {"pick": 1}\nOTHER = {1: 2}\nlimits = {"low": 1}\n',
        "weeks/week01/toy/sub/leaf.py": "",
        "weeks/week01/toy/_hidden.py": "",
        "weeks/week01/toy/vendor/copy.py": "",
        "weeks/week01/tests/__init__.py": '__all__ = ["nothing"]\n',
        "notes/day001.md": "# Day 1\n\n## Fruits, of day 1\n",
        "notes/glossary.md": PAGE,
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def toy(tmp_path):
    return make_toy(tmp_path)


def test_this_glossary_is_complete():
    assert list(glossary.problems(ROOT)) == []
    assert glossary.coverage(ROOT)["glossary_coverage"] == 1.0


def test_public_names_are_front_doors_tables_and_files(toy):
    expected = {("toy", "Tree"), ("toy", "grow"), ("toy.COMMANDS", "pick"), ("toy/", "sub/leaf.py")}
    assert glossary.public_names(toy) == expected
    assert list(glossary.problems(toy)) == []


def test_the_commands_and_the_methods_of_this_repository_are_names():
    names = glossary.public_names(ROOT)
    assert {("nanogpt.COMMANDS", "learn"), ("continual.METHODS", "ewc"), ("bpe", "Tokenizer")} <= names


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("| `pick` | takes an apple | [day 1](day001.md) |\n", "", "'pick' of toy.COMMANDS has no line; add one"),
        ("| `pick` |", "| `peck` |", "'peck' is not a public name of toy.COMMANDS; correct the name"),
        ("| a leaf |", "|  |", "'sub/leaf.py' has no meaning; write one plain line"),
        ("| a leaf | [day 1](day001.md) |", "| a leaf | day 1 |", "'sub/leaf.py' has no link; name the page"),
        ("| `grow` |", "| `zoo` |", "'Tree' stands after 'zoo'; sort the table"),
        ("| `Tree` |", "| `grow` |", "'grow' stands after 'grow'; sort the table (a name has one line)"),
    ],
)
def test_a_glossary_that_does_not_hold_is_noticed(toy, before, after, sentence):
    assert before in PAGE
    (toy / "notes/glossary.md").write_text(PAGE.replace(before, after, 1), encoding="utf-8")
    assert any(sentence in problem for problem in glossary.problems(toy)), list(glossary.problems(toy))


def test_coverage_counts_names_with_a_line(toy):
    (toy / "notes/glossary.md").write_text(PAGE.replace("| a leaf |", "|  |"), encoding="utf-8")
    assert glossary.coverage(toy) == {"glossary_names": 4, "glossary_words": 1, "glossary_coverage": 0.75}


def test_check_writes_the_number_that_pages_quote(toy, tmp_path, capsys):
    glossary.main(["check", "--root", str(toy), "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out/glossary.json").read_text())["metrics"]["glossary_coverage"] == 1.0
    assert "4 public names and 1 words" in capsys.readouterr().out


def test_check_refuses_in_a_sentence(toy, tmp_path):
    (toy / "notes/glossary.md").write_text(PAGE.replace("`pick`", "`peck`"), encoding="utf-8")
    with pytest.raises(Mistake, match="2 places in notes/glossary.md do not hold"):
        glossary.main(["check", "--root", str(toy), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
