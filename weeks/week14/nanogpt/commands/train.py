"""`nanogpt train`: a model from scratch."""

import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..device import pick_device
from ..presets import PRETRAIN, SHAPE, Shape, ingredients
from ..train import TrainConfig
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import locked
from ..workspace.learn import all_learned, course_from
from .learn import (
    finish,
    going_on,
    method_of,
    method_settings,
    not_published,
    read_task,
    refuse_idle,
    resumable,
    suits,
    vacant,
)
from .options import Count, Device, Folder, Name, Threads
from .settings import given, option, options_of, settle


@dataclass
class Train:
    """Train a model from scratch on a text file.

    examples:
      nanogpt train data/shakespeare/train.txt --out checkpoints/mine
      nanogpt train notes.txt --out checkpoints/mine --n-embd 240 --steps 300
      nanogpt train notes.txt --out checkpoints/mine --resume
    """

    text: Positional[Path]
    """UTF-8 text; a line <|endoftext|> stands between documents."""
    out: Folder
    """Folder for the model."""
    exam: Path | None = None
    """Held-out text that judges the model; by default the last tenth."""
    set: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE", help_behavior_hint="(default: none)")] = ()
    """The model's ingredients, as in: --set mlp=swiglu tie=true."""
    method: Name = "replay"
    """How it is to be protected later: naive, replay ..."""
    save_every: Count = 100
    """Steps between checkpoints."""
    resume: bool = False
    """Go on with a run that was stopped."""
    device: Device = "auto"
    threads: Threads = None

    @classmethod
    def of(cls, argv):
        """The command with the options of its method and settings."""
        if sum(word == "--set" or word.startswith("--set=") for word in argv) > 1:  # the last would count alone
            raise Mistake("--set is there twice; give all ingredients in one, as in: --set mlp=swiglu tie=true")
        return options_of(Shape, options_of(TrainConfig, options_of(method_settings(argv), cls)))

    def run(self):
        device = pick_device(self.device)
        name, kind, text, exam = read_task(self.text, self.exam)
        if kind != "text":
            raise Mistake(f"{self.text} holds rows; a model is trained from scratch on plain text: give such a file")
        chosen, shape = given(self, TrainConfig), {**given(self, Shape), **ingredients(self.set)}
        suits(method_of(self).name, kind, self.text)
        not_published(self.out)
        resumable(self)
        with locked(self.out):
            if self.resume:
                course, config = going_on(self, name, device, chosen)
                shape = as_built(shape, course, text)
                settle(shape, course.model.config, f"the model in {self.out}", typed=typed)
            else:
                vacant(self.out)
                config = TrainConfig(**{**PRETRAIN.to_dict(), **chosen})
                refuse_idle(config, chosen)
                course = self.fresh(text, config, shape, device)
            course.exams[name] = course.kind.dump(exam)
            task, _ = course.kind.task(name, text, course.loaded, course.row_length)
            finish(course, task, config, self, device)

    def fresh(self, text, config, shape, device):
        """A vocabulary trained on the text, and a model that knows nothing yet."""
        method = method_of(self)
        chosen = {"method": method.name, "method_config": method.config, "seed": config.seed, "device": device}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "the text has no pair left")  # said below, as a note for this command
                course = course_from(text, {**SHAPE, **shape}, **chosen)
        except ValueError as error:
            raise Mistake(str(error)) from error
        found, asked = course.model.config.vocab_size, {**SHAPE, **shape}["vocab_size"]
        if found < asked:
            said = f"the text gives only {found} tokens, not {asked}; give more text, or --vocab-size {found}"
            print(f"note: {said}", file=sys.stderr)
        return course


def as_built(shape, course, text):
    """What the sizes that were asked for come to: 0 is what the config makes of it, and a vocabulary ends where the
    text gives no more. So the words of the first run are those that go on with it."""
    config, shape = course.model.config, dict(shape)
    of_itself = {name: 0 for name in ("n_kv_head", "n_hidden") if shape.get(name) == 0}
    shape |= {name: getattr(replace(config, **of_itself), name) for name in of_itself}
    if shape.get("vocab_size", 0) > config.vocab_size and all_learned(course.tokenizer, text):
        del shape["vocab_size"]
    return shape


def typed(name, value):
    """A field of the model's config as it is given: a size is an option, an ingredient is told to --set."""
    return f"{option(name)} {value}" if name in vars(Shape()) else f"--set {name}={str(value).lower()}"
