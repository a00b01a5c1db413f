"""Fill the numbers in Markdown from the results files, and notice numbers, links and words that do not hold.

    python tools/docs.py sync       rewrite what stands between markers
    python tools/docs.py check      say what does not hold; status 1 if anything

A marker names a week, a preset and a metric, and a format where the bare value is not what should be read:

    <!--r:week05.default.bn_val|.3f-->2.093<!--/r-->

The metric is looked up in weeks/week05/results/default.json: among `metrics` by its name, then through nested lists
and tables by dots (`matrix.0.1`), then among the file's own fields (`seconds`, `machine.cpu`). `tools.course.days` is
looked up in tools/results/course.json. Inside a Markdown table
the bar is written `\\|`, or it would end the cell; sync puts the backslash there. A line that begins with a comment is
HTML for Markdown: its links and stars stay as they are typed, and the paragraph above ends. So sync takes the last
word of the line above down to a marker that begins a line. Code is left alone.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from shared.errors import Mistake, entry
from shared.files import atomic_write
from shared.results import PRESETS

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("*.md", "weeks/*/*.md", "notes/**/*.md", "papers/**/*.md", "projects/*.md", "projects/[!w]*/*.md",
         "checkpoints/*.md", "checkpoints/shipped/*/*.md")  # fmt: skip
FIX = "run: make docs-sync"

TAG = re.compile(r"<!--(?P<open>r:(?P<id>[^|\\<>\s]+)(?:(?P<bar>\\?\|)(?P<spec>[^<>\n]*?))?|/r)-->")
LOOKS_LIKE_A_TAG = re.compile(r"<!--\s*/?\s*r\s*(?::[^>\n]*)?-->")
NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w]|[.,]\d)")
PLACEHOLDER = re.compile(r"\b(?:TODO|FIXME|XXX|LINK_HERE|[Ll]orem [Ii]psum)\b|\b\w+_LINK_HERE\b")
BEGIN = re.compile(r"[ >]*(?:(?:[-*+]|\d+[.)]) +)?")  # of a line: what Markdown reads before its text
WRAPPED = re.compile(  # a line of a paragraph, its last word, and a marker that begins the next line
    r"^( *(?![ #|<>~]|```|(?:[-*+]|\d+[.)]) +\S+$).*\S) +(?!(?:[-*+#=>|]+|\d+[.)])\n)(\S+)\n( *)(?=<!--r:)",
    re.MULTILINE,
)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)|<(?:img|a)\b[^>]*?\b(?:src|href)=[\"']([^\"']+)[\"']")


class Marker(NamedTuple):
    start: int  # of the opening tag
    inner: int  # of the text between the tags
    stop: int  # of the closing tag
    end: int
    id: str
    bar: str
    spec: str


class Unknown(Exception):
    """A marker that names something which no results file holds."""


# --- reading a page ---------------------------------------------------------------------------------------------------


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def without_code(text):
    """The page with its code blanked out, every other character at its old place."""
    lines, fence = [], None
    for line in text.splitlines(keepends=True):
        opening = re.match(r" {0,3}(`{3,}|~{3,})", line)
        inside = fence is not None
        if opening and fence is None:
            fence, inside = opening[1], True
        elif opening and opening[1].startswith(fence) and not line.strip().strip(fence[0]):
            fence = None
        lines.append(re.sub(r"[^\n]", " ", line) if inside else line)
    return re.sub(r"(?<!`)(`+)(?!`)[^\n]*?(?<!`)\1(?!`)", blank, "".join(lines))


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def in_table(text, position):
    return text[text.rfind("\n", 0, position) + 1 : position].lstrip().startswith("|")


def find_markers(text):
    """The page's markers, and (position, sentence) for each tag that is not one half of a pair on one line."""
    prose, found, problems, opened = without_code(text), [], [], None
    for tag in TAG.finditer(prose):
        if opened and "\n" in prose[opened.end() : tag.start()]:
            problems.append((opened.start(), f"marker {opened[0]} is not closed on its line; add <!--/r-->"))
            opened = None
        if tag["open"] == "/r":
            if opened:
                inner = (opened.start(), opened.end(), tag.start(), tag.end())
                found.append(Marker(*inner, opened["id"], opened["bar"] or "", opened["spec"] or ""))
            else:
                problems.append((tag.start(), "<!--/r--> closes a marker that was never opened; remove it"))
            opened = None
        else:
            if opened:
                problems.append((tag.start(), f"marker {tag[0]} stands inside {opened[0]}; close that one first"))
            opened = tag
    if opened:
        problems.append((opened.start(), f"marker {opened[0]} is not closed on its line; add <!--/r-->"))
    exact = {tag.start() for tag in TAG.finditer(prose)}
    for tag in LOOKS_LIKE_A_TAG.finditer(prose):
        if tag.start() not in exact:
            sentence = f"{tag[0]} is not written as <!--r:week.preset.metric--> or <!--/r-->; mend it"
            problems.append((tag.start(), sentence))
    return found, problems


# --- looking a value up -----------------------------------------------------------------------------------------------


