# vendored from weeks/week13/continual/methods/agem.py, sha256 1515008d8887b6e94ffc00ca1c6fcaeb7cb66a0e79ac76528a290f4c9a50dc38; edit there, then run: make vendor
"""A-GEM: never step in a direction that raises the loss on the memory (Chaudhry et al. 2019, equation 11)."""

from dataclasses import dataclass, field

from .rehearsal import Keeper, KeeperConfig, at_once


@dataclass(frozen=True)
class AGEMConfig(KeeperConfig):
    reference_rows: int = field(
        default=64, metadata={"help": "kept rows that a step's reference gradient is of", "free": True}
    )

    def __post_init__(self):
        super().__post_init__()
        at_once(self, "reference_rows")


class AGEM(Keeper):
    """Take out of the gradient what points against that of the memory: g - (g.r / r.r) r, where g.r < 0."""

    settings = AGEMConfig

    def grads(self, learner):
        rows = self.memory.sample(self.config.reference_rows)
        if rows is None:
            return
        with learner.evaluating():  # dropout would add its own noise to the direction
            reference = learner.gradient(rows)
        pairs = [(p.grad, reference[name]) for name, p in learner.parameters().items() if p.grad is not None]
        dot = sum((g * r).sum() for g, r in pairs)
        if dot < 0:
            # all of r counts in its square, also where g has no part
            scale = dot / sum((r * r).sum() for r in reference.values())
            for g, r in pairs:
                g.sub_(scale * r)
