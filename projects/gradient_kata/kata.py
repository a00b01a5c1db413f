"""Gradient kata: ten functions whose backward you write by hand, against the clock.

    python projects/gradient_kata/kata.py                    the next one: makes a file, waits, checks when you save
    python projects/gradient_kata/kata.py --only softmax     this one (again, in a new file, if you have passed it)
    python projects/gradient_kata/kata.py --list             all ten: passed, best time, file
    python projects/gradient_kata/kata.py --check            check the file once, without waiting and without a time
    python projects/gradient_kata/kata.py --show softmax     week 6's backward, once yours has passed

Files and times are kept in runs/kata/. Nothing that you wrote is ever overwritten.
"""

import argparse
import inspect
import json
import sys
import time
import traceback
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week06"))
import torch
from backprop.compare import max_difference
from backprop.exam import EXAM, draw_inputs, upstream
from backprop.vendor.shared.errors import Mistake, entry
from backprop.vendor.shared.files import atomic_write
from katas import KATAS, file_text

OUT = common.RUNS / "kata"
COMMAND = "python projects/gradient_kata/kata.py"
SIZES = ((3, 4, 2), (6, 5, 4), (2, 7, 3))  # the first is what is shown
ALLOWED = 1e-9  # of gradients of order 1, in float64: a thousand times rounding, far below any mistake
clock, nap, today = time.monotonic, time.sleep, date.today


# --- checking ---------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """kind: passed, todo, broken or wrong; of a wrong gradient its name, yours and autograd's."""

    kind: str
    sentence: str
    name: str = ""
    yours: object = None
    expected: object = None


def run_file(path):
    """The names that a user's file defines."""
    found = {"__name__": "kata", "__file__": str(path)}
    exec(compile(path.read_bytes(), str(path), "exec"), found)  # their own file, on their own machine
    return found


def check(path, name):
    """Judge a file's forward and backward on inputs and gradients drawn by chance, in float64."""
    row, at = EXAM[KATAS[name].row], "its first lines"
    try:
        theirs = run_file(path)
        for seed, sizes in enumerate(SIZES):
            inputs, draw = draw_inputs(row, sizes, seed, torch.float64)
            leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
            result = row.oracle(*leaves)
            g = upstream(draw, result)
            asked = [x for x in leaves if x.requires_grad]
            expected = torch.autograd.grad(result, asked, g)
            with torch.no_grad():
                at = "forward"
                out, saved = theirs["forward"](*(x.clone() for x in inputs))
                if max_difference("forward", out, result) > ALLOWED:
                    return Answer("wrong", "your forward gives another result than at first; put it back")
                at = "backward"
                given = theirs["backward"](g.clone(), saved)
            given = given if isinstance(given, tuple | list) else (given,)
            wrong = compare(row.names.split(), given, expected)
            if wrong:
                return wrong
    except NotImplementedError as todo:
        return Answer("todo", str(todo) or "backward is still to be written")
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        where = f"line {line}" if line else at
        return Answer("broken", f"{where}: {type(error).__name__}: {error}")
    return Answer("passed", f"all gradients of {name} agree with autograd's")


def compare(names, given, expected):
    """None, or the Answer about the first gradient that is wrong."""
    if len(given) != len(names):
        return Answer("wrong", f"backward gave {len(given)} gradients; give {len(names)}: {', '.join(names)}")
    for name, mine, right in zip(names, given, expected):
        if not torch.is_tensor(mine):
            return Answer("wrong", f"the gradient of {name} is a {type(mine).__name__}; give a tensor")
        try:
            far = max_difference(name, mine, right)
        except ValueError as shapes:
            return Answer("wrong", str(shapes), name)
        if far > ALLOWED:
            return Answer("wrong", f"the gradient of {name} differs by up to {far:.2g}", name, mine, right)
    return None


