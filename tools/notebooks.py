"""Notebooks that are played with: each is two files, a plain script with cell marks and the notebook with its outputs.

    python tools/notebooks.py check                        say which notebooks are not those of their scripts
    python tools/notebooks.py sync                         write and execute those notebooks
    python tools/notebooks.py sync weeks/week05/play.py    this one, whether its script has changed or not
    python tools/notebooks.py sync weeks/week14/demo.py --out weeks/week14/results    and how long it took

The script is the source: one edits it, git compares it, and it runs as plain Python too. A script whose first line is a
cell mark is a notebook's, so a new notebook is a new file. `# %%` begins a cell of code, `# %% [markdown]` one of text,
whose lines begin with `# `. What a notebook shows is compared with `differences`: words exactly, numbers nearly. A line
that begins with `> ` is of one run alone (a version, a time, a text that a model drew): that it is there is compared.
The body of such a script stands at its top level, unlike that of all other scripts here: each cell has to be seen.
Left out: cell tags, widgets, other languages, editing in the notebook (write what is to stay into the script).
"""

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

from shared.errors import Mistake, entry
from shared.files import atomic_write
from shared.results import Stopwatch, folder_to_fill, write_results

ROOT = Path(__file__).resolve().parent.parent
FIX = "run: make notebooks"

MARK = re.compile(r"# %%( \[markdown\])?")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
OF_ONE_RUN = re.compile(r"(?:^> ?.*\n?)+", re.MULTILINE)  # a drawn text may have more lines elsewhere
OF_THIS_MACHINE = re.compile(r"(?:/(?:home|root|tmp|Users|work)/|[A-Z]:\\|\b0x[0-9a-f]{6,})\S*")

MOST_CELLS = 25  # what can be played through in one sitting
LARGEST_IMAGE = 60_000  # bytes: a clone carries every version of every figure
PATIENCE = 300  # seconds for a cell
TOLERANCE = 0.02  # of a number with decimals, beside one unit of its last digit: processors add float32 in other orders

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
ENVIRONMENT = {  # one thread adds in one order
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}


# --- a script and its notebook ----------------------------------------------------------------------------------------


def scripts(root):
    """The scripts of a repository's notebooks."""
    return sorted(path for path in root.glob("weeks/*/*.py") if MARK.match(path.read_text(encoding="utf-8")))


def cells(script):
    """[(kind, source)] of a script, kind "code" or "markdown". A Mistake for text that its comment sign lacks."""
    found = []
    for number, line in enumerate(script.read_text(encoding="utf-8").splitlines(), start=1):
        mark = MARK.fullmatch(line)
        if mark:
            found.append(("markdown" if mark[1] else "code", []))
        elif found[-1][0] == "code":
            found[-1][1].append(line)
        elif line in ("", "#") or line.startswith("# "):
            found[-1][1].append(line[2:])
        else:
            raise Mistake(
                f"{script}:{number}: {line!r} stands in a cell of text; begin it with '# ', or the cell with '# %%'"
            )
    return [(kind, "\n".join(lines).strip("\n")) for kind, lines in found]


