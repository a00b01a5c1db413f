"""From matrices to what is read: lines for a terminal, one picture, one page of HTML with everything in it."""

import base64
import html
import io
from typing import NamedTuple

from continual.metrics import Matrix, forgetting_cut, recovery

COLOURS, MARKS = ("#8a8a8a", "#1b3a5c", "#c2571a", "#3f7d4e", "#7b4f9d", "#222222"), "xosDv^"
STYLE = """body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}"""
HEAD = ("method", "at the end", "just learned", "risen on old", "avoided", "recovered", "keeps", "seconds")
NOTES = """All numbers are bits per byte of held-out text: less is better, and 8 is a blind guess. <i>At the end</i>
is the mean over all texts, <i>just learned</i> that of each text right after its turn, and <i>risen on old</i> what
the old texts have lost since then. <i>Avoided</i> is the share of naive training's rise that a method avoided,
<i>recovered</i> the share of the way from naive to joint training; above 100 % joint training has not learned enough
yet to be a bound, so give more steps. Joint training has read all texts from the start, so its old texts lose
nothing. One seed: a difference of a few hundredths of a bit is no difference."""


class Run(NamedTuple):
    """One method over all texts."""

    spec: str
    matrix: Matrix
    keeps: str
    told: bool  # must the text's name be known to judge it?
    seconds: float


def of(runs, spec):
    return next(run for run in runs if run.spec == spec)


def numbers(run, runs):
    """{name: number or None} of a row of the table."""
    found, naive, joint = (each.matrix.summary() for each in (run, of(runs, "naive"), of(runs, "joint")))
    rise = None if run.spec == "joint" else found["rise"]
    return {
        "end": found["acc"],
        "learned": found["learning_accuracy"],
        "rise": rise,
        "avoided": None if rise is None else forgetting_cut(rise, naive["rise"]),
        "recovered": recovery(found["acc"], naive["acc"], joint["acc"], run.matrix.higher_is_better),
    }


def rows(runs, floors):
    """The table as texts: a head, a row for each method, and what a table of 256 counts would reach."""
    percent = lambda share: "-" if share is None else f"{round(share, 2) + 0.0:.0%}"  # no "-0%"
    lines = [list(HEAD)]
    for run in runs:
        n = numbers(run, runs)
        rise = "-" if n["rise"] is None else f"{n['rise']:+.2f}"
        keeps = run.keeps + ", is told the text" * run.told
        lines.append([run.spec, f"{n['end']:.2f}", f"{n['learned']:.2f}", rise, percent(n["avoided"]),
                      percent(n["recovered"]), keeps, f"{run.seconds:.0f}"])  # fmt: skip
    return [*lines, ["byte counts", f"{sum(floors) / len(floors):.2f}", *"-" * 6]]


def finding(runs):
    """One sentence: what was lost, and who avoided most of it."""
    names, lost = of(runs, "naive").matrix.names, numbers(of(runs, "naive"), runs)["rise"]
    if lost <= 0:
        return f"Naive training lost nothing on {', '.join(names[:-1])}, so there was nothing to avoid"
    asked = [run for run in runs if run.spec not in ("naive", "joint")]
    best = max(asked, key=lambda run: numbers(run, runs)["avoided"], default=None)
    said = f"Naive training lost {lost:.2f} bits per byte on {', '.join(names[:-1])}"
    return said if best is None else f"{said}; {best.spec} avoided {numbers(best, runs)['avoided']:.0%} of it"


def told(runs, floors):
    """The lines that the terminal shows."""
    table = rows(runs, floors)
    widths = [max(map(len, column)) for column in zip(*table)]
    return ["", *("  ".join(f"{c:{w}}" for c, w in zip(row, widths)).rstrip() for row in table), "", finding(runs)]


def picture(runs, floors):
    """PNG bytes: above a heat map for each method on one scale of colours, below the first text over time."""
    from matplotlib.figure import Figure

    names = runs[0].matrix.names
    figure = Figure(figsize=(max(8, 2.6 * len(runs)), 6.4), layout="constrained")
    above, below = figure.subfigures(2, 1)
    low = min(min(row) for run in runs for row in run.matrix.rows)
    high = max(low, *floors)  # darker than byte counts is no colour: nothing is left to forget there
    panels = above.subplots(1, len(runs), squeeze=False)[0]
    for axes, run in zip(panels, runs):
        shown = axes.imshow(run.matrix.rows, cmap="cividis_r", vmin=low, vmax=high)
        for i, row in enumerate(run.matrix.rows):
            for j, bits in enumerate(row):
                colour = "white" if bits > (low + high) / 2 else "black"
                axes.text(j, i, f"{bits:.1f}", ha="center", va="center", color=colour, fontsize=8)
        axes.set_title(f"{run.spec}: {numbers(run, runs)['end']:.2f} at the end", fontsize=9)
        axes.set_xticks(range(len(names)), names, rotation=30, fontsize=8)
        axes.set_yticks(range(len(names)), [f"after {name}" for name in names] if run is runs[0] else [], fontsize=8)
    above.colorbar(shown, ax=list(panels), label="bits per byte", shrink=0.8)
    axes = below.subplots()
    for i, run in enumerate(runs):
        first = [row[0] for row in run.matrix.rows]
        axes.plot(range(len(names)), first, color=COLOURS[i % 6], marker=MARKS[i % 6], label=run.spec)
    axes.axhline(floors[0], color="k", linestyle="--", linewidth=1, label="byte counts")
    axes.set_xticks(range(len(names)), [f"after {name}" for name in names])
    axes.set_ylabel(f"bits per byte of {names[0]}")
    axes.set_title(finding(runs), fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def page(runs, floors, drawn, command, quick):
    """The report as one HTML file: nothing is loaded from elsewhere."""
    safe, table = html.escape, rows(runs, floors)
    title = f"What is forgotten of {', '.join(runs[0].matrix.names)}"
    line = lambda row, tag: "<tr>" + "".join(f"<{tag}>{safe(cell)}</{tag}>" for cell in row) + "</tr>"
    parts = [
        f"<h1>{safe(title)}</h1>",
        "<p><b>A trial with a tiny model and few steps: its numbers mean nothing.</b></p>" if quick else "",
        f"<p>{safe(finding(runs))}.</p>",
        f'<img alt="{safe(finding(runs))}" src="data:image/png;base64,{base64.b64encode(drawn).decode()}">',
        "<p>A row of a map is a moment, a column a text. Below the diagonal is the past: there it darkens.</p>",
        "<table>" + line(table[0], "th") + "".join(line(row, "td") for row in table[1:]) + "</table>",
        f"<p>{NOTES}</p>",
        f"<p>Made by <code>{safe(command)}</code></p>",
    ]  # fmt: skip
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{safe(title)}</title><style>{STYLE}</style>'
    return f"{head}<body>\n" + "\n".join(filter(None, parts)) + "\n</body></html>\n"
