"""The verdicts of the paper pages: by one rule, from the predictions in papers/claims.toml and the weeks' results.

    python tools/papers.py sync       fill the verdicts into papers/*.md, and the table into papers/README.md
    python tools/papers.py check      say what does not hold; status 1 if anything

A page names a claim in three kinds of markers: <!--p:NAME--> the prediction, <!--m:NAME--> what was measured, and
<!--v:NAME--> the verdict; each is closed by <!--/p-->, <!--/m--> or <!--/v--> on the same line.
"""

import argparse
import json
import re
import sys
import tomllib
from collections import Counter, namedtuple
from pathlib import Path

from shared.errors import Mistake, entry
from shared.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
FIX = "run: make docs-sync"
SEEDS = 3  # with fewer, nothing is judged
UNKNOWN = "not measured"
MARKER = re.compile(r"<!--(?P<kind>[pmv]):(?P<name>[\w-]+)-->(?P<text>[^\n]*?)<!--/(?P=kind)-->")
TABLE = re.compile(r"(?<=<!--verdicts-->\n).*?(?=<!--/verdicts-->)", re.DOTALL)
CODE = re.compile(r"`(weeks/[\w/.-]+\.py) :: ([\w.]+)`")
NEEDED = dict.fromkeys(("name", "page", "week", "text", "quantity"), str) | {"predicted": list, "neutral": int | float}
OPTIONAL = {"disputed_by": str, "out_of_reach": str, "awaiting": bool, "format": str}
PARTS = (
    "## In one paragraph", "## Claims", "## What differs in scale", "## What would show it wrong", "## What surprised",
    "## Where it lives in our code",
)  # fmt: skip
FRONT = ("**Title:**", "**Authors:**", "**Year:**", "**Link:**", "**Week:**")
Measured = namedtuple("Measured", "mean sd seeds")


def verdict(claim, measured):
    """What the rule of papers/README.md says of one claim."""
    if claim.get("out_of_reach"):
        return "out of reach here"
    if measured is None or measured.seeds < SEEDS:
        return UNKNOWN
    if claim.get("disputed_by"):
        return "disputed"
    (low, high), mean, sd = claim["predicted"], measured.mean, measured.sd
    if low <= mean <= high:
        return "holds at our scale" if low <= mean - sd and mean + sd <= high else "partly"
    above, below = low >= claim["neutral"], high <= claim["neutral"]  # neither: "no effect" lies inside the band
    right = (above and mean > claim["neutral"]) or (below and mean < claim["neutral"])
    return "partly" if right else "not reproduced"


def read_claims(root):
    """[claim] in the order of papers/claims.toml; a Mistake where an entry has no use."""
    path = root / "papers/claims.toml"
    try:
        claims = tomllib.loads(path.read_text(encoding="utf-8")).get("claim", [])
    except tomllib.TOMLDecodeError as error:
        raise Mistake(f"{path.relative_to(root)} is not valid TOML ({error}); mend it") from None
    for number, claim in enumerate(claims, 1):
        who = f"papers/claims.toml, claim {claim.get('name', number)!r}"
        for key in sorted(NEEDED.keys() | claim.keys()):
            kind = NEEDED.get(key) or OPTIONAL.get(key)
            if kind is None:
                raise Mistake(f"{who}: {key} is not a field; there are {', '.join(NEEDED | OPTIONAL)}")
            if not isinstance(claim.get(key), kind):
                raise Mistake(f"{who}: {key} is {claim.get(key)!r}; see the entries beside it for what it looks like")
        band = claim["predicted"]
        if len(band) != 2 or not band[0] <= band[1]:
            raise Mistake(f"{who}: predicted is {band}; give [lowest, highest], with inf where there is no end")
    names = [claim["name"] for claim in claims]
    if twice := {name for name in names if names.count(name) > 1}:
        raise Mistake(f"papers/claims.toml has {sorted(twice)[0]!r} twice; give each claim a name of its own")
    return claims


def read_measured(root, claim):
    """What weeks/<week>/results/claims.json has of this claim, or None."""
    path, key = root / "weeks" / claim["week"] / "results/claims.json", claim["name"].replace("-", "_")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        return Measured(found[key], found[f"{key}_sd"], found[f"{key}_seeds"])
    except (OSError, ValueError, KeyError):
        return None


def shown(claim, measured):
    """The three texts of a claim: {"p": predicted, "m": measured, "v": verdict}."""
    style = claim.get("format", ".3g")
    low, high = (format(end, style) for end in claim["predicted"])
    band = f"{low} or more" if high == "inf" else f"{high} or less" if low == "-inf" else f"{low} to {high}"
    number = f"{measured.mean:{style}} ± {measured.sd:{style}}" if measured else UNKNOWN
    return {"p": band, "m": number, "v": verdict(claim, measured)}


