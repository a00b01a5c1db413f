"""Run the commands that the pages show, in a fresh clone, as somebody would who has only the pages.

    python tools/commands.py --list                   each command, its page and line, and how it is checked
    python tools/commands.py                          check them all; status 1 if one fails
    python tools/commands.py --only notes/day03       pages or commands that hold this text
    python tools/commands.py --out tools/results      also write commands.json, which the pages quote

A command is a line of a block marked bash, sh or console, or of an indented block that begins like one. A line that
ends with a backslash, an open quote or a here-document goes on. What sets the scene (`source`, `export`, `cd`) holds
for the rest of its page.

RULES says how each is checked, first match first. Run it; run it and expect the TODO of a starter; ask its --help,
which must know each option that the page gives; or ask make what it would do. A command that no rule knows is an
error: somebody must decide.

The clone holds the last commit, so commit first. It shares the libraries and the data of this checkout, and whatever
a command writes stays in the clone. Where a page uses your package (PYTHONPATH=projects/...), the reference takes its
place: the page speaks to somebody who has solved the day. Offline; about ten minutes on one core.
Left out: what a command prints is not compared; tests and notebooks do that.
"""

import argparse
import functools
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import NamedTuple

from docs import pages
from shared.errors import Mistake, entry
from shared.results import Stopwatch, folder_to_fill, write_results

ROOT = Path(__file__).resolve().parent.parent
SHELLS = {"bash", "sh", "console"}
BEGINS = re.compile(
    r"(?:make|python3?|nanogpt|git|source|export|cd|pip|torchrun|\.venv/bin/\w+|[A-Z_]+=\S+ .*)(?:\s|$)"
)
SCENE = re.compile(r"(?:(?:source|export|cd) [^&|;\n]*(?:&& *|$))+")
MAKE = re.compile(r"make [^&;|\n]+(?:&& make [^&;|\n]+)*")  # a command of make alone: it works on your package
LIMIT = 300  # seconds; what takes longer is asked for its --help, by a row of RULES

RUN, TODO, HELP, DRY = "run", "run (TODO)", "--help", "make -n"

# (pattern in the command, how it is checked, why so); the first match decides
MINUTES = "takes minutes, or needs a model or a file of your own: its options are compared with its --help"
RULES = [
    (r"^make check .*DAY=(1|29|78)\b", TODO, "a starter, not solved yet"),
    (r"^make check ", DRY, "make check-course grades the starter of every day"),
    (r"^make start .* && make check ", TODO, "a starter, not solved yet"),
    (r"kata\.py --check$", TODO, "a kata, not written yet"),
    (r"^make (start|hint|today|day)\b", RUN, ""),
    (r"^make ", DRY, "takes minutes, or fetches data: make says what it would do"),
    (r"--(help|list|quick)\b", RUN, ""),
    (r"--preset smoke|train\.py check\b", RUN, ""),
    (r"budget\.py \"|patients/|week09/cli\.py|-m scaling\.distributed|-m pretrain\.trainer", RUN, ""),
    (r"python (- <<|-c )", RUN, ""),
    (r"^(\S*python3? \S+\.py|nanogpt )", HELP, MINUTES),
]
OWN = ("speech.txt",)  # files that a page calls yours and that a command of RUN reads: the clone gets some Shakespeare


class Command(NamedTuple):
    page: str
    line: int
    text: str
    scene: tuple = ()  # lines of the same page that came before and hold for it

    @property
    def place(self):
        return f"{self.page}:{self.line}"

    @property
    def short(self):
        return self.text.splitlines()[0] + (" ..." if "\n" in self.text else "")


# --- from pages to commands -------------------------------------------------------------------------------------------


def blocks(text):
    """(number of its first line, its lines) for each block of a page that a reader would type."""
    found, kind, block = [], None, []
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        fence = re.match(r" {0,3}```(\w*)", line)
        if fence and kind not in (None, "indented"):
            if kind in SHELLS:
                found.append((number - len(block), block))
            kind, block = None, []
        elif fence:
            kind, block = fence[1] or "text", []
        elif kind in (None, "indented"):
            if line.startswith("    ") and (block or BEGINS.match(line.strip())):
                kind, block = "indented", [*block, line[4:]]
            elif block:
                found.append((number - len(block), block))
                kind, block = None, []
        else:
            block.append(line)
    return found


