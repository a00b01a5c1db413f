"""The table of methods. A new one is a file here, a row below, and the exam in the tests takes it from there."""

from ..strategy import Config, Strategy
from .ewc import EWC, EWCConfig
from .finch import FINCH, FINCHConfig
from .joint import Joint
from .l2 import L2, L2Config
from .lwf import LwF, LwFConfig
from .mas import MAS, MASConfig
from .replay import Replay, ReplayConfig
from .si import SI, SIConfig

# name -> (its settings, the method)
METHODS = {
    "naive": (Config, Strategy),
    "joint": (Config, Joint),
    "replay": (ReplayConfig, Replay),
    "l2": (L2Config, L2),
    "ewc": (EWCConfig, EWC),
    "si": (SIConfig, SI),
    "mas": (MASConfig, MAS),
    "lwf": (LwFConfig, LwF),
    "finch": (FINCHConfig, FINCH),
}


def make(name, config=None, *, seed=0, tasks=()):
    """A fresh method. `config`: an instance of its Config, or a dict of what differs from the defaults.

    An unknown method or setting raises ValueError and names the known ones.
    """
    if name not in METHODS:
        raise ValueError(f"no method is called {name!r}; choose one of {', '.join(METHODS)}")
    kind, method = METHODS[name]
    if not isinstance(config, kind):
        unknown = sorted(set(config or {}) - set(kind.__dataclass_fields__))
        if unknown:
            known = ", ".join(kind.__dataclass_fields__) or "no settings at all"
            raise ValueError(f"{name} has no setting {', '.join(unknown)}; it has {known}")
        config = kind(**(config or {}))
    return method(config, seed=seed, tasks=tasks)
