"""From scores to what is read: lines for a terminal, one picture, one page of HTML with everything in it."""

import base64
import html
import io
from dataclasses import dataclass, field

READ = {"grammar": "acc", "last-word": "acc"}  # the score of an exam that is shown; of the others acc_norm
SHOWN = 3  # samples on the page: the first ones, unpicked
COLOURS, MARKS = ("#1b3a5c", "#c2571a", "#3f7d4e", "#7b4f9d"), "osD^"
STYLE = """body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}
img{max-width:100%}pre{white-space:pre-wrap;background:#f4f4f4;padding:.8rem}"""

NUMBERS = """Bits per byte: how short a model could make it; 8 is a blind guess. Of an exam: the share of right answers.
Brackets hold 95 % of what other questions of the same kind would give. They do not say what the same model would get
if it were trained with another seed. A model is better than chance where its whole interval lies above chance."""
WRITING = """People: held-out passages of the same length. distinct-2 falls where words repeat, repetition-4 grows where
the text loops. A copy is the longest run of bytes that also stands in the training text that was given."""


@dataclass
class Sitting:
    """One subject's results. `scores` are those of the exams, and "bpb"; the bigrams wrote nothing."""

    name: str
    about: str
    scores: dict
    samples: list = field(default_factory=list)
    writing: dict = field(default_factory=dict)  # {measure: (of the samples, of people's text)}


def score(sitting, exam):
    return sitting.scores[f"{exam.replace('-', '_')}_{READ.get(exam, 'acc_norm')}"]


def chance(sitting, exam):
    """What a blind guess gets, or None: of a last word there is no list to guess from."""
    return sitting.scores.get(f"{exam.replace('-', '_')}_chance")


def finding(sitting, exams):
    """One sentence: in which exams is the whole interval above chance?"""
    asked = [exam for exam in exams if chance(sitting, exam) is not None]
    clear = [exam for exam in asked if score(sitting, exam).low > chance(sitting, exam)]
    which = f": {', '.join(clear)}" if clear else ""
    return f"{sitting.name}: better than chance in {len(clear)} of {len(asked)} exams with choices{which}"


def rows(found, exams):
    """The table: a head, a row for each subject, and the row of chance."""
    head = ["", "bits per byte", *(f"{exam} ({READ.get(exam, 'acc_norm')})" for exam in exams)]
    lines = [[s.name, str(s.scores["bpb"]), *(str(score(s, exam)) for exam in exams)] for s in found]
    guesses = [chance(found[0], exam) for exam in exams]
    return [head, *lines, ["chance", "8.000", *("-" if guess is None else f"{guess:.3f}" for guess in guesses)]]


def aligned(table):
    widths = [max(map(len, column)) for column in zip(*table)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in table]


def written(sitting):
    """The table of what a model writes, beside people's text of the same length."""
    cells = lambda pair: [f"{value:.2f}" for value in pair]
    return [
        ["what it writes", sitting.name, "people"],
        *([name, *cells(pair)] for name, pair in sitting.writing.items()),
    ]


def told(found, exams):
    """The lines that the terminal shows."""
    lines = ["", *aligned(rows(found, exams)), "", *(finding(sitting, exams) for sitting in found)]
    for sitting in found:
        if sitting.writing:
            lines += ["", *aligned(written(sitting))]
        if sitting.samples:
            lines += ["", f"--- {sitting.name}: its first text, unpicked", sitting.samples[0].strip()]
    return lines


def picture(found, exams):
    """PNG bytes: bits per byte at the left, exams at the right, each with its interval; bigrams and chance beside."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.6 + 0.55 * max(len(found), len(exams))), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, sitting in enumerate(found):
        style = {"color": COLOURS[i % 4], "marker": MARKS[i % 4], "linestyle": "none", "capsize": 3}
        if sitting is found[-1]:
            style |= {"color": "#8a8a8a", "marker": "x"}
        draw(left, [sitting.scores["bpb"]], [i], style)
        offset = 0.16 * (i - (len(found) - 1) / 2)
        draw(right, [score(sitting, exam) for exam in exams], [j + offset for j in range(len(exams))],
             {**style, "label": sitting.name})  # fmt: skip
    guesses = [(j, guess) for j, exam in enumerate(exams) if (guess := chance(found[0], exam)) is not None]
    for number, (j, guess) in enumerate(guesses):
        right.plot([guess, guess], [j - 0.4, j + 0.4], "k--", linewidth=1, label="" if number else "chance")
    best = min(found, key=lambda sitting: sitting.scores["bpb"].value)
    left.set(xlabel="bits per byte of held-out text (less is better)", ylim=(len(found) - 0.5, -0.5))
    left.set_title(f"fewest bits: {best.name}, {best.scores['bpb'].value:.2f}", fontsize=10)
    left.set_yticks(range(len(found)), [sitting.name for sitting in found])
    right.set(xlabel="share of right answers, with 95 % intervals", ylim=(len(exams) - 0.5, -0.5), xlim=(-0.02, 1.02))
    right.set_title(finding(found[0], exams), fontsize=10)
    right.set_yticks(range(len(exams)), exams)
    right.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def draw(axes, scores, heights, style):
    values = [s.value for s in scores]
    # A bootstrap's interval can miss its own score by a rounding error: no bar is shorter than nothing.
    ends = [[max(0.0, s.value - s.low) for s in scores], [max(0.0, s.high - s.value) for s in scores]]
    axes.errorbar(values, heights, xerr=ends, **style)


def page(found, exams, drawn, command, text):
    """The report as one HTML file: nothing is loaded from elsewhere."""
    safe = html.escape
    names = ", ".join(sitting.name for sitting in found[:-1])
    alt = "; ".join(finding(sitting, exams) for sitting in found)
    parts = [
        f"<h1>{safe(names)}</h1>",
        "<ul>", *(f"<li><b>{safe(s.name)}</b>: {safe(s.about)}</li>" for s in found), "</ul>",
        f'<img alt="{safe(alt)}" src="data:image/png;base64,{base64.b64encode(drawn).decode()}">',
        markup(rows(found, exams)),
        f"<p>Held-out text: {safe(text.name)}. {NUMBERS}</p>",
    ]  # fmt: skip
    for sitting in found[:-1]:
        parts.append(f"<h2>What {safe(sitting.name)} writes</h2>")
        if sitting.writing:
            parts += [markup(written(sitting)), f"<p>{WRITING}</p>"]
        else:
            parts.append("<p>No text has four words, so there is nothing to measure.</p>")
        parts += [f"<pre>{safe(sample)}</pre>" for sample in sitting.samples[:SHOWN]]
    parts.append(f"<p>Made by <code>{safe(command)}</code></p>")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{safe(names)}</title><style>{STYLE}</style>'
    return f"{head}<body>\n" + "\n".join(parts) + "\n</body></html>\n"


def markup(table):
    """A list of rows as an HTML table."""
    line = lambda row, tag: "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
    return "<table>" + line(table[0], "th") + "".join(line(row, "td") for row in table[1:]) + "</table>"
