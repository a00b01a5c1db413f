"""Names that obey: a wish says how a name begins, ends, and how long it is; `draw` asks a model for such names.

Two ways. By rejection the model draws freely behind the wished beginning, and what disobeys is thrown away: exact, but
a rare ending takes many draws. With a mask each letter that would make the wish impossible gets probability 0: every
name obeys, but it is drawn a little differently, for the model does not know of the wish while it chooses.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Wish:
    """A name that begins with `start`, ends with `end`, and has `least` to `most` letters."""

    start: str = ""
    end: str = ""
    least: int = 1
    most: int = 12

    def granted(self, name):
        return self.least <= len(name) <= self.most and name.startswith(self.start) and name.endswith(self.end)

    def possible(self, name):
        """Can `name`, or a longer name that begins with it, still obey? (Only asked behind `start`.)"""
        for length in range(max(len(name), self.least), self.most + 1):
            already = len(self.end) - (length - len(name))  # letters of the end that must stand in `name` by now
            if already <= 0 or (already <= len(name) and name.endswith(self.end[:already])):
                return True
        return False

    def allowed(self, name, alphabet):
        """Which ids may follow: 0 ends the name, 1 ... are the letters."""
        if len(name) > self.most:
            return [True] + [False] * len(alphabet)
        return [self.granted(name), *(self.possible(name + letter) for letter in alphabet)]


def next_logits(model, tokens):
    """The logits of what follows each row: (B, T) -> (B, V)."""
    if model.takes == "windows":
        return model(tokens[:, -model.context :])[0]
    return model(tokens)[0][:, -1]


@torch.no_grad()
def draw(model, known, wish, count, generator, temperature=1.0, masked=False):
    """`count` names, drawn side by side behind the wished beginning; only masked ones are sure to obey."""
    model.eval()
    before = model.context if model.takes == "windows" else 1
    tokens = torch.tensor([0] * before + known.encode(wish.start)).repeat(count, 1)
    names, ended = [wish.start] * count, [False] * count
    while not all(ended):
        logits = next_logits(model, tokens) / temperature  # (count, V)
        if masked:
            only_end = [True] + [False] * len(known.alphabet)
            rows = [only_end if end else wish.allowed(name, known.alphabet) for name, end in zip(names, ended)]
            logits = logits.masked_fill(~torch.tensor(rows), float("-inf"))
        drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)  # (count, 1)
        tokens = torch.cat([tokens, drawn], dim=1)
        for i, letter in enumerate(drawn[:, 0].tolist()):
            ended[i] = ended[i] or letter == 0 or len(names[i]) > wish.most  # too long already: no need to go on
            names[i] += "" if ended[i] else known.alphabet[letter - 1]
    return names


def invent(model, known, wish, count, generator, temperature=1.0, masked=False, unwanted=(), rows=500, rounds=20):
    """({name: was it masked}, how many names were drawn freely): at most `count` different names that obey."""
    found, drawn = {}, 0
    for mask in (True,) if masked else (False, True):
        for _ in range(rounds):
            if len(found) == count:
                break
            for name in draw(model, known, wish, rows // 10 if mask else rows, generator, temperature, mask):
                drawn += not mask
                if wish.granted(name) and name not in unwanted:
                    found.setdefault(name, mask)
                if len(found) == count:
                    break
    return found, drawn


class Nearest:
    """Finds the real name that needs the fewest changes (a letter put in, taken out or exchanged: Levenshtein 1966)."""

    def __init__(self, words):
        self.words = list(dict.fromkeys(words))
        self.lengths = np.array([len(word) for word in self.words])
        self.table = np.full((len(self.words), self.lengths.max()), -1)
        for row, word in zip(self.table, self.words):
            row[: len(word)] = [ord(letter) for letter in word]

    def distances(self, name):
        """The number of changes from `name` to each word: one row of the usual table for all words at once."""
        row = np.tile(np.arange(self.table.shape[1] + 1), (len(self.words), 1))  # from "" to each beginning
        for letter in name:
            above, row = row, np.empty_like(row)
            row[:, 0] = above[:, 0] + 1
            for j in range(1, row.shape[1]):
                exchanged = above[:, j - 1] + (self.table[:, j - 1] != ord(letter))
                row[:, j] = np.minimum(exchanged, np.minimum(above[:, j], row[:, j - 1]) + 1)
        return row[np.arange(len(self.words)), self.lengths]

    def __call__(self, name):
        """(the nearest word, how many changes away); of several the first in the file."""
        far = self.distances(name)
        best = int(far.argmin())
        return self.words[best], int(far[best])