def told(answer):
    """What is printed about an answer."""
    lines = [f"{answer.kind.upper()}: {answer.sentence}"]
    if answer.expected is not None:
        for title, values in (("yours", answer.yours), ("expected", answer.expected)):
            rows = values.double().reshape(-1, values.shape[-1])[:4].tolist()
            shown = [" ".join(f"{v:8.4f}" for v in row[:8]) for row in rows]
            lines += [f"  {title if i == 0 else '':<9} {row}" for i, row in enumerate(shown)]
    return "\n".join(lines)


def draw(answer, path):
    """Yours, autograd's, and the difference, as three tables of colour."""
    from matplotlib.figure import Figure

    if answer.expected is None:
        raise Mistake(f"there is no wrong gradient to draw ({answer.kind}: {answer.sentence}); leave --picture out")
    yours, right = (v.double().reshape(-1, v.shape[-1]).numpy() for v in (answer.yours, answer.expected))
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    axes, most = figure.subplots(1, 3), max(abs(yours).max(), abs(right).max())
    for panel, (title, values) in zip(axes, (("yours", yours), ("autograd", right), ("difference", yours - right))):
        image = panel.imshow(values, cmap="PuOr", vmin=-most, vmax=most)
        for (i, j), value in (((i, j), values[i, j]) for i in range(len(values)) for j in range(values.shape[1])):
            if values.size <= 64:
                panel.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7)
        panel.set_title(f"{title}: largest row sum {abs(values.sum(1)).max():.2g}", fontsize=9)
        panel.set_xlabel("column")
    axes[0].set_ylabel("row")
    figure.colorbar(image, ax=axes, label=f"gradient of {answer.name}")
    figure.suptitle(answer.sentence, fontsize=10)
    common.save_figure(figure, path)


# --- files and times --------------------------------------------------------------------------------------------------


def read_log():
    """{"passes": [{"kata", "file", "seconds", "date"}], "open": {file: seconds so far}}"""
    path = OUT / "times.json"
    if not path.exists():
        return {"passes": [], "open": {}}
    try:
        log = json.loads(path.read_text(encoding="utf-8"))
        return {"passes": [dict(one) for one in log["passes"]], "open": dict(log["open"])}
    except (ValueError, KeyError, TypeError):
        raise Mistake(f"{path} is no list of times any more; mend it, or move it away to begin a new one") from None


def write_log(log):
    atomic_write(OUT / "times.json", json.dumps(log, indent=1) + "\n")


def best(log, name):
    """The shortest time of a kata, or None."""
    times = [one["seconds"] for one in log["passes"] if one["kata"] == name and one["seconds"] is not None]
    return min(times, default=None)


def streak(log):
    """How many days in a row, up to today or yesterday, had a pass."""
    days, day = {one["date"] for one in log["passes"]}, today()
    day -= timedelta(days=day.isoformat() not in days)
    count = 0
    while day.isoformat() in days:
        count, day = count + 1, day - timedelta(days=1)
    return count


def pick(log):
    """The first kata that was never passed; when all were, the one whose last pass is longest ago."""
    last = {name: max((i for i, one in enumerate(log["passes"]) if one["kata"] == name), default=-1) for name in KATAS}
    return min(KATAS, key=last.get)


def file_of(log, name):
    """The file to work on: the one that was begun, or a new one beside those that have passed."""
    done = {one["file"] for one in log["passes"]}
    path, number = OUT / f"{name}.py", 1
    while path.name in done:
        number += 1
        path = OUT / f"{name}-{number}.py"
    if not path.exists():
        atomic_write(path, file_text(name, EXAM[KATAS[name].row].names))
    return path


def length(seconds):
    """Seconds as they are read: 75 -> "1 min 15 s"."""
    if seconds is None:
        return "-"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def keep(log, name, path, seconds):
    """Write down a pass, and say what it means."""
    before = best(log, name)
    log["open"].pop(path.name, None)
    log["passes"].append({"kata": name, "file": path.name, "seconds": seconds, "date": today().isoformat()})
    write_log(log)
    if seconds is not None:
        print(f"time: {length(seconds)}" + (", your best so far" if before is None or seconds < before else
              f"; your best is {length(before)}"))  # fmt: skip
    days = streak(log)
    print(f"streak: {days} day{'s' * (days > 1)}. See week 6's form: {COMMAND} --show {name}")


