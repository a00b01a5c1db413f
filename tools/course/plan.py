"""PLAN.md, one row a day, and what follows from it: the map of days in each week's README.

A row: | day | build | read | check | artefact | minutes | status |. Between `<!--days-->` and `<!--/days-->` a room's
README shows its days: build and minutes from PLAN.md, files and functions from exercises.toml. `check` proves that each
day of a built week has what its row promises.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from shared.errors import Mistake
from shared.files import atomic_write

from course import exercises as ex
from course import pages, records

DAYS = 100
MAP = re.compile(r"(<!--days-->\n).*?(\n<!--/days-->)", re.DOTALL)
HEAD = "| day | build | file :: function | check | minutes |\n|--:|---|---|---|--:|"


class Row(NamedTuple):
    """One day of PLAN.md."""

    day: int
    build: str
    read: str
    check: str
    artefact: str
    minutes: str
    status: str


def rows(root=ex.ROOT):
    """{day: Row} of PLAN.md; Mistake where a row cannot be read or stands twice."""
    found, inside = {}, False
    for line in (root / "PLAN.md").read_text(encoding="utf-8").splitlines():
        inside = line.startswith("| Day |") or (inside and line.startswith("|"))
        if not inside or not re.match(r"\|\s*\d+\s*\|", line):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if len(cells) != len(Row._fields):
            raise Mistake(f"PLAN.md, day {cells[0]}: {len(cells)} cells; a row has {', '.join(Row._fields)}")
        row = Row(int(cells[0]), *cells[1:])
        if row.day in found:
            raise Mistake(f"PLAN.md has two rows for day {row.day}; delete one")
        found[row.day] = row
    return found


def plain(cell):
    """A cell without its code marks."""
    return cell.replace("`", "")


# --- the map of days --------------------------------------------------------------------------------------------------


def built_functions(exercises, day):
    """`file :: one, two` of a day, a file after the other."""
    files = {}
    for exercise in exercises:
        if exercise["day"] == day:
            files.setdefault(exercise["file"], []).append(exercise["function"])
    return "<br>".join(f"`{file} :: {', '.join(functions)}`" for file, functions in files.items())


def map_of(room, root=ex.ROOT):
    """The table that stands in the room's README."""
    plan, exercises = rows(root), ex.load(room, root)
    lines = [HEAD]
    for day in ex.days_of_room(room):
        row = plan[day]
        page = f"[{day}](../../{pages.path(day)})"
        lines.append(f"| {page} | {row.build} | {built_functions(exercises, day)} | {row.check} | {row.minutes} |")
    return "\n".join(lines)


def with_map(room, root=ex.ROOT):
    """The README's text with the map as it should be; Mistake where it has no place for it."""
    text = (root / "weeks" / room / "README.md").read_text(encoding="utf-8")
    if not MAP.search(text):
        raise Mistake(f"weeks/{room}/README.md has no <!--days--> and <!--/days--> around its map of days; add them")
    return MAP.sub(lambda m: m[1] + map_of(room, root) + m[2], text)


def sync(root=ex.ROOT):
    """Rewrite the maps of days. Returns the READMEs that changed."""
    changed = []
    for room in ex.rooms(root):
        path = root / "weeks" / room / "README.md"
        if (text := with_map(room, root)) != path.read_text(encoding="utf-8"):
            atomic_write(path, text)
            changed.append(path)
    return changed


# --- does it hold? ----------------------------------------------------------------------------------------------------


def collected(rooms, root=ex.ROOT):
    """{node id: day or None} of all tests of these rooms, in one process: importing torch takes most of its time."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record"
        command = [sys.executable, "-m", "pytest", *(f"weeks/{room}/tests" for room in rooms), "--collect-only",
                   "--record", str(record), "-p", "no:cacheprovider"]  # fmt: skip
        env = {key: value for key, value in os.environ.items() if key != "CHASE_IMPL"}
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
        lines = records.read(record)
    found = {line["test"]: line["day"] for line in lines if line["outcome"] == "collected"}
    if done.returncode or not found:
        raise Mistake(f"the tests of {', '.join(rooms)} cannot be collected:\n{done.stdout}{done.stderr}")
    return found


def test_problems(room, exercises, tests):
    """Sentences about tests without a day, and exercises whose tests are another day's."""
    found = [f"{test} has no day; mark it with @pytest.mark.day(N)" for test, day in tests.items()
             if day not in ex.days_of_room(room)]  # fmt: skip
    for exercise in exercises:
        for test in exercise["tests"]:
            days = {day for node, day in tests.items() if records.is_case(node, room, test)}
            if exercise["day"] not in days:
                found.append(f"{room}: {exercise['function']} is of day {exercise['day']}, and {test} of another")
    return found


