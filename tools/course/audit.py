"""`python tools/course audit`: is the course sound, and how large is it? answers.py says what is judged."""

import sys

from shared.errors import Mistake
from shared.results import Stopwatch, cpu_count, write_results

import papers
from course import answers, plan
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


def size(root=ex.ROOT):
    """What the course consists of, by counting."""
    exercises = [e for room in ex.rooms(root) for e in ex.load(room, root)]
    rows = plan.rows(root).values()
    verdicts = [papers.verdict(claim, papers.read_measured(root, claim)) for claim in papers.read_claims(root)]
    return {
        "days": len(rows),
        "days_checked": sum(row.status == "built" for row in rows),
        "exercises": len(exercises),
        "wrong_answers": sum(len(e["mutant"]) for e in exercises),
        "papers_pages": sum(path.name != "README.md" for path in (root / "papers").glob("*.md")),
        "claims": len(verdicts),
        "claims_holding": verdicts.count("holds at our scale"),
    }


def record(judged, seconds, jobs, out):
    """Write course.json: the course's size, and what judging it found."""
    starters = judged.starters.values()
    metrics = size() | {
        "wrong_answers_killed": judged.counts["wrong"],  # all of them, or nothing would have been written
        "states_between_days": judged.counts["day"],
        "starter_seconds_worst": round(max(every for _, every in starters), 1),
        "starter_test_seconds_worst": round(max(slowest for slowest, _ in starters), 2),
    }
    command = "python tools/course audit --out tools/results"
    return write_results(out / "course.json", command=command, preset="full", seed=0, seconds=seconds,
                         metrics=metrics, threads=jobs)  # fmt: skip


def main(args):
    chosen = rooms_asked(args.weeks)
    if args.jobs is not None and args.jobs < 1:
        raise Mistake(f"--jobs {args.jobs} judges nothing; give 1 or more")
    if args.command == "list":
        print("\n".join(line for room in chosen for line in listing(room)))
        return
    if args.out and (args.weeks or plan.problems()):
        raise Mistake("course.json counts all weeks of a sound course; leave WEEK out, and run: make plan-check")
    watch, jobs = Stopwatch(), args.jobs or cpu_count()
    judged = answers.check(chosen, jobs, tell=show)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if judged.wrong:
        raise Mistake("\n".join(judged.wrong))
    kinds = judged.counts
    print(f"all {sum(kinds.values())} answers were judged as they should be: each package that is solved "
          "up to some day passes, the starters fail every graded test, and all "
          f"{kinds['wrong']} wrong answers are noticed")  # fmt: skip
    if args.out:
        print(f"written: {record(judged, watch.seconds, jobs, args.out)}")
