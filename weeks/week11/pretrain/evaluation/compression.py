"""Bits per byte: how short a model could make a text. It compares models of different tokenizers.

    bits per byte = -sum of log2 p(token | what stood before it) / bytes of the text in UTF-8

A loss per token does not compare: a model with longer tokens has fewer of them, each harder. Bytes are the same for
all. Every document begins afresh, from the end-of-document id; that id itself is neither predicted nor counted.
Source of the windows: lm-evaluation-harness, `get_rolling_token_windows`, of which stride = block_size is the case
context_len = 1. Left out: the few bits that a real entropy coder would add to a file.
"""

import math
from collections import Counter

from .interval import bootstrap
from .scorer import loglik

LONGEST = 1024  # tokens of a window at most: attention costs the square, and one row of logits must fit into memory


def windows(count, block_size, stride):
    """(begin, first, stop) of each window over `count` tokens that follow one start id.

    Positions count from that id, which is 0. A window feeds positions begin ... stop - 1 and judges first ... stop.
    Each of 1 ... count is judged once. The first window judges as much as it can read; each later one judges `stride`
    more and reads as far back as it can, so a token sees at least block_size - stride earlier ones. Raises ValueError
    for a stride that is not from 1 to block_size.
    """
    if not 1 <= stride <= block_size:
        raise ValueError(f"stride is {stride}; give 1 to {block_size}, the tokens that the model reads at once")
    done = 0
    while done < count:
        stop = min(count, done + (stride if done else block_size))
        yield max(0, stop - block_size), done + 1, stop
        done = stop


def costs(subject, documents, *, stride=None, label=None):
    """[(document, nats, tokens)], a row for each window, of a list of texts.

    stride None is half a window: twice the work of the plain cut, and all but a document's first tokens see half a
    window or more. Of a very long context only LONGEST tokens are used. Raises ValueError for an empty document.
    """
    length = min(subject.block_size, LONGEST)
    stride = max(1, length // 2) if stride is None else stride
    pairs, places = [], []
    for i, text in enumerate(documents):
        if not text:
            raise ValueError(f"document {i} is empty, so there is nothing in it to predict; leave it out")
        ids = [subject.end, *subject.encode(text)]
        for begin, first, stop in windows(len(ids) - 1, length, stride):
            pairs.append((ids[begin:first], ids[first : stop + 1]))
            places.append((i, stop + 1 - first))
    found = loglik(subject, pairs, label=label)
    return [(i, -each.total, tokens) for (i, tokens), each in zip(places, found)]


def bits_per_byte(subject, documents, *, stride=None, label=None, seed=0):
    """The Score of a list of texts, its interval by drawing windows of them. Lower is better; 8 is a blind guess.

    In the interval, a window stands for as many bytes as its share of its document's tokens. `stride`: see `costs`.
    """
    if not documents:
        raise ValueError("there is no document to judge; give one or more")
    rows = costs(subject, documents, stride=stride, label=label)
    tokens = Counter()
    for i, _, count in rows:
        tokens[i] += count
    sizes = [len(text.encode("utf-8")) for text in documents]
    bits = [nats / math.log(2) for _, nats, _ in rows]
    return bootstrap(bits, [sizes[i] * count / tokens[i] for i, _, count in rows], seed=seed)
