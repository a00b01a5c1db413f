"""log p(continuation | context): the one number that every exam here is made of.

    inputs    c c c|k k k          the context, then the continuation, without its last token
    targets     c c|k k k k        only what stands behind the bar is judged

As lm-evaluation-harness does it (EleutherAI; `HFLM._loglikelihood_tokens`, version 0.4.13): a pair that is too long
loses tokens of its context, from the left; shorter rows of a batch are padded on the right, where a causal model's
earlier positions cannot see them. Left out: one forward pass for choices that share a context.
"""

from typing import NamedTuple

import torch

from ..vendor.shared.progress import bar

LOGITS = 2**26  # numbers of logits in one forward pass at most: a quarter of a gigabyte


class Likelihood(NamedTuple):
    """What a model says of one continuation."""

    total: float  # nats: the sum of the log-probabilities of its tokens
    greedy: bool  # whether each of its tokens was the likeliest
    cut: int  # tokens of the context that did not fit


def encode_pair(subject, context, continuation):
    """Two texts -> (ids of the context, ids of the continuation), cut where the context's own tokens end.

    The two are encoded as one text, for " the" is a token and " " with "the" after it are two: blanks at the context's
    end move to the continuation, and the rest of the joint ids is the continuation (`_encode_pair`, same source).
    """
    bare = context.rstrip()
    whole = subject.encode(context + continuation)
    before = subject.encode(bare)
    return before, whole[len(before) :]


def check(pairs, block_size):
    """A ValueError for the first pair that cannot be judged."""
    for i, (_, continuation) in enumerate(pairs):
        if not len(continuation):
            raise ValueError(f"pair {i} has an empty continuation, which has no likelihood; give one token or more")
        if len(continuation) > block_size:
            raise ValueError(
                f"the continuation of pair {i} has {len(continuation)} tokens, and the model reads {block_size} at "
                "once; give a shorter one, or judge it as a document with bits_per_byte"
            )


@torch.no_grad()
def loglik(subject, pairs, *, label=None):
    """[Likelihood] of pairs (context ids, continuation ids), in their order; an empty context becomes `subject.end`.

    Rows of like length share a batch, so that little is padding. The logits of a batch stay below LOGITS numbers.
    """
    pairs = [([*context] or [subject.end], [*continuation]) for context, continuation in pairs]
    check(pairs, subject.block_size)
    room = subject.block_size + 1
    rows = [(context + continuation)[-room:] for context, continuation in pairs]  # (T + 1) ids each
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))  # the longest first: what does not fit fails at once
    found, done, vocabulary = [None] * len(rows), 0, None
    was_training = subject.model.training
    subject.model.eval()
    try:
        with bar(total=len(rows), label=label, unit="row", disable=label is None) as line:
            while done < len(order):
                length = len(rows[order[done]]) - 1
                # the first batch is one row: it tells how many logits a token has
                size = 1 if vocabulary is None else max(1, LOGITS // (length * vocabulary))
                part = order[done : done + size]
                logits = forward(subject, [rows[i] for i in part], length)  # (B, T, V)
                vocabulary = logits.shape[-1]
                for row, i in zip(logits, part):
                    context, continuation = pairs[i]
                    total, greedy = judge(row[: len(rows[i]) - 1], continuation)
                    found[i] = Likelihood(total, greedy, len(context) + len(continuation) - len(rows[i]))
                done += len(part)
                line.update(len(part))
    finally:
        subject.model.train(was_training)
    return found


def forward(subject, rows, length):
    """Logits (B, T, V) of rows without their last id, padded on the right."""
    tokens = torch.full((len(rows), length), subject.end, dtype=torch.long)
    for i, row in enumerate(rows):
        tokens[i, : len(row) - 1] = torch.tensor(row[:-1])
    return subject.model(tokens.to(subject.device))[0]


def judge(logits, continuation):
    """(sum of log-probabilities, all greedy) of a continuation of K ids, which the last K rows of logits predict."""
    wanted = torch.tensor(continuation, device=logits.device)  # (K,)
    logs = logits[-len(continuation) :].float().log_softmax(dim=-1)  # (K, V)
    total = logs.gather(1, wanted[:, None]).double().sum().item()
    return total, bool((logs.argmax(dim=-1) == wanted).all())
