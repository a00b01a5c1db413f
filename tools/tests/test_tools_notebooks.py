"""Notebooks: they hold the cells of their scripts, they run, and they still show what was committed.

The last test is the exam that every notebook takes. A new notebook is a new script; nothing changes here.
"""

import copy
import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNEL = all(importlib.util.find_spec(name) for name in ("ipykernel", "nbclient", "nbformat"))
needs_kernel = pytest.mark.skipif(not KERNEL, reason="notebooks need ipykernel and nbclient: pip install '.[test]'")
EXAM = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("weeks/*/*.ipynb"))

SCRIPT = """\
# %% [markdown]
# # A title
#
# A text with a # sign.

# %%
import math

x = 2.0


# %%
def half(number):
    return number / 2


print("half of x:", half(x))

# %% [markdown]
# The end.
"""


@pytest.fixture
def notebooks(load_tool):
    return load_tool("notebooks")


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "weeks/week01/play.py"
    path.parent.mkdir(parents=True)
    path.write_text(SCRIPT)
    (path.parent / "train.py").write_text('"""No notebook."""\n')
    return path


@pytest.fixture
def committed(notebooks, script):
    """A notebook as sync leaves it, made without a kernel."""
    book = notebooks.new_notebook(notebooks.cells(script))
    for count, (_, cell) in enumerate(notebooks.code_cells(book), start=1):
        cell["execution_count"] = count
    book["cells"][2]["outputs"] = [stream("half of x: 1.0\n")]
    return book


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": [text]}


def picture(size):
    return {"output_type": "display_data", "data": {"image/png": "A" * size}, "metadata": {}}


def save(book, script):
    script.with_suffix(".ipynb").write_text(json.dumps(book))


def test_cells_are_cut_at_the_marks(notebooks, script):
    """Text loses its comment signs, and code the blank lines around it; inside a cell everything stays."""
    (kind, text), (_, code), (_, function), (last, end) = notebooks.cells(script)
    assert (kind, text) == ("markdown", "# A title\n\nA text with a # sign.")
    assert code == "import math\n\nx = 2.0"
    assert function == 'def half(number):\n    return number / 2\n\n\nprint("half of x:", half(x))'
    assert (last, end) == ("markdown", "The end.")


def test_text_without_its_sign_is_refused(notebooks, script):
    """It would be code when the script runs as plain Python."""
    script.write_text("# %% [markdown]\n# Good.\nNot good.\n")
    with pytest.raises(notebooks.Mistake, match=r"play.py:3: 'Not good.' stands in a cell of text; begin it with '# '"):
        notebooks.cells(script)


def test_only_a_mark_on_the_first_line_makes_a_notebook(notebooks, script, tmp_path):
    """So no list of notebooks has to be kept."""
    assert notebooks.scripts(tmp_path) == [script]


def test_a_good_notebook_has_no_problems(notebooks, script, committed, tmp_path):
    save(committed, script)
    assert notebooks.problems(tmp_path) == []
    assert not notebooks.has_changed(script)