def new_notebook(parts):
    """The notebook of these cells, not executed, as the JSON of format 4.5."""
    made = []
    for number, (kind, source) in enumerate(parts, start=1):
        cell = {"cell_type": kind, "id": f"cell-{number:02d}", "metadata": {}, "source": source}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def joined(text):
    """The format writes a text as one string or as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


def read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Mistake(f"{path} cannot be read as a notebook ({error}); {FIX}") from None


def code_cells(notebook):
    """(number from 1, cell) of each cell of code."""
    return [(n, cell) for n, cell in enumerate(notebook["cells"], start=1) if cell["cell_type"] == "code"]


# --- executing --------------------------------------------------------------------------------------------------------


def executed(script):
    """The notebook of a script with everything that it shows, executed from top to bottom in a fresh kernel.

    Works in the script's folder, so it imports that week's package. Raises Mistake for a cell that fails or never ends.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
        from traitlets.config import Config
    except ImportError as error:
        raise Mistake(f"notebooks cannot be executed here ({error}); run: pip install '.[test]'") from None
    notebook = nbformat.from_dict(new_notebook(cells(script)))
    client = NotebookClient(
        notebook, timeout=PATIENCE, kernel_name=KERNEL["name"], record_timing=False, coalesce_streams=True,
        resources={"metadata": {"path": str(script.parent)}},
        config=Config(KernelManager={"transport_encryption": "auto"}),  # else the kernel warns of open ports
    )  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as profile:  # not the user's: start-up files could change what is shown
            client.execute(env=os.environ | ENVIRONMENT | {"IPYTHONDIR": profile})
    except CellExecutionError as error:
        number = next(n for n, cell in code_cells(notebook) if any(o.output_type == "error" for o in cell.outputs))
        raise Mistake(f"{script}: cell {number} fails: {error.ename}: {error.evalue}") from None
    except (CellTimeoutError, DeadKernelError) as error:
        raise Mistake(f"{script}: a cell does not end well ({str(error).splitlines()[0]}); make it smaller") from None
    for _, cell in code_cells(notebook):
        cell.outputs = [tidy(output) for output in cell.outputs]
        cell.metadata.clear()
    notebook.metadata = nbformat.from_dict(new_notebook([])["metadata"])  # the kernel notes its version there
    nbformat.validate(notebook)
    return notebook


def tidy(output):
    """An output without what differs from run to run: the words for a picture hold its size, the kernel counts."""
    if "data" in output:
        output.metadata.clear()
        if len(output.data) > 1:
            output.data.pop("text/plain", None)
    if output.output_type == "execute_result":
        output.output_type = "display_data"
        del output["execution_count"]
    return output


def write(script):
    """Execute a script's notebook and put it beside the script."""
    import nbformat

    notebook = executed(script)
    atomic_write(script.with_suffix(".ipynb"), nbformat.writes(notebook) + "\n")


def note_seconds(script, out, seconds):
    """Write down how long a notebook took, from the start of its kernel to the file."""
    name = f"weeks/{script.parent.name}/{script.name}"
    write_results(
        out / f"{script.stem}.json",
        command=f"python tools/notebooks.py sync {name} --out {out}",
        preset="full",
        seed=0,
        seconds=seconds,
        metrics={"notebook_seconds": seconds, "notebook_cells": len(cells(script))},
        threads=int(ENVIRONMENT["OMP_NUM_THREADS"]),
    )


# --- comparing --------------------------------------------------------------------------------------------------------


def shown(cell):
    """What a cell shows, a text for each output; a picture of pixels is only named."""
    found = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            found.append(joined(output["text"]))
        for kind, content in sorted(output.get("data", {}).items()):
            found.append(f"[{kind}]" if kind == "image/png" else joined(content))
    return found


def near(a, b):
    """Do two written numbers say the same? A whole number must be equal; TOLERANCE is for those with decimals."""
    a, b = a.replace(",", ""), b.replace(",", "")
    if a == b or not all(set(number) & set(".e") for number in (a, b)):
        return float(a) == float(b)
    return abs(float(a) - float(b)) <= TOLERANCE * max(abs(float(a)), abs(float(b))) + max(unit(a), unit(b))


def unit(number):
    """One in the last digit of a written number: 0.01 for 3.14, 100.0 for 1.2e3."""
    mantissa, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def differences(old, new):
    """Sentences about what one notebook shows and another does not; the spaces of a table may differ."""
    found = []
    for (number, before), (_, after) in zip(code_cells(old), code_cells(new), strict=True):
        left, right = (OF_ONE_RUN.sub("> ...\n", "\n".join(shown(cell))) for cell in (before, after))
        words = [" ".join(NUMBER.sub(" # ", text).split()) for text in (left, right)]
        if words[0] != words[1]:
            found.append(f"cell {number} shows {right[:200]!r} and not {left[:200]!r}")
            continue
        pairs = zip(NUMBER.findall(left), NUMBER.findall(right), strict=True)
        found += [f"cell {number} shows {b} where {a} was" for a, b in pairs if not near(a, b)]
    return found


