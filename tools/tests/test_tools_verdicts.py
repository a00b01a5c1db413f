"""The audit's verdicts are kept with a digest: whatever judges changes it, and where it stands a sample is judged.

On a toy repository, whose audit runs in a process of its own. Where nothing is judged, the tool's functions are called.
"""

import ast
import json
import os
from pathlib import Path

import pytest
import toy_week
from toy_week import course

ROOT = Path(__file__).resolve().parents[2]
TEST = "weeks/week01/tests/test_week01_toy.py"
RECORD = "tools/results/course.json"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="answers are judged in forked processes")


@pytest.fixture
def tree(tmp_path):
    """A repository of one week, whose plan is sound, with all that a digest looks at."""
    more = {
        "PLAN.md": "",
        "papers/claims.toml": "",
        "pyproject.toml": '[project]\nname = "toy"\n[tool.pytest.ini_options]\nminversion = "8.2"\n',
        "constraints.txt": "torch==2\n",
        "tools/data.toml": '[plays]\nabout = "a set"\n[plays.output]\n"a.txt" = "00"\n[songs]\nabout = "another"\n',
        "tools/results/course.json": "{}",
        "weeks/week01/README.md": "# Shapes\n",
        "weeks/week01/play.ipynb": "{}",
        "weeks/week01/results/full.json": "{}",
        "weeks/week01/figures/area.svg": "<svg/>",
        "weeks/week01/toy/table.html": "<p>",
        "weeks/week01/train.py": 'print("plays")\n',
        "weeks/week02/toy2/__init__.py": "",
    }
    toy_week.lay_out(tmp_path, more)
    change(tmp_path, "tools/course/answers.py", "[*PREPARED, *oracles(chosen, root)]", '["pytest"]')  # no torch here
    change(tmp_path, "tools/course/audit.py", "if plan.problems():", "if False:")  # of 100 days
    return tmp_path


def change(tree, file, old, new):
    text = (tree / file).read_text()
    assert text.count(old) == 1
    (tree / file).write_text(text.replace(old, new))


def more_wrong_answers(tree, number):
    """`number` further wrong answers of Square.area, all of which its test notices."""
    mutant = '[[exercise.mutant]]\nreplace = "self.side, self.side"\nby = "self.side, {0}"\nkind = "side {0}"\n'
    with (tree / "weeks/week01/exercises.toml").open("a") as file:
        file.write("".join(mutant.format(side) for side in range(10, 10 + number)))


def recorded(tree):
    return json.loads((tree / RECORD).read_text())["metrics"]["rooms"]["week01"]


# --- the digest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [TEST, "weeks/week01/exercises.toml", "weeks/week01/toy/core.py", "weeks/week01/toy/table.html",
     "weeks/week01/train.py", "tools/course/grader.py", "tools/course/answers.py", "tools/shared/errors.py",
     "conftest.py", "pytest.ini", "constraints.txt"],
)  # fmt: skip
def test_what_judges_changes_the_digest(load_tool, tree, file):
    """One space more at the end of any of these."""
    digest = load_tool("course.verdicts").digest
    before = digest("week01", tree)
    (tree / file).write_text((tree / file).read_text() + " ")
    assert digest("week01", tree) != before


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("pyproject.toml", "8.2", "8.3", True),
        ("pyproject.toml", "toy", "games", False),
        ("tools/data.toml", '"00"', '"01"', True),
        ("tools/data.toml", "another", "one more", False),
        ("weeks/week01/train.py", "plays", "songs", True),
    ],
    ids=["pytest's options", "the name", "data that is read", "other data", "reads other data"],
)
def test_of_a_table_only_what_judges_counts(load_tool, tree, file, old, new, changes):
    """pyproject.toml holds more than pytest's options, and tools/data.toml more sets than a week reads."""
    digest = load_tool("course.verdicts").digest
    before = digest("week01", tree)
    change(tree, file, old, new)
    assert (digest("week01", tree) != before) == changes


def test_another_week_counts_where_the_tests_name_it(load_tool, tree):
    """Week 14 compares its model with week 7's: then that week judges too."""
    digest, other = load_tool("course.verdicts").digest, tree / "weeks/week02/toy2/__init__.py"
    (tree / "weeks/week02/exercises.toml").write_text("")
    change(tree, TEST, "import pytest", 'import pytest\nEARLIER = "week02"')
    before = digest("week01", tree)
    other.write_text("x = 1\n")
    assert digest("week01", tree) != before


def test_a_new_or_renamed_file_changes_the_digest(load_tool, tree):
    """pytest would find another test, or none under the old name."""
    digest, week = load_tool("course.verdicts").digest, tree / "weeks/week01"
    seen = {digest("week01", tree)}
    (week / "tests/test_more.py").write_text("")
    seen.add(digest("week01", tree))
    (week / "tests/test_more.py").rename(week / "tests/test_other.py")
    seen.add(digest("week01", tree))
    assert len(seen) == 3


@pytest.mark.parametrize(
    "file",
    ["weeks/week01/README.md", "weeks/week01/play.ipynb", "weeks/week01/results/full.json",
     "weeks/week01/figures/area.svg", "weeks/week02/toy2/__init__.py", "tools/course/commands.py", "PLAN.md", RECORD],
)  # fmt: skip
def test_what_judges_nothing_leaves_the_digest(load_tool, tree, file):
    """A page may change without ten minutes of judging; so may another week."""
    digest = load_tool("course.verdicts").digest
    before = digest("week01", tree)
    (tree / file).write_text((tree / file).read_text() + " ")
    (tree / "weeks/week01/toy/__pycache__").mkdir()
    (tree / "weeks/week01/toy/__pycache__/core.pyc").write_text("")
    assert digest("week01", tree) == before


