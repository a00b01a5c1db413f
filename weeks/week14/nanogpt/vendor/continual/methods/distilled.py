# vendored from weeks/week13/continual/methods/distilled.py, sha256 c0dfb6e207c9ce2b609a89f044ff5a361ec835d8786d64b8227343b3f5489ce1; edit there, then run: make vendor
"""What methods share that hold the model to what it once predicted: how that is stored, and how it joins a step.

In a step with new rows and old ones, the loss is the mean over the new plus the mean of something else over the old.
The loop forms one mean over all that is judged; so each row carries the `share` that turns its part into such a mean,
however the step is cut into micro-batches.
"""

import torch

from ..rows import Rows, cat

BATCH = 32  # rows predicted at once


def blank(learner, rows, k):
    """Rows with room for k predictions at each position: `top` (N, T, k) ids and `value` (N, T, k), all 0.

    The zeros take no memory until rows are chosen.
    """
    shape = (*learner.mask(rows[:1]).shape[1:], k)
    room = {"top": torch.zeros(1, dtype=torch.int32), "value": torch.zeros(1)}
    return Rows(**rows.tensors, **{name: t.expand(len(rows), *shape) for name, t in room.items()})


def predictions(learner, rows, k, *, log_probs=False):
    """(top, value), each (N, T, k): the k largest logits at every judged position, or their log-probabilities."""
    mask = learner.mask(rows)
    top = torch.zeros(*mask.shape, k, dtype=torch.int32)  # half of int64: this is what such a memory is made of
    value = torch.zeros(*mask.shape, k)
    with learner.evaluating(), torch.no_grad():
        for start in range(0, len(rows), BATCH):
            place = slice(start, start + BATCH)
            if not learner.count(rows[place]):
                continue
            logits = learner.predict(rows[place])[0].float()  # (M, V)
            values, ids = (logits.log_softmax(dim=-1) if log_probs else logits).topk(k, dim=-1)
            top[place][mask[place]], value[place][mask[place]] = ids.int().cpu(), values.cpu()
    return top, value


def join(learner, new, old):
    """The rows of one step: new ones, then old ones, each with `old` (is it?) and `share` (see above)."""
    counts = learner.count(new), learner.count(old)
    lacking = {name: t for name, t in old.tensors.items() if name not in new.tensors}
    room = {name: t.new_zeros(1).expand(len(new), *t.shape[1:]) for name, t in lacking.items()}
    parts = []
    for is_old, rows in enumerate([Rows(**new.tensors, **room), old]):
        share = sum(counts) / max(1, counts[is_old])
        marks = {"old": torch.full((len(rows),), bool(is_old)), "share": torch.full((len(rows),), share)}
        parts.append(Rows(**rows.tensors, **marks))
    return cat(parts)


def joint_loss(learner, batch, old_loss):
    """What the loop needs of a micro-batch, so that a step's loss is mean(new) + mean(old_loss of the old).

    old_loss(rows) -> scalar mean over what `rows` judge. Rows that `join` did not mark are all new.
    """
    if "old" not in batch.tensors:
        return learner.loss(batch)
    loss = 0.0
    for part, of in ((batch[~batch.old], learner.loss), (batch[batch.old], old_loss)):
        if count := learner.count(part):
            loss = loss + part.share[0].item() * count * of(part)
    return loss / learner.count(batch)
