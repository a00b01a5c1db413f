"""The table of methods. A new one is a file here, a row below, and the exam in the tests takes it from there."""

from ..strategy import Config, Strategy
from .agem import AGEM, AGEMConfig
from .derpp import DERpp, DERppConfig
from .distilled_replay import DistilledReplay, DistilledReplayConfig
from .ema import EMA, EMAConfig
from .ewc import EWC, EWCConfig
from .finch import FINCH, FINCHConfig
from .gdumb import GDumb, GDumbConfig
from .generative import GenerativeReplay, GenerativeReplayConfig
from .generic import Generic, GenericConfig
from .grown import AdapterConfig
from .hat import HAT, HATConfig
from .interpolation import Interpolation, InterpolationConfig
from .joint import Cumulative, Joint
from .kl_replay import KLReplay, KLReplayConfig
from .l2 import L2, L2Config
from .lora import IncLoRA, SequentialLoRA
from .lwf import LwF, LwFConfig
from .mas import MAS, MASConfig
from .merging import TIES, MagMax, MagMaxConfig, TIESConfig
from .olora import OLoRA, OLoRAConfig
from .opr import OPR
from .packnet import PackNet, PackNetConfig
from .rehearsal import RehearsalConfig
from .replay import Replay
from .router import RoutedLoRA, RouterConfig
from .self_labels import SelfLabels
from .shared_replay import SharedReplay, SharedReplayConfig
from .si import SI, SIConfig
from .slow_lora import SlowLoRA, SlowLoRAConfig
from .ssr import SSR, SSRConfig

# name -> (its settings, the method)
METHODS = {
    "naive": (Config, Strategy),
    "joint": (Config, Joint),
    "cumulative": (Config, Cumulative),
    "replay": (RehearsalConfig, Replay),
    "shared-replay": (SharedReplayConfig, SharedReplay),
    "distilled-replay": (DistilledReplayConfig, DistilledReplay),
    "generative-replay": (GenerativeReplayConfig, GenerativeReplay),
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
    "packnet": (PackNetConfig, PackNet),
    "hat": (HATConfig, HAT),
    "interpolation": (InterpolationConfig, Interpolation),
    "ema": (EMAConfig, EMA),
    "ties": (TIESConfig, TIES),
    "magmax": (MagMaxConfig, MagMax),
    "sequential-lora": (AdapterConfig, SequentialLoRA),
    "inc-lora": (AdapterConfig, IncLoRA),
    "o-lora": (OLoRAConfig, OLoRA),
    "routed-lora": (RouterConfig, RoutedLoRA),
    "slow-lora": (SlowLoRAConfig, SlowLoRA),
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
