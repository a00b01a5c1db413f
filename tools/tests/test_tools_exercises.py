"""tools/course audit: a wrong answer that no test notices is found, and so is an exercise that nobody could do.

It runs in a process of its own on a toy repository, and on the real weeks: there every wrong answer is planted.
Of weeks that have not changed since course.json was written only a sample: test_tools_verdicts.py.
"""

import os
from pathlib import Path

import pytest
import toy_week
from course import exercises, verdicts
from toy_week import course

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path):
    """A repository of one week, with the conftest.py that grades and the tool itself."""
    toy_week.lay_out(tmp_path)
    # The toy needs no torch.
    change(tmp_path, "tools/course/answers.py", "[*PREPARED, *oracles(chosen, root)]", '["pytest"]')
    return tmp_path


def change(tree, file, old, new):
    text = (tree / file).read_text()
    assert text.count(old) == 1
    (tree / file).write_text(text.replace(old, new))


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="answers are judged in forked processes")


def pytest_generate_tests(metafunc):
    """Each week that has changed since it was judged is a test; all others together are one, of a sample of each."""
    if "weeks" in metafunc.fixturenames:
        rooms, stand = exercises.rooms(ROOT), verdicts.standing(ROOT)
        chosen = [[room] for room in rooms if room not in stand] + ([list(stand)] if stand else [])
        metafunc.parametrize("weeks", chosen, ids="+".join)


@needs_fork
def test_every_wrong_answer_is_noticed(weeks):
    """What a learner is graded by must notice each of the mistakes that people make, and pass who made none."""
    status, output = course(ROOT, "audit", *weeks, "--recorded")
    assert status == 0, output
    assert "answers were judged as they should be" in output


@needs_fork
def test_sound_exercises_pass(tree):
    """A starter, two days, two functions left out, two wrong answers; and nothing is left behind."""
    assert course(tree, "audit") == (
        0, "all 7 answers were judged as they should be: each package that is solved up to some day passes, the "
        "starters fail every graded test, and all 2 wrong answers are noticed\n"
    )  # fmt: skip
    assert list((tree / "build").iterdir()) == []


@needs_fork
@pytest.mark.parametrize(
    ("file", "old", "new", "sentences"),
    [
        ("weeks/week01/exercises.toml", '"width + height"', '"height * width"', ["'area: adds' survives; sharpen"]),
        ("weeks/week01/tests/test_week01_toy.py", "assert Square(3).area() == 9", "assert Square(3).side == 3",
         ["'Square.area: forgets a side' survives", "'Square.area: left out' survives",
          "the starter passes tests/test_week01_toy.py::test_square"]),
        ("weeks/week01/exercises.toml", "::test_square", "::test_area",
         ["'Square.area: left out': none of tests/test_week01_toy.py::test_area is of day 2"]),
        ("weeks/week01/tests/test_week01_toy.py", "assert area(2, 3) == 6", "assert Square(6).area() == 6 * area(2, 3)",
         ["solved up to day 1 fails"]),
        ("weeks/week01/toy/core.py", "return _times(width, height)", "return _times(width, height) + 0 * width[0]",
         ["solved up to day 1 fails", "solved up to day 2 fails"]),
        ("weeks/week01/exercises.toml", '"width + height"', '"[width for _ in iter(int, 1)]"', ["did not end in 2 s"]),
        ("weeks/week01/tests/test_week01_toy.py", "@pytest.mark.day(1)", "SIX = area(2, 3)\n\n@pytest.mark.day(1)",
         ["'area: left out' was not judged", "'the starter' was not judged"]),
    ],
    ids=["survivor", "blind", "other day", "needs a later day", "wrong reference", "endless", "work at collection"],
)  # fmt: skip
def test_what_is_not_judged_as_it_should_be(tree, file, old, new, sentences):
    """One defect of each kind: each is named, and the status is 1."""
    change(tree, "tools/course/answers.py", "PATIENCE = 300", "PATIENCE = 2")
    change(tree, file, old, new)
    status, output = course(tree, "audit")
    assert status == 1
    for sentence in sentences:
        assert sentence in output
    assert list((tree / "build").iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"Draw it.", ', "", "exercise 1 (area): fewer than two hints"),
        ("Draw it.", "Perhaps return _times(width, height)?", "a hint gives a line of the solution away"),
        ("::test_area", "::test_volume", "there is no test tests/test_week01_toy.py::test_volume"),
        ('function = "Square.area"', 'function = "Square.volume"', "has no such function"),
        ('"self.side, self.side"', '"self.side"', "'self.side' stands 2 times in Square.area, not once"),
        ('by = "width + height"', 'by = "width +"', "makes no Python of area"),
        ("difficulty = 1\nwhy = \"A square", "why = \"A square", "difficulty missing"),
        ('kind = "adds"', 'kind = "adds"\nhint = "?"', "a mutant has `replace`, `by` and `kind`"),
    ],
)  # fmt: skip
def test_an_exercise_that_nobody_could_do(tree, old, new, sentence):
    """Said before anything runs: a wrong name would otherwise be a test that fails for the wrong reason."""
    change(tree, "weeks/week01/exercises.toml", old, new)
    status, output = course(tree, "audit")
    assert status == 1 and sentence in output


