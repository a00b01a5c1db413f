# vendored from weeks/week09/bpe/fast.py, sha256 1124636453f0a91d9b5d247f3602e1ce059c0491f29ad73962cb0637aa87466d; edit there, then run: make vendor
"""Byte-level BPE, the one to use: the merges of `plain.py`, found without recounting; the ids of tiktoken.

One file that stands alone (standard library, `regex`, `tqdm`), so that a later week can carry it away as it is.
One representation: `ranks`, a dict from the bytes of a token to its number. The number is the token's id and at the
same time its place in the order of merges. That is enough, because the parents of a token need not be stored: of all
neighbours in a text, the two whose concatenation has the lowest rank merge first. Vocabularies learned here, GPT-2's
and those in `.tiktoken` files all have this shape, so one `encode` serves them all.
Left out: vocabularies whose ids are not in the order of their merges, normalisation, and threads.
"""

import base64
import hashlib
import heapq
import json
import os
import warnings
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

import regex
from tqdm import tqdm

# How text is cut into pieces before any merge. Both are the published patterns of their vocabularies: a vocabulary
# and its pattern belong together. \p{L} is any letter, \p{N} any digit or number.
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"(?i:'(?:[sdmt]|ll|ve|re))|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
ENDOFTEXT = "<|endoftext|>"

FORMAT, VERSION = "byte-level-bpe", 1
KEYS = ("format", "version", "pattern", "special_tokens", "tokens", "sha256")

CACHE_PIECES = 2**16  # the cache of encoded pieces is emptied when it holds this many ...
CACHE_LENGTH = 64  # ... and takes no piece of more characters, so it stays below about 20 MB
LONG_PIECE = 256  # bytes from which on a heap finds the next merge faster than a scan does
NEVER = 1 << 62  # the rank of a pair that is no token


def _visible_bytes():
    """One printable character for each byte, as in GPT-2's files: a token can then be read, and stored as text.

    The 188 bytes that are printable in Latin-1 stand for themselves; the other 68 (controls, blanks, the soft hyphen)
    take the characters from U+0100 on, in order. So a blank is U+0120, and " the" is written "Ġthe".
    """
    table, spare = {}, 0x100
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or (0xA1 <= byte <= 0xFF and byte != 0xAD):
            table[byte] = chr(byte)
        else:
            table[byte], spare = chr(spare), spare + 1
    return table


BYTE_TO_CHAR = _visible_bytes()
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}


def to_visible(token: bytes) -> str:
    """b" the" -> "Ġthe": the way GPT-2's, Hugging Face's and GGUF's files write a token."""
    return "".join(map(BYTE_TO_CHAR.__getitem__, token))


def from_visible(written: str) -> bytes:
    """"Ġthe" -> b" the". Raises ValueError for a character that stands for no byte."""
    try:
        return bytes(map(CHAR_TO_BYTE.__getitem__, written))
    except KeyError as error:
        raise ValueError(
            f"{error.args[0]!r} in the token {written!r} stands for no byte; write tokens with to_visible(bytes)"
        ) from None


