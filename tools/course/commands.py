"""The learner's workbench: build a week yourself, in projects/, and have the week's own tests grade it.

    make start WEEK=01            your folder: the week's package with a TODO wherever you build something
    make check WEEK=01 DAY=3      grade your day 3 (without DAY: every day of the week)
    make watch WEEK=01 DAY=3      the same whenever you save a file
    make hint WEEK=01 DAY=3       the next hint; FUNCTION=Value.exp asks for one function's
    make solution WEEK=01 DAY=3   how the reference does it, once your day passes (FORCE=1: before)
    make reset WEEK=01 DAY=3      your day 3 back to its TODO; what you had is kept
    make today, make progress     where you are
    make day DAY=3                the page of a day, then its check

Nothing that you wrote is ever overwritten unasked: `start` on a folder that exists only adds what a newer repository
has, `reset` keeps a copy.
"""

import argparse
import re
import time

from shared.errors import Mistake
from shared.results import folder_to_fill

from course import exercises as ex
from course import grade, pages, plan
from course import workbench as wb

POLL = 0.5  # seconds between two looks at the files, in `watch`


# --- what was asked for -----------------------------------------------------------------------------------------------


def bench_of(week, day=None, root=ex.ROOT):
    """The bench of a week given as 1, 01, week01 or 01-02, or of a day's week."""
    text = str(week or "").removeprefix("week")
    if not text and day:
        text = str(ex.week_of_day(day))
    match = re.fullmatch(r"0*(\d+)(?:-\d+)?", text)
    room = match and ex.room_of_week(int(match[1]), root)
    if not room or room not in ex.rooms(root):
        built = ", ".join(f"{n:02d}" for name in ex.rooms(root) for n in ex.weeks_of_room(name))
        raise Mistake(f"WEEK={week or ''} has no exercises; weeks that have: {built}. Write it as in: WEEK=01 DAY=3")
    return wb.Bench(room, root)


def week_number(args, bench):
    """The number of the week that was meant: of the day, or as it was written; the room's first otherwise."""
    if args.day:
        return ex.week_of_day(args.day)
    digits = re.fullmatch(r"0*(\d+)", str(args.week or "").removeprefix("week"))
    return int(digits[1]) if digits else ex.weeks_of_room(bench.room)[0]


def days_asked(args, bench):
    """The days to grade: one, or the week's, or, for a room named whole, all of its."""
    if args.day:
        if args.day not in ex.days_of_room(bench.room):
            days = ex.days_of_room(bench.room)
            raise Mistake(f"day {args.day} is none of {bench.room}'s; its days are {days[0]} to {days[-1]}")
        return [args.day]
    if re.search(r"\d-\d", str(args.week)):
        return ex.days_of_room(bench.room)
    return list(ex.days_of_week(week_number(args, bench)))


def begun(args):
    """The bench that was meant; a Mistake where the learner has no folder for it yet."""
    bench = bench_of(args.week, args.day)
    if not bench.begun:
        raise Mistake(f"you have not begun this week; run: make start WEEK={week_number(args, bench):02d}")
    return bench


def day_asked(args, bench):
    """The one day that a command is about: the one named, or the first that does not pass."""
    if args.day:
        return days_asked(args, bench)[0]
    days = days_asked(args, bench)
    return next((day for day in days if is_open(bench, day)), days[-1])


def is_open(bench, day):
    """Is there something to build on this day that neither passes yet nor was given?"""
    return bool(bench.exercises(day)) and str(day) not in wb.read_state(bench)["passed"] and not is_given(bench, day)


def is_given(bench, day):
    """Was the day solved by `start`, for someone who joined late, and not reset since?"""
    state = wb.read_state(bench)
    joined = max(state.get("first_day", 1), state.get("joined", 1))
    return day < joined and str(day) not in state["passed"] and not any(wb.todo(bench, e) for e in bench.exercises(day))


def chosen(args, bench, day):
    """The day's exercises, or the one that FUNCTION names."""
    found = bench.exercises(day)
    if not found:
        raise Mistake(f"day {day} has nothing to build that is graded; its page says what to do: make day DAY={day}")
    if not args.function:
        return found
    named = [e for e in found if args.function in (e["function"], e["function"].split(".")[-1])]
    if not named:
        raise Mistake(f"FUNCTION={args.function} is none of day {day}; it has: "
                      f"{', '.join(e['function'] for e in found)}")  # fmt: skip
    return named


# --- the commands -----------------------------------------------------------------------------------------------------


