"""Run a room's tests on the learner's code and say, day by day, what holds, what is wrong and what is still to do."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

from shared.errors import Mistake

from course import exercises as ex
from course import records
from course import workbench as wb

LONGEST = 900  # seconds for all tests of one check; each has its own limit in grader.py
DETAILS = 2  # failures of a day that are shown whole; of the others one line
NAMED = 8  # test functions that are named after those
WIDTH = 100


class Day(NamedTuple):
    """What the tests of one day said, a record of grader.py each."""

    number: int
    records: list

    def of(self, outcome):
        return [r for r in self.records if r["outcome"] == outcome]

    @property
    def passed(self):
        return bool(self.records) and not self.of("failed") and not self.of("todo")


def run(bench, days):
    """The days' records; Mistake where the learner's code cannot even be imported, or nothing was graded."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record"
        wanted = f"{days[0]}-{days[-1]}"
        command = [sys.executable, "-m", "pytest", f"weeks/{bench.room}/tests", "--day", wanted, "--record",
                   str(record), "-p", "no:cacheprovider", "--tb=no", "--disable-warnings"]  # fmt: skip
        env = os.environ | {"CHASE_IMPL": "projects", "CUDA_VISIBLE_DEVICES": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        status, said = waited_for(command, bench.root, env, record)
        found = records.read(record)
    if broken := [r for r in found if r["outcome"] == "broken"]:
        raise Mistake(import_error(bench, broken[0]["say"]))
    first = {f"weeks/{bench.room}/{test}": -n for n, test in enumerate(listed(bench, days)[::-1], 1)}
    found.sort(key=lambda r: first.get(r["test"], first.get(r["test"].split("[")[0], 0)))
    if not found:
        raise Mistake(f"no test of {ranged(days)} was run; what pytest says:\n{said}".rstrip())
    if status not in (0, 1):  # 0: all pass, 1: some fail; anything else ended the run before its last test
        raise Mistake(f"the tests stopped after {len(found)}, so nothing was graded; what came last:\n"
                      + "\n".join(said.rstrip().splitlines()[-8:]))  # fmt: skip
    return [Day(day, [r for r in found if r["day"] == day]) for day in days]


def listed(bench, days):
    """The tests that the days' exercises name, in their order: the plain ones first, the corners after them."""
    return list(dict.fromkeys(test for day in days for e in bench.exercises(day) for test in e["tests"]))


def waited_for(command, root, env, record):
    """Run pytest while a terminal shows how many tests are done; returns its exit status and what it printed."""
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        # A session of its own: what the tests started themselves ends with them, also when it has no end.
        child = subprocess.Popen(command, cwd=root, env=env, stdout=output, stderr=subprocess.STDOUT,
                                 start_new_session=True)  # fmt: skip
        try:
            while child.poll() is None:
                if time.monotonic() - begun > LONGEST:
                    raise Mistake(f"the tests did not end within {LONGEST // 60} minutes: a loop in your code has no "
                                  "end, inside a library's call where it cannot be stopped sooner")  # fmt: skip
                if sys.stderr.isatty():
                    done = record.read_bytes().count(b"\n") if record.exists() else 0
                    print(f"\r{done} tests done, {time.monotonic() - begun:.0f} s\033[K", end="", file=sys.stderr)
                time.sleep(0.1)
        finally:
            stop(child)
            if sys.stderr.isatty():
                print("\r\033[K", end="", file=sys.stderr)
        output.seek(0)
        return child.returncode, output.read()


def stop(child):
    """End a process, and all that it started."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # all have ended; macOS says the second
            pass
    elif child.poll() is None:
        child.kill()
    child.wait()


def import_error(bench, text):
    """A failed collection in one sentence, with the learner's file and line where it names one."""
    last = [line for line in text.strip().splitlines() if line.startswith("E ")] or text.strip().splitlines()[-1:]
    places = re.findall(r"(?:File \"|^)([^\"\n]*?projects/[^\"\n:]+\.py)(?:\", line |:)(\d+)", text, re.MULTILINE)
    where = f"{bench.shown(bench.root / places[-1][0])}, line {places[-1][1]}: " if places else ""
    reason = " ".join(last[-1].removeprefix("E").split())
    return f"your code cannot be imported, so nothing was graded: {where}{reason}"


def ranged(days):
    return f"day {days[0]}" if len(days) == 1 else f"days {days[0]} to {days[-1]}"


# --- what is printed --------------------------------------------------------------------------------------------------


def name_of(record):
    return record["test"].split("::", 1)[-1]


def indented(label, text):
    return textwrap.fill(text, WIDTH, initial_indent=f"        {label:<9}", subsequent_indent=" " * 17)


def told(record):
    """Lines about one failed test: why it exists, yours, expected."""
    lines = [f"    {name_of(record)}"]
    lines += [indented("why", record["why"])] if record["why"] else []
    if "yours" in record:
        lines += [indented("yours", record["yours"]), indented("expected", record["expected"])]
    say = record["say"].strip()
    if "yours" in record and say.startswith("AssertionError: Tensor-likes are not"):
        say = " ".join(line.strip() for line in say.splitlines()[1:] if "difference" in line or "elements" in line)
    elif "yours" in record or record.get("words"):
        say = record.get("words", "")
    say = say.split("\n +  where")[0]  # the values that pytest shows of a comparison fill many lines
    lines += [indented("says", " ".join(say.split())[:400])] if say else []
    lines += [indented("where", record["place"])] if record.get("place") else []
    line, words = record.get("line", ""), record.get("words", "")
    if line and not record.get("place") and not (words and words in line):
        lines.append(indented("test", short_line(line)))
    lines += [indented("perhaps", record["remark"])] if record.get("remark") else []
    return lines


def short_line(text):
    """A statement of a test, to one line and a half."""
    return text if len(text) <= 140 else f"{text[:137]}..."


def lines_of(day):
    """A day in a few lines."""
    good, wrong, left = len(day.of("passed")), day.of("failed"), day.of("todo")
    graded = good + len(wrong) + len(left)
    if not graded:
        skipped = day.of("skipped")
        return [f"Day {day.number:>2}  ?  {len(skipped)} tests were skipped: "
                f"{skipped[0].get('say', 'no data') if skipped else 'no test has this day'}"]  # fmt: skip
    mark = "✓" if day.passed else "✗" if wrong else "·"
    functions = list(dict.fromkeys(r["say"].split(": ")[-1] for r in left))
    lines = [f"Day {day.number:>2}  {mark}  {good} of {graded} tests pass"]
    them = "them" if len(functions) > 1 else "it"
    lines += [f"    TODO  {', '.join(functions)}  ({len(left)} tests wait for {them})"] if functions else []
    whole = first_of_each(wrong)[:DETAILS]
    for record in whole:
        lines += told(record)
    rest = [record for record in wrong if record not in whole]
    if rest:
        groups = list(grouped(rest))
        lines += [f"    and {len(rest)} more that fail:", *map(one_line, groups[:NAMED])]
        lines += [f"      and {len(groups) - NAMED} other tests"] if len(groups) > NAMED else []
    return lines


def first_of_each(records):
    """The first failure of each test function; more of one function only where there are no others."""
    first = list({name_of(r).split("[")[0]: r for r in reversed(records)}.values())[::-1]
    first.sort(key=records.index)
    return first + [r for r in records if r not in first]


def grouped(records):
    """{name of a test function: its cases that fail, without the brackets}."""
    cases = {}
    for record in records:
        name, bracket, case = name_of(record).partition("[")
        cases.setdefault(name, []).extend([case.removesuffix("]")] if bracket else [])
    return cases.items()


def one_line(group):
    name, cases = group
    text = f"      {name}{': ' if cases else ''}{'; '.join(cases)}"
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 4].rsplit(';', 1)[0]}; ..."


