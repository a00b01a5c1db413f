"""pytest as the course uses it: tests chosen by their day, and failures that teach.

Options: `--day 3` or `--day 1-7` runs the tests of those days; `--record FILE` writes one line of JSON for each test.
Where a learner's code is graded (CHASE_IMPL), three things more hold. A function that is still to be written says so
at once, also inside a property of hypothesis, which would otherwise look for the smallest example of it for a minute. A
test that does not end is stopped with a sentence. A property that fails is not shrunk: seconds matter more here.
conftest.py loads this file; it says whose code is graded.
"""

import functools
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

PATIENCE = 30.0  # seconds of work for one test of a learner's code; the slowest of the reference takes a third of it
TODO = re.compile(r"Day \d+: [\w.]+$")  # what tools/course/exercises.py writes into a starter
# How the comparisons of torch and NumPy call what they compare.
COMPARISONS = {"assert_close": ("actual", "expected"), "assert_allclose": ("actual", "desired"),
               "assert_array_equal": ("actual", "desired"), "assert_array_almost_equal": ("actual", "desired"),
               "assert_equal": ("actual", "desired")}  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
compared_last = pytest.StashKey()


class Todo(BaseException):
    """A starter's NotImplementedError on its way out of a property: hypothesis catches every Exception."""


class TooLong(BaseException):
    """A test did not end. No Exception, so that no `except Exception` of the tested code keeps it."""


def pytest_addoption(parser):
    group = parser.getgroup("course")
    group.addoption("--day", metavar="N", help="only the tests that grade day N, or days N-M")
    group.addoption("--patience", type=float, default=PATIENCE, metavar="S",
                    help="seconds after which a test of a learner's code is stopped")  # fmt: skip
    group.addoption("--record", metavar="FILE", help="write the outcome of each test into FILE, a line of JSON each")


def graded():
    """The folder whose code is graded; conftest.py refuses one that cannot be."""
    return (ROOT / (os.environ.get("CHASE_IMPL") or "weeks")).resolve()


def learner():
    """Is a learner's code graded?"""
    return graded() != ROOT / "weeks"


def days_named(text):
    """range of the days that `3` or `1-7` names; UsageError for anything else."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip())
    if not match or int(match[2] or match[1]) < int(match[1]):
        raise pytest.UsageError(f"--day {text!r} names no day; write --day 3, or --day 1-7 for several")
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def day_of(item):
    marker = item.get_closest_marker("day")
    return marker.args[0] if marker else None


def pytest_configure(config):
    config.stash[compared_last] = None
    if config.getoption("--day"):
        days_named(config.getoption("--day"))
    repeat_hypothesis()


def repeat_hypothesis():
    """Properties are tried on the same examples in every run, and no test fails because a machine is slow."""
    try:
        from hypothesis import Phase, settings
    except ImportError:
        return
    phases = {"phases": [Phase.explicit, Phase.generate]} if learner() else {}
    settings.register_profile("chase", derandomize=True, deadline=None, database=None, **phases)
    settings.load_profile("chase")


def pytest_collection_modifyitems(config, items):
    if chosen := config.getoption("--day"):
        days = days_named(chosen)
        config.hook.pytest_deselected(items=[item for item in items if day_of(item) not in days])
        items[:] = [item for item in items if day_of(item) in days]
    if learner():
        for item in items:
            property_of = getattr(getattr(item, "function", None), "hypothesis", None)
            if property_of and not hasattr(property_of.inner_test, "stops_at_todo"):
                property_of.inner_test = stops_at_todo(property_of.inner_test)


def stops_at_todo(test):
    @functools.wraps(test)
    def inner(*args, **kwargs):
        try:
            return test(*args, **kwargs)
        except NotImplementedError as error:
            if TODO.match(str(error)):
                raise Todo(str(error)) from None
            raise

    inner.stops_at_todo = True
    return inner


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not learner() or not hasattr(signal, "setitimer"):
        return (yield)
    patience, begun = item.config.getoption("--patience"), (time.process_time(), time.monotonic())

    def ring(number, frame):
        # Work is counted, not the clock: beside other programs a right answer may take its time. A sleeper ends too.
        left = patience - (time.process_time() - begun[0])
        if left > 0.01 and time.monotonic() - begun[1] < 8 * patience:
            signal.setitimer(signal.ITIMER_REAL, left)
        else:
            too_long(patience, frame)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def too_long(patience, frame):
    """Raised wherever the code is, with the place in the graded package that was at work."""
    while frame and graded() not in Path(frame.f_code.co_filename).parents:
        frame = frame.f_back
    where = ""
    if frame:
        where = f"; it was in {frame.f_code.co_name}, {Path(frame.f_code.co_filename).name} line {frame.f_lineno}"
    raise TooLong(
        f"this test did not end in {patience:g} seconds of work{where}. "
        "Look for a loop whose condition never becomes false, or for work that is repeated at every step"
    )


def still_to_do(error):
    """The starter's words where it is behind a failure: a NotImplementedError is a RuntimeError, which tests expect."""
    while error is not None:
        if isinstance(error, Todo | NotImplementedError) and TODO.match(str(error)):
            return str(error)
        error = error.__cause__ or error.__context__
    return ""


