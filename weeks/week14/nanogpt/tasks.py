"""From a text file to rows: read it, split off an exam, tokenize, cut into windows.

Documents in a file are separated by a line that holds only <|endoftext|>; a file without one is one document.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from .vendor.continual.task import Task, windows
from .vendor.shared.errors import Mistake

END = "<|endoftext|>"
SEPARATOR = f"\n{END}\n"
ENDS = (END, "<|end_of_text|>", "</s>", "<|im_end|>")  # what vocabularies call the end of a document


def end_of(tokenizer):
    """The text of the token that ends a document, "" for none; an opened model's tokenizer knows its own `ends`."""
    return next((text for text in getattr(tokenizer, "ends", ENDS) if text in tokenizer.special_tokens), "")


def end_id(tokenizer):
    """The id that parts documents, whatever the vocabulary calls it."""
    if text := end_of(tokenizer):
        return tokenizer.special_tokens[text]
    raise Mistake(f"this vocabulary has no token that ends a document; it should have one of: {', '.join(ENDS)}")


def begin_id(tokenizer):
    """The id before a document: BOS where the model was published so, else the one that ended the document before."""
    begin = getattr(tokenizer, "begin", "")
    return tokenizer.special_tokens[begin] if begin else end_id(tokenizer)


@dataclass(frozen=True)
class Domain:
    """A kind of text to learn: what to train on, and the held-out text that judges it."""

    name: str
    train: str
    exam: str

    def task(self, tokenizer, block_size, progress=False):
        """The domain as a Task whose rows are windows (N, block_size + 1)."""
        tokens = encode(tokenizer, self.train, progress=f"encode {self.name}" if progress else None)
        return Task(self.name, rows_of(tokens, block_size, self.name))


def read_text(path):
    """The text of a file; a Mistake for one that is missing, empty, binary or not UTF-8."""
    path = Path(path)
    if path.is_dir():
        raise Mistake(f"{path} is a folder; give a text file in it")
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise Mistake(f"{path} does not exist; check the path, or make a data set with `make data/NAME`") from error
    if b"\0" in content:
        raise Mistake(f"{path} is not text: byte {content.index(0)} is zero; give a plain text file in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Mistake(
            f"{path} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}; convert it first, "
            f"for example: iconv -f latin1 -t utf-8 {path.name} > utf8.txt"
        ) from error
    if not text.strip():
        raise Mistake(f"{path} is empty; give a file with text in it")
    return text.replace("\r\n", "\n")


def documents(text):
    """The documents of a text, without the separator lines and without empty ones."""
    return [d.strip("\n") for d in f"\n{text}\n".split(SEPARATOR) if d.strip()]


def hold_out(text, fraction=0.1, most=200_000):
    """`(train, exam)`: the last documents, or of a single document its last part, up to `most` characters."""
    share = min(int(len(text) * fraction), most)
    parts = documents(text)
    if len(parts) == 1:
        cut = text.rfind("\n", 0, len(text) - share) + 1 or len(text) - share
        return text[:cut], text[cut:]
    exam = [parts.pop()]
    while len(parts) > 1 and sum(map(len, exam)) + len(parts[-1]) <= share:
        exam.insert(0, parts.pop())
    return SEPARATOR.join(parts), SEPARATOR.join(exam)


def encode(tokenizer, text, progress=None):
    """All documents as one LongTensor, each *after* an end token, the model's cue that something new begins; or, where
    the model has one token to begin a text and another to end it, between the two."""
    begin, end, ids = begin_id(tokenizer), end_id(tokenizer), []
    parts = documents(text)
    with tqdm(
        total=len(text), desc=progress, unit="char", unit_scale=True, disable=progress is None, leave=False
    ) as bar:
        for part in parts:
            ids += [begin, *tokenizer.encode_ordinary(part), *([end] if begin != end else [])]
            bar.update(len(part))
    return torch.tensor(ids, dtype=torch.long)


def rows_of(tokens, block_size, name):
    """Windows (N, block_size + 1); a text shorter than one window is a Mistake."""
    if len(tokens) <= block_size:
        raise Mistake(
            f"{name} has {len(tokens)} tokens and one training row needs {block_size + 1}; "
            "give more text, or a smaller --block-size"
        )
    return windows(tokens, block_size)
