"""Are the exercises sound, and is every wrong answer in them noticed by the tests that it names?

    python tools/exercises.py list [WEEK ...]      the exercises: day, function, minutes, wrong answers
    python tools/exercises.py check [WEEK ...]     plant every wrong answer; status 1 where one survives

A week's exercises.toml names for each piece that a learner builds its tests, its hints and its mutants: replacements
in the reference that make it wrong. Each mutant is planted in a copy of the package, and the exercise's own tests run
on that copy: one of them must fail. Two answers more are tried without being listed: the reference itself, which must
pass (else any test could "notice" anything), and the function left out, which must not.
Left out: mutants that a machine invents. A dozen chosen by hand, each a mistake that people make, teach more.
"""

import argparse
import ast
import io
import os
import shutil
import signal
import sys
import time
import tomllib
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from shared.errors import Mistake, entry
from shared.results import cpu_count

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300  # seconds, ten times what any takes: a wrong answer that never ends is not noticed by anybody
KEYS = {"day": int, "file": str, "function": str, "tests": list, "minutes": int, "difficulty": int, "why": str,
        "hints": list}  # fmt: skip
OPTIONS = ("-x", "--assert=plain", "--no-header", "--disable-warnings", "-p", "no:cacheprovider")
# Imported once, before the forks; the last one is what the first `backward` of a process would import.
PREPARED = ["pytest", "hypothesis", "numpy", "torch", "torch.fx.experimental.symbolic_shapes"]
PASSED, FAILED = 0, 1  # pytest's exit status; any other means that nothing was judged


class Answer(NamedTuple):
    """One state of a package, the tests that judge it, and whether they must pass."""

    week: str
    label: str  # how a report calls it
    file: str  # relative to the week folder
    source: str  # what stands in that file
    tests: tuple
    right: bool


# --- what exercises.toml says -----------------------------------------------------------------------------------------