def descend(value, dotted):
    """`matrix.0.1` in a table of lists; of names that hold dots the longest. KeyError if nothing is there."""
    if not dotted:
        return value
    if isinstance(value, list):
        head, _, rest = dotted.partition(".")
        if re.fullmatch(r"-?\d+", head) and -len(value) <= int(head) < len(value):
            return descend(value[int(head)], rest)
    ends = [len(dotted), *(at for at in range(len(dotted) - 1, -1, -1) if dotted[at] == ".")]
    for at in ends if isinstance(value, dict) else ():
        if dotted[:at] in value:
            return descend(value[dotted[:at]], dotted[at + 1 :])
    raise KeyError(dotted)


def lookup(root, marker_id):
    """The value that `week.preset.metric` names, or Unknown with the reason."""
    week, _, rest = marker_id.partition(".")
    preset, _, metric = rest.partition(".")
    if not metric:
        raise Unknown(f"{marker_id!r} is not week.preset.metric")
    folder = root / "tools" if week == "tools" else root / "weeks" / week
    path = folder / "results" / f"{preset}.json"
    if not folder.is_dir():
        raise Unknown(f"there is no week {week!r}")
    if not path.is_file():
        commands = {name: f"run: make results WEEK={week} PRESET={name}" for name in PRESETS}
        commands["course"] = "run: make results JOB=check-course"
        commands["site"] = "run: make results JOB=site"
        commands["commands"] = "run: make results JOB=check-commands"
        commands["bench"] = f"run: make results WEEK={week} JOB=bench"
        advice = commands.get(preset, "correct the name, or write that file")
        raise Unknown(f"{path.relative_to(root)} does not exist; {advice}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Unknown(f"{path.relative_to(root)} is not valid JSON ({error})") from None
    for table in (record.get("metrics", {}), record):
        try:
            value = descend(table, metric)
        except KeyError:
            continue
        if isinstance(value, dict | list) or value is None:
            raise Unknown(f"{marker_id!r} is not one value but a {type(value).__name__}; name one inside it by dots")
        return value
    names = ", ".join(sorted(record.get("metrics", {}))) or "none"
    raise Unknown(f"{path.relative_to(root)} has no metric {metric!r} (it has: {names})")


def shown(value, spec):
    """The text that a page has of a value; of a text the lines, for a marker has one line."""
    if isinstance(value, str):
        value = " / ".join(line.strip() for line in value.split("\n") if line.strip())
    try:
        return format(value, spec)
    except (ValueError, TypeError):
        raise Unknown(f"format {spec!r} does not fit the value {value!r}") from None


# --- a page's problems ------------------------------------------------------------------------------------------------


def significant_digits(number):
    """How many digits of a typed number carry information: 0.050 has two, 1200 has two, 1,234.0 has five."""
    mantissa = re.split("[eE]", number.replace(",", ""))[0]
    digits = mantissa.replace(".", "").lstrip("0")
    return len(digits if "." in mantissa else digits.rstrip("0"))


def is_typed_copy(number, value):
    """Does the typed `number` say `value` again, at the precision at which it was typed?"""
    mantissa, _, exponent = number.lower().replace(",", "").partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return abs(float(number.replace(",", "")) - value) <= 0.5 * 10.0**-decimals * (1 + 1e-9)


def typed_twice(text, markers, values):
    """(position, sentence) for numbers typed by hand that this page carries by marker too."""
    hidden = list(without_code(text))
    for marker in markers:
        hidden[marker.start : marker.end] = " " * (marker.end - marker.start)
    no_prose = r"\bPython \d+\.\d+|<!--.*?-->|\]\([^)\n]*\)|https?://\S+|<[a-z][^>\n]*>"
    prose = re.sub(no_prose, blank, "".join(hidden), flags=re.DOTALL)
    for number in NUMBER.finditer(prose):
        if significant_digits(number[0]) < 3:
            continue
        percent = prose[number.end() : number.end() + 2].strip().startswith("%")
        for marker_id, value in values.items():
            scales = (1, 100) if percent else (1,)
            if any(is_typed_copy(number[0], abs(value) * scale) for scale in scales):
                sentence = f"{number[0]} was typed by hand, but this page has it by marker; write <!--r:{marker_id}-->"
                yield number.start(), sentence
                break


def marker_problems(root, text, markers):
    for marker in markers:
        written = text[marker.inner : marker.stop]
        try:
            right = shown(lookup(root, marker.id), marker.spec)
        except Unknown as why:
            yield marker.start, f"marker {marker.id}: {why}"
            continue
        if written != right:
            yield marker.start, f"marker {marker.id} shows {written!r}, but the results file says {right!r}; {FIX}"
        if marker.bar == "|" and in_table(text, marker.start):
            yield marker.start, f"marker {marker.id}: its bare | ends the table's cell; {FIX}"
        if re.search(r"\d[.,]?$", text[: marker.start]) or re.match(r"[.,]?\d", text[marker.end :]):
            yield marker.start, f"a digit is glued to the marker {marker.id}; let the format write the whole number"


def line_problems(text):
    """A marker that begins a line and is not all there is between two blank lines."""
    lines, at = without_code(text).split("\n"), 0
    for number, line in enumerate(lines):
        rest = line[BEGIN.match(line).end() :].rstrip()
        alone = (
            rest.endswith("<!--/r-->") and rest.count("<!--r:") == 1 and not (number and lines[number - 1].strip("> "))
        )
        if rest.startswith("<!--r:") and not alone:
            yield (
                at,
                f"a marker begins this line, which makes the line HTML for Markdown; {FIX}, or put a word before it",
            )
        at += len(line) + 1


def words_taken_down(text):
    """The text in which the last word of a line stands before the marker that began the next line of its paragraph."""
    before, prose = text, without_code(text)
    for wrapped in reversed(list(WRAPPED.finditer(text))):
        above, word, indent = wrapped.groups()
        if prose.startswith("<!--r:", wrapped.end()) and word.count("<!--r:") == word.count("<!--/r-->"):
            text = f"{text[: wrapped.start()]}{above}\n{indent}{word} {text[wrapped.end() :]}"
    return words_taken_down(text) if text != before else text


def places(text):
    """The names that GitHub gives to a page's headings: lower case, no punctuation, - for a blank, a number."""
    names = []
    for prose, line in zip(without_code(text).split("\n"), text.split("\n"), strict=True):
        if heading := re.match(r" {0,3}#{1,6} ", prose):
            title = re.sub(r"<!--.*?-->|\]\([^)]*\)", "", line[heading.end() :]).strip().lower()
            name = re.sub(r"[^\w\- ]", "", title.replace("*", "")).replace(" ", "-")
            names.append(f"{name}-{twice}" if (twice := names.count(name)) else name)
    return names


def link_problems(root, page, text):
    for link in LINK.finditer(without_code(text)):
        target, _, place = (link[1] or link[2]).partition("#")
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", target):
            continue
        path = root / target.lstrip("/") if target.startswith("/") else page.parent / target if target else page
        if not path.exists():
            yield link.start(), f"the link to {target} leads nowhere; correct it or add the file"
        elif path.is_dir():
            yield (
                link.start(),
                f"the link to {target} leads to a folder, which the site cannot show; link its README.md",
            )
        elif place and path.suffix == ".md" and place not in places(path.read_text(encoding="utf-8")):
            yield link.start(), f"the link to {target}#{place} names a heading that is not there; correct it"


def page_problems(root, page):
    """Every sentence about one page, in the order of its lines."""
    text = page.read_text(encoding="utf-8")
    markers, found = find_markers(text)
    values = {}
    for marker in markers:
        try:
            value = lookup(root, marker.id)
        except Unknown:
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            values[marker.id] = value
    found += marker_problems(root, text, markers)
    found += typed_twice(text, markers, values)
    found += line_problems(text)
    found += link_problems(root, page, text)
    prose = without_code(text)
    found += [(m.start(), f"the placeholder {m[0]} is left; finish it") for m in PLACEHOLDER.finditer(prose)]
    banned = re.finditer(r"\\operatorname", prose)
    found += [(m.start(), "GitHub refuses a formula with \\operatorname; write \\mathrm") for m in banned]
    if page.name == "README.md" and (page.parent / "results" / "default.json").is_file() and not markers:
        found.append((0, "results/default.json exists, but no number of it is shown; add markers (missing marker)"))
    return [f"{page.relative_to(root)}:{line_of(text, at)}: {sentence}" for at, sentence in sorted(found)]


def pages(root):
    return sorted({path for pattern in PAGES for path in root.glob(pattern)})


def sync_page(root, page):
    """Rewrite what the page's markers hold, and where they stand at the beginning of a line; True if the page changed.

    A marker that cannot be filled stays as it is.
    """
    text = page.read_text(encoding="utf-8")
    result = words_taken_down(text)
    for marker in reversed(find_markers(result)[0]):
        try:
            right = shown(lookup(root, marker.id), marker.spec)
        except Unknown:
            continue
        bar = "\\|" if marker.bar and in_table(result, marker.start) else marker.bar
        result = f"{result[: marker.start]}<!--r:{marker.id}{bar}{marker.spec}-->{right}{result[marker.stop :]}"
    if result != text:
        atomic_write(page, result)
    return result != text


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/docs.py"
    )
    parser.add_argument("action", choices=("sync", "check"))
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    args = parser.parse_args(argv)
    root = args.root.resolve()
    if args.action == "sync":
        for page in pages(root):
            if sync_page(root, page):
                print(f"filled {page.relative_to(root)}")
    found = [sentence for page in pages(root) for sentence in page_problems(root, page)]
    for sentence in found:
        print(sentence, file=sys.stderr)
    if found:
        raise Mistake(f"{len(found)} places in the Markdown pages do not hold (see above)")
    count = sum(len(find_markers(page.read_text(encoding="utf-8"))[0]) for page in pages(root))
    print(f"{len(pages(root))} pages, {count} markers: all agree with the results files")


if __name__ == "__main__":
    sys.exit(entry(main))
