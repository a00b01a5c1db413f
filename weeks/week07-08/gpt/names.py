"""Names, a row of letters each: the smallest text that a GPT can learn, for the three engines that are compared on it.

Left out: letters that were never seen (the alphabet is the whole file's).
"""

import random

from .vendor.shared.text import read_text


class Names:
    """The names of a file, one a line, in an order that `seed` shuffles; `end`, the last id, begins and ends each.

    alphabet: the letters, sorted; a letter's id is its place. Raises Mistake for a file that is no text.
    """

    def __init__(self, path, seed=0):
        self.names = read_text(path).split()
        self.alphabet = "".join(sorted(set("".join(self.names))))
        self.end = len(self.alphabet)
        random.Random(seed).shuffle(self.names)

    def __len__(self):
        """Ids: the letters and the end."""
        return len(self.alphabet) + 1

    def rows(self, first, last, block_size):
        """Names first ... last - 1 as ids, [end, ..., end], each cut to block_size inputs and their targets.

        After the last name of the file comes the first again.
        """
        chosen = (self.names[i % len(self.names)] for i in range(first, last))
        return [[self.end, *map(self.alphabet.index, name), self.end][: block_size + 1] for name in chosen]

    def batches(self, steps, size, block_size):
        """Rows for `steps` steps of training, `size` names each, from the first name on."""
        rows = self.rows(0, steps * size, block_size)
        return [rows[i : i + size] for i in range(0, len(rows), size)]

    def text(self, row):
        """The letters of a row of ids, without its ends."""
        return "".join(self.alphabet[i] for i in row if i != self.end)
