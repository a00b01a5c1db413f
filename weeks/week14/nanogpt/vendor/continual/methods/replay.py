# vendored from weeks/week13/continual/methods/replay.py, sha256 404f2f1eb46ae7594e9a4862e0f0fb475af5e12880f90fa3bb5f0cdcb282d93c; edit there, then run: make vendor
"""Experience replay (ER): every step's new rows are joined by a few old ones (Chaudhry et al. 2019)."""

from .rehearsal import Rehearsal


class Replay(Rehearsal):
    """Keep `keep_rows` rows of all past tasks together; add `replay_rows` of them to every step."""
