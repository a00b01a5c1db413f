"""Which checkpoints stay on the disk: the last two, the best, and every k-th as far as the budget reaches.

Two, because a loss spike in the first step after a checkpoint blames the batch before it, which is already in those
weights; and because the newest may turn out damaged. Only what the run itself wrote is ever removed: a checkpoint of
another run, one that was renamed, and one that cannot be read stay where they are.
"""

from pathlib import Path

from ..vendor.shared.errors import Mistake
from .checkpoint import Damaged, checkpoints, manifest, remove
from .disk import Disk


def own(folder, run: str) -> list[tuple[int, Path]]:
    """(step, path) of the checkpoints that this run wrote, the newest last."""
    found = []
    for step, path in checkpoints(folder):
        try:
            about = manifest(path)
        except (Damaged, Mistake):
            continue
        if about["run"] == run and about["step"] == step:
            found.append((step, path))
    return found


def size(path) -> int:
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in Path(path).iterdir())


def prune(folder, run: str, *, best: int | None, every: int, budget: int | None, disk: Disk) -> tuple[list[int], int]:
    """Remove what need not stay; (steps removed, bytes by which the rest is over the budget).

    best: the step of the best checkpoint. every: k of every-k, 0 for none. budget: bytes, or None for no bound; where
    it is too small, the oldest every-k go first, and the last two and the best stay even so.
    """
    mine = own(folder, run)
    safe = {step for step, _ in mine[-2:]} | {best}
    removed = [(step, path) for step, path in mine if step not in safe and not (every and step and step % every == 0)]
    left = [pair for pair in mine if pair not in removed]
    total = sum(size(path) for _, path in left)
    for step, path in left:
        if budget is not None and total > budget and step not in safe:
            removed.append((step, path))
            total -= size(path)
    for _, path in removed:
        remove(path, disk)
    return [step for step, _ in removed], max(0, total - budget) if budget is not None else 0


def forget_after(folder, run: str, step: int, disk: Disk) -> list[int]:
    """Remove this run's checkpoints of more than `step` steps, the newest first; the steps removed."""
    later = [(n, path) for n, path in reversed(own(folder, run)) if n > step]
    for _, path in later:
        remove(path, disk)
    return [n for n, _ in later]
