# vendored from weeks/week09/bpe/fast.py, sha256 6d266cb862add76581d0e74f7a7e705cdbfc04f732f58fc5cc09eb588e855a27; edit there, then run: make vendor
"""Byte-level BPE, the one to use: the merges of `plain.py` without recounting, the ids of tiktoken.

One file that a later week can carry away, with pieces.py. One representation: `ranks`, token bytes -> number, which is
the token's id and its place in the order of merges. Parents need not be stored: of all neighbours, the two whose
concatenation has the lowest rank merge first. What is learned here, GPT-2's vocabulary and `.tiktoken` files have this
shape: one `encode` serves them all. Left out: vocabularies whose ids are not in the order of their merges,
normalisation, threads.
"""

import hashlib
import heapq
import json
import warnings
from collections import Counter, defaultdict
from functools import cached_property
from itertools import chain
from operator import itemgetter
from pathlib import Path

from .many import SHORT, Merger
from .pieces import PATTERNS, Splitter, any_of
from ..shared.files import atomic_write
from ..shared.progress import bar

ENDOFTEXT = "<|endoftext|>"
FORMAT, VERSION = "byte-level-bpe", 1
MOST, PAIR = 2**20, 2**40 - 1  # ids that can be learned; the bits of a pair of them, 20 for each
CACHE_PIECES = 2**17  # the cache of encoded pieces is emptied when it holds this many ...
CACHE_LENGTH = 64  # ... and takes no piece of more characters, so it stays below about 40 MB
LONG_TEXT, PROBE, NEW = 2**14, 2**12, 2**8  # of so many pieces with NEW new ones in the first PROBE, all merge at once

# One printable character for each byte, as in GPT-2's files, so that any token can be read, and stored as text: the 188
# bytes that Latin-1 prints stand for themselves; the other 68 (controls, blanks, the soft hyphen) take the characters
# from U+0100 on, in order. So a blank is U+0120, and " the" is written "Ġthe".
_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = sorted(set(range(256)) - set(_PRINTED))
BYTE_TO_CHAR = {byte: chr(byte) for byte in _PRINTED} | {byte: chr(0x100 + i) for i, byte in enumerate(_OTHERS)}
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}


def to_visible(token: bytes) -> str:
    """b" the" -> "Ġthe": the way GPT-2's, Hugging Face's and GGUF's files write a token."""
    return "".join(map(BYTE_TO_CHAR.__getitem__, token))


def from_visible(written: str) -> bytes:
    """The inverse: "Ġthe" -> b" the". Raises ValueError for a character that stands for no byte."""
    try:
        return bytes(map(CHAR_TO_BYTE.__getitem__, written))
    except KeyError as error:
        raise ValueError(f"{error} in {written!r} stands for no byte; write tokens with to_visible") from None


