"""The learner's workbench, walked through on a toy week: no word of the learner's is lost, nothing is given away.

Each command runs in a process of its own, in a repository that holds one week of two days and the tools.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy_week
from toy_week import course

ROOT = Path(__file__).resolve().parents[2]
HEAD = "| Day | Build | Read | Check | Artefact | Minutes | Status |\n|--:|---|---|---|---|--:|---|\n"
ROW = "| {0} | shapes {0} | a lecture | `make check WEEK=01 DAY={0}` | `PLAN.md` | 5 | built |\n"
PLAN = HEAD + ROW.format(1) + ROW.format(2)


@pytest.fixture
def tree(tmp_path):
    more = {
        "weeks/week01/train.py": "print('train')\n",
        "PLAN.md": PLAN,
        "notes/day001.md": "# Day 1. Areas\n\n<details><summary>Answer</summary>\n\n42\n</details>\n"
                           "<!--r:week01.a.b-->7<!--/r--> **Fact.** x ** 2, `a**2 + b**2`, [link](../PLAN.md)\n",
    }  # fmt: skip
    toy_week.lay_out(tmp_path, more)
    (tmp_path / "projects").mkdir()
    return tmp_path


def write(tree, old, new):
    """Edit the learner's file."""
    file = tree / "projects/week01/toy/core.py"
    assert file.read_text().count(old) == 1
    file.write_text(file.read_text().replace(old, new))


def mine(tree):
    return (tree / "projects/week01/toy/core.py").read_text()


AREA_TODO = 'raise NotImplementedError("Day 1: area")'
SQUARE_TODO = 'raise NotImplementedError("Day 2: Square.area")'


def test_a_day_from_start_to_solution(tree):
    """TODO, then wrong, then right: what is said at each step, and what is only said afterwards."""
    status, output = course(tree, "start", "01")
    assert status == 0 and "2 functions to write" in output and "Then: make check WEEK=01 DAY=1" in output
    assert AREA_TODO in mine(tree) and SQUARE_TODO in mine(tree) and "def _times" in mine(tree)
    assert (tree / "projects/week01/train.py").exists()

    status, output = course(tree, "check", "01", "--day", "1")
    assert status == 1
    assert output.splitlines()[0] == "chase: grading projects/week01 (your code), day 1"
    assert "Day  1  ·  0 of 1 tests pass" in output and "TODO  area" in output and "2 hints left" in output
    assert course(tree, "solution", "01", "--day", "1") == (
        1, "error: the solution is shown once your day 1 passes (make check WEEK=01 DAY=1); "
        "to see it now, add FORCE=1\n"
    )  # fmt: skip

    output = course(tree, "hint", "01", "--day", "1")[1]
    assert "Draw it." in output and "Count the little" not in output and "width + height" not in output
    assert "hint 2 of 2: Count the little squares." in course(tree, "hint", "01", "--day", "1")[1]
    assert "no more hints" in course(tree, "hint", "01", "--day", "1")[1]

    write(tree, AREA_TODO, "return width + height")
    status, output = course(tree, "check", "01", "--day", "1")
    assert status == 1 and "Day  1  ✗  0 of 1 tests pass" in output and "test_area" in output
    said = {line.split()[0]: line.split(None, 1)[1] for line in output.splitlines() if line.startswith("        ")}
    assert said == {"why": "Two rows of three squares are six.", "yours": "5", "expected": "6",
                    "test": "assert area(2, 3) == 6"}  # fmt: skip

    write(tree, "return width + height", "return width * height")
    status, output = course(tree, "check", "01", "--day", "1")
    assert status == 0 and "Day  1  ✓  1 of 1 tests pass" in output
    assert "return _times(width, height)" in course(tree, "solution", "01", "--day", "1")[1]
    assert "■□  1 of 2 days pass" in course(tree, "progress")[1]
    output = course(tree, "today")[1]
    assert "Day 2: shapes 2" in output and "TODO" in output and "toy/core.py :: Square.area" in output


def test_nothing_of_the_learners_is_overwritten(tree):
    """`start` again leaves the file; `reset` keeps a copy of it, and takes only its own day back."""
    course(tree, "start", "01")
    write(tree, AREA_TODO, "return width * height  # mine")
    before = mine(tree)
    status, output = course(tree, "start", "01")
    assert status == 0 and "what you wrote in it stays" in output and mine(tree) == before
    write(tree, SQUARE_TODO, "return self.side**2  # mine too")
    before = mine(tree)
    status, output = course(tree, "reset", "01", "--day", "1")
    assert status == 0 and AREA_TODO in mine(tree) and "# mine too" in mine(tree)
    kept = tree / output.splitlines()[-1].split(": ")[1]
    assert kept.read_text() == before
    assert course(tree, "reset", "01")[0] == 1