SPOILED = {
    "other code": (lambda b: b["cells"][1].update(source="x = 3.0"), "cell 2 is not that of play.py; run: make"),
    "other text": (lambda b: b["cells"][0].update(source="# A tale"), "cell 1 is not that of play.py"),
    "a kind changed": (lambda b: b["cells"][3].update(cell_type="raw"), "cell 4 is not that of play.py"),
    "a cell less": (lambda b: b["cells"].pop(), "cell 4 is not that of play.py"),
    "out of order": (lambda b: b["cells"][1].update(execution_count=7), "not executed once, from top to bottom"),
    "a warning": (lambda b: b["cells"][1]["outputs"].append(stream("old", "stderr")), "shows an error or a warning"),
    "an error": (lambda b: b["cells"][1]["outputs"].append({"output_type": "error"}), "shows an error or a warning"),
    "a large picture": (lambda b: b["cells"][1]["outputs"].append(picture(90_000)), "of 67,500 bytes, at most 60,000"),
    "a path": (lambda b: b["cells"][1]["outputs"].append(stream("in /home/ann/x")), "'/home/ann/x', which is another"),
    "an address": (lambda b: b["cells"][1]["outputs"].append(stream("<f at 0x7f00aa>")), "another on each machine"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_must_not_be_committed_is_noticed(notebooks, script, committed, tmp_path, name):
    spoil, sentence = SPOILED[name]
    spoil(committed)
    save(committed, script)
    (found,) = notebooks.problems(tmp_path)
    assert found.startswith("weeks/week01/play.ipynb: ") and sentence in found
    assert notebooks.has_changed(script) == ("run: make" in found)


def test_a_notebook_too_long_to_play_is_noticed(notebooks, script, tmp_path):
    script.write_text("# %% [markdown]\n# Text.\n\n" * 26)
    save(notebooks.new_notebook(notebooks.cells(script)), script)
    (found,) = notebooks.problems(tmp_path)
    assert "it has 26 cells, at most 25; leave some out of play.py" in found


def test_one_half_of_the_pair_is_noticed(notebooks, script, tmp_path):
    (tmp_path / "weeks/week01/other.ipynb").write_text("{}")
    absent, stray = notebooks.problems(tmp_path)
    assert absent == "weeks/week01/play.ipynb does not exist; run: make notebooks"
    assert stray == "weeks/week01/other.ipynb has no script; write other.py beside it, or delete it"


def test_what_is_no_notebook_is_a_mistake(notebooks, script, tmp_path):
    script.with_suffix(".ipynb").write_text("{")
    with pytest.raises(notebooks.Mistake, match="play.ipynb cannot be read as a notebook .*; run: make notebooks"):
        notebooks.problems(tmp_path)


NEAR = [
    ("3", "3", True), ("3", "4", False), ("65,536", "65536", True), ("1000", "1010", False), ("2.0", "2", True),
    ("0.50", "0.51", True), ("0.50", "0.53", False), ("-0.50", "0.50", False), ("-0.00", "0.00", True),
    ("100.0", "101.9", True), ("100.0", "103.0", False), ("1.2e-05", "1.3e-05", True), ("1.2e-05", "1.2e-04", False),
]  # fmt: skip


@pytest.mark.parametrize("a, b, same", NEAR)
def test_numbers_with_decimals_may_differ_a_little(notebooks, a, b, same):
    """2 % and a unit of the last digit: what another processor may make of a short training. Counts must be equal."""
    assert notebooks.near(a, b) == notebooks.near(b, a) == same


def test_differences_tell_words_and_numbers(notebooks, committed):
    """Spaces may differ, as columns become wider; a word, a number or a picture may not."""
    other = copy.deepcopy(committed)
    outputs = other["cells"][2]["outputs"]
    assert notebooks.differences(committed, other) == []
    outputs[0]["text"] = "half  of x: 1.01\n"
    assert notebooks.differences(committed, other) == []
    outputs[0]["text"] = "half of x: 1.5\n"
    assert notebooks.differences(committed, other) == ["cell 3 shows 1.5 where 1.0 was"]
    outputs[0]["text"] = "half of y: 1.0\n"
    (found,) = notebooks.differences(committed, other)
    assert found == "cell 3 shows 'half of y: 1.0\\n' and not 'half of x: 1.0\\n'"
    outputs[:] = [stream("half of x: 1.0\n"), picture(8)]
    assert "[image/png]" in notebooks.differences(committed, other)[0]


def test_what_belongs_to_one_run_is_compared_by_its_place_alone(notebooks, committed):
    """A text that a model drew, or a version, may be another and longer; the line above it may not."""
    other = copy.deepcopy(committed)
    ours, theirs = committed["cells"][2]["outputs"][0], other["cells"][2]["outputs"][0]
    ours["text"] = "a story:\n> Once 3 cats\nits end: 1.0\n"
    theirs["text"] = "a story:\n> One\n>\n> dog\nits end: 1.0\n"
    assert notebooks.differences(committed, other) == []
    theirs["text"] = "a story:\nits end: 1.0\n"
    assert "and not 'a story:\\n> ...\\nits end: 1.0\\n'" in notebooks.differences(committed, other)[0]
    theirs["text"] = "a story:\n> Once 3 cats\nits end: 2.0\n"
    assert notebooks.differences(committed, other) == ["cell 3 shows 2.0 where 1.0 was"]


def test_seconds_are_of_one_notebook(notebooks, script, tmp_path):
    for words in (["check", str(script)], ["sync"], ["sync", str(script), str(script)]):
        with pytest.raises(
            notebooks.Mistake, match=r"--out here is for the seconds of one notebook; give sync and one"
        ):
            notebooks.main([*words, "--root", str(tmp_path), "--out", "here"])


def test_another_script_is_refused(notebooks, script, tmp_path):
    other = script.with_name("train.py")
    with pytest.raises(notebooks.Mistake, match=r"train.py is not the script of a notebook; name one .*week01/play.py"):
        notebooks.main(["sync", str(other), "--root", str(tmp_path)])


@needs_kernel
def test_sync_executes_what_changed_and_nothing_else(notebooks, script, tmp_path, capsys):
    """The notebook is written with what it shows; a second sync leaves it alone, one that names it does not."""
    notebooks.main(["sync", "--root", str(tmp_path)])
    path = script.with_suffix(".ipynb")
    assert notebooks.shown(notebooks.read(path)["cells"][2]) == ["half of x: 1.0\n"]
    content, time = path.read_text(), path.stat().st_mtime_ns
    notebooks.main(["sync", "--root", str(tmp_path)])
    assert path.stat().st_mtime_ns == time
    assert capsys.readouterr().out.count("wrote weeks/week01/play.ipynb") == 1
    notebooks.main(["sync", str(script), "--root", str(tmp_path), "--out", str(tmp_path / "results")])
    assert path.stat().st_mtime_ns > time and path.read_text() == content
    noted = json.loads((tmp_path / "results/play.json").read_text())
    assert noted["metrics"]["notebook_cells"] == 4 and noted["metrics"]["notebook_seconds"] > 0
    assert noted["command"] == "python tools/notebooks.py sync weeks/week01/play.py --out results"


@needs_kernel
def test_a_cell_that_fails_is_told_and_nothing_is_written(notebooks, script):
    """The old notebook stays as it was."""
    save({"cells": []}, script)
    script.write_text(SCRIPT.replace("half(x))", "half(y))"))
    with pytest.raises(notebooks.Mistake, match="cell 3 fails: NameError: name 'y' is not defined"):
        notebooks.write(script)
    assert notebooks.read(script.with_suffix(".ipynb")) == {"cells": []}


# --- the exam ---------------------------------------------------------------------------------------------------------


def test_every_notebook_is_that_of_its_script(notebooks):
    """So what a reader sees on a page is what a learner gets who runs the script."""
    assert EXAM, "no notebook was found"
    assert notebooks.problems(ROOT) == []


@needs_kernel
@pytest.mark.parametrize("name", EXAM)
def test_a_notebook_still_shows_what_was_committed(notebooks, name):
    """Executed from top to bottom: same words, same counts, and numbers with decimals as near as `near` asks."""
    path = ROOT / name
    try:
        now = notebooks.executed(path.with_suffix(".py"))
    except notebooks.Mistake as error:
        absent = [s for s in re.findall(r"make data/([\w-]+)", str(error)) if not (ROOT / "data" / s).exists()]
        if absent:
            pytest.skip(f"{name} needs data/{absent[0]}; run: make data/{absent[0]}")
        raise
    assert notebooks.differences(notebooks.read(path), now) == []
