"""A page a day and a reflection a week: which parts each has, how long it may be, and how it looks in a terminal."""

import re

from shared.errors import Mistake

from course import exercises as ex

PARTS = ["Build", "Check", "See", "Explain", "Fact, hunch, measured", "What went wrong", "Stretch"]
WEEK_PARTS = ["What was built", "What was learned", "What was hard", "What is still open", "Changes to the plan",
              "Hands on to", "Reproduce"]  # fmt: skip
LINES, CHARACTERS, WORDS = 70, 5000, 650  # of a day's page, and words of a reflection; markers do not count
MARKER = re.compile(r"<!--.*?-->", re.DOTALL)
FOLDED = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)


def path(day):
    return f"notes/day{day:03d}.md"


def read(day, root=ex.ROOT):
    file = root / path(day)
    if not file.is_file():
        raise Mistake(f"day {day} has no page yet ({path(day)}); PLAN.md says what it will be about")
    return file.read_text(encoding="utf-8")


def terminal(day, answers=False, root=ex.ROOT):
    """The page without what only a browser reads; answers stay folded unless they are asked for."""
    text = MARKER.sub("", read(day, root))
    folded = f"[{{}}: make day DAY={day} FORCE=1, or {path(day)}]"
    text = FOLDED.sub(lambda m: f"{m[1]}:\n{m[2].strip()}" if answers else folded.format(m[1]), text)
    text = re.sub(r"!\[([^\]]*)\]\(([^)]*)\)", lambda m: f"[picture: {m[1]}]\n  {m[2].removeprefix('../')}", text)
    text = re.sub(r"\[([^\]]*)\]\((?:\.\./)*([^)]*)\)", r"\1 (\2)", text)
    return re.sub(r"\n{3,}", "\n\n", text.replace("**", "")).strip() + "\n"


def parts(text):
    return re.findall(r"^## (.+?)\s*$", text, re.MULTILINE)


def day_problems(day, minutes=None, root=ex.ROOT):
    """Sentences about what a day's page lacks; the command that grades the day must stand in it.

    `minutes` are those of PLAN.md; None where it has none.
    """
    try:
        text = read(day, root)
    except Mistake as error:
        return [str(error)]
    plain, found = MARKER.sub("", text), []
    if not re.match(rf"# Day {day}\. \S", text):
        found.append(f"it must begin with '# Day {day}. ' and a sentence")
    if parts(text) != PARTS:
        found.append(f"its parts are {', '.join(parts(text))}; they must be {', '.join(PARTS)}")
    for needed in ("**Goal.**", "**Before you start.**", "**Fact.**", "**Hunch.**", "**Measured.**"):
        if needed not in text:
            found.append(f"it has no {needed}")
    command = f"make check WEEK={ex.week_of_day(day):02d} DAY={day}"
    if not re.search(rf"{re.escape(command)}\b", text):
        found.append(f"its check is not {command!r}")
    if minutes and not re.search(rf"\*{minutes} min\b", text):
        found.append(f"it must say how long the day takes, as PLAN.md does: *{minutes} min, ...*")
    explain = text.split("## Explain")[-1].split("\n## ")[0]
    if explain.count("<details>") < 1 or len(re.findall(r"^\s*(?:\*\*)?\(?[1-3][.)]", explain, re.MULTILINE)) < 3:
        found.append("Explain needs three numbered questions and their folded answers")
    if (lines := len(plain.splitlines())) > LINES or len(plain) > CHARACTERS:
        found.append(f"it has {lines} lines and {len(plain)} characters; a screen is {LINES} and {CHARACTERS}")
    return [f"{path(day)}: {sentence}" for sentence in found]


def week_problems(number, root=ex.ROOT):
    file = root / "notes" / f"week{number:02d}.md"
    if not file.is_file():
        return [f"notes/{file.name} does not exist; write the reflection of week {number}"]
    text, found = file.read_text(encoding="utf-8"), []
    if parts(text) != WEEK_PARTS:
        found.append(f"its parts are {', '.join(parts(text))}; they must be {', '.join(WEEK_PARTS)}")
    if (words := len(MARKER.sub("", text).split())) > WORDS:
        found.append(f"it has {words} words; {WORDS} is the most")
    if "<!--r:" not in text:
        found.append("it quotes no measured number")
    return [f"notes/{file.name}: {sentence}" for sentence in found]