def start(args):
    bench = bench_of(args.week, args.day)
    number = week_number(args, bench)
    first = args.day or ex.days_of_week(number)[0]
    if not bench.begun:
        todo = wb.begin(bench, first)
        print(f"{bench.shown(bench.mine)}/ is yours: {todo} functions to write. "
              "Replace each line `raise NotImplementedError(...)` by your code.")  # fmt: skip
        if first > ex.days_of_room(bench.room)[0]:
            print(f"Days before {first} are solved as the reference solves them.")
    else:
        print(f"{bench.shown(bench.mine)}/ exists, and what you wrote in it stays.")
        said = wb.update(bench)
        if args.day:
            early = [e for e in bench.exercises() if e["day"] < args.day and wb.todo(bench, e)]
            wb.put(bench, early, lambda e: wb.reference_piece(bench, e))
            said += [f"filled in from the reference: {e['function']} (day {e['day']})" for e in early]
            wb.write_state(bench, wb.read_state(bench) | {"joined": args.day})
        print("\n".join(said) or "It is up to date.")
    day = day_asked(argparse.Namespace(week=f"{number:02d}", day=args.day), bench)
    files = sorted({e["file"] for e in bench.exercises(day)})
    if files:
        print(f"Day {day}: edit {', '.join(bench.shown(bench.mine / file) for file in files)}")
    print(f"Read about it: {pages.path(day)}, or: make day DAY={day}")
    print(f"Then: make check WEEK={number:02d} DAY={day}")


def check(args):
    bench = begun(args)
    if not graded(bench, days_asked(args, bench)):
        raise SystemExit(1)


def graded(bench, days):
    """Grade, print, remember; whether all days pass."""
    print(f"chase: grading {bench.shown(bench.mine)} (your code), {grade.ranged(days)}", flush=True)
    results = [day for day in grade.run(bench, days) if day.records]
    grade.remember(bench, results, time.strftime("%Y-%m-%d"))
    for day in results:
        print("\n".join(grade.lines_of(day)))
    print(grade.next_step(bench, results))
    return all(day.passed for day in results)


def watch(args):
    bench = begun(args)
    days = [day_asked(args, bench)]
    print(f"watching {bench.shown(bench.mine)}: day {days[0]} is checked whenever you save; Ctrl-C ends")
    before = None
    while True:
        now = {path: path.stat().st_mtime_ns for path in sorted(bench.mine.rglob("*.py"))}
        if now != before:
            before = now
            print(f"\n--- {time.strftime('%H:%M:%S')} ---")
            try:
                graded(bench, days)
            except Mistake as error:  # as while a line is half written
                print(f"not yet: {error}")
        time.sleep(POLL)


def hint(args):
    bench = begun(args)
    day = day_asked(args, bench)
    state = wb.read_state(bench)
    found = chosen(args, bench, day)
    if not args.function:
        amiss = state["failing"].get(str(day))
        found = [e for e in found if amiss is None or e["function"] in amiss] or found
    fresh = next((e for e in found if state["hints"].get(e["function"], 0) < len(e["hints"])), None)
    exercise = fresh or found[0]
    name, hints = exercise["function"], exercise["hints"]
    count = min(state["hints"].get(name, 0) + 1, len(hints))
    print(f"{exercise['file']} :: {name}  (day {day}, about {exercise['minutes']} minutes)")
    for number, text in enumerate(hints[:count] if fresh else hints, 1):
        print(f"  hint {number} of {len(hints)}: {text}")
    if not fresh:
        print(f"There are no more hints for day {day}; its page: make day DAY={day}, the answer: make solution "
              f"WEEK={ex.week_of_day(day):02d} DAY={day} FORCE=1")  # fmt: skip
    wb.write_state(bench, state | {"hints": state["hints"] | {name: count}})


def solution(args):
    bench = begun(args)
    day = day_asked(args, bench)
    found = chosen(args, bench, day)
    if not args.force and str(day) not in wb.read_state(bench)["passed"]:
        raise Mistake(
            f"the solution is shown once your day {day} passes (make check WEEK={ex.week_of_day(day):02d} DAY={day}); "
            "to see it now, add FORCE=1"
        )
    for exercise in found:
        print(f"# {exercise['file']} :: {exercise['function']}\n{wb.reference_piece(bench, exercise)}\n")


def reset(args):
    bench = begun(args)
    if not args.day:
        raise Mistake(f"say which day to begin anew, as in: make reset WEEK={wb.number_of(bench)} DAY=3")
    found = chosen(args, bench, days_asked(args, bench)[0])
    files = sorted({e["file"] for e in found})
    copies = [wb.keep(bench, file) for file in files if (bench.mine / file).is_file()]
    for file in files:  # a file that is gone comes back whole
        if not (bench.mine / file).is_file():
            wb.atomic_write(bench.mine / file, (bench.mine / ".starter" / file).read_bytes())
    wb.put(bench, found, lambda e: wb.starter_piece(bench, e))
    state = wb.read_state(bench)
    state["passed"].pop(str(args.day), None)
    wb.write_state(bench, state | {"failing": {**state["failing"], str(args.day): [e["function"] for e in found]}})
    print(f"to be written again: {', '.join(e['function'] for e in found)}")
    print("\n".join(f"what you had: {bench.shown(copy)}" for copy in copies))