def test_a_late_start_has_the_days_before_solved(tree):
    """On a new folder, and on one that exists: there only what is still a TODO is filled in."""
    course(tree, "start", "01", "--day", "2")
    assert "_times(width, height)" in mine(tree) and SQUARE_TODO in mine(tree)
    assert course(tree, "check", "01", "--day", "1")[0] == 0
    course(tree, "reset", "01", "--day", "1")
    output = course(tree, "start", "01", "--day", "2")[1]
    assert "filled in from the reference: area (day 1)" in output and "_times(width, height)" in mine(tree)
    write(tree, "return _times(width, height)", "return 0  # mine")
    course(tree, "start", "01", "--day", "2")
    assert "return 0  # mine" in mine(tree)


def test_days_that_were_given_are_not_to_be_done(tree):
    """Who joins on day 2 gets the hints of day 2; a day that was taken back is open again."""
    course(tree, "start", "01", "--day", "2")
    assert "(day 2," in course(tree, "hint", "01")[1] and "Day 2: " in course(tree, "today")[1]
    assert "0 of 2 days pass, 1 given" in course(tree, "progress")[1]
    course(tree, "reset", "01", "--day", "1")
    assert "(day 1," in course(tree, "hint", "01")[1] and "Day 1: " in course(tree, "today")[1]
    course(tree, "start", "01", "--day", "2")
    assert "Day 2: " in course(tree, "today")[1]


def test_an_update_of_the_repository(tree):
    """What the learner did not touch follows the reference; what they wrote stays, and so does their progress."""
    course(tree, "start", "01")
    write(tree, AREA_TODO, "return width * height  # mine")
    course(tree, "check", "01", "--day", "1")
    reference = tree / "weeks/week01/toy/core.py"
    reference.write_text(toy_week.CORE.replace('"""Of the square."""', '"""Of the square: side times side."""'))
    (tree / "weeks/week01/toy/new.py").write_text("x = 1\n")
    output = course(tree, "start", "01")[1]
    assert "what you wrote stayed" in output and "new.py was brought up to date" in output
    assert "# mine" in mine(tree) and "side times side" in mine(tree)
    assert "1 of 2 days pass" in course(tree, "progress")[1]
    reference.write_text(reference.read_text().replace("in squares of side 1", "in unit squares"))
    output = course(tree, "start", "01")[1]
    assert "what you wrote stayed" in output and "# mine" in mine(tree) and "in unit squares" in mine(tree)
    reference.write_text(reference.read_text().replace("in unit squares", "in little squares"))
    write(tree, "in unit squares", "in tiles")
    before = mine(tree)
    output = course(tree, "start", "01")[1]
    assert mine(tree) == before and "core.py.new" in output
    assert "in little squares" in (tree / "projects/week01/toy/core.py.new").read_text()


def test_a_loop_without_end_ends_with_a_sentence(tree):
    """The test is stopped, the place is named, and the other tests go on."""
    grader = tree / "tools/course/grader.py"
    grader.write_text(grader.read_text().replace("PATIENCE = 30.0", "PATIENCE = 0.5"))
    course(tree, "start", "01")
    write(tree, AREA_TODO, "while True:\n        pass")
    write(tree, SQUARE_TODO, "return self.side**2")
    status, output = course(tree, "check", "01")
    said = " ".join(output.split())
    assert status == 1 and "did not end in 0.5 seconds of work; it was in area, core.py line" in said
    assert "Day  2  ✓" in output
    write(tree, "while True:\n        pass", "import time\n\n    time.sleep(600)")
    said = " ".join(course(tree, "check", "01", "--day", "1")[1].split())
    assert "did not end in 0.5 seconds of work; it was in area" in said


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ("return width *", "projects/week01/toy/core.py, line 6: "),
        ("return width\n\n\nimport no_such_module", "No module named 'no_such_module'"),
    ],
    ids=["syntax", "import"],
)
def test_code_that_cannot_be_imported(tree, edit, sentence):
    """One sentence with file and line instead of a page of pytest."""
    course(tree, "start", "01")
    write(tree, AREA_TODO, edit)
    status, output = course(tree, "check", "01", "--day", "1")
    assert status == 1 and "your code cannot be imported, so nothing was graded" in output and sentence in output
    assert len(output.splitlines()) <= 4


def test_a_property_stops_at_the_first_todo(tree):
    """hypothesis would look for the smallest example of a function that is not there; 61 s in one case."""
    test = tree / "weeks/week01/tests/test_week01_toy.py"
    test.write_text(
        "import pytest\nfrom hypothesis import given, strategies as st\nfrom toy.core import area\n\n"
        "CALLS = []\n\n@pytest.mark.day(1)\n@given(st.lists(st.integers()))\ndef test_area(numbers):\n"
        "    CALLS.append(1)\n    area(len(numbers), 1)\n\n"
        "@pytest.mark.day(1)\ndef test_calls():\n    assert len(CALLS) == 1\n"
    )
    course(tree, "start", "01")
    output = course(tree, "check", "01", "--day", "1")[1]
    assert "TODO  area  (1 tests wait for it)" in output and "1 of 2 tests pass" in output


