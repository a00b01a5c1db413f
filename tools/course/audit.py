"""`python tools/course audit`: is the course sound, and how large is it? answers.py says what is judged."""

import sys

from shared.errors import Mistake

from course import answers
from course import exercises as ex


def listing(room, root=ex.ROOT):
    """One line an exercise; Mistake where the file is not sound."""
    if wrong := ex.problems(room, root):
        raise Mistake("\n".join(wrong))
    lines = [f"{room}"]
    for e in ex.load(room, root):
        name, wrong = f"{e['file']} :: {e['function']}", len(e.get("mutant", []))
        lines.append(f"  day {e['day']:>2}  {e['minutes']:>3} min  {wrong} wrong answers  {name}")
    return lines


def show(text):
    """Progress on one line of a terminal; nothing where the output is a file."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def rooms_asked(weeks, root=ex.ROOT):
    there = ex.rooms(root)
    if unknown := sorted(set(weeks) - set(there)):
        raise Mistake(f"{', '.join(unknown)}: no such exercises; weeks that have some: {', '.join(there)}")
    return weeks or there


def main(args):
    chosen = rooms_asked(args.weeks)
    if args.jobs is not None and args.jobs < 1:
        raise Mistake(f"--jobs {args.jobs} judges nothing; give 1 or more")
    if args.command == "list":
        print("\n".join(line for room in chosen for line in listing(room)))
        return
    judged = answers.check(chosen, jobs=args.jobs, tell=show)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if judged.wrong:
        raise Mistake("\n".join(judged.wrong))
    kinds = judged.counts
    print(f"all {sum(kinds.values())} answers were judged as they should be: the references pass, so does each package "
          "that is solved up to some day, the starters fail every graded test, and all "
          f"{kinds['wrong']} wrong answers are noticed")  # fmt: skip
