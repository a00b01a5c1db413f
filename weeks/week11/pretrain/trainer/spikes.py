"""Is this loss out of line with the last ones? By median and MAD, which a few wild losses cannot move.

    score = (loss - median) / max(1.4826 * MAD, 0.01 * |median|)

1.4826 makes the median absolute deviation an estimate of a normal distribution's standard deviation. The second term
is for a loss that hardly moves: a change by less than some hundredths is then no spike, however still it was before.
A loss that falls lies below the median, so only rises are found. What to do about a spike is for loop.py to say.

Source of the cure (go back, skip the batches): Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, section 5.1.
"""

import math
import statistics

LEAST = 16  # losses before anything is judged: the first ones fall too fast to have a middle


class Detector:
    """Remembers the last `window` losses; `score` judges the next, `add` remembers it. Has a state_dict."""

    def __init__(self, window: int = 64):
        self.window, self.losses = window, []

    def score(self, loss: float) -> float:
        """How many robust standard deviations above the middle; 0 while too few are known, infinity for nan."""
        if not math.isfinite(loss):
            return math.inf
        if len(self.losses) < LEAST:
            return 0.0
        middle = statistics.median(self.losses)
        spread = statistics.median(abs(known - middle) for known in self.losses)
        return (loss - middle) / max(1.4826 * spread, 0.01 * abs(middle), 1e-12)

    def add(self, loss: float):
        self.losses = [*self.losses, loss][-self.window :]

    def state_dict(self) -> dict:
        return {"losses": list(self.losses)}

    def load_state_dict(self, state: dict):
        self.losses = list(state["losses"])