def test_a_page_in_the_terminal(tree):
    """Answers stay folded, markers are gone, and the check follows."""
    status, output = course(tree, "day", "--day", "1")
    assert status == 0 and "Day 1. Areas" in output and "42" not in output and "<!--" not in output
    assert "make start WEEK=01" in output and "7 Fact. x ** 2, `a**2 + b**2`, link (PLAN.md)" in output
    assert "42" in course(tree, "day", "--day", "1", "--force")[1]
    course(tree, "start", "01")
    assert "TODO  area" in course(tree, "day", "--day", "1")[1]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("check", "01"), "you have not begun this week; run: make start WEEK=01"),
        (("check", "07"), "WEEK=07 has no exercises; weeks that have: 01"),
        (("start", "one"), "WEEK=one has no exercises"),
        (("start",), "has no exercises; weeks that have: 01"),
        (("day",), "say which day"),
        (("day", "--day", "3"), "day 3 has no page yet"),
        (("day", "--day", "101"), "there are days 1 to 100"),
        (("check", "01", "--day", "9"), "day 9 is none of week01's"),
    ],
)
def test_misuse_is_a_sentence(tree, args, sentence):
    if args == ("check", "01", "--day", "9"):
        course(tree, "start", "01")
    status, output = course(tree, *args)
    assert status in (1, 2) and sentence in output and "Traceback" not in output


def test_half_a_progress_file_is_put_aside(tree):
    course(tree, "start", "01")
    (tree / "projects/week01/.progress.json").write_text('{"passed": {"1"')
    status, output = course(tree, "progress")
    assert status == 0 and "0 of 2 days pass" in output
    assert (tree / "projects/week01/.progress.broken.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
def test_watch_checks_again_after_each_save(tree):
    """By looking at the files' times, so that it works on any disk; Ctrl-C ends it without a traceback."""
    course(tree, "start", "01")
    command = [sys.executable, "-u", "tools/course", "watch", "01", "--day", "1"]
    watching = subprocess.Popen(command, cwd=tree, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        seen = until(watching, "next:")
        assert "TODO  area" in seen
        write(tree, AREA_TODO, "return width *")
        assert "not yet: your code cannot be imported" in until(watching, "not yet")
        write(tree, "return width *", "return width * height")
        assert "1 of 1 tests pass" in until(watching, "next:")
        watching.send_signal(signal.SIGINT)
        rest = watching.communicate(timeout=60)[0]
        assert watching.returncode == 130 and "Traceback" not in rest
    finally:
        watching.kill()


def until(process, word):
    """What a process prints, up to the line that holds `word`."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            break
    return "".join(lines)


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_rows_and_the_map_of_days(load_tool, tree):
    """The map is PLAN.md's builds and minutes, and exercises.toml's functions."""
    plan = load_tool("course.plan")
    rows = plan.rows(tree)
    assert rows[2].build == "shapes 2" and rows[2].check == "`make check WEEK=01 DAY=2`"
    (tree / "PLAN.md").write_text(PLAN + PLAN.splitlines()[-1] + "\n")
    with pytest.raises(Exception, match="two rows for day 2"):
        plan.rows(tree)
    (tree / "PLAN.md").write_text(HEAD + "".join(ROW.format(day) for day in range(1, 8)))
    readme = tree / "weeks/week01/README.md"
    readme.write_text("# W\n\n<!--days-->\nold\n<!--/days-->\n")
    assert plan.sync(tree) == [readme] and plan.sync(tree) == []
    assert "| [1](../../notes/day001.md) | shapes 1 | `toy/core.py :: area` |" in readme.read_text()
    found = plan.problems(tree, run_tests=False)
    assert "PLAN.md, day 3: no exercise is of this day" in found
    assert not [sentence for sentence in found if "day 1:" in sentence or "map of days" in sentence]
    assert any("notes/day001.md" in sentence and "parts" in sentence for sentence in found)
    assert "PLAN.md has no row for day 8" in found


def test_tests_and_exercises_of_other_days(load_tool):
    plan = load_tool("course.plan")
    tests = {"weeks/week01/tests/t.py::test_a[1]": 1, "weeks/week01/tests/t.py::test_a[2]": 2,
             "weeks/week01/tests/t.py::test_b": None}  # fmt: skip
    exercises = [{"day": 2, "function": "f", "tests": ["tests/t.py::test_a"]},
                 {"day": 3, "function": "g", "tests": ["tests/t.py::test_a[1]"]}]  # fmt: skip
    assert plan.test_problems("week01", exercises, tests) == [
        "weeks/week01/tests/t.py::test_b has no day; mark it with @pytest.mark.day(N)",
        "week01: g is of day 3, and tests/t.py::test_a[1] of another",
    ]


def test_the_plan_holds():
    """PLAN.md, the maps of days, the pages, the exercises and the days of the tests say the same."""
    done = subprocess.run([sys.executable, "tools/course", "plan-check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_recorded_size_of_the_course_is_todays(load_tool):
    """tools/results/course.json counts what is there."""
    recorded = json.loads((ROOT / "tools/results/course.json").read_text())["metrics"]
    counted = load_tool("course.audit").size()
    assert {name: recorded[name] for name in counted} == counted
