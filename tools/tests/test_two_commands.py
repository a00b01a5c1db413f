"""`make weekNN`, then `make test`: a user's own runs leave the checkout clean and the pages in order.

A clone of the working tree, with small made-up data in the place of data/; every command that `make` would type for a
smoke run of every week, in one process, so that torch is loaded once.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not (shutil.which("make") and shutil.which("git")), reason="needs make and git")

# Not here: `make assistant-tasks`, which needs a published model of 93 MB and minutes; it writes by the same function.
TARGETS = "week01 week02 week03 week05 week06 week07 week09 week10 week11 week12 week13 week14".split()
RUN = """
import contextlib, io, json, os, runpy, sys
said = []
for line in json.load(sys.stdin):
    script, *options = line.split()
    sys.argv, sys.path[0] = [script, *options], os.path.dirname(os.path.abspath(script))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            assert not stop.code, f"{line}: status {stop.code}"
    said.append(out.getvalue())
json.dump(said, sys.stdout)
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def made_up_data(folder, digits):
    """Every data set that the weeks read, as small as their smoke presets allow."""
    draw = random.Random(0)
    for name in ("shakespeare", "bible", "recipes", "code"):
        words = ["".join(draw.choices("abcdefghij klmno", k=5)) for _ in range(60)]
        for part, lines in (("train", 400), ("val", 150), ("test", 150)):
            text = "".join(" ".join(draw.choices(words, k=8)) + ".\n" for _ in range(lines))
            write(folder / name / f"{part}.txt", text)
    for part, many in (("train", 300), ("val", 20), ("test", 20)):
        stories = [" ".join(draw.choices(words, k=80)) + "." for _ in range(many)]
        write(folder / "fables" / f"{part}.txt", "\n<|endoftext|>\n".join(stories) + "\n")
    names = {"".join(draw.choices("abcdeilmnorst", k=draw.randint(3, 8))) for _ in range(600)}
    write(folder / "names/names.txt", "\n".join(sorted(names)) + "\n")
    digits.write_mnist(folder / "mnist")


def git(root, *command):
    done = subprocess.run(["git", "-C", root, *command], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def clone(tmp_path, repo_root, monkeypatch):
    """The working tree with what is not committed yet, as a checkout of its own."""
    root = tmp_path / "clone"
    for name in git(repo_root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (repo_root / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repo_root / name, root / name)
    git(tmp_path, "init", "--quiet", root)
    git(root, "add", "--all")
    git(root, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "-m", "x")
    monkeypatch.syspath_prepend(repo_root / "weeks/week01-02/tests")
    import week0102_digits

    made_up_data(root / "data", week0102_digits)
    return root


def commands(root):
    """What make would type: the scripts of all smoke runs, on one thread, for a second one only waits in small runs."""
    sets = [*(path.name for path in (root / "data").iterdir()), "gpt2", "cl100k"]
    given = [f"--assume-old=data/{name}/ORIGIN.json" for name in sets]
    ours = ("MAKE", "MFLAGS", "PRESET", "SEED", "ARGS", "WEEK", "JOB", "COMMITTED")
    env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    command = ["make", "--dry-run", "--assume-old=.venv/.core", *given, *TARGETS, "PRESET=smoke", "ARGS=--threads 1"]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return re.findall(r"^\.venv/bin/python (weeks/\S+/train\.py .*)$", done.stdout, re.MULTILINE)


def test_runs_of_every_week_leave_the_checkout_clean(clone, load_tool):
    """Otherwise the first thing that a newcomer does makes the tests fail: the pages quote the committed results."""
    scripts = commands(clone)
    assert len(scripts) == len(TARGETS)
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(scripts), cwd=clone, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "\r" not in done.stderr
    for script, said in zip(scripts, json.loads(done.stdout), strict=True):
        *_, shown, where, advice, last = ["", *said.splitlines()]
        path = last.removeprefix("results: ")
        week = script.split("/")[1]
        assert path.startswith(f"{clone}/runs/{week}/results/") and os.path.isfile(path), last
        assert advice.startswith("To try next"), said[-500:]
        assert "What it showed: " in shown + where and re.search(r"\d", shown + where)
    ignored = git(clone, "status", "--porcelain", "--ignored").splitlines()
    assert sorted(line for line in ignored if "data/" not in line) == ["!! checkpoints/week14-smoke/", "!! runs/"]
    docs = load_tool("docs")
    assert [sentence for page in docs.pages(clone) for sentence in docs.page_problems(clone, page)] == []
