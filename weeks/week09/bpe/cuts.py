"""How a text is cut, merge by merge: one number for each place between two bytes says when the border there goes.

At the start every byte stands alone. Each merge takes borders away, and none ever comes back. So a text's whole
history is one list: for each place the number of the step that takes its border, or None where it stays.
Left out: texts of more than LONGEST characters, which nobody reads on a page.
"""

from dataclasses import dataclass

from .fast import Tokenizer, _check_text
from .pieces import any_of

LONGEST = 5000  # characters; finding the merges of one piece takes time that grows with the square of its length


@dataclass(frozen=True)
class Cuts:
    """A text as bytes, when its borders go, and which merge each step is.

    `gone[i]` belongs to the place before byte i: 0 for a border that never was (inside a special token), n for one that
    step n takes, None for one that stays. Its length is that of `content` plus one; both ends stay.
    `steps[n - 1]` is the token that step n makes: (id, left part, right part).
    """

    content: bytes
    gone: list
    steps: list

    def tokens(self, step=None):
        """The tokens after `step` steps (default: all), as bytes."""
        step = len(self.steps) if step is None else step
        stays = [i for i, gone in enumerate(self.gone) if gone is None or gone > step]
        return [self.content[a:b] for a, b in zip(stays, stays[1:])]


def cut(tokenizer: Tokenizer, text: str) -> Cuts:
    """The merges that `tokenizer` does in a text, in order of rank; special tokens written in it are one token each.

    A step does one merge at all its places, as in training. Raises ValueError for an empty or a long text, for a byte
    that the vocabulary lacks, and where the vocabulary's ids are not in the order of its merges.
    """
    _check_text(text)
    if not text or len(text) > LONGEST:
        raise ValueError(f"the text has {len(text):,} characters; give one of 1 to {LONGEST:,}, so that it can be seen")
    specials = any_of(tokenizer.special_tokens)
    content, ranks, merges = b"", [None], {}  # ranks: of the merge that takes the border; -1 inside a special token
    for part in filter(None, specials.split(text) if specials else [text]):
        if part in tokenizer.special_tokens:
            size = len(part.encode("utf-8"))
            content, ranks = content + part.encode("utf-8"), ranks + [-1] * (size - 1) + [None]
            continue
        for piece in tokenizer.split(part):
            ids = tokenizer.encode_piece(piece)  # raises for a byte that the vocabulary lacks
            piece = piece.encode("utf-8")
            taken = _borders(piece, tokenizer.ranks, merges)
            if 1 + taken.count(None) != len(ids):
                raise ValueError(f"the ids of {piece!r} are not in the order of their merges; use another tokenizer")
            content, ranks = content + piece, ranks + taken + [None]
    order = {rank: n for n, rank in enumerate(sorted(merges), start=1)} | {-1: 0, None: None}
    return Cuts(content, [order[rank] for rank in ranks], [(rank, *merges[rank]) for rank in sorted(merges)])


def _borders(piece, ranks, merges):
    """For each place inside a piece the rank of the merge that takes its border, or None; notes `merges` by rank."""
    starts, taken = list(range(len(piece) + 1)), [None] * (len(piece) - 1)
    while True:
        found = [ranks.get(piece[a:b]) for a, b in zip(starts, starts[2:])]
        known = [rank for rank in found if rank is not None]
        if not known:
            return taken
        i = found.index(min(known))  # the leftmost of the lowest
        a, middle, b = starts[i : i + 3]
        merges[found[i]] = (piece[a:middle], piece[middle:b])
        taken[middle - 1] = found[i]
        del starts[i + 1]