class Tokenizer:
    """Text <-> ids, for a vocabulary of bytes -> rank, the pattern that splits text, and special tokens.

    `vocab_size` is the highest id plus one: the number of rows an embedding needs, even where ids have gaps.
    Treat a tokenizer as frozen. To add special tokens make a new one:
    `Tokenizer(t.ranks, pattern=t.pattern, special_tokens={**t.special_tokens, "<|user|>": t.vocab_size})`.
    """

    def __init__(self, ranks, *, pattern="gpt2", special_tokens=None):
        self.special_tokens = dict(special_tokens or {})  # text -> id
        self.pattern = PATTERNS.get(pattern, pattern)
        self._splitter = Splitter(self.pattern)
        any_of(self.special_tokens)  # raises for what cannot be one
        self._bytes = {}  # id -> bytes, of ordinary and special tokens alike
        specials = ((text.encode("utf-8"), i) for text, i in self.special_tokens.items())
        for token, i in chain(ranks.items(), specials):
            if not isinstance(token, bytes) or not token or type(i) is not int or i < 0 or i in self._bytes:
                raise ValueError(f"token {token!r} has the id {i!r}; it needs a byte or more and an id >= 0 of its own")
            self._bytes[i] = token
        in_order = list(ranks.values()) == sorted(ranks.values())
        self.ranks = dict(ranks if in_order else sorted(ranks.items(), key=itemgetter(1)))  # bytes -> id, as they merge
        self.vocab_size = max(self._bytes, default=-1) + 1
        self._cache = Encoded(self.encode_piece)  # piece -> ids

    def __repr__(self):
        return f"Tokenizer(vocab_size={self.vocab_size}, special_tokens={self.special_tokens})"

    # ---- learning a vocabulary ----

    @classmethod
    def train(cls, texts, vocab_size, *, pattern="gpt2", special_tokens=(ENDOFTEXT,), progress=False):
        """Learn a vocabulary of `vocab_size` ids: 256 bytes, then merges, then the special tokens.

        `texts` is a string or an iterable of strings. Special tokens in it part documents and are not learned from.
        Each step merges the pair with the highest count, among equals the one with the smaller ids, as `plain.py`.
        Where the text runs out of pairs the vocabulary is smaller than asked, and a warning says so.
        Raises ValueError for an empty text, a vocabulary without room for bytes and special tokens, or one above MOST.
        """
        specials = [special_tokens] if isinstance(special_tokens, str) else list(special_tokens)
        least = 256 + len(specials)
        if type(vocab_size) is not int or not least <= vocab_size <= MOST:
            why = f"bytes and special tokens alone need {least}, and {MOST:,} is the most"
            raise ValueError(f"vocab_size is {vocab_size!r}; {why}: give a number between")
        splitter, parts = Splitter(PATTERNS.get(pattern, pattern)), any_of(specials)
        pieces = Counter()  # the text itself is not needed any more: a piece that occurs 1,000 times is merged once
        for text in texts if hasattr(texts, "__iter__") and not isinstance(texts, (str, bytes)) else [texts]:
            _check_text(text)
            for part in parts.split(text) if parts else [text]:
                if part not in specials:
                    pieces.update(splitter.split(part))
        if not pieces:
            raise ValueError("the text to learn from is empty; give a text with at least a few words")
        ranks = _learn(pieces, vocab_size - 256 - len(specials), progress)
        size = len(ranks) + len(specials)
        if size < vocab_size:
            found = f"no pair left after {len(ranks) - 256} merges, so there are {size} ids, not {vocab_size}"
            warnings.warn(f"the text has {found}; give more text or a smaller vocab_size", stacklevel=2)
        return cls(ranks, pattern=pattern, special_tokens={text: len(ranks) + i for i, text in enumerate(specials)})

    # ---- text -> ids ----

    def encode(self, text: str, allowed_special="none_raise") -> list[int]:
        """Text -> ids. What a special token written out in the text means is the caller's choice:

        "none_raise"  an error (the default: text from outside must not end a document unnoticed)
        "none"        ordinary text
        "all"         its id
        {"<|a|>"}     the id of those named; any other special token in the text is an error
        """
        _check_text(text)
        specials, named = self.special_tokens.keys(), not isinstance(allowed_special, str)
        allowed = set(allowed_special) if named else set(specials) if allowed_special == "all" else set()
        if allowed - specials or not (named or allowed_special in ("none_raise", "none", "all")):
            known = f"'none_raise', 'none', 'all' or a set of texts out of {list(specials)}"
            raise ValueError(f"allowed_special is {allowed_special!r}; give {known}")
        refused = set() if allowed_special == "none" else specials - allowed
        found = refused and any_of(refused).search(text)
        if found:
            raise ValueError(
                f"the text holds the special token {found[0]!r} at character {found.start()}; pass "
                "allowed_special='none' to read it as plain text, or 'all' to turn it into its id"
            )
        if not allowed:
            return self.encode_ordinary(text)
        ids = []
        for part in any_of(allowed).split(text):
            ids.extend([self.special_tokens[part]] if part in allowed else self.encode_ordinary(part))
        return ids

    def encode_ordinary(self, text: str) -> list[int]:
        """Text -> ids, where special tokens are text like any other."""
        _check_text(text)
        pieces = self.split(text)
        if len(pieces) >= LONG_TEXT and len(set(pieces[:PROBE]).difference(self._cache)) >= NEW:
            self._merger.fill(self._cache, pieces, CACHE_PIECES)
        # No loop of Python's: a piece that is known costs one look into a dict.
        return list(chain.from_iterable(map(self._cache.__getitem__, pieces)))

    def split(self, text: str) -> list[str]:
        """The pieces that are encoded one by one."""
        return self._splitter.split(text)

    def encode_piece(self, piece: str) -> list[int]:
        """The ids of one of them, computed anew."""
        piece = piece.encode("utf-8")
        if piece in self.ranks:  # merging would end here too; most words of a text are tokens
            return [self.ranks[piece]]
        try:
            return [self.ranks[part] for part in _merge(piece, self.ranks)]
        except KeyError as error:
            raise ValueError(f"the byte {error} is not in this vocabulary; drop it from the text") from None

    @cached_property
    def _merger(self):
        return Merger(self.ranks)

    # ---- ids -> text ----

    def decode_bytes(self, ids) -> bytes:
        """ids -> the exact bytes. Raises ValueError for an id that the vocabulary lacks."""
        try:
            return b"".join(map(self._bytes.__getitem__, ids))
        except KeyError as error:
            raise ValueError(
                f"the id {error.args[0]!r} is not in this vocabulary (integers below {self.vocab_size}); "
                "decode with the tokenizer that made the ids, and turn tensors into lists with .tolist()"
            ) from None

    def decode(self, ids) -> str:
        """ids -> text. A character cut in half shows as U+FFFD; where that matters, join `decode_bytes` first."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token_bytes(self, i: int) -> bytes:
        """The bytes of one token, ordinary or special."""
        return self.decode_bytes([i])

    @cached_property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The parents of each token of two bytes or more, in order of rank: what GGUF and Hugging Face files list.

        They follow from the ranks: merge the bytes of a token by the tokens before it, and two parts are left.
        """
        merges = [tuple(_merge(token, self.ranks, below=i)) for token, i in self.ranks.items() if len(token) > 1]
        for parts in merges:
            if len(parts) != 2:
                raise ValueError(f"the token {b''.join(parts)!r} merges no two earlier ones; use the ranks instead")
        return merges

    # ---- files ----

    def to_dict(self) -> dict:
        """The whole state as JSON types; `from_dict` gives an equal tokenizer back."""
        state = {
            "format": FORMAT,
            "version": VERSION,
            "pattern": self.pattern,
            "special_tokens": dict(self.special_tokens),
            "tokens": {to_visible(token): i for token, i in self.ranks.items()},
        }
        return {**state, "sha256": _digest(state)}

    @classmethod
    def from_dict(cls, state: dict) -> "Tokenizer":
        """The inverse of `to_dict`; raises ValueError for anything that `to_dict` did not write."""
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError(f'this is no tokenizer: "format" is not {FORMAT!r}; use a file that Tokenizer.save wrote')
        if state.get("version") != VERSION:
            raise ValueError(
                f"format version {state.get('version')!r} is not {VERSION}, all this program reads; update it"
            )
        if _digest(state) != state.get("sha256"):
            raise ValueError("the tokenizer does not match its own sha256: it was damaged or edited; restore the file")
        ranks = {from_visible(written): i for written, i in state["tokens"].items()}
        return cls(ranks, pattern=state["pattern"], special_tokens=state["special_tokens"])

    def save(self, path) -> Path:
        """Write `path` (must end in .json) and, for the eye, its twin `.vocab`: one line a token, with its parents."""
        path = Path(path)
        if path.suffix != ".json":
            raise ValueError(f"{path} does not end in .json; the readable twin takes its place with .vocab")
        atomic_write(path.with_suffix(".vocab"), "".join(self._listing()))
        content = json.dumps(self.to_dict(), ensure_ascii=False, indent=0) + "\n"
        atomic_write(path, content)  # last: now the pair is complete
        return path

    @classmethod
    def load(cls, path) -> "Tokenizer":
        """Read what `save` wrote; the .vocab twin is never read."""
        try:
            return cls.from_dict(json.loads(Path(path).read_bytes().decode("utf-8")))
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no tokenizer at {path}; train one, or give another path") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not JSON ({error}); it was cut short or is no tokenizer: restore it") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def _listing(self):
        """'    262  " the"  =  " t" + "he"'; bytes that are no text on their own are shown as \\x.."""
        special = set(self.special_tokens.values())
        show = lambda token: json.dumps(token.decode("utf-8", errors="backslashreplace"), ensure_ascii=False)
        for i, token in sorted(self._bytes.items()):
            parts = [] if i in special or len(token) == 1 else _merge(token, self.ranks, below=i)
            origin = "  (special)" if i in special else "  =  " + " + ".join(map(show, parts)) if parts else ""
            yield f"{i:>7}  {show(token)}{origin}\n"


