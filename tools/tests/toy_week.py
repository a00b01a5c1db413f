"""A repository of one toy week of two days, with the tools of the course: what the tests of these tools work on."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = '''"""Shapes."""


def area(width, height):
    """Of a rectangle, in squares of side 1."""
    # both sides count
    return _times(width, height)


def _times(a, b):
    return a * b


class Square:
    def __init__(self, side):
        self.side = side

    def area(self):
        """Of the square."""
        return area(self.side, self.side)
'''
TESTS = '''
import pytest
from toy.core import Square, area

@pytest.mark.day(1)
def test_area():
    """Two rows of three squares are six."""
    assert area(2, 3) == 6

@pytest.mark.day(2)
def test_square():
    assert Square(3).area() == 9
'''
TOML = """
[[exercise]]
day = 1
file = "toy/core.py"
function = "area"
tests = ["tests/test_week01_toy.py::test_area"]
minutes = 5
difficulty = 1
why = "It is the smallest product."
hints = ["Draw it.", "Count the little squares."]
[[exercise.mutant]]
replace = "_times(width, height)"
by = "width + height"
kind = "adds"

[[exercise]]
day = 2
file = "toy/core.py"
function = "Square.area"
tests = ["tests/test_week01_toy.py::test_square"]
minutes = 5
difficulty = 1
why = "A square is a rectangle."
hints = ["Which one?", "Both sides are equal."]
[[exercise.mutant]]
replace = "self.side, self.side"
by = "self.side, 1"
kind = "forgets a side"
"""


def files():
    """{path: text} of conftest.py, the tools, and the week with its package, tests and exercises."""
    tools = [path for folder in ("course", "shared", ".") for path in (ROOT / "tools" / folder).glob("*.py")]
    return {
        "pytest.ini": "[pytest]\naddopts = --quiet\n",
        "conftest.py": (ROOT / "conftest.py").read_text(),
        **{path.relative_to(ROOT).as_posix(): path.read_text() for path in tools},
        "weeks/week01/toy/__init__.py": "",
        "weeks/week01/toy/core.py": CORE,
        "weeks/week01/tests/test_week01_toy.py": TESTS,
        "weeks/week01/exercises.toml": TOML,
    }


def lay_out(folder, more=None):
    """Write the toy repository, and `more` {path: text}, into an empty folder."""
    for file, text in {**files(), **(more or {})}.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)


def course(root, *args):
    """(status, output) of `python tools/course ...` in the repository at `root`."""
    env = {key: value for key, value in os.environ.items() if key != "CHASE_IMPL"}
    done = subprocess.run([sys.executable, "tools/course", *args], cwd=root, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