def load(week, root=ROOT):
    """The [[exercise]] tables of a week; Mistake where the file is no TOML or holds none."""
    path = root / "weeks" / week / "exercises.toml"
    try:
        exercises = tomllib.loads(path.read_text(encoding="utf-8")).get("exercise", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Mistake(f"{path} is not valid TOML ({error}); mend it") from None
    if not exercises:
        raise Mistake(f"{path} holds no [[exercise]]; write one, or delete the file")
    return exercises


def span(source, function):
    """(node, first line, last line) of a function, method or class by its qualified name, from 0, or None."""
    nodes = ast.parse(source).body
    for part in function.split("."):
        node = next((n for n in nodes if getattr(n, "name", None) == part), None)
        if node is None:
            return None
        nodes = getattr(node, "body", [])
    return node, node.lineno - 1, node.end_lineno


def left_out(source, function, day):
    """The source with the function's body, all but its docstring, replaced by one that says what is to be done."""
    node, _, end = span(source, function)
    lines = source.splitlines()
    documented = ast.get_docstring(node) is not None
    begin = node.body[0].end_lineno if documented else node.body[0].lineno - 1
    while not documented and lines[begin - 1].lstrip().startswith("#"):  # a comment could tell the answer
        begin -= 1
    pad = " " * node.body[0].col_offset
    body = [f'{pad}raise NotImplementedError("Day {day}: {function}")']
    if isinstance(node, ast.ClassDef):
        body = [f"{pad}def __init__(self, *args, **kwargs):", f"    {body[0]}"]
    return "\n".join([*lines[:begin], *body, *lines[end:], ""])


def planted(source, function, mutant):
    """The source with one replacement inside the function; ValueError where it cannot be made, or is no Python."""
    _, begin, end = span(source, function)
    lines = source.splitlines(keepends=True)
    inside = "".join(lines[begin:end])
    if (count := inside.count(mutant["replace"])) != 1:
        raise ValueError(f"{mutant['replace']!r} stands {count} times in {function}, not once")
    mutated = "".join(lines[:begin]) + inside.replace(mutant["replace"], mutant["by"]) + "".join(lines[end:])
    try:
        compile(mutated, function, "exec")
    except SyntaxError as error:
        raise ValueError(f"{mutant['by']!r} makes no Python of {function} ({error.msg})") from None
    return mutated


def tests_of(folder):
    """{file: names of its test functions} of a week's tests, as node ids name them."""
    found = {}
    for path in sorted((folder / "tests").glob("test_*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        found[f"tests/{path.name}"] = {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
    return found


def problems(week, root=ROOT):
    """Sentences about everything in a week's exercises.toml that a learner or the grader would stumble over."""
    folder, found = root / "weeks" / week, []
    known = tests_of(folder)
    for number, exercise in enumerate(load(week, root), 1):
        here = f"{week}, exercise {number} ({exercise.get('function', '?')})"
        wrong = [k for k, kind in KEYS.items() if not isinstance(exercise.get(k), kind)]
        wrong += sorted(set(exercise) - set(KEYS) - {"mutant"})
        if wrong:
            found.append(f"{here}: {', '.join(wrong)} missing, unknown or of the wrong type; see the other exercises")
            continue
        path = folder / exercise["file"]
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        place = span(source, exercise["function"])
        if place is None:
            found.append(f"{here}: {exercise['file']} has no such function; correct `file` or `function`")
            continue
        if place[0].body[0].lineno == place[0].lineno:
            found.append(f"{here}: its body stands on the line of its name, so it cannot be left out; give it a line")
            continue
        solution = {line.strip() for line in source.splitlines()[place[1] + 1 : place[2]] if len(line.strip()) > 15}
        if len(exercise["hints"]) < 2:
            found.append(f"{here}: fewer than two hints")
        if any(line in hint for hint in exercise["hints"] for line in solution):
            found.append(f"{here}: a hint gives a line of the solution away")
        if not exercise["tests"] or not exercise.get("mutant"):
            found.append(f"{here}: it needs a test, and a wrong answer that the test notices")
        for test in exercise["tests"]:
            file, _, name = test.partition("::")
            if name.split("[")[0] not in known.get(file, ()):
                found.append(f"{here}: there is no test {test}")
        for mutant in exercise.get("mutant", []):
            if set(mutant) != {"replace", "by", "kind"}:
                found.append(f"{here}: a mutant has `replace`, `by` and `kind`, not {sorted(mutant)}")
                continue
            try:
                planted(source, exercise["function"], mutant)
            except ValueError as error:
                found.append(f"{here}: {error}")
    return found


def answers(week, root=ROOT):
    """All that is to be judged of a sound exercises.toml: the reference, then for each exercise what must fail."""
    folder, exercises = root / "weeks" / week, load(week, root)
    tests = tuple(dict.fromkeys(test for exercise in exercises for test in exercise["tests"]))
    first = exercises[0]["file"]
    found = [Answer(week, "the reference", first, (folder / first).read_text(encoding="utf-8"), tests, True)]
    for exercise in exercises:
        file, function = exercise["file"], exercise["function"]
        source = (folder / file).read_text(encoding="utf-8")
        wrong = [("left out", left_out(source, function, exercise["day"]))]
        wrong += [(mutant["kind"], planted(source, function, mutant)) for mutant in exercise["mutant"]]
        found += [Answer(week, f"{function}: {kind}", file, text, tuple(exercise["tests"]), False)
                  for kind, text in wrong]  # fmt: skip
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
    """Write folder/<week>/<package>/ with the answer in its place; returns `folder` as CHASE_IMPL names it."""
    package = Path(answer.file).parts[0]
    there = folder / answer.week / package
    shutil.copytree(root / "weeks" / answer.week / package, there, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / answer.week / answer.file).write_text(answer.source, encoding="utf-8")
    return folder.relative_to(root).as_posix()


def judge(answer, folder, root):
    """In a child process: run the tests on the answer, what they print into folder/output; returns pytest's status."""
    import pytest

    os.environ |= {"CHASE_IMPL": lay_out(answer, folder, root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.chdir(root)
    nodes = [f"weeks/{answer.week}/{test}" for test in answer.tests]
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        status = pytest.main([*OPTIONS, *nodes])
    (folder / "output").write_text(output.getvalue(), encoding="utf-8")
    return int(status)


def start(answer, folder, root):
    """Fork: the child has torch and pytest already, which is most of what starting Python costs. Returns its id."""
    folder.mkdir()
    if child := os.fork():
        return child
    status = 99
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.alarm(PATIENCE)  # ends the child, whatever it is doing
        status = judge(answer, folder, root)
    except BaseException:
        (folder / "output").write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(status)


def verdict(answer, status, folder):
    """None where the answer was judged as it should be, or else a sentence."""
    if status == (PASSED if answer.right else FAILED):
        return None
    if status == PASSED:
        return f"{answer.week}: {answer.label!r} survives; sharpen {', '.join(answer.tests)}"
    output = (folder / "output").read_text(encoding="utf-8").strip() if (folder / "output").exists() else ""
    if status == FAILED:
        return f"{answer.week}: the reference itself fails:\n{output}"
    ended = f"did not end in {PATIENCE} s" if status == -signal.SIGALRM else f"was not judged (status {status})"
    return f"{answer.week}: {answer.label!r} {ended}\n{output}".rstrip()


def check(weeks, root=ROOT, jobs=None, tell=lambda text: None):
    """Judge all answers of `weeks`, `jobs` at a time; returns a sentence for each that is not judged as it should."""
    found = [sentence for week in weeks for sentence in problems(week, root)]
    if found:
        return found
    if not hasattr(os, "fork"):
        raise Mistake("wrong answers are judged in forked processes, which this system lacks; use Linux, macOS or WSL")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for module in PREPARED:
        __import__(module)
    waiting = [answer for week in weeks for answer in answers(week, root)][::-1]
    total, running, begun = len(waiting), {}, time.monotonic()
    with workspace(root) as work:
        try:
            while waiting or running:
                while waiting and len(running) < (jobs or cpu_count()):
                    answer, folder = waiting.pop(), work / str(len(waiting))
                    running[start(answer, folder, root)] = (answer, folder)
                child, code = os.waitpid(-1, 0)
                answer, folder = running.pop(child)
                found += filter(None, [verdict(answer, os.waitstatus_to_exitcode(code), folder)])
                shutil.rmtree(folder, ignore_errors=True)
                tell(f"{total - len(waiting) - len(running)} of {total}, {len(found)} wrong")
        finally:
            for child in running:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    tell(f"{total} answers in {time.monotonic() - begun:.0f} s")
    return found


# --- the command ------------------------------------------------------------------------------------------------------


def weeks_with_exercises(root=ROOT):
    return sorted(path.parent.name for path in root.glob("weeks/*/exercises.toml"))


def listing(week, root=ROOT):
    """One line an exercise; Mistake where the file is not sound."""
    if wrong := problems(week, root):
        raise Mistake("\n".join(wrong))
    lines = [f"{week}"]
    for e in load(week, root):
        name, wrong = f"{e['file']} :: {e['function']}", len(e.get("mutant", []))
        lines.append(f"  day {e['day']:>2}  {e['minutes']:>3} min  {wrong} wrong answers  {name}")
    return lines


def show(text):
    """Progress on one line of a terminal; nothing where the output is a file."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument("what", choices=("list", "check"))
    p.add_argument("weeks", nargs="*", metavar="WEEK", help="folders below weeks/ (default: all that have exercises)")
    p.add_argument("--jobs", type=int, help="processes at a time (default: as many as there are processors)")
    args = p.parse_args(argv)
    there = weeks_with_exercises()
    if unknown := sorted(set(args.weeks) - set(there)):
        raise Mistake(f"{', '.join(unknown)}: no such exercises; weeks that have some: {', '.join(there)}")
    if args.jobs is not None and args.jobs < 1:
        raise Mistake(f"--jobs {args.jobs} judges nothing; give 1 or more")
    if args.what == "list":
        print("\n".join(line for week in args.weeks or there for line in listing(week)))
        return
    wrong = check(args.weeks or there, jobs=args.jobs, tell=show)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if wrong:
        raise Mistake("\n".join(wrong))
    count = sum(len(answers(week)) for week in args.weeks or there)
    print(f"all {count} answers were judged as they should be: the references pass, every wrong answer is noticed")


if __name__ == "__main__":
    sys.exit(entry(main))
