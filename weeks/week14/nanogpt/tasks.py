"""From a text to rows: tokenize its documents, cut them into windows."""

from contextlib import contextmanager

import torch

from .chat import ordinary
from .vendor.continual.rows import windows
from .vendor.shared.errors import Mistake
from .vendor.shared.progress import bar
from .vendor.shared.text import END, documents

ENDS = (END, "<|end_of_text|>", "</s>", "<|im_end|>")  # what vocabularies call the end of a document


@contextmanager
def about(where):
    """Begin the sentence of a Mistake with what it is about."""
    try:
        yield
    except Mistake as error:
        raise Mistake(f"{where}: {error}") from error


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


def encode(tokenizer, text, progress=None):
    """All documents as one LongTensor, each *after* an end token, the model's cue that something new begins; or, where
    the model has one token to begin a text and another to end it, between the two."""
    begin, end, ids = begin_id(tokenizer), end_id(tokenizer), []
    with bar(total=len(text), label=progress, unit="char", unit_scale=True, disable=progress is None) as line:
        for part in documents(text):
            ids += [begin, *ordinary(tokenizer, part), *([end] if begin != end else [])]
            line.update(len(part))
    return torch.tensor(ids, dtype=torch.long)


def rows_of(tokens, length, name):
    """Windows of `length` + 1 tokens; a text shorter than one window is a Mistake."""
    if len(tokens) <= length:
        raise Mistake(f"{name} has {len(tokens)} tokens to train on and one row needs {length + 1}; give more text")
    return windows(tokens, length)
