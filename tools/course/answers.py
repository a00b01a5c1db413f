"""Is the course sound? Packages in every state that a learner's can have are judged, each by the tests that should.

- a package that is solved up to day d passes the tests of day d, for every d. As each test then passes before any
  later function exists, it never calls one, and so it passes on every later day as well, the last of which has the
  whole reference (else any test could "notice" anything); that last state is the reference itself, and `make test`
  runs every test on it, so here only those that grade an exercise;
- the starter, with every exercise left out, is collected without error and fails each test of an exercise;
- an exercise left out, and each wrong answer planted, fail one of the exercise's tests of that very day.

Left out: wrong answers that a machine invents. A dozen chosen by hand, each a mistake that people make, teach more.
"""

import gc
import io
import os
import shutil
import signal
import time
import traceback
from collections import Counter
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from typing import NamedTuple

from shared.errors import Mistake

from course import exercises as ex
from course import records, verdicts

PATIENCE = 300  # seconds of processor time, ten times what any takes
# Warnings judge nothing, and the plugin that is left out looks for more of them by collecting garbage five times.
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:unraisableexception", "--assert=plain", "--patience=120", "--no-header",
           "--disable-warnings")  # fmt: skip
# Imported once, before the forks; the last two are what the first `backward` and the first assert_close of a process
# would import, and take longer than most tests. pytest's own plugins are a tenth of what a wrong answer costs.
PREPARED = ["pytest", "hypothesis", "numpy", "torch", "torch.fx.experimental.symbolic_shapes",
            "torch.distributed.tensor"]  # fmt: skip
# Oracles that take seconds to import: loaded before the forks too, where the tests of a room speak of them.
ORACLES = {"peft": "peft", "transformers": "transformers.models.gpt2.modeling_gpt2"}
PASSED, FAILED = 0, 1  # pytest's exit status; any other means that nothing was judged


class Answer(NamedTuple):
    """One state of a package, and how it is to be judged."""

    room: str
    label: str  # how a report calls it
    kind: str  # "starter", "day", "left out" or "wrong"
    files: dict  # file below the room's folder -> what stands in it
    tests: tuple  # node ids below the room's folder
    day: int | None  # only tests of this day, or None for all


def answers(room, root=ex.ROOT):
    """All states of a room whose exercises.toml is sound."""
    folder, exercises = root / "weeks" / room, ex.load(room, root)

    def source_of(file):
        return (folder / file).read_text(encoding="utf-8")

    tests = tuple(dict.fromkeys(test for exercise in exercises for test in exercise["tests"]))
    found = [Answer(room, "the starter", "starter", ex.solved(exercises, 0, source_of), tests, None)]
    days = sorted({exercise["day"] for exercise in exercises})
    for day in days:
        files = ex.solved(exercises, day, source_of)
        judges = tests if day == days[-1] else ("tests",)
        found.append(Answer(room, f"solved up to day {day}", "day", files, judges, day))
    for exercise in exercises:
        file, function, day = exercise["file"], exercise["function"], exercise["day"]
        wrong = [("left out", "left out", ex.left_out(source_of(file), function, day))]
        wrong += [("wrong", m["kind"], ex.planted(source_of(file), function, m)) for m in exercise["mutant"]]
        found += [Answer(room, f"{function}: {name}", kind, {file: text}, tuple(exercise["tests"]), day)
                  for kind, name, text in wrong]  # fmt: skip
    return found


# --- judging ----------------------------------------------------------------------------------------------------------


@contextmanager
def workspace(root):
    """A folder inside the repository, where conftest.py lets code be graded, and which git ignores."""
    folder = root / "build" / f"answers-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lay_out(answer, folder, root):
    """Write folder/<room>/<package>/ with the answer in its place; returns `folder` as CHASE_IMPL names it."""
    package = ex.package_of(answer.room, root)
    there = folder / answer.room / package
    # What Python has compiled goes along: it is valid where a file kept its time, and spares each child the work.
    shutil.copytree(root / "weeks" / answer.room / package, there)
    for file, source in answer.files.items():
        (folder / answer.room / file).write_text(source, encoding="utf-8")
    return folder.relative_to(root).as_posix()


def judge(answer, folder, root):
    """In a child process: run the tests on the answer, what they print into folder/output; returns pytest's status."""
    import pytest

    os.environ |= {"CHASE_IMPL": lay_out(answer, folder, root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.chdir(root)
    nodes = [f"weeks/{answer.room}/{test}" for test in answer.tests]
    options = [*OPTIONS]
    options += ["--record", str(folder / "record")] if answer.kind == "starter" else []
    options += ["--day", str(answer.day)] if answer.day else []
    options += ["-x"] if answer.kind in ("left out", "wrong") else []
    options += ["--tb=native"] if answer.kind != "day" else []  # nobody reads why: the source lines cost seconds
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        status = pytest.main([*options, *nodes])
    (folder / "output").write_text(output.getvalue(), encoding="utf-8")
    return int(status)


def start(answer, folder, root):
    """Fork: the child has torch and pytest already, which is most of what starting Python costs. Returns its id."""
    folder.mkdir()
    if child := os.fork():
        return child
    status = 99
    try:
        import resource  # here: a system without fork lacks it too, and `check` says so in a sentence

        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))  # ends the child, whatever it is doing
        status = judge(answer, folder, root)
    except BaseException:
        (folder / "output").write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(status)


