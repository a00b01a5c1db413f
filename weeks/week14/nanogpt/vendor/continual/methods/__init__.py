# vendored from weeks/week13/continual/methods/__init__.py, sha256 6ce053cd7096a6d172dd0fe205efb60d65c027b394e0b26ccc627eacd6277b42; edit there, then run: make vendor
"""The table of methods. A new one is a file here, a row below, and the exam in the tests takes it from there."""

from ..strategy import Config, Strategy
from .ema import EMA, EMAConfig
from .grown import AdapterConfig
from .hat import HAT, HATConfig
from .interpolation import Interpolation, InterpolationConfig
from .joint import Joint
from .lora import IncLoRA, SequentialLoRA
from .merging import TIES, MagMax, MagMaxConfig, TIESConfig
from .olora import OLoRA, OLoRAConfig
from .packnet import PackNet, PackNetConfig
from .penalty import EWC, L2, EWCConfig, L2Config
from .replay import Replay, ReplayConfig
from .router import RoutedLoRA, RouterConfig
from .slow_lora import SlowLoRA, SlowLoRAConfig

# name -> (its settings, the method)
METHODS = {
    "naive": (Config, Strategy),
    "joint": (Config, Joint),
    "replay": (ReplayConfig, Replay),
    "l2": (L2Config, L2),
    "ewc": (EWCConfig, EWC),
    "packnet": (PackNetConfig, PackNet),
    "hat": (HATConfig, HAT),
    "interpolation": (InterpolationConfig, Interpolation),
    "ema": (EMAConfig, EMA),
    "ties": (TIESConfig, TIES),
    "magmax": (MagMaxConfig, MagMax),
    "sequential_lora": (AdapterConfig, SequentialLoRA),
    "inc_lora": (AdapterConfig, IncLoRA),
    "o_lora": (OLoRAConfig, OLoRA),
    "routed_lora": (RouterConfig, RoutedLoRA),
    "slow_lora": (SlowLoRAConfig, SlowLoRA),
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
