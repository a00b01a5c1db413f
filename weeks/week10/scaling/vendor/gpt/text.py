# vendored from weeks/week07-08/gpt/text.py, sha256 100c35d6752451bca482eaac471ad4525a18fc5183e05c3f4a1946dd32d9a8b6; edit there, then run: make vendor
"""Characters as tokens, and the text to train on.

A vocabulary is the characters of the training text, then two ids of its own: the end of a document, and any character
never seen. So no text is refused, and none is dropped in silence: what was never seen is counted.
"""

import math
from pathlib import Path

import torch

from ..shared.text import SEPARATOR, documents, read_text


class Characters:
    """id = place of the character in the sorted alphabet; `end` and `unseen` are the last two ids."""

    def __init__(self, text: str):
        self.alphabet = "".join(sorted(set(text)))
        self.ids = {c: i for i, c in enumerate(self.alphabet)}
        self.end, self.unseen = len(self.alphabet), len(self.alphabet) + 1

    def __len__(self):
        return len(self.alphabet) + 2

    def encode(self, text: str) -> list[int]:
        return [self.ids.get(c, self.unseen) for c in text]

    def decode(self, ids) -> str:
        """The end of a document shows as a line of its own, a character never seen as U+FFFD."""
        special = {self.end: SEPARATOR, self.unseen: "\ufffd"}
        return "".join(special.get(int(i)) or self.alphabet[int(i)] for i in ids)


class Corpus:
    """Tokens of some documents, each followed by `end`: int64 (N,); and the bytes each stands for, int64 (N,)."""

    def __init__(self, documents, characters: Characters):
        ids, lengths = [], []
        for document in documents:
            ids += [*characters.encode(document), characters.end]
            lengths += [*(len(c.encode()) for c in document), 1]  # an end counts as one byte
        self.tokens, self.lengths = torch.tensor(ids), torch.tensor(lengths)
        self.unseen = self.tokens == characters.unseen  # (N,) bool

    def bits_per_byte(self, loss: float, n: int) -> float:
        """Mean loss in nats over tokens 1 ... n -> bits per byte of their text, so that tokenizers stay comparable.

        Predicting `unseen` says only that *some* new character comes; to spell it out is charged at 8 bits a byte.
        """
        spelled = 8 * (self.lengths * self.unseen)[1 : n + 1].sum().item()
        return (loss * n / math.log(2) + spelled) / self.lengths[1 : n + 1].sum().item()


def load(path):
    """(Characters, train Corpus, val Corpus) from a folder with train.txt and val.txt, or from one text file.

    A single file is cut where nanoGPT cuts it, after 90 % of its characters, so that its numbers can stand beside
    ours. A Mistake for a file that is no text.
    """
    path = Path(path)
    if path.is_dir():
        parts = (documents(read_text(path / f"{name}.txt")) for name in ("train", "val"))
        train, val = ([f"{document}\n" for document in part] for part in parts)  # its last line ends too
    else:
        text = read_text(path)
        cut = int(0.9 * len(text))
        train, val = [text[:cut]], [text[cut:]]
    characters = Characters("".join(train))
    return characters, Corpus(train, characters), Corpus(val, characters)