def wait(log, name, path):
    """Check the file whenever it is saved, until it passes; the clock runs meanwhile, and Ctrl-C keeps its state."""
    begin, so_far, seen = clock(), log["open"].get(path.name, 0.0), None
    try:
        while True:
            try:
                state = path.stat().st_mtime_ns
            except FileNotFoundError:  # some editors take it away for a moment
                state = seen
            if state != seen:
                seen, answer = state, check(path, name)
                if answer.kind == "passed":
                    break
                print(told(answer), flush=True)
            nap(0.3)
    except KeyboardInterrupt:
        log["open"][path.name] = stands = round(so_far + clock() - begin, 1)
        write_log(log)
        said = f"the clock stands at {length(stands)}; to go on: {COMMAND} --only {name}"
        raise KeyboardInterrupt(said) from None
    print(told(answer))
    keep(log, name, path, round(so_far + clock() - begin, 1))


# --- the command ------------------------------------------------------------------------------------------------------


def show_list(log):
    print(f"{'kata':<14} {'day':>3}  {'passed':>6}  {'best':>12}  file")
    for name, kata in KATAS.items():
        files = [one["file"] for one in log["passes"] if one["kata"] == name]
        file = files[-1] if files else f"{name}.py, begun" if (OUT / f"{name}.py").exists() else ""
        print(f"{name:<14} {kata.day:>3}  {len(files):>6}  {length(best(log, name)):>12}  {file}")
    passed = len({one["kata"] for one in log["passes"]})
    print(f"{passed} of {len(KATAS)} passed, streak {streak(log)}; files in {OUT}")


def show(log, name):
    if not any(one["kata"] == name for one in log["passes"]):
        raise Mistake(f"{name} has not passed yet; write yours first: {COMMAND} --only {name}")
    back = EXAM[KATAS[name].row].back
    print(f"# weeks/week06/{back.__module__.replace('.', '/')}.py\n{inspect.getsource(back)}")


def main(argv=None):
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("--only", choices=tuple(KATAS), metavar="NAME", help=f"one of {', '.join(KATAS)}")
    p.add_argument("--list", action="store_true", help="what was passed, and how fast")
    p.add_argument("--show", choices=tuple(KATAS), metavar="NAME", help="week 6's backward of what you have passed")
    p.add_argument("--check", nargs="?", const=True, metavar="FILE", help="check once (default: the file in runs/kata)")
    p.add_argument("--picture", type=Path, help="with --check: draw a wrong gradient beside the right one")
    common.add_mine(p)
    args = p.parse_args(argv)
    torch.set_num_threads(1)
    log = read_log()
    if args.list or args.show:
        return show(log, args.show) if args.show else show_list(log)
    if isinstance(args.check, str) and not args.only:
        raise Mistake(f"say which kata {args.check} is: --only NAME")
    if args.picture and not args.check:
        raise Mistake("--picture goes with --check; add it")
    name = args.only or pick(log)
    path = Path(args.check) if isinstance(args.check, str) else file_of(log, name)
    if not path.is_file():
        raise Mistake(f"{path} is no file; give the file that holds your backward")
    if args.check:
        answer = check(path, name)
        print(told(answer))
        if args.picture:
            draw(answer, args.picture)
            print(f"picture: {args.picture}")
        if answer.kind != "passed":
            raise Mistake(f"{path} does not pass yet; change backward, then check again")
        if path.resolve().parent == OUT.resolve() and path.name not in {one["file"] for one in log["passes"]}:
            keep(log, name, path, None)
        return None
    print(f"{name}, day {KATAS[name].day} (best {length(best(log, name))})\n{KATAS[name].forward}")
    print(f"Write backward(g, saved) in {path}\nIt is checked whenever you save. The clock runs. Ctrl-C: a pause.")
    wait(log, name, path)


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