def in_graded(excinfo):
    """Was it raised by the graded code itself? torch raises NotImplementedError for an operation that it lacks."""
    return graded() in Path(excinfo.traceback[-1].path).parents


# --- what a failure says ----------------------------------------------------------------------------------------------


def pytest_assertrepr_compare(config, op, left, right):
    """Remembers what a plain `assert yours == expected` compared; how pytest shows it stays the same."""
    if op == "==":
        config.stash[compared_last] = (left, right)


def short(value):
    """A number, a table or anything else in at most about a hundred characters."""
    if hasattr(value, "expected") and type(value).__name__.startswith("Approx"):
        value = value.expected  # of pytest.approx: what was expected, without how near it must be
    if isinstance(value, type):  # np.float32 has a dtype and a ravel of its own, and is no array
        return value.__name__
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "ravel") and getattr(value, "dtype", None) is not None and value.ndim:
        first = " ".join(f"{x:.4g}" if value.dtype.kind == "f" else str(x) for x in value.ravel()[:6].tolist())
        return f"[{first}{' ...' if value.size > 6 else ''}]  shape {tuple(value.shape)}, {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:117]}..."


def comparison(excinfo, last):
    """(yours, expected) of the comparison that failed, as text, or None."""
    for entry in reversed(excinfo.traceback):
        names = COMPARISONS.get(entry.frame.code.name)
        if names and all(name in entry.frame.f_locals for name in names):
            yours, expected = (entry.frame.f_locals[name] for name in names)
            break
    else:
        here = excinfo.traceback[-1].frame.f_locals
        if not excinfo.errisinstance(AssertionError):
            return None
        if last is None and not {"mine", "theirs"} <= set(here):  # what a test calls them that measures a distance
            return None
        yours, expected = last or (here["mine"], here["theirs"])
    try:
        return short(yours), short(expected)
    except Exception:  # a repr of the learner's own that raises; the failure itself is told all the same
        return None


def test_line(excinfo):
    """The statement of the test that failed: it says which of several values was compared, and after which call."""
    lines = [" ".join(str(entry.statement).split()) for entry in excinfo.traceback if "tests" in Path(entry.path).parts]
    return lines[-1] if lines else ""


def own_words(error):
    """What a failed assertion says about itself, such as the input that it was tried with, or ''."""
    first = str(error).split("\n")[0]
    found = re.fullmatch(r"(.+?)(?: ?assert .*)?", first) if isinstance(error, AssertionError) else None
    return "" if not found or first.startswith("assert ") or "not equal" in first.lower() else found[1]


