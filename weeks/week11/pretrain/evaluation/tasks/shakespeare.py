"""The next line of Shakespeare: the true one among four, all from the same play and of like length.

Held-out plays (data/shakespeare/test.txt). The wrong lines are other lines of that play, so neither the names nor the
spelling give the answer away; only what was just said does. Left out: short lines, which half the play could follow.
"""

import random

from ...vendor.shared.files import need
from ...vendor.shared.text import documents, read_text
from ..choice import Item

COUNT, BEFORE, CHOICES = 200, 6, 4
SHORTEST, LONGEST = 25, 60  # characters of a line


def items(folder):
    """Up to COUNT items, spread over the plays; the same every time."""
    plays = documents(read_text(need(folder / "shakespeare", "make data/shakespeare") / "test.txt"))
    draw, found = random.Random("next line"), []
    for play in plays:
        lines = play.split("\n")
        places = [i for i in range(BEFORE, len(lines)) if spoken(lines[i]) and all(map(spoken, lines[i - 2 : i]))]
        pool = sorted({lines[i] for i in places})
        for i in sorted(draw.sample(places, min(len(places), COUNT // len(plays)))):
            others = [line for line in pool if line != lines[i] and abs(len(line) - len(lines[i])) <= 5]
            if len(others) >= CHOICES - 1:
                choices = [lines[i], *draw.sample(others, CHOICES - 1)]
                draw.shuffle(choices)
                found.append(Item("\n".join(lines[i - BEFORE : i]), tuple(choices), choices.index(lines[i])))
    return found


def spoken(line):
    """A line that someone speaks: no heading, no name of a speaker, no stage direction."""
    return SHORTEST <= len(line) <= LONGEST and not line.startswith("[") and not line.endswith(":")