def problems(root):
    """Sentences about notebooks that are not what their scripts say, or that should not be committed as they are."""
    found = []
    for script in scripts(root):
        path = script.with_suffix(".ipynb")
        name = path.relative_to(root)
        if not path.is_file():
            found.append(f"{name} does not exist; {FIX}")
            continue
        found += [f"{name}: {sentence}" for sentence in notebook_problems(read(path), cells(script), script.name)]
    owned = {script.with_suffix(".ipynb") for script in scripts(root)}
    strays = sorted(set(root.glob("weeks/*/*.ipynb")) - owned)
    return found + [f"{p.relative_to(root)} has no script; write {p.stem}.py beside it, or delete it" for p in strays]


def notebook_problems(notebook, parts, script):
    written = [(cell["cell_type"], joined(cell["source"])) for cell in notebook["cells"]]
    if written != parts:
        places = [n for n, (a, b) in enumerate(zip(written, parts), start=1) if a != b]
        yield f"cell {places[0] if places else min(len(written), len(parts)) + 1} is not that of {script}; {FIX}"
        return
    if len(parts) > MOST_CELLS:
        yield f"it has {len(parts)} cells, at most {MOST_CELLS}; leave some out of {script}"
    counts = [cell["execution_count"] for _, cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"its cells were not executed once, from top to bottom; {FIX}"
    for number, cell in code_cells(notebook):
        for output in cell["outputs"]:
            if output["output_type"] == "error" or output.get("name") == "stderr":
                yield f"cell {number} shows an error or a warning; mend {script}"
            size = len(output.get("data", {}).get("image/png", "")) * 3 // 4  # base64: four characters hold three bytes
            if size > LARGEST_IMAGE:
                yield f"cell {number} has a picture of {size:,} bytes, at most {LARGEST_IMAGE:,}; make it smaller"
        for place in OF_THIS_MACHINE.finditer("\n".join(shown(cell))):
            yield f"cell {number} shows {place[0]!r}, which is another on each machine; leave it out in {script}"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/notebooks.py"
    )
    parser.add_argument("action", choices=("sync", "check"))
    parser.add_argument("scripts", nargs="*", type=Path, help="for sync: these scripts (default: those that changed)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    parser.add_argument(
        "--out", type=folder_to_fill, help="for sync of one script: folder for a results file with its seconds"
    )
    args = parser.parse_args(argv)
    if args.out and (args.action != "sync" or len(args.scripts) != 1):
        raise Mistake(f"--out {args.out} is for the seconds of one notebook; give sync and one script with it")
    root = args.root.resolve()
    known, chosen = scripts(root), [script.resolve() for script in args.scripts]
    if strange := [script for script in chosen if script not in known]:
        names = ", ".join(str(script.relative_to(root)) for script in known) or "none yet"
        raise Mistake(f"{strange[0]} is not the script of a notebook; name one of these: {names}")
    if args.action == "sync":
        for script in chosen or [s for s in known if has_changed(s)]:
            watch = Stopwatch()
            write(script)
            if args.out:
                note_seconds(script, args.out, watch.seconds)
            print(f"wrote {script.with_suffix('.ipynb').relative_to(root)}")
    if found := problems(root):
        print("\n".join(found), file=sys.stderr)
        raise Mistake(f"{len(found)} things about the notebooks do not hold (see above)")
    print(f"{len(known)} notebooks hold the cells of their scripts")


def has_changed(script):
    """Is the notebook of a script absent, or made of other cells?"""
    path = script.with_suffix(".ipynb")
    return not path.is_file() or any(FIX in sentence for sentence in notebook_problems(read(path), cells(script), ""))


if __name__ == "__main__":
    sys.exit(entry(main))