def table(root, claims):
    """The generated part of papers/README.md."""
    head = "| Claim, in our words | Page | The number | Predicted | Measured (mean ± sd) | Seeds | Verdict |"
    lines, count = [head, "|---|---|---|--:|--:|--:|---|"], Counter()
    for claim in claims:
        measured, page = read_measured(root, claim), claim["page"]
        text = shown(claim, measured)
        count[text["v"]] += 1
        link = page if claim.get("awaiting") else f"[{page}]({page}.md)"
        told = f"{text['v']} ({claim['disputed_by']})" if text["v"] == "disputed" else text["v"]
        seeds = str(measured.seeds) if measured else ""
        lines.append(f"| {' | '.join([claim['text'], link, claim['quantity'], text['p'], text['m'], seeds, told])} |")
    many = len({claim["page"] for claim in claims})
    total = " ".join(f"{told.capitalize()}: {n}." for told, n in sorted(count.items()))
    return "\n".join([*lines, "", f"Pages: {many}. Claims: {len(claims)}. {total}", ""])


def filled(root, claims, path):
    """The page's text as it should be. A marker of an unknown claim stays as it is."""
    known = {claim["name"]: shown(claim, read_measured(root, claim)) for claim in claims}

    def fill(marker):
        kind, name = marker["kind"], marker["name"]
        text = known[name][kind] if name in known else marker["text"]
        return f"<!--{kind}:{name}-->{text}<!--/{kind}-->"

    text = MARKER.sub(fill, path.read_text(encoding="utf-8"))
    return TABLE.sub(lambda _: table(root, claims), text) if path.name == "README.md" else text


def pages(root):
    return sorted((root / "papers").glob("*.md"))


def problems(root):
    """Every sentence about what does not hold in papers/."""
    claims, found = read_claims(root), []
    for claim in claims:
        measured, who = read_measured(root, claim), f"claim {claim['name']!r}"
        if claim.get("awaiting"):  # its prediction is committed, and nothing was run yet
            found += [f"{who} was measured; take its line `awaiting` out of papers/claims.toml"] if measured else []
            continue
        command = f"python weeks/{claim['week']}/claims.py {claim['name']} --out weeks/{claim['week']}/results"
        if not (root / f"papers/{claim['page']}.md").is_file():
            found.append(f"{who} belongs to papers/{claim['page']}.md, which does not exist; write it")
        if measured is None and not claim.get("out_of_reach"):
            found.append(f"{who} has no result; run: {command}")
        elif measured and measured.seeds < SEEDS:
            found.append(f"{who} was measured with {measured.seeds} seeds, but {SEEDS} are needed; run: {command}")
    for path in pages(root):
        text, who, own = path.read_text(encoding="utf-8"), f"papers/{path.name}", {}
        if text != filled(root, claims, path):
            found.append(f"{who} does not show what the results say; {FIX}")
        for marker in MARKER.finditer(text):
            own.setdefault(marker["name"], set()).add(marker["kind"])
        found += [f"{who} shows {name!r}, which papers/claims.toml does not have" for name in own
                  if name not in {claim["name"] for claim in claims}]  # fmt: skip
        if path.name == "README.md":
            found += [f"{who} has no <!--verdicts--> table; add the two markers"] if not TABLE.search(text) else []
            continue
        found += [f"{who} has no {part!r}; add it" for part in (*FRONT, *PARTS) if part not in text]
        for claim in claims:
            if claim["page"] == path.stem and own.get(claim["name"]) != set("pmv"):
                found.append(f"{who} lacks a marker p, m or v of its claim {claim['name']!r}; add it")
        if path.stem not in {claim["page"] for claim in claims}:
            found.append(f"{who} has no claim in papers/claims.toml; add one, or delete the page")
        found += [f"{who}: {file} has no {name}; correct it" for file, name in CODE.findall(text)
                  if not defines(root / file, name)]  # fmt: skip
    return found


def defines(file, name):
    """Does the Python file have a function, class or table of that name?"""
    last = name.rpartition(".")[2]
    return file.is_file() and re.search(rf"^\s*(def|class) {last}\b|^{last} = ", file.read_text(), re.M) is not None


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("action", choices=("sync", "check"))
    p.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    args = p.parse_args(argv)
    root = args.root.resolve()
    if args.action == "sync":
        for path in pages(root):
            text = filled(root, read_claims(root), path)
            if text != path.read_text(encoding="utf-8"):
                atomic_write(path, text)
                print(f"filled {path.relative_to(root)}")
    found = problems(root)
    for sentence in found:
        print(sentence, file=sys.stderr)
    if found:
        raise Mistake(f"{len(found)} places in papers/ do not hold (see above)")
    print(f"{len(pages(root)) - 1} paper pages, {len(read_claims(root))} claims: all verdicts follow from the results")


if __name__ == "__main__":
    sys.exit(entry(main))