def goes_on(text):
    """Is a command not yet whole: a backslash at its end, an open here-document, or an open quote?"""
    if text.endswith("\\"):
        return True
    here = re.search(r"<<-?\s*'?(\w+)'?", text)
    if here:
        return here[1] not in text.splitlines()[1:]
    return bool(re.search(r"['\"]", re.sub(r"\"(?:\\.|[^\"\\])*\"|'[^']*'|#.*$", "", text, flags=re.MULTILINE)))


def split(number, lines):
    """(line number, text) for each command of a block; comments at the end of a line go."""
    if any(line.split("  #")[0].rstrip().endswith(" &") for line in lines):  # its lines share a background job
        yield number, "\n".join(lines)
        return
    text, began = "", number
    for at, line in enumerate(lines, start=number):
        if not text:
            began, line = at, line.removeprefix("$ ")
            if not line.strip() or line.startswith("#"):
                continue
        text = f"{text}\n{line}" if text else line
        if not goes_on(text):
            yield began, text if "\n" in text else re.sub(r"\s+#\s.*$", "", text).rstrip()
            text = ""
    if text:
        yield began, text


def commands(root):
    """Every command of every page, in order. Lines that set the scene are kept with those that follow them."""
    found = []
    for page in pages(root):
        scene = ()
        for number, lines in blocks(page.read_text(encoding="utf-8")):
            for line, text in split(number, lines):
                if begin := SCENE.match(text):
                    scene, text = (*scene, begin[0].strip(" &")), text[begin.end() :]
                if text:
                    found.append(Command(page.relative_to(root).as_posix(), line, text, scene))
    return found


def rule(command):
    """(how, why) for a command; a Mistake where no row of RULES knows it."""
    for pattern, how, why in RULES:
        if re.search(pattern, command.text):
            return how, why
    raise Mistake(f"{command.place}: no rule says how to check {command.short!r}; add a row to RULES")


# --- a fresh clone ----------------------------------------------------------------------------------------------------


def link(source, target):
    """A file of data/ in the clone: linked where that works; ORIGIN.json, which make touches, is always a copy."""
    if Path(source).name != "ORIGIN.json":
        try:
            return os.link(source, target)
        except OSError:
            pass
    return shutil.copy2(source, target)


def fresh_clone(root, folder):
    """The last commit of `root` in `folder`, with an own .venv over our libraries, and our data. Nothing is fetched."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(root), str(folder)], check=True)
    venv.create(folder / ".venv", symlinks=True)
    ours, theirs = folder / "weeks/week14", next((folder / ".venv/lib").glob("python*/site-packages"))
    (theirs / "shared.pth").write_text("\n".join([str(ours), *site.getsitepackages()]) + "\n", encoding="utf-8")
    for name, module, function in (("nanogpt", "nanogpt.cli", "script"), ("torchrun", "torch.distributed.run", "main")):
        command = folder / ".venv/bin" / name
        body = f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        command.write_text(f"#!{folder}/.venv/bin/python\n{body}", encoding="utf-8")
        command.chmod(0o755)
    (folder / ".venv/.core").write_text(str(folder))
    (folder / ".venv/.test").write_text("")
    if (root / "data").is_dir():
        shutil.copytree(root / "data", folder / "data", copy_function=link, dirs_exist_ok=True)
    for name in OWN:
        (folder / name).write_text("ROMEO: Lady, by yonder blessed moon I vow.\n", encoding="utf-8")


def environment():
    """As a newcomer's: no .venv is active, no PYTHONPATH is set, and no make is running."""
    own = {str(Path(sys.prefix) / "bin"), str(Path(sys.executable).parent)}
    dropped = {"PYTHONPATH", "VIRTUAL_ENV", "CHASE_IMPL", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}  # of a make above
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, "PATH": os.pathsep.join(p for p in kept["PATH"].split(os.pathsep) if p not in own)}


def shell(clone, scene, text):
    """(status, output) of a command in the clone; /tmp of a page is a folder that goes with the clone."""
    script = "\n".join((*scene, text))
    if not MAKE.fullmatch(text):  # "your package" is the reference: the page speaks to who has solved the day
        script = re.sub(r"projects/(?=week\d)", "weeks/", script)
    scratch = clone.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    running = subprocess.Popen(
        ["bash", "-c", "set -o pipefail\n" + script.replace("/tmp/", f"{scratch}/")],
        cwd=clone, env=environment(), text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = running.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)  # bash, and what it started
        running.wait()
        return 124, f"it ran longer than {LIMIT} seconds; give it a row of RULES with {HELP!r}"
    return running.returncode, said


