# vendored from weeks/week13/continual/methods/__init__.py, sha256 ab05c9c8c2ba34d5be227d6a69ebf64f1c4f6165ebb0aef512fb06ba2aa4a6e3; edit there, then run: make vendor
"""The table of methods. A new one is a file here, a row below, and the exam in the tests takes it from there."""

from ..strategy import Config, Strategy
from .agem import AGEM, AGEMConfig
from .derpp import DERpp, DERppConfig
from .ewc import EWC, EWCConfig
from .finch import FINCH, FINCHConfig
from .gdumb import GDumb, GDumbConfig
from .generic import Generic, GenericConfig
from .joint import Cumulative, Joint
from .kl_replay import KLReplay, KLReplayConfig
from .l2 import L2, L2Config
from .lwf import LwF, LwFConfig
from .mas import MAS, MASConfig
from .opr import OPR
from .rehearsal import RehearsalConfig
from .replay import Replay
from .self_labels import SelfLabels
from .si import SI, SIConfig
from .ssr import SSR, SSRConfig

# name -> (its settings, the method)
METHODS = {
    "naive": (Config, Strategy),
    "joint": (Config, Joint),
    "cumulative": (Config, Cumulative),
    "replay": (RehearsalConfig, Replay),
    "gdumb": (GDumbConfig, GDumb),
    "a-gem": (AGEMConfig, AGEM),
    "der++": (DERppConfig, DERpp),
    "generic": (GenericConfig, Generic),
    "self-labels": (RehearsalConfig, SelfLabels),
    "opr": (RehearsalConfig, OPR),
    "kl-replay": (KLReplayConfig, KLReplay),
    "ssr": (SSRConfig, SSR),
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