def test_left_out_keeps_signature_and_docstring(load_tool):
    """A comment below the docstring would tell the learner the answer, so it goes too; the rest of the file stays."""
    tool = load_tool("course.exercises")
    text = tool.left_out(toy_week.CORE, "area", 1)
    assert text.split("\n\n\n")[1] == (
        'def area(width, height):\n    """Of a rectangle, in squares of side 1."""\n'
        '    raise NotImplementedError("Day 1: area")'
    )
    assert tool.left_out(toy_week.CORE, "Square.area", 2).endswith(
        '    def area(self):\n        """Of the square."""\n        raise NotImplementedError("Day 2: Square.area")\n'
    )
    space = {}
    exec(tool.left_out(toy_week.CORE, "Square", 2), space)
    with pytest.raises(NotImplementedError, match="Day 2: Square"):
        space["Square"](3)


def test_left_out_takes_the_comment_above_the_first_statement_along(load_tool):
    """Without a docstring the body begins with its comments, and they say what to do."""
    text = load_tool("course.exercises").left_out("def f(x):\n    # twice\n    return 2 * x\n", "f", 3)
    assert text == 'def f(x):\n    raise NotImplementedError("Day 3: f")\n'


def test_a_function_on_one_line_is_refused(tree):
    """Its body cannot be taken out without its name."""
    body = '    def area(self):\n        """Of the square."""\n        return'
    change(tree, "weeks/week01/toy/core.py", body, "    def area(self): return")
    status, output = course(tree, "audit")
    assert status == 1 and "exercise 2 (Square.area): its body stands on the line of its name" in output


def test_list_and_misuse(tree):
    """What there is, and a sentence for what there is not."""
    status, output = course(tree, "list")
    assert status == 0 and "day  1    5 min  1 wrong answers  toy/core.py :: area" in output
    text = (tree / "weeks/week01/exercises.toml").read_text()
    (tree / "weeks/week01/exercises.toml").write_text(text.replace("minutes = 5", "", 1))
    assert "minutes missing" in course(tree, "list")[1]
    assert course(tree, "audit", "week02") == (1, "error: week02: no such exercises; weeks that have some: week01\n")
    assert course(tree, "audit", "--jobs", "0") == (1, "error: --jobs 0 judges nothing; give 1 or more\n")
    (tree / "weeks/week01/exercises.toml").write_text("[[exercise")
    assert "is not valid TOML" in course(tree, "audit")[1]
    (tree / "weeks/week01/exercises.toml").write_text("")
    assert "holds no [[exercise]]" in course(tree, "audit")[1]
