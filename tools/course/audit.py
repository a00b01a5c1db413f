"""`python tools/course audit`: is the course sound, and how large is it?

answers.py says what is judged; verdicts.py says what `--recorded` need not judge again. With `--out` it writes
course.json, where the rooms that are not judged keep their entry.
"""

import shlex
import sys
from collections import Counter

from shared.errors import Mistake
from shared.progress import Lines
from shared.results import Stopwatch, cpu_count, write_results

import papers
from course import answers, plan, verdicts
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
    """Progress on one line of a terminal; a line every ten seconds where the output is a file."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)
    else:
        Lines.write(f"\r{text}")


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


def entries_of(judged, digests):
    """{room: its entry in course.json} of the rooms in `digests`, which were judged whole."""
    return {room: {"digest": digest, "wrong_answers": judged.counts[room]["wrong"],
                   "states_between_days": judged.counts[room]["day"],
                   "starter_seconds": judged.starters[room][1], "starter_test_seconds": judged.starters[room][0]}
            for room, digest in digests.items()}  # fmt: skip


def record(entries, command, seconds, jobs, out):
    """Write course.json: the course's size, and what judging every room found, now or before."""

    def every(name):
        return [entry[name] for entry in entries.values()]

    metrics = size() | {
        "wrong_answers_killed": sum(every("wrong_answers")),  # all of them, or they would have no entry
        "states_between_days": sum(every("states_between_days")),
        "starter_seconds_worst": round(max(every("starter_seconds")), 1),
        "starter_test_seconds_worst": round(max(every("starter_test_seconds")), 2),
        "rooms": dict(sorted(entries.items())),
    }
    return write_results(out / "course.json", command=command, preset="full", seed=0, seconds=seconds,
                         metrics=metrics, threads=jobs)  # fmt: skip


def refuse_half_a_record(chosen, stands):
    """Mistake where course.json would count what nobody judged, or an unsound course."""
    if others := [room for room in ex.rooms() if room not in {*chosen, *stands}]:
        raise Mistake(f"course.json counts all weeks, and of {', '.join(others)} it has no verdict that stands; judge "
                      "what has changed: python tools/course audit --recorded --out tools/results")  # fmt: skip
    if plan.problems():
        raise Mistake("course.json counts a sound course; see what is amiss: make plan-check")


def said(judged, seeds, stands):
    """What was judged, in a sentence or two."""
    whole = sum((counts for room, counts in judged.counts.items() if room not in seeds), Counter())
    again = sum((counts for room, counts in judged.counts.items() if room in seeds), Counter())
    lines = []
    if whole:
        lines.append(f"all {whole.total()} answers were judged as they should be: each package that is solved "
                     "up to some day passes, the starters fail every graded test, and all "
                     f"{whole['wrong']} wrong answers are noticed")  # fmt: skip
    if seeds:
        lines.append(f"{', '.join(seeds)}: nothing has changed since all their "
                     f"{sum(stands[room]['wrong_answers'] for room in seeds)} wrong answers were noticed; "
                     f"{again.total()} answers were judged as they should be once more")  # fmt: skip
    return "\n".join(lines)


def main(args):
    chosen = rooms_asked(args.weeks)
    if args.jobs is not None and args.jobs < 1:
        raise Mistake(f"--jobs {args.jobs} judges nothing; give 1 or more")
    if args.command == "list":
        print("\n".join(line for room in chosen for line in listing(room)))
        return
    stands = verdicts.standing() if args.recorded or args.out else {}
    seeds = {room: stands[room]["digest"] for room in chosen if room in stands and args.recorded}
    if args.out:
        refuse_half_a_record(chosen, stands)
    # Before anything is judged: what is changed meanwhile has another digest.
    digests = {room: verdicts.digest(room) for room in chosen if room not in seeds}
    watch, jobs = Stopwatch(), args.jobs or cpu_count()
    judged = answers.check(chosen, jobs, seeds, tell=show)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if judged.wrong:
        raise Mistake("\n".join(judged.wrong))
    print(said(judged, seeds, stands))
    if args.out:
        command = shlex.join(["python", "tools/course", "audit", *args.weeks, *["--recorded"] * args.recorded,
                              "--out", str(args.out)])  # fmt: skip
        print(f"written: {record(stands | entries_of(judged, digests), command, watch.seconds, jobs, args.out)}")