def _learn(pieces, n_merges, progress=False):
    """Counter of pieces -> ranks, after at most `n_merges` merges.

    All pieces lie in one long row, `symbols`, with -1 between them, and every pair knows its places there. A merge
    writes the new id at p and unlinks the position after it, so only the two pairs beside it have to be counted anew.
    """
    symbols, weight = [-1], [0]
    for piece, count in pieces.items():
        piece = piece.encode("utf-8")
        symbols.extend((*piece, -1))
        weight.extend([count] * len(piece) + [0])
    after = list(range(1, len(symbols) + 1))  # the links of a doubly linked list
    before = list(range(-1, len(symbols) - 1))
    # A pair is one integer, left << 20 | right, and an entry of the heap is another, -count << 40 | pair: they sort as
    # (-count, left, right) would, without a tuple for each.
    counts, places = defaultdict(int), defaultdict(list)
    for p, (left, right) in enumerate(zip(symbols, symbols[1:])):
        if left >= 0 and right >= 0:
            pair = left << 20 | right
            counts[pair] += weight[p]
            places[pair].append(p)
    # Counts of a pair only fall after its first step, so an old entry in the heap is at worst too optimistic:
    # it is put back with its true count when it comes up, and what comes up true is the best pair.
    heap = [-count << 40 | pair for pair, count in counts.items()]
    heapq.heapify(heap)
    tokens = [bytes([byte]) for byte in range(256)]
    for _ in bar(range(n_merges), "merges", disable=not progress):
        while heap and -(heap[0] >> 40) != counts[heap[0] & PAIR]:
            pair = heapq.heappop(heap) & PAIR
            if counts[pair] > 0:
                heapq.heappush(heap, -counts[pair] << 40 | pair)
        if not heap:
            break
        best = heapq.heappop(heap) & PAIR
        left, right = best >> 20, best & 0xFFFFF
        new, fresh = len(tokens), set()
        tokens.append(tokens[left] + tokens[right])
        # subtle: places lie in ascending order, so overlaps (a a a) merge from the left. A pair's places are all
        # appended during the one step that mints its younger half, and that step walks from left to right.
        for p in places.pop(best):
            q = after[p]
            if symbols[p] != left or symbols[q] != right:
                continue  # taken by another merge since it was noted
            r, o, count = after[q], before[p], weight[p]
            symbols[p], symbols[q] = new, -2  # -2: gone
            after[p], before[r] = r, p
            if (x := symbols[o]) >= 0:
                counts[x << 20 | left] -= count
                pair = x << 20 | new
                counts[pair] += count
                places[pair].append(o)
                fresh.add(pair)
            if (x := symbols[r]) >= 0:
                counts[right << 20 | x] -= count
                pair = new << 20 | x
                counts[pair] += count
                places[pair].append(p)
                fresh.add(pair)
        del counts[best]
        for pair in fresh:
            if counts[pair] > 0:
                heapq.heappush(heap, -counts[pair] << 40 | pair)
    return {token: i for i, token in enumerate(tokens)}


