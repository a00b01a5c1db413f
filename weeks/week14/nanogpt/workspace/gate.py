"""Is what was just learned to be kept? Decided from scores alone: no model, no torch."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    keep: bool
    sentence: str
    finite: bool = True  # scores that are no numbers cannot even be written down


def change(scores, columns):
    """Mean change of the old tasks since each was learned; None where there is none, or none that was measured.

    scores[i][j]: score on exam j after task i, None where not measured; columns[i]: the exam of task i.
    """
    pairs = [(scores[i][j], scores[-1][j]) for i, j in enumerate(columns[:-1])]
    pairs = [(then, now) for then, now in pairs if then is not None and now is not None]
    return sum(now - then for then, now in pairs) / len(pairs) if pairs else None


def verdict(kind, scores, columns, *, most=None):
    """Keep the last row of `scores`? Not where a score is no number, nor where old tasks lost more than `most`."""
    if any(score is not None and not math.isfinite(score) for score in scores[-1]):
        return Verdict(False, "an exam gave no finite number, so the model is broken; try a lower --lr", finite=False)
    moved = change(scores, columns)
    if moved is None:
        return Verdict(True, "")
    said = kind.change(moved)
    if most is not None and (-moved if kind.higher_is_better else moved) > most:
        return Verdict(False, f"{said}, more than --max-forgetting {most:g} allows")
    return Verdict(True, said)