class Tokenizer:
    """Text <-> ids, for a vocabulary of bytes -> rank, the pattern that splits text, and special tokens.

    `vocab_size` is the highest id plus one: the number of rows an embedding needs, even where ids have gaps.
    Treat a tokenizer as frozen. To add special tokens make a new one:
    `Tokenizer(t.ranks, pattern=t.pattern, special_tokens={**t.special_tokens, "<|user|>": t.vocab_size})`.
    """

    def __init__(self, ranks, *, pattern="gpt2", special_tokens=None):
        self.ranks = dict(sorted(ranks.items(), key=lambda item: item[1]))  # bytes -> id, in order of merges
        self.special_tokens = dict(special_tokens or {})  # text -> id
        self.pattern = PATTERNS.get(pattern, pattern)
        self._regex = _compile(self.pattern)
        _check_specials(self.special_tokens)
        self._bytes = {}  # id -> bytes, of ordinary and special tokens alike
        specials = ((text.encode("utf-8"), i) for text, i in self.special_tokens.items())
        for token, i in chain(self.ranks.items(), specials):
            if not isinstance(token, bytes) or not token or type(i) is not int or i < 0 or i in self._bytes:
                raise ValueError(
                    f"token {token!r} has the id {i!r}; a token is one byte or more and needs an id of its own, "
                    "an integer from 0 on: correct the vocabulary"
                )
            self._bytes[i] = token
        self.vocab_size = max(self._bytes, default=-1) + 1
        self._cache = {}  # piece -> ids; see CACHE_PIECES
        self._merges = None

    def __repr__(self):
        name = next((name for name, pattern in PATTERNS.items() if pattern == self.pattern), self.pattern)
        return f"Tokenizer(vocab_size={self.vocab_size}, pattern={name!r}, special_tokens={self.special_tokens})"

    # ---- learning a vocabulary ----

    @classmethod
    def train(cls, texts, vocab_size, *, pattern="gpt2", special_tokens=(ENDOFTEXT,), progress=False):
        """Learn a vocabulary of `vocab_size` ids: 256 bytes, then merges, then the special tokens.

        `texts` is a string or an iterable of strings. Special tokens in it part documents and are not learned from.
        Each step merges the pair with the highest count, among equals the one with the smaller ids, as `plain.py`.
        Where the text runs out of pairs the vocabulary is smaller than asked, and a warning says so.
        Raises ValueError for an empty text or a vocabulary without room for bytes and special tokens.
        """
        specials = list(special_tokens)
        if type(vocab_size) is not int or vocab_size < 256 + len(specials):
            raise ValueError(
                f"vocab_size is {vocab_size!r}, but 256 bytes and {len(specials)} special tokens need "
                f"{256 + len(specials)} ids; give at least that"
            )
        _check_specials(dict.fromkeys(specials, 0), listed=specials)
        splitter, parts = _compile(PATTERNS.get(pattern, pattern)), _any_of(specials)
        pieces = Counter()  # the text itself is not needed any more: a piece that occurs 1,000 times is merged once
        for text in [texts] if isinstance(texts, (str, bytes)) else texts:
            _check_text(text)
            for part in parts.split(text) if parts else [text]:
                if part not in specials:
                    pieces.update(_split(splitter, part))
        if not pieces:
            raise ValueError("the text to learn from is empty; give a text with at least a few words")
        ranks = _learn(pieces, vocab_size - 256 - len(specials), progress)
        if len(ranks) + len(specials) < vocab_size:
            warnings.warn(
                f"the text has pairs for {len(ranks) - 256} merges only, so the vocabulary has "
                f"{len(ranks) + len(specials)} ids, not {vocab_size}; give more text or a smaller vocab_size",
                stacklevel=2,
            )
        ids = {special: len(ranks) + i for i, special in enumerate(specials)}
        return cls(ranks, pattern=pattern, special_tokens=ids)

    # ---- text -> ids ----

    def encode(self, text: str, allowed_special="none_raise") -> list[int]:
        """Text -> ids. What a special token written out in the text means is the caller's choice:

        "none_raise"  an error (the default: text from outside must not end a document unnoticed)
        "none"        ordinary text
        "all"         its id
        {"<|a|>"}     the id of those named; any other special token in the text is an error
        """
        _check_text(text)
        if allowed_special == "none" or not self.special_tokens:
            return self.encode_ordinary(text)
        allowed = self._allowed(allowed_special)
        refused = _any_of(self.special_tokens.keys() - allowed)
        found = refused.search(text) if refused else None
        if found:
            raise ValueError(
                f"the text holds the special token {found[0]!r} at character {found.start()}; pass "
                'allowed_special="none" to read it as plain text, or "all" to turn it into its id'
            )
        if not allowed:
            return self.encode_ordinary(text)
        ids = []
        for part in _any_of(allowed).split(text):
            ids.extend([self.special_tokens[part]] if part in allowed else self.encode_ordinary(part))
        return ids

    def _allowed(self, allowed_special):
        if isinstance(allowed_special, str):
            if allowed_special not in ("all", "none_raise"):
                raise ValueError(
                    f'allowed_special is {allowed_special!r}; give "none_raise", "none", "all" '
                    "or a set of special tokens"
                )
            return self.special_tokens.keys() if allowed_special == "all" else set()
        unknown = set(allowed_special) - self.special_tokens.keys()
        if unknown:
            raise ValueError(
                f"{sorted(unknown)} are no special tokens of this vocabulary; it has {list(self.special_tokens)}"
            )
        return set(allowed_special)

    def encode_ordinary(self, text: str) -> list[int]:
        """Text -> ids, where special tokens are text like any other."""
        _check_text(text)
        cache, ids = self._cache, []
        for piece in _split(self._regex, text):
            known = cache.get(piece)
            if known is None:
                known = self._encode_piece(piece.encode("utf-8"))
                if len(piece) <= CACHE_LENGTH:
                    if len(cache) >= CACHE_PIECES:
                        cache.clear()  # crude, but the frequent pieces are back after a page of text
                    cache[piece] = known
            ids.extend(known)
        return ids

    def _encode_piece(self, piece: bytes) -> list[int]:
        if piece in self.ranks:
            return [self.ranks[piece]]
        parts = _merge_by_scan(piece, self.ranks) if len(piece) < LONG_PIECE else _merge_by_heap(piece, self.ranks)
        try:
            return [self.ranks[part] for part in parts]
        except KeyError as error:
            raise ValueError(
                f"the byte {error.args[0]!r} in {piece[:40]!r} is not in this vocabulary; drop it from the text, "
                "or use a vocabulary that holds all 256 bytes"
            ) from None

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

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pairs behind the tokens of two bytes or more, in order of rank: what GGUF and Hugging Face files list.

        They follow from the ranks: encode a token by the tokens before it, and its last two parts are its parents.
        """
        if self._merges is None:
            found = []
            for token, rank in self.ranks.items():
                if len(token) > 1:
                    parts = _merge_by_scan(token, self.ranks, below=rank)
                    if len(parts) != 2:
                        raise ValueError(
                            f"token {rank} ({token!r}) is the merge of no two tokens before it, so this vocabulary "
                            "has no list of merges; use its ranks instead"
                        )
                    found.append(tuple(parts))
            self._merges = found
        return list(self._merges)

    # ---- files ----

    def to_dict(self) -> dict:
        """The whole state as JSON types; `from_dict` gives an equal tokenizer back."""
        state = {
            "pattern": self.pattern,
            "special_tokens": self.special_tokens,
            "tokens": {to_visible(token): i for token, i in self.ranks.items()},
        }
        return {"format": FORMAT, "version": VERSION, **state, "sha256": _digest(state)}

    @classmethod
    def from_dict(cls, state: dict) -> "Tokenizer":
        """The inverse of `to_dict`. Raises ValueError, with a sentence, for anything that `to_dict` did not write."""
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError(f'this is no tokenizer: "format" is not {FORMAT!r}; use a file that Tokenizer.save wrote')
        if state.get("version") != VERSION:
            raise ValueError(
                f"the tokenizer has format version {state.get('version')!r}, but this program reads version {VERSION}; "
                "update the program, or train the tokenizer again"
            )
        wrong = sorted(state.keys() ^ set(KEYS))
        if wrong:
            raise ValueError(f"the tokenizer has missing or unknown keys {wrong}; it needs exactly {list(KEYS)}")
        if _digest({key: state[key] for key in ("pattern", "special_tokens", "tokens")}) != state["sha256"]:
            raise ValueError("the tokenizer does not match its own sha256: it was damaged or edited; restore the file")
        ranks = {from_visible(written): i for written, i in state["tokens"].items()}
        return cls(ranks, pattern=state["pattern"], special_tokens=state["special_tokens"])

    def save(self, path) -> Path:
        """Write `path` (must end in .json) and, for the eye, its twin `.vocab`: one line a token, with its parents."""
        path = Path(path)
        if path.suffix != ".json":
            raise ValueError(f"{path} does not end in .json; the readable twin takes its place with .vocab")
        _write(path.with_suffix(".vocab"), "".join(line + "\n" for line in self._listing()))
        _write(path, json.dumps(self.to_dict(), ensure_ascii=False, indent=0) + "\n")  # last: now the pair is complete
        return path

    @classmethod
    def load(cls, path) -> "Tokenizer":
        """Read what `save` wrote; the .vocab twin is never read."""
        try:
            return cls.from_dict(json.loads(Path(path).read_bytes().decode("utf-8")))
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no tokenizer at {path}; train one, or give the path of its .json") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not JSON ({error}); it was cut short or is no tokenizer: restore it") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def _listing(self):
        """'  262  " the"  =  " t" + "he"'; bytes that are no text on their own are shown as \\x.."""
        parents = dict(zip((token for token in self.ranks if len(token) > 1), self.merges))
        special = {i: text for text, i in self.special_tokens.items()}
        for i, token in sorted(self._bytes.items()):
            line = f"{i:>7}  {_readable(token)}"
            if i in special:
                line += "  (special)"
            elif token in parents:
                line += f"  =  {_readable(parents[token][0])} + {_readable(parents[token][1])}"
            yield line


# ---- learning: every pair knows where it occurs ----


def _learn(pieces, n_merges, progress=False):
    """Counter of pieces -> ranks, after at most `n_merges` merges.

    All pieces lie in one long row, `symbols`, with -1 between them. Merging at position p writes the new id there
    and unlinks the position to its right, so only the two pairs beside it change; everything else stays counted.
    """
    symbols, weight = [-1], [0]
    for piece, count in pieces.items():
        piece = piece.encode("utf-8")
        symbols.extend(piece)
        symbols.append(-1)
        weight.extend([count] * len(piece) + [0])
    after = list(range(1, len(symbols) + 1))  # the links of a doubly linked list
    before = list(range(-1, len(symbols) - 1))
    counts, places = defaultdict(int), defaultdict(list)
    for p, pair in enumerate(zip(symbols, symbols[1:])):
        if pair[0] >= 0 and pair[1] >= 0:
            counts[pair] += weight[p]
            places[pair].append(p)
    # Counts of a pair only fall after its first step, so an old entry in the heap is at worst too optimistic:
    # it is put back with its true count when it comes up, and what comes up true is the best pair.
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    tokens = [bytes([byte]) for byte in range(256)]
    for _ in tqdm(range(n_merges), desc="merges", disable=not progress, leave=False):
        while heap and -heap[0][0] != counts[heap[0][1]]:
            pair = heap[0][1]
            if counts[pair] > 0:
                heapq.heapreplace(heap, (-counts[pair], pair))
            else:
                heapq.heappop(heap)
        if not heap:
            break
        left, right = heapq.heappop(heap)[1]
        new, fresh = len(tokens), set()
        tokens.append(tokens[left] + tokens[right])
        # subtle: places lie in ascending order, so overlaps (a a a) merge from the left. A pair's places are all
        # appended during the one step that mints its younger half, and that step walks from left to right.
        for p in places.pop((left, right)):
            q = after[p]
            if symbols[p] != left or symbols[q] != right:
                continue  # taken by another merge since it was noted
            r, o, count = after[q], before[p], weight[p]
            symbols[p], symbols[q] = new, -2  # -2: gone
            after[p], before[r] = r, p
            if symbols[o] >= 0:
                counts[symbols[o], left] -= count
                pair = symbols[o], new
                counts[pair] += count
                places[pair].append(o)
                fresh.add(pair)
            if symbols[r] >= 0:
                counts[right, symbols[r]] -= count
                pair = new, symbols[r]
                counts[pair] += count
                places[pair].append(p)
                fresh.add(pair)
        del counts[left, right]
        for pair in fresh:
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], pair))
    return {token: i for i, token in enumerate(tokens)}


# ---- encoding one piece: the lowest rank merges first, the leftmost among equals ----


def _merge_by_scan(piece, ranks, below=NEVER):
    """Parts of a short piece. min() and index() scan at the speed of C, which beats any cleverness up to LONG_PIECE."""
    parts = [piece[i : i + 1] for i in range(len(piece))]
    scores = [ranks.get(piece[i : i + 2], NEVER) for i in range(len(piece) - 1)]  # scores[i]: parts i and i+1
    while scores:
        best = min(scores)
        if best >= below:
            break
        i = scores.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        del scores[i]
        if i < len(scores):
            scores[i] = ranks.get(parts[i] + parts[i + 1], NEVER)
        if i > 0:
            scores[i - 1] = ranks.get(parts[i - 1] + parts[i], NEVER)
    return parts


def _merge_by_heap(piece, ranks):
    """The same parts in n log n steps: a heap of (rank, start) and links from each part to its neighbours."""
    n = len(piece)
    end = list(range(1, n + 1))  # end[i]: where the part that starts at i ends; 0 once it was swallowed
    before = list(range(-1, n - 1))  # where the part to the left starts
    heap = [(ranks[piece[i : i + 2]], i) for i in range(n - 1) if piece[i : i + 2] in ranks]
    heapq.heapify(heap)
    while heap:
        rank, i = heapq.heappop(heap)
        middle = end[i]
        if middle in (0, n) or ranks.get(piece[i : end[middle]]) != rank:
            continue  # out of date: one of the two has merged since
        end[i], end[middle] = end[middle], 0
        if end[i] < n:
            before[end[i]] = i
            pair = piece[i : end[end[i]]]
            if pair in ranks:
                heapq.heappush(heap, (ranks[pair], i))
        if before[i] >= 0:
            pair = piece[before[i] : end[i]]
            if pair in ranks:
                heapq.heappush(heap, (ranks[pair], before[i]))
    parts, i = [], 0
    while i < n:
        parts.append(piece[i : end[i]])
        i = end[i]
    return parts


# ---- small helpers ----


def _compile(pattern):
    try:
        compiled = regex.compile(pattern)
    except (regex.error, TypeError) as error:
        raise ValueError(
            f"the pattern {pattern!r} is no regular expression ({error}); give one, or one of {list(PATTERNS)}"
        ) from None
    if compiled.groups:
        raise ValueError(f"the pattern {pattern!r} captures a group; write (?:...) in place of (...)")
    return compiled


def _split(compiled, text):
    """Text -> pieces; a pattern that would lose characters is refused, since then decode(encode(x)) is not x."""
    pieces = compiled.findall(text)
    if sum(map(len, pieces)) != len(text):
        raise ValueError("the pattern leaves out part of the text; end it with |\\s+|. so that it matches everything")
    return pieces


def _any_of(specials):
    """A regex that finds any of these, the longest first; the group makes split() keep what it found. None for none."""
    longest_first = sorted(specials, key=len, reverse=True)
    return regex.compile("(" + "|".join(map(regex.escape, longest_first)) + ")") if longest_first else None


def _check_text(text):
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {type(text).__name__}; read a file with Path(path).read_text()")
    # lone surrogates


def _check_specials(specials, listed=()):
    for text in specials:
        if not isinstance(text, str) or not text:
            raise ValueError(f"{text!r} cannot be a special token; give a text of at least one character")
    if len(specials) < len(listed):
        raise ValueError(f"the special tokens {list(listed)} name one of them twice; name each once")


def _digest(state):
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _readable(token):
    return json.dumps(token.decode("utf-8", errors="backslashreplace"), ensure_ascii=False)


def _write(path, text):
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as f:
            f.write(text.encode("utf-8"))
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