class Encoded(dict):
    """{piece: encode(piece)}, asked for what it does not hold yet, and bounded by CACHE_PIECES and CACHE_LENGTH."""

    def __init__(self, encode):
        super().__init__()
        self.encode = encode

    def __missing__(self, piece):
        ids = self.encode(piece)
        if len(piece) <= CACHE_LENGTH:
            if len(self) >= CACHE_PIECES:
                self.clear()  # crude, but the frequent pieces are back after a page of text
            self[piece] = ids
        return ids


def _merge(piece, ranks, below=float("inf")):
    """The parts of a piece once every merge of a rank lower than `below` is done; the leftmost among equals first."""
    return (_merge_short if len(piece) <= SHORT else _merge_long)(piece, ranks, below)


def _merge_short(piece, ranks, below):
    """Scan for the lowest rank, again and again: its time grows with the square of the length, so for words only."""
    n, none = len(piece), float("inf")
    starts = list(range(n + 1))  # where the parts start, and the end
    found = [ranks.get(piece[i : i + 2], none) for i in range(n - 1)]  # the rank of each part with the next one
    while found:
        lowest = min(found)
        if lowest >= below or lowest == none:
            break
        i = found.index(lowest)  # the leftmost
        del starts[i + 1], found[i]
        if i < len(found):
            found[i] = ranks.get(piece[starts[i] : starts[i + 2]], none)
        if i:
            found[i - 1] = ranks.get(piece[starts[i - 1] : starts[i + 1]], none)
    return [piece[a:b] for a, b in zip(starts, starts[1:])]


def _merge_long(piece, ranks, below):
    """A heap of (rank, start), and links from each part to its neighbours: n log n steps, for a line of base64 too."""
    n = len(piece)
    end = list(range(1, n + 1))  # end[i]: where the part that starts at i ends; 0 once another has swallowed it
    before = list(range(-1, n - 1))  # where the part to its left starts
    heap = [(ranks[piece[i : i + 2]], i) for i in range(n - 1) if piece[i : i + 2] in ranks]
    heapq.heapify(heap)
    while heap and heap[0][0] < below:
        rank, i = heapq.heappop(heap)
        middle = end[i]
        if middle in (0, n) or ranks.get(piece[i : end[middle]]) != rank:
            continue  # out of date: one of the two has merged since
        end[i], end[middle] = end[middle], 0
        if end[i] < n:
            before[end[i]] = i
        for start in (before[i], i):  # the two pairs that the new part belongs to
            if start >= 0 and end[start] < n:
                pair = piece[start : end[end[start]]]
                if pair in ranks:
                    heapq.heappush(heap, (ranks[pair], start))
    return [piece[i : end[i]] for i in range(n) if end[i]]


def _check_text(text):
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {type(text).__name__}; read a file with Path(path).read_text()")
    try:
        text.isascii() or text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} of the text is a lone surrogate; read the file as UTF-8") from None


def _digest(state):
    content = {key: value for key, value in state.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