def passed_though_left_out(answer, folder):
    """Tests that the starter must fail, and of which it fails no case."""
    failed = {line["test"] for line in records.read(folder / "record") if line["outcome"] in ("failed", "todo")}
    return [test for test in answer.tests if not any(records.is_case(node, answer.room, test) for node in failed)]


def verdict(answer, status, folder):
    """None where the answer was judged as it should be, or else a sentence."""
    right = answer.kind == "day"
    if status == (PASSED if right else FAILED):
        if answer.kind == "starter" and (blind := passed_though_left_out(answer, folder)):
            return f"{answer.room}: the starter passes {', '.join(blind)}, so they grade nothing; sharpen them"
        return None
    if status == PASSED:
        of_day = f"; its tests must be of day {answer.day}" if answer.day else ""
        return f"{answer.room}: {answer.label!r} survives; sharpen {', '.join(answer.tests)}{of_day}"
    output = (folder / "output").read_text(encoding="utf-8").strip() if (folder / "output").exists() else ""
    if status == FAILED:
        return f"{answer.room}: {answer.label} fails:\n{output}"
    if "no test is of day" in output:
        return f"{answer.room}: {answer.label!r}: none of {', '.join(answer.tests)} is of day {answer.day}"
    ended = f"did not end in {PATIENCE} s" if status == -signal.SIGKILL else f"was not judged (status {status})"
    return f"{answer.room}: {answer.label!r} {ended}\n{output}".rstrip()


def oracles(chosen, root=ex.ROOT):
    """The modules of ORACLES that the tests of the rooms `chosen` speak of and that are installed."""
    files = [path for room in chosen for path in (root / "weeks" / room / "tests").glob("*.py")]
    text = " ".join(path.read_text(encoding="utf-8") for path in files)
    return [module for name, module in ORACLES.items() if name in text and find_spec(name)]


def import_plugins():
    """Import what `pytest.main` would import in every child."""
    from _pytest.config import default_plugins

    for name in default_plugins:
        __import__(f"_pytest.{name}")


class Judged(NamedTuple):
    wrong: list  # sentences
    starters: dict  # room -> (seconds of the starter's slowest test, of all its tests)
    counts: dict  # room -> {kind: number of answers}


def slowest(folder):
    """(seconds of the slowest test, seconds of all) in a record."""
    seconds = [line["seconds"] for line in records.read(folder / "record")]
    return max(seconds, default=0.0), sum(seconds)


def asked(room, root, seed):
    """The answers of a room that are judged: all, or the sample of a `seed`."""
    every = answers(room, root)
    return every if seed is None else verdicts.sample(every, seed)


def check(chosen, jobs, seeds, root=ex.ROOT, tell=lambda text: None):
    """Judge the answers of the rooms `chosen`, `jobs` at a time; Judged, with a sentence for each that is amiss.

    Of a room in `seeds`, {room: seed}, only a sample of the wrong answers is judged.
    """
    found = [sentence for room in chosen for sentence in ex.problems(room, root)]
    if found:
        return Judged(found, {}, {})
    if not hasattr(os, "fork"):
        raise Mistake("answers are judged in forked processes, which this system lacks; use Linux, macOS or WSL")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for module in [*PREPARED, *oracles(chosen, root)]:
        __import__(module)
    import_plugins()
    gc.collect()
    gc.freeze()  # a child's garbage collection would otherwise visit, and so copy, all of torch
    every = [answer for room in chosen for answer in asked(room, root, seeds.get(room))]
    waiting, running, begun, starters = every[::-1], {}, time.monotonic(), {}
    counts = {room: Counter(answer.kind for answer in every if answer.room == room) for room in chosen}
    with workspace(root) as work:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    answer, folder = waiting.pop(), work / str(len(waiting))
                    running[start(answer, folder, root)] = (answer, folder)
                child, code = os.waitpid(-1, 0)
                answer, folder = running.pop(child)
                found += filter(None, [verdict(answer, os.waitstatus_to_exitcode(code), folder)])
                if answer.kind == "starter":
                    starters[answer.room] = slowest(folder)
                shutil.rmtree(folder, ignore_errors=True)
                tell(f"{len(every) - len(waiting) - len(running)} of {len(every)}, {len(found)} wrong")
        finally:
            for child in running:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    tell(f"{len(every)} answers in {time.monotonic() - begun:.0f} s")
    return Judged(found, starters, counts)