@functools.cache
def help_of(clone, scene, program):
    """(status, output) of a program's --help; several commands of a page ask the same."""
    return shell(clone, scene, f"{program} --help")


def asked_for_help(clone, command):
    """What is wrong with a command by its --help, or None: the script, its part (`train.py adapt`), its options."""
    program = re.match(r"nanogpt \w+|\S*python3? \S+\.py", command.text)[0]
    status, known = help_of(clone, command.scene, program)
    if status:
        return f"{program} --help ends with status {status}: {last_line(known)}"
    part = re.match(r" ([a-z]\w*)(?= |$)", command.text[len(program) :])
    if part and re.search(rf"[{{,]{part[1]}[,}}]", known):
        known += help_of(clone, command.scene, f"{program} {part[1]}")[1]
    for option in re.findall(r"(?<=\s)--[a-z][\w-]*", command.text):
        if not re.search(rf"{option}(?![\w-])", known):
            return f"{program} has no option {option}; its --help lists what it has"
    return None


def last_line(output):
    return next((line for line in reversed(output.splitlines()) if line.strip()), "(it printed nothing)").strip()


def problem(clone, command, how):
    """What is wrong with a command, or None."""
    if how == HELP:
        return asked_for_help(clone, command)
    text = re.sub(r"\bmake ", "make -n ", command.text) if how == DRY else command.text
    status, output = shell(clone, command.scene, text)
    if how == TODO:
        return None if status and "TODO" in output else f"it names no TODO of the starter: {last_line(output)}"
    return f"it ends with status {status}: {last_line(output)}" if status else None


def check(root, only=""):
    """(metrics, sentences): each command once, though several pages may show it; a sentence for each that fails."""
    chosen = {}
    with tempfile.TemporaryDirectory(prefix="commands-") as folder:
        clone = Path(folder).resolve() / "clone"
        fresh_clone(root, clone)
        for command in commands(clone):
            if only in command.page or only in command.text:
                chosen.setdefault((command.scene, command.text), command)
        found, counts = [], dict.fromkeys((RUN, TODO, HELP, DRY), 0)
        for command in chosen.values():
            how, _ = rule(command)
            began = time.monotonic()
            wrong = problem(clone, command, how)
            counts[how] += 1
            state, seconds = "FAILED" if wrong else "ok", time.monotonic() - began
            print(f"{state:6} {seconds:5.1f} s  {how:10} {command.place}: {command.short}", flush=True)
            if wrong:
                found.append(f"{command.place}: {command.short!r}: {wrong}")
    metrics = {
        "commands_checked": len(chosen) - len(found), "commands_found": len(chosen),
        "commands_run": counts[RUN] + counts[TODO], "commands_by_help": counts[HELP], "commands_by_make": counts[DRY],
    }  # fmt: skip
    return metrics, found


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/commands.py"
    )
    parser.add_argument("--list", action="store_true", help="only list the commands, and how each is checked")
    parser.add_argument("--only", default="", metavar="TEXT", help="pages or commands that hold this text")
    parser.add_argument("--out", type=folder_to_fill, help="folder for commands.json (default: none is written)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    args = parser.parse_args(argv)
    if args.only and args.out:
        raise Mistake("--only checks a part, and --out writes the number of all; leave out one of them")
    watch, root = Stopwatch(), args.root.resolve()
    if args.list:
        for command in commands(root):
            how, why = rule(command)
            print(f"{command.place}: {command.short}\n    {how}{': ' + why if why else ''}")
        return
    metrics, found = check(root, args.only)
    for sentence in found:
        print(sentence, file=sys.stderr)
    if args.out:
        write_results(args.out / "commands.json", command="python tools/commands.py --out tools/results",
                      preset="full", seed=0, seconds=watch.seconds, metrics=metrics, threads=1)  # fmt: skip
    if found:
        raise Mistake(f"{len(found)} of {metrics['commands_found']} commands on the pages do not work (see above)")
    print(f"{metrics['commands_checked']} commands of the pages work")


if __name__ == "__main__":
    sys.exit(entry(main))
