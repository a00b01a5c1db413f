"""What `make check` says about a failure: the plain tests first, one of each kind, and where in the learner's code."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from course import grade, grader  # noqa: E402


def record(test, **more):
    return {"test": f"tests/test_x.py::{test}", "day": 1, "outcome": "failed", "why": "", "say": "it failed"} | more


def test_one_failure_of_each_kind_is_told_and_the_rest_is_named():
    """Two cases of one test say the same twice; a long list is cut between names, and never inside one."""
    names = [*(f"test_a[{n}]" for n in range(50)), "test_b", *(f"test_c{n}" for n in range(12))]
    records = list(map(record, names))
    lines = grade.lines_of(grade.Day(1, records))
    assert [line for line in lines if line.startswith("    test_")] == ["    test_a[0]", "    test_b"]
    assert "    and 61 more that fail:" in lines and lines[-1] == "      and 5 other tests"
    rest = next(line for line in lines if line.startswith("      test_a"))
    assert rest.startswith("      test_a: 1; 2; 3") and rest.endswith("; ...") and len(rest) <= grade.WIDTH


def test_the_input_that_was_tried_is_told():
    """The words of an assertion (here: at which input) stand beside yours and expected."""
    told = grade.told(record("test_a", yours="nan", expected="0.0", words="the slope at -800.0"))
    assert told[1:] == ["        yours    nan", "        expected 0.0", "        says     the slope at -800.0"]
    assert grader.own_words(AssertionError("the slope at 3\nassert 1 == 2")) == "the slope at 3"
    assert grader.own_words(AssertionError("assert 1 == 2")) == ""


def test_what_was_compared_in_words():
    """A class that looks like an array, a tolerance, and the sentence of an error that was expected otherwise."""
    assert grader.short(np.float32) == "float32"
    assert grader.short(pytest.approx([1.5, 2.0])) == "[1.5, 2.0]"
    with pytest.raises(BaseException) as caught, pytest.raises(TypeError, match="give an int"):
        raise TypeError("must be real")
    assert grader.raises_pair(caught.value) == ("must be real", "a sentence with: give an int")


def test_a_todo_is_found_behind_another_error():
    """pytest.raises(RuntimeError) catches a starter's NotImplementedError, and says that its words do not match."""
    with pytest.raises(BaseException) as caught, pytest.raises(RuntimeError, match="was freed"):
        raise NotImplementedError("Day 8: Node.backward")
    assert grader.still_to_do(caught.value) == "Day 8: Node.backward"
    assert grader.still_to_do(ValueError("Day 8: Node.backward")) == ""


def test_a_run_that_breaks_off_grades_nothing(tmp_path, monkeypatch):
    """Code that ends the whole process after a test that passes must not leave a day that passes."""

    class Bench:
        room, root = "week01-02", ROOT
        exercises = staticmethod(lambda day=None: [])

    def broken_off(command, root, env, file):
        file.write_text('{"test": "weeks/week01-02/tests/test_x.py::test_a", "day": 1, "outcome": "passed"}\n')
        run = subprocess.run([sys.executable, "-c", "print('bang'); import os; os._exit(3)"], capture_output=True,
                             text=True, env=os.environ | env)  # fmt: skip
        return run.returncode, f"{run.stdout}bang"

    monkeypatch.setattr(grade, "waited_for", broken_off)
    with pytest.raises(grade.Mistake, match="stopped after 1, so nothing was graded"):
        grade.run(Bench, [1])
