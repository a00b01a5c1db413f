"""How an answer is scored: by likelihood, teacher-forced, and as the model writes it. One number a test row.

They stand side by side because they disagree. Teacher-forced, a model sees the right beginning before every token and
looks better than what it writes; a likelihood improves from format alone. The token that ends an answer is never
scored, only what the answer says: a model that forgets to stop has not forgotten what it was taught.
"""

from collections import Counter

import torch
import torch.nn.functional as F

from ..rows import asked, content_only

AT_ONCE = 32  # rows of one forward pass: what is measured must not depend on it, see the tests
TARGETS = 2048  # judged tokens of one: each has a logit for every word, and several experts have as many again


def exact(answer, wanted):
    """1.0 where the answer is the wanted one, spaces around it aside; 0.0 otherwise."""
    return float(answer.strip() == wanted.strip())


def constant(train, test, score=exact):
    """Mean score of the most frequent answer of training, given to all test pairs: this needs no model."""
    ((often, _),) = Counter(pair.response for pair in train).most_common(1)
    return sum(score(often, pair.response) for pair in test) / len(test)


def at_targets(learner, rows):
    """For rows (N, T+1) -> log-probability of each target, and is it the model's first choice: two (N, T), 0 elsewhere.

    What is not judged is 0 and False.
    """
    logs, hits = [], []
    for part in passes(rows):
        judged = part.judged[:, 1:]  # (B, T)
        logits = learner.predict(part)[0]  # (M, V)
        targets = part.ids[:, 1:][judged].to(logits.device)  # (M,)
        log = torch.zeros(judged.shape).masked_scatter_(
            judged, -F.cross_entropy(logits.float(), targets, reduction="none").cpu()
        )
        hit = torch.zeros_like(judged).masked_scatter_(judged, (logits.argmax(-1) == targets).cpu())
        logs.append(log)
        hits.append(hit)
    return torch.cat(logs), torch.cat(hits)


def passes(rows):
    """The rows in parts of AT_ONCE rows and TARGETS judged tokens at most; a row alone may have more."""
    parts, start, total = [], 0, 0
    for i, count in enumerate(rows.judged[:, 1:].sum(1).tolist()):
        if i > start and (i - start == AT_ONCE or total + count > TARGETS):
            parts.append(rows[start:i])
            start, total = i, 0
        total += count
    return [*parts, rows[start:]]


def bits(learner, rows):
    """Bits per judged token of every row; for a byte-level model bits per byte."""
    logs, _ = at_targets(learner, rows)
    return (-logs.sum(1) / rows.judged[:, 1:].sum(1) / torch.log(torch.tensor(2.0))).tolist()


def nats(learner, rows):
    """Mean nats per judged token of all rows together: the loss on generic text."""
    logs, _ = at_targets(learner, rows)
    return (-logs.sum() / rows.judged[:, 1:].sum()).item()


def teacher_forced(learner, pairs):
    """1.0 for each pair whose answer the model would have chosen token by token, given the right ones before."""
    rows = content_only(learner.text.rows(pairs), learner.text.end)
    _, hits = at_targets(learner, rows)
    return (hits.sum(1) == rows.judged[:, 1:].sum(1)).float().tolist()


def stems(codes):
    """Label -> its tokens up to the first that sets it apart from every other label.

    What comes after says nothing about which label it is. A label that another begins with has no such token: a
    ValueError names it.
    """
    found = {}
    for label, code in codes.items():
        others = [other for name, other in codes.items() if name != label]
        depth = next((d for d in range(1, len(code) + 1) if all(o[:d] != code[:d] for o in others)), None)
        if depth is None:
            raise ValueError(f"label {label!r} is how another label begins, so it is never told apart; rename one")
        found[label] = code[:depth]
    return found


def likeliest(learner, prompts, labels):
    """For each prompt (a list of ids) the label of the highest likelihood, among `labels` alone.

    The log-probability of a label is summed up to the token that sets it apart (`stems`). Where labels differ in their
    first token, as most do, one forward pass a prompt judges all of them.
    """
    codes = stems({label: learner.text.encode(label) for label in labels})
    begun = sorted({code[:d] for code in map(tuple, codes.values()) for d in range(len(code))})  # () and longer ones
    chosen, best = [None] * len(prompts), [float("-inf")] * len(prompts)
    # beginning of a label -> (N, V) log-probabilities of the token after it
    table = {beginning: next_token(learner, [[*ids, *beginning] for ids in prompts]) for beginning in begun}
    for label, code in codes.items():
        total = sum(table[tuple(code[:d])][:, code[d]] for d in range(len(code)))  # (N,)
        for i, value in enumerate(total.tolist()):
            if value > best[i]:
                chosen[i], best[i] = label, value
    return chosen


def next_token(learner, sequences):
    """Log-probabilities (N, V) of the token after each of the sequences of ids, whatever their lengths."""
    logs = []
    for part in asked(sequences).split(AT_ONCE):
        logs.append(learner.predict(part)[0].float().log_softmax(-1).cpu())
    return torch.cat(logs)
