"""What grader.py's --record wrote: a line of JSON for each test."""

import json


def read(path):
    """The records in order; [] where pytest did not get so far as to write one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def is_case(node, room, test):
    """Is a node id the test that an exercise of a room names, or one of its cases? tests/t.py::f has t.py::f[1]."""
    name = f"weeks/{room}/{test}"
    return node == name or node.startswith(f"{name}[")