def imported(path):
    """The files of tools/ that a file there imports, at its top or in a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            package = node.module or path.parent.name
            names |= {package, *(f"{package}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    files = {ROOT / "tools" / f"{name.replace('.', '/')}.py" for name in names}
    return {file for file in files if file.is_file()}


def test_all_that_judges_is_in_the_digest(load_tool):
    """The judges, and whatever they import from tools/: a new import must be named too."""
    judges = {ROOT / name for name in load_tool("course.verdicts").JUDGES}
    reached = {ROOT / "tools/course/answers.py", ROOT / "tools/course/grader.py"}
    while more := set().union(*map(imported, reached)) - reached:
        reached |= more
    assert reached <= judges
    assert ROOT / "tools/shared/errors.py" in reached  # so the imports were followed


# --- what is judged ---------------------------------------------------------------------------------------------------


@needs_fork
def test_a_verdict_stands_until_something_changes(tree):
    """All is judged and written; then a sample; and all again once a test has changed."""
    change(tree, "tools/course/verdicts.py", "SAMPLE = 6", "SAMPLE = 1")
    whole = "all 7 answers were judged as they should be"
    status, output = course(tree, "audit", "--recorded", "--out", "tools/results")  # there is no entry yet
    assert status == 0 and whole in output and "written: tools/results/course.json" in output
    assert (recorded(tree)["wrong_answers"], recorded(tree)["states_between_days"]) == (2, 2)
    assert course(tree, "audit", "--recorded") == (
        0, "week01: nothing has changed since all their 2 wrong answers were noticed; 1 answers were judged as they "
        "should be once more\n"
    )  # fmt: skip
    assert whole in course(tree, "audit")[1]  # unless asked, nothing is left out
    change(tree, TEST, "area(2, 3) == 6", "area(2, 3) == 2 * 3")
    assert whole in course(tree, "audit", "--recorded")[1]


@needs_fork
def test_the_sample_is_judged(load_tool, tree):
    """A wrong answer that survives is found in it, though the digest says that all is as it was."""
    change(tree, "weeks/week01/exercises.toml", '"width + height"', '"height * width"')
    entry = {"digest": load_tool("course.verdicts").digest("week01", tree), "wrong_answers": 2}
    (tree / RECORD).write_text(json.dumps({"metrics": {"rooms": {"week01": entry}}}))
    status, output = course(tree, "audit", "--recorded")
    assert status == 1 and "week01: 'area: adds' survives" in output


def test_another_digest_draws_another_sample(load_tool, tree):
    """The same one for the same digest, in order; so that in time each wrong answer has its turn."""
    more_wrong_answers(tree, 20)
    tool, every = load_tool("course.verdicts"), load_tool("course.answers").answers("week01", tree)
    samples = [[answer.label for answer in tool.sample(every, f"digest {n}")] for n in range(50)]
    assert samples[0] == [answer.label for answer in tool.sample(every, "digest 0")]
    assert all(len(set(labels)) == tool.SAMPLE for labels in samples)
    wrong = [answer.label for answer in every if answer.kind == "wrong"]
    assert set().union(*samples) == set(wrong)
    assert samples[0] == [label for label in wrong if label in samples[0]]


@pytest.mark.parametrize("text", [None, "[", "{}", '{"metrics": {"rooms": {"week01": {}}}}'])
def test_what_cannot_be_read_does_not_stand(load_tool, tree, text):
    """Then all is judged, so nothing is lost."""
    (tree / RECORD).unlink()
    if text is not None:
        (tree / RECORD).write_text(text)
    assert load_tool("course.verdicts").standing(tree) == {}


@needs_fork
def test_one_week_is_renewed_and_the_others_stand(tree):
    """Its entry alone changes; but where another one stands no longer, the totals would be of what nobody judged."""
    other = {"week01": "week02", "toy": "toy2", "day = 1": "day = 8", "day = 2": "day = 9", "day(1)": "day(8)",
             "day(2)": "day(9)"}  # fmt: skip
    for file, text in toy_week.files().items():
        if file.startswith("weeks/"):
            for old, new in other.items():
                file, text = file.replace(old, new), text.replace(old, new)
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            (tree / file).write_text(text)
    refused = ("error: course.json counts all weeks, and of week01 it has no verdict that stands; judge what has "
               "changed: python tools/course audit --recorded --out tools/results\n")  # fmt: skip
    assert course(tree, "audit", "week02", "--out", "tools/results") == (1, refused)
    assert "written: " in course(tree, "audit", "--out", "tools/results")[1]
    first = recorded(tree)
    with (tree / "weeks/week02/exercises.toml").open("a") as file:
        file.write('[[exercise.mutant]]\nreplace = "self.side, self.side"\nby = "1, 1"\nkind = "ones"\n')
    status, output = course(tree, "audit", "week02", "--out", "tools/results")
    assert status == 0 and "all 8 answers were judged as they should be" in output
    metrics = json.loads((tree / RECORD).read_text())["metrics"]
    assert metrics["rooms"]["week01"] == first and metrics["rooms"]["week02"]["wrong_answers"] == 3
    assert metrics["wrong_answers"] == metrics["wrong_answers_killed"] == 5 and metrics["states_between_days"] == 4