def next_step(bench, days):
    """One line: what to do now."""
    week = f"WEEK={ex.week_of_day(days[0].number):02d}"
    for day in days:
        if not day.passed and day.records:
            left = hints_left(bench, day.number)
            hints = f" ({left} hints left)" if left else ""
            about = f"{week} DAY={day.number}"
            return f"next: make hint {about}{hints}, or check whenever you save: make watch {about}"
    last = days[-1].number
    return f"next: make solution {week} DAY={last} shows how the reference does it; make day DAY={last + 1} goes on"


def hints_left(bench, day):
    """Hints not yet shown, of the functions of the day that do not pass."""
    state = wb.read_state(bench)
    amiss = state["failing"].get(str(day)) or [e["function"] for e in bench.exercises(day)]
    return sum(max(0, len(e["hints"]) - state["hints"].get(e["function"], 0)) for e in bench.exercises(day)
               if e["function"] in amiss)  # fmt: skip


def failing(bench, day):
    """Functions of the day's exercises that one of their own tests does not pass, in the order of the exercises.

    An exercise names a test function, or one case of it: test_arithmetic[a * b].
    """
    amiss = {r["test"] for r in day.records if r["outcome"] in ("failed", "todo")}
    amiss |= {test.split("[")[0] for test in amiss}
    return [e["function"] for e in bench.exercises(day.number)
            if any(f"weeks/{bench.room}/{test}" in amiss for test in e["tests"])]  # fmt: skip


def remember(bench, days, today):
    """Write down which of the days pass, and of the others what does not."""
    state = wb.read_state(bench)
    for day in days:
        if day.passed:
            state["passed"].setdefault(str(day.number), today)
        else:
            state["passed"].pop(str(day.number), None)
        state["failing"][str(day.number)] = failing(bench, day)
    wb.write_state(bench, state)
