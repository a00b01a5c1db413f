"""The table of methods. A new one is a file here, a row below, and the exam in the tests takes it from there."""

import math

from ..strategy import Config, Strategy
from .agem import AGEM, AGEMConfig
from .derpp import DERpp, DERppConfig
from .distilled_replay import DistilledReplay, DistilledReplayConfig
from .ema import EMA, EMAConfig
from .ewc import EWC, EWCConfig
from .experts import Experts, ExpertsConfig
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
    "experts": (ExpertsConfig, Experts),
}

# type of a setting: (types of its values, what to say to any other)
TYPES = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
}


def make(name, config=None, *, seed=0, tasks=()):
    """A fresh method. `config`: an instance of its Config, or a dict of what differs from the defaults.

    An unknown method or setting raises ValueError and names the known ones; so does a value of the wrong type.
    """
    if name not in METHODS:
        raise ValueError(f"no method is called {name!r}; choose one of {', '.join(METHODS)}")
    kind, method = METHODS[name]
    if not isinstance(config, kind):
        config = kind(**typed(name, kind, {} if config is None else config))
    return method(config, seed=seed, tasks=tasks)


def typed(name, kind, settings):
    """The dict `settings`, once all are known and of their fields' types: a hand may have typed or edited them."""
    if not isinstance(settings, dict):
        raise ValueError(f"the settings of {name} are {settings!r}; give a name and a value for each")
    fields = kind.__dataclass_fields__
    if unknown := sorted(set(settings) - set(fields)):
        known = ", ".join(fields) or "no settings at all"
        raise ValueError(f"{name} has no setting {', '.join(unknown)}; it has {known}")
    for setting, value in settings.items():
        types, wanted = TYPES[fields[setting].type]
        endless = isinstance(value, float) and math.isinf(value)
        if type(value) not in types or endless:  # a bool is an int to isinstance
            raise ValueError(f"{setting} is {value!r}; use {wanted}{' that is not infinite' * endless}")
    return settings
