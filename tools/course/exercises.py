"""What a week's exercises.toml says, and the two ways in which it changes a file: a body left out, a mistake planted.

An exercise names a day, a function of the reference, the tests that judge it, its hints, and mutants: replacements in
the reference that make it wrong, each a mistake that people make. formats.md shows one.
"""

import ast
import re
import tomllib
from pathlib import Path

from shared.errors import Mistake

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"day": int, "file": str, "function": str, "tests": list, "minutes": int, "difficulty": int, "why": str,
        "hints": list}  # fmt: skip
WEEKS = 14
STUB = 'raise NotImplementedError("Day {day}: {function}")'


# --- weeks and days ---------------------------------------------------------------------------------------------------


def week_of_day(day):
    """Days 1 to 7 are week 1, and so on; the last week has nine days, to the hundredth."""
    return min((day - 1) // 7 + 1, WEEKS)


def days_of_week(number):
    return range(7 * number - 6, 101 if number == WEEKS else 7 * number + 1)


def room_of_week(number, root=ROOT):
    """The folder's name below weeks/ that holds week `number`, or None: 1 -> week01-02."""
    for folder in sorted((root / "weeks").glob("week*")):
        numbers = [int(part) for part in folder.name.removeprefix("week").split("-")]
        if number in range(numbers[0], numbers[-1] + 1):
            return folder.name
    return None


def weeks_of_room(room):
    numbers = [int(part) for part in room.removeprefix("week").split("-")]
    return list(range(numbers[0], numbers[-1] + 1))


def days_of_room(room):
    return [day for number in weeks_of_room(room) for day in days_of_week(number)]


def rooms(root=ROOT):
    """The rooms that have exercises, in order."""
    return sorted(path.parent.name for path in root.glob("weeks/*/exercises.toml"))


# --- reading ----------------------------------------------------------------------------------------------------------


def load(room, root=ROOT):
    """The [[exercise]] tables of a room; Mistake where the file is no TOML or holds none."""
    path = root / "weeks" / room / "exercises.toml"
    try:
        exercises = tomllib.loads(path.read_text(encoding="utf-8")).get("exercise", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Mistake(f"{path} is not valid TOML ({error}); mend it") from None
    if not exercises:
        raise Mistake(f"{path} holds no [[exercise]]; write one, or delete the file")
    return exercises


def package_of(room, root=ROOT):
    """The name of the package that the room's exercises lie in."""
    return Path(load(room, root)[0]["file"]).parts[0]


def tests_of(folder):
    """{file: names of its test functions} of a week's tests, as node ids name them."""
    found = {}
    for path in sorted((folder / "tests").glob("test_*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        found[f"tests/{path.name}"] = {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
    return found


# --- functions in a file ----------------------------------------------------------------------------------------------


def span(source, function):
    """(node, first line, last line) of a function, method or class by its qualified name, from 0, or None.

    Decorators belong to the first line. SyntaxError where the source is no Python.
    """
    nodes = ast.parse(source).body
    for part in function.split("."):
        node = next((n for n in nodes if getattr(n, "name", None) == part), None)
        if node is None:
            return None
        nodes = getattr(node, "body", [])
    return node, min([node, *node.decorator_list], key=lambda n: n.lineno).lineno - 1, node.end_lineno


def piece(source, function):
    """The lines of a function as text, or None."""
    place = span(source, function)
    return place and "\n".join(source.splitlines()[place[1] : place[2]])


def exchanged(source, function, text):
    """The source with other lines for a function."""
    _, begin, end = span(source, function)
    lines = source.splitlines()
    return "\n".join([*lines[:begin], text, *lines[end:], ""])


def docstring(source, function, text=None):
    """The lines of a function's docstring or None; with `text`, the source with these lines instead."""
    place = span(source, function)
    if place is None or ast.get_docstring(place[0]) is None:
        return None
    lines, node = source.splitlines(), place[0].body[0]
    if text is None:
        return "\n".join(lines[node.lineno - 1 : node.end_lineno])
    return "\n".join([*lines[: node.lineno - 1], text, *lines[node.end_lineno :], ""])


def stub(day, function):
    return STUB.format(day=day, function=function)


def left_out(source, function, day):
    """The source with the function's body, all but its docstring, replaced by one that says what is to be done."""
    node, _, end = span(source, function)
    lines = source.splitlines()
    documented = ast.get_docstring(node) is not None
    begin = node.body[0].end_lineno if documented else node.body[0].lineno - 1
    while not documented and lines[begin - 1].lstrip().startswith("#"):  # a comment could tell the answer
        begin -= 1
    pad = " " * node.body[0].col_offset
    body = [f"{pad}{stub(day, function)}"]
    if isinstance(node, ast.ClassDef):
        body = [f"{pad}def __init__(self, *args, **kwargs):", f"    {body[0]}"]
    return "\n".join([*lines[:begin], *body, *lines[end:], ""])


def solved(exercises, upto, source_of):
    """{file: source} with every exercise of a day after `upto` left out; `source_of(file)` reads the reference."""
    texts = {}
    for exercise in exercises:
        file = exercise["file"]
        texts.setdefault(file, source_of(file))
        if exercise["day"] > upto:
            texts[file] = left_out(texts[file], exercise["function"], exercise["day"])
    return texts


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


# --- is it sound? -----------------------------------------------------------------------------------------------------


def private_names(source, place):
    """Names with a leading underscore that only the solution's body mentions: a learner's file does not show them."""
    lines = source.splitlines()
    body = "\n".join(lines[place[1] + 1 : place[2]])
    return set(re.findall(r"(?<![\w.])_[a-z]\w*", body))


def hint_problems(exercise, source, place):
    """Sentences about hints: too few, or ones that give the answer, or speak of what the learner cannot see."""
    hints, found = exercise["hints"], []
    solution = {line.strip() for line in source.splitlines()[place[1] + 1 : place[2]] if len(line.strip()) > 15}
    if len(hints) < 2:
        found.append("fewer than two hints")
    if any(line in hint for hint in hints for line in solution):
        found.append("a hint gives a line of the solution away")
    shown = left_out(source, exercise["function"], exercise["day"])
    for name in sorted(private_names(source, place)):
        if any(re.search(rf"(?<!\w){name}\b", hint) for hint in hints) and f"def {name}(" not in shown:
            found.append(f"a hint names {name}, which the learner's file does not have")
    return found


def problems(room, root=ROOT):
    """Sentences about everything in a room's exercises.toml that a learner or the grader would stumble over."""
    folder, found = root / "weeks" / room, []
    known, days, seen = tests_of(folder), days_of_room(room), set()
    for number, exercise in enumerate(load(room, root), 1):
        here = f"{room}, exercise {number} ({exercise.get('function', '?')})"
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
        if (exercise["file"], exercise["function"]) in seen:
            found.append(f"{here}: it stands here twice")
        seen.add((exercise["file"], exercise["function"]))
        if exercise["day"] not in days:
            found.append(f"{here}: day {exercise['day']} is none of the room's, {days[0]} to {days[-1]}")
        found += [f"{here}: {sentence}" for sentence in hint_problems(exercise, source, place)]
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