def bar(done, total):
    return "■" * done + "□" * (total - done)


def progress(args, root=ex.ROOT):
    """A line a week; what passes is what the last check of each day said."""
    total = of_all = 0
    for room in ex.rooms(root):
        bench = wb.Bench(room, root)
        passed = wb.read_state(bench)["passed"] if bench.begun else {}
        for number in ex.weeks_of_room(room):
            days = [day for day in ex.days_of_week(number) if bench.exercises(day)]
            done = sum(str(day) in passed for day in days)
            total, of_all = total + done, of_all + len(days)
            given = sum(is_given(bench, day) for day in days) if bench.begun else 0
            note = f", {given} given" if given else "" if bench.begun else f"   make start WEEK={number:02d}"
            print(f"week {number:>2}  {bar(done, len(days))}  {done} of {len(days)} days pass{note}")
    print(f"{total} of {of_all} days in all; next: make today")


def today(args, root=ex.ROOT):
    """The first day that does not pass yet, in the latest week that was begun."""
    benches = [bench for bench in (wb.Bench(room, root) for room in ex.rooms(root)) if bench.begun]
    if not benches:
        print("Nothing is begun yet. Day 1: make start WEEK=01, then: make day DAY=1")
        return
    bench = max(benches, key=lambda b: (b.mine / ".progress.json").stat().st_mtime)
    open_days = [d for d in ex.days_of_room(bench.room) if is_open(bench, d)]
    if not open_days:
        after = ex.weeks_of_room(bench.room)[-1] + 1
        print(f"All days of {bench.room} pass. Next: make start WEEK={after:02d}")
        return
    day = open_days[0]
    row = plan.rows(root).get(day)
    print(f"Day {day}{': ' + row.build if row else ''}")
    for exercise in bench.exercises(day):
        mark = "TODO" if wb.todo(bench, exercise) else "written"
        place = f"{bench.shown(bench.mine / exercise['file'])} :: {exercise['function']}"
        print(f"  {mark:<8}{place}  {exercise['minutes']} min")
    print(f"read: make day DAY={day}    grade: make check WEEK={ex.week_of_day(day):02d} DAY={day}")


def day(args):
    if not args.day:
        raise Mistake("say which day, as in: make day DAY=17")
    print(pages.terminal(args.day, answers=args.force))
    bench = bench_of(None, args.day) if ex.room_of_week(ex.week_of_day(args.day)) in ex.rooms() else None
    if bench is None or not bench.exercises(args.day):
        return
    if not bench.begun:
        print(f"To build it yourself: make start WEEK={ex.week_of_day(args.day):02d}")
    else:
        graded(bench, [args.day])  # a day that is not done yet is no error here


COMMANDS = {"start": start, "check": check, "watch": watch, "hint": hint, "solution": solution, "reset": reset,
            "today": today, "progress": progress, "day": day, "plan-check": plan.check_command,
            "plan-sync": plan.sync_command}  # fmt: skip


def main(argv=None):
    parser = argparse.ArgumentParser(prog="tools/course", description=__doc__.splitlines()[0],
                                     epilog=__doc__.split("\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("command", choices=[*COMMANDS, "list", "audit"])
    parser.add_argument("weeks", nargs="*", metavar="WEEK", help="01, week01 or week01-02")
    parser.add_argument("--day", type=int, metavar="N")
    parser.add_argument("--function", metavar="NAME", help="one function of the day")
    parser.add_argument("--force", action="store_true", help="show a solution, or a page's answers, before time")
    parser.add_argument("--jobs", type=int, help="audit: processes at a time (default: one a processor)")
    parser.add_argument("--recorded", action="store_true",
                        help="audit: only a sample of weeks that are as course.json has them")  # fmt: skip
    parser.add_argument("--out", type=folder_to_fill, help="audit: write course.json into this folder")
    args = parser.parse_args(argv)
    if args.day is not None and not 1 <= args.day <= 100:
        parser.error(f"--day {args.day}: there are days 1 to 100")
    if args.command in ("list", "audit"):
        from course import audit

        return audit.main(args)
    if len(args.weeks) > 1:
        parser.error(f"{args.command} takes one week, not {len(args.weeks)}")
    args.week = args.weeks[0] if args.weeks else None
    return COMMANDS[args.command](args)