def status_of(week, root=ex.ROOT):
    """built: with exercises; core: a train script and no exercises yet; planned: neither."""
    room = ex.room_of_week(week, root)
    if room in ex.rooms(root):
        return "built"
    return "core" if room and (root / "weeks" / room / "train.py").is_file() else "planned"


def row_problems(row, room, root=ex.ROOT):
    """Sentences about one row against what exists in the day's room."""
    found, week = [], ex.week_of_day(row.day)
    status = status_of(week, root)
    if row.status != status:
        found.append(f"its status is {row.status!r}, and what is there makes it {status!r}")
    command = {"built": f"`make check WEEK={week:02d} DAY={row.day}`",
               "core": f'`make test-week WEEK={week:02d} ARGS="--day {row.day}"`', "planned": ""}[status]  # fmt: skip
    if row.check != command:
        found.append(f"its check is {row.check or 'missing'}, not {command or 'to be there'}")
    if not row.build:
        found.append("it does not say what is built")
    if status != "planned" and (not plain(row.artefact) or not (root / plain(row.artefact)).exists()):
        found.append(f"its artefact {row.artefact} does not exist")
    if status != "planned" and not row.read:
        found.append("it does not say what to read")
    if status != "built":
        return [f"PLAN.md, day {row.day}: {sentence}" for sentence in found]
    needed = sum(e["minutes"] for e in ex.load(room, root) if e["day"] == row.day)
    if not needed:
        found.append("no exercise is of this day")
    if not row.minutes.isdigit() or int(row.minutes) < needed:
        found.append(f"its minutes are {row.minutes}, and its exercises alone take {needed}")
    return [f"PLAN.md, day {row.day}: {sentence}" for sentence in found]


def unnamed(room, root=ex.ROOT):
    """Sentences about exercises that their day's page does not name: nobody would know what to build."""
    found = []
    for exercise in ex.load(room, root):
        file = root / pages.path(exercise["day"])
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        name = exercise["function"].split(".")[-1]
        owner = exercise["function"].split(".")[0]
        if (name if name != "__init__" else owner) not in text:
            found.append(f"{file.relative_to(root)} does not name {exercise['function']}, which is built on that day")
    return found


def hand_map_problems(row, root=ex.ROOT):
    """A room without exercises keeps its map of days by hand: build and minutes must be those of PLAN.md."""
    week = ex.week_of_day(row.day)
    if status_of(week, root) != "core":
        return []
    readme = root / "weeks" / ex.room_of_week(week, root) / "README.md"
    line = re.search(rf"^\| {row.day} \| (.*?) \|.*\| (\d+) \|$", readme.read_text(encoding="utf-8"), re.MULTILINE)
    if line and (line[1], line[2]) == (row.build, row.minutes):
        return []
    there = f"{line[1]}, {line[2]} minutes" if line else "no row for it"
    here = f"{row.build}, {row.minutes} minutes"
    return [f"PLAN.md, day {row.day}: it says {here}, and weeks/{readme.parent.name}/README.md has {there}"]


def problems(root=ex.ROOT, run_tests=True):
    """Every sentence about PLAN.md, the maps of days, the pages and the tests' days that do not agree."""
    plan, rooms = rows(root), ex.rooms(root)
    all_tests = collected(rooms, root) if run_tests and rooms else {}
    found = [f"PLAN.md has no row for day {day}" for day in range(1, DAYS + 1) if day not in plan]
    found += [f"PLAN.md has a row for day {day}, which there is not" for day in plan if not 1 <= day <= DAYS]
    for day, row in sorted(plan.items()):
        found += row_problems(row, ex.room_of_week(ex.week_of_day(day), root), root)
        found += hand_map_problems(row, root)
    for room in rooms:
        if any(day not in plan for day in ex.days_of_room(room)):
            continue
        if with_map(room, root) != (root / "weeks" / room / "README.md").read_text(encoding="utf-8"):
            found.append(f"the map of days in weeks/{room}/README.md is not what PLAN.md says; run: make docs-sync")
        found += [sentence for day in ex.days_of_room(room) for sentence in
                  pages.day_problems(day, plan[day].minutes, root)]  # fmt: skip
        found += [sentence for number in ex.weeks_of_room(room) for sentence in pages.week_problems(number, root)]
        found += unnamed(room, root)
        if run_tests:
            tests = {node: day for node, day in all_tests.items() if node.startswith(f"weeks/{room}/")}
            exercises = ex.load(room, root)
            found += test_problems(room, exercises, tests)
            found += [f"no test grades day {day}" for day in ex.days_of_room(room) if day not in tests.values()]
    return found


def check_command(args):
    if found := problems():
        raise Mistake("\n".join(found))
    built = sum(row.status == "built" for row in rows().values())
    print(f"PLAN.md holds: {DAYS} days, {built} of them built, each with its page, exercises, tests and artefact")


def sync_command(args):
    changed = sync()
    print("\n".join(f"map of days: {path.relative_to(ex.ROOT)}" for path in changed) or "the maps of days are right")