def raises_pair(error):
    """(yours, expected) where a test expected an exception and another sentence came, or None."""
    found = re.search(r"Expected regex: '(.*)'\s+Actual message: (['\"])(.*)\2", str(error), re.DOTALL)
    if not found:
        return None
    return short_text(found[3]), f"a sentence with: {short_text(found[1].replace(chr(92) * 2, chr(92)))}"


def short_text(text):
    return text if len(text) <= 160 else f"{text[:157]}..."


def place(excinfo):
    """Where in the graded code something was raised: file, line, function and its arguments."""
    if isinstance(excinfo.value, AssertionError):
        return ""
    entries = [entry for entry in excinfo.traceback if graded() in Path(entry.path).parents]
    if not entries:
        return ""
    entry = entries[-1]
    code, frame = entry.frame.code.raw, entry.frame.f_locals
    names = [name for name in code.co_varnames[: code.co_argcount] if name in frame]
    try:
        given = ", ".join(f"{name}={short(frame[name])[:60]}" for name in names)
    except Exception:  # a repr of the learner's own may fail too
        given = ""
    return f"{Path(entry.path).name} line {entry.lineno + 1}, in {code.co_name}({given})"


def rounding(message):
    """A remark where a difference has the size of float32's rounding and less was allowed, or ''."""
    sizes = re.findall(r"(?:Greatest relative difference|Max relative difference[^:]*): ([\d.eE+-]+)", message)
    allowed = re.findall(r"up to ([\d.eE+-]+) allowed|rtol=([\d.eE+-]+)", message)
    limits = [float(number) for pair in allowed for number in pair if number]
    if sizes and limits and max(limits) < 1e-7 and 1e-9 < float(sizes[-1]) < 1e-5:
        return "The difference is as small as float32's rounding: does your code turn float64 into float32 somewhere?"
    return ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failing test says why it exists, and a function still to be written says so instead of showing a traceback."""
    report = yield
    last, item.config.stash[compared_last] = item.config.stash[compared_last], None
    why = " ".join((getattr(getattr(item, "function", None), "__doc__", None) or "").split())
    record = {"test": item.nodeid, "day": day_of(item), "outcome": report.outcome, "why": why,
              "seconds": round(report.duration, 3)}  # fmt: skip
    if report.failed:
        error = call.excinfo.value
        message = still_to_do(error) or str(error)
        if TODO.match(message) or (isinstance(error, NotImplementedError) and in_graded(call.excinfo)):
            record |= {"outcome": "todo", "say": message}
            report.longrepr = f"TODO  {message}"
        elif isinstance(error, TooLong):
            record |= {"say": message}
            report.longrepr = message
        else:
            if item.config.getoption("--record"):  # to read the test's source takes longer than most tests
                record |= {"say": call.excinfo.exconly(tryshort=True), "words": own_words(error),
                           "place": place(call.excinfo), "line": test_line(call.excinfo)}  # fmt: skip
            if pair := raises_pair(error) or comparison(call.excinfo, last):
                record |= {"yours": pair[0], "expected": pair[1]}
                report.sections.append(("yours and expected", f"yours     {pair[0]}\nexpected  {pair[1]}"))
            if remark := rounding(message):
                record |= {"remark": remark}
                report.sections.append(("perhaps", remark))
        if why:
            report.sections.insert(0, ("why this test exists", why))
    if report.when == "call" or report.failed or (report.when == "setup" and report.skipped):
        write(item.config, record)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if report.failed:
        say = getattr(report.longrepr, "longrepr", str(report.longrepr))
        write(collector.config, {"test": report.nodeid, "day": None, "outcome": "broken", "seconds": 0.0, "say": say})
    return report


def pytest_collection_finish(session):
    if session.config.getoption("collectonly"):
        for item in session.items:
            write(session.config, {"test": item.nodeid, "day": day_of(item), "outcome": "collected"})


def write(config, record):
    """At once, so that whoever waits can count."""
    if file := config.getoption("--record"):
        with open(file, "a", encoding="utf-8") as f:
            f.write(json.dumps(record) + "\n")
