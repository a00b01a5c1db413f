# vendored from weeks/week03-04/makemore/names.py, sha256 3c89cf89575ca2135db16cd2192887e03ec4851906d8d14aece05e8eec187fd4; edit there, then run: make vendor
"""Names as data: read a file, share its names out to train, val and test, and turn them into tensors of letters.

A name is a row of letters between two borders: id 0 is the border, written ".", and 1 ... are the letters. Two shapes
serve all models of weeks 3 to 6: `rows` (a whole name a row) and `windows` (the letters before, and the next one).
Left out: batches (fit.py draws them), names of several scripts in one alphabet.
"""

import hashlib
import random
import string
from dataclasses import dataclass
from pathlib import Path

import torch

BORDER = "."
IGNORE = -1  # a target that is no letter of a name but padding behind it; a loss passes over it
SHARES = (0.8, 0.9)  # train up to the first, val up to the second, test the rest: the split of Karpathy's lectures


@dataclass(frozen=True)
class Names:
    """Names in three parts, and the letters that they are made of."""

    train: list
    val: list
    test: list
    alphabet: str = string.ascii_lowercase

    @property
    def vocab_size(self):
        """The letters and the border."""
        return len(self.alphabet) + 1

    @property
    def longest(self):
        return max(map(len, self.train + self.val + self.test))

    def encode(self, name):
        """ "ab" -> [1, 2]; the borders are left to whoever builds a tensor."""
        odd = sorted(set(name) - set(self.alphabet))
        if odd:
            letters = ", ".join(map(repr, odd))
            raise ValueError(f"{name!r} holds {letters}, which the alphabet {self.alphabet!r} does not")
        return [self.alphabet.index(letter) + 1 for letter in name]

    def decode(self, ids):
        """[1, 2, 0] -> "ab": the letters up to the first border. An id that is no letter raises ValueError."""
        letters = []
        for i in map(int, ids):
            if i == 0:
                break
            if not 0 < i < self.vocab_size:  # -1 would quietly be a letter from the end
                raise ValueError(f"the id {i} is no letter; give ids from 0 to {self.vocab_size - 1}")
            letters.append(self.alphabet[i - 1])
        return "".join(letters)


def label(path):
    """What the files of a run on `path` begin with: its stem, and six digits of where it lies.

    So runs on a/towns.txt and b/towns.txt keep their own results and weights, and none takes the place of the standard
    ones.
    """
    path = Path(path).resolve()
    return f"{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"


def load(path, alphabet=string.ascii_lowercase, seed=42):
    """The names of a file, one a line, shuffled and cut 80/10/10 as in the lectures (seed 42 gives their very parts).

    Shuffled by random.Random(seed).shuffle, cut at SHARES of the number of names, rounded down. Returns `Names`.
    alphabet: the letters that a name may hold, in the order of their ids; None takes those that the file holds, sorted.
    Raises ValueError for what `read` refuses, and in these words (then what to do):
    - "the alphabet 'aba' holds a letter twice, or '.', the border; leave that out"
    - "names.txt holds 2 names; give ten or more", with the path in front
    """
    if BORDER in (alphabet or "") or len(set(alphabet or "")) < len(alphabet or ""):
        raise ValueError(f"the alphabet {alphabet!r} holds a letter twice, or {BORDER!r}, the border; leave that out")
    names = read(path, alphabet)
    letters = alphabet or "".join(sorted(set().union(*names)))
    if len(names) < 10:
        raise ValueError(f"{path} holds {len(names)} names; give ten or more, so that each part of the split has one")
    random.Random(seed).shuffle(names)
    first, second = (int(share * len(names)) for share in SHARES)
    return Names(names[:first], names[first:second], names[second:], letters)


def read(path, alphabet=string.ascii_lowercase):
    """The names of a file as a list, in its order, copies included. Blank lines and white space around a name do not
    count, nor does the mark (BOM) at the beginning of a file; a line may end in any system's way.

    alphabet: the letters that a name may hold; None allows all but BORDER.
    Raises ValueError, in these words:
    - "names.txt is not UTF-8 (byte 7); save it as UTF-8 text"
    - "names.txt, line 2: 'Ann-Lee' holds '-', 'A', 'L', which the alphabet 'abc...' does not; correct the name, or
      give the alphabet that the file needs (--alphabet; '' takes any)". Lines are counted as an editor does, the odd
      letters are sorted, and where all letters are allowed the alphabet is called 'of letters'.
    """
    try:
        lines = Path(path).read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8 text") from None
    names = []
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        odd = sorted(set(name) - set(alphabet)) if alphabet else sorted({BORDER} & set(name))
        if odd:
            letters = ", ".join(map(repr, odd))
            raise ValueError(
                f"{path}, line {number}: {name!r} holds {letters}, which the alphabet {alphabet or 'of letters'!r} "
                "does not; correct the name, or give the alphabet that the file needs (--alphabet; '' takes any)"
            )
        if name:
            names.append(name)
    return names


def rows(names, words):
    """Whole names: tokens (N, T) begin with the border, targets (N, T) end with it; T is the longest name and one.

    "ab" beside "abc" -> tokens [0 1 2 0], targets [1 2 0 -1]: behind its end a row is padded, tokens with 0, targets
    with IGNORE. Both are integers (torch.long). `names.encode` gives the letters' ids.
    """
    width = max(map(len, words)) + 1
    tokens = torch.zeros(len(words), width, dtype=torch.long)
    targets = torch.full((len(words), width), IGNORE)
    for i, word in enumerate(words):
        ids = torch.tensor(names.encode(word))
        tokens[i, 1 : len(word) + 1] = ids
        targets[i, : len(word)] = ids
        targets[i, len(word)] = 0
    return tokens, targets


def windows(names, words, context):
    """Every letter with those before it: tokens (N, context), targets (N,); before a name there are only borders.

    "ab", context 3 -> [0 0 0] 1, [0 0 1] 2, [0 1 2] 0. The names follow one another in their order.
    Raises ValueError for a context below 1, or longer than any of `names` (`names.longest`, not the `words` at hand):
    its first column would hold nothing but borders. "a context of 7 letters does not fit names of at most 6; give a
    number from 1 to 6"
    """
    if not 1 <= context <= names.longest:
        raise ValueError(
            f"a context of {context} letters does not fit names of at most {names.longest}; "
            f"give a number from 1 to {names.longest}"
        )
    tokens, targets = rows(names, words)
    before = torch.zeros(len(words), context - 1, dtype=torch.long)
    tokens = torch.cat([before, tokens], dim=1).unfold(1, context, 1)  # (N, T, context)
    there = targets != IGNORE  # (N, T)
    return tokens[there].contiguous(), targets[there]
