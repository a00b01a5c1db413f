"""Experience replay (ER): every step's new rows are joined by a few old ones (Chaudhry et al. 2019)."""

from .rehearsal import Rehearsal


class Replay(Rehearsal):
    """Keep `keep_rows` rows of all past tasks together; add `replay_rows` of them to every step."""
