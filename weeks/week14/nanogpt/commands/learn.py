"""`nanogpt learn`: one more kind of text, or one more task."""

import math
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from .. import checkpoint
from ..answers import hold_out_rows, make_task, read_rows, write_rows
from ..checkpoint import read_index
from ..device import autocast_for, pick_device
from ..sources import open_model
from ..tasks import SEPARATOR, Domain, documents, hold_out, read_text
from ..train import TrainConfig
from ..vendor.continual.metrics import rise
from ..vendor.lora.adapter import LoRAConfig
from ..vendor.shared.errors import Mistake
from ..workspace.learn import course_on, teach
from ..workspace.store import is_course, open_course
from .options import MODEL, Device, Folder, Model, Name, Precision, Threads

LATER = TrainConfig(steps=80, warmup=8, lr=1e-3)  # a later domain of a small model: fewer steps, and half the rate
ADAPT = TrainConfig(steps=80, lr=1e-3, warmup=5, weight_decay=0.0)  # LoRA; for rows the steps follow from their number
ADAPT_TEXT = replace(ADAPT, batch_size=4)  # every token of a row is judged, and a large vocabulary makes that dear
EPOCHS = 2  # passes over the rows of a task
ROW_LENGTH = 256


@dataclass
class Learning:
    """How to learn. What is not given is chosen by what is taught: a small model's text, or rows for an adapter."""

    steps: int | None = None
    """Optimizer steps (default 80; for .jsonl rows as many as make two passes over them)."""
    batch_size: int | None = None
    """New rows in one forward pass (default 8; 4 for text of a published model)."""
    accumulate: int | None = None
    """Forward passes whose gradients make one step."""
    lr: float | None = None
    """Highest learning rate (default 0.001)."""
    warmup: int | None = None
    """Steps in which the learning rate rises from 0."""
    weight_decay: float | None = None
    clip: float | None = None
    """Largest norm of the gradient."""
    seed: int = 0
    """Seed of the adapter, the order of the rows and the replay."""
    precision: Precision = "auto"

    def config(self, default, n_rows=None):
        """A TrainConfig: `default`, changed where an option was given; n_rows sets the steps of an adapter."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        config = replace(default, **given)
        if n_rows is not None and self.steps is None:
            config = replace(config, steps=math.ceil(EPOCHS * n_rows / (config.batch_size * config.accumulate)))
        return config


@dataclass
class Lora:
    """The adapter of a published model, whose own weights stay as they are."""

    rank: int = 8
    """Rank of each layer's correction: more can learn more, and forget more."""
    alpha: float = 16.0
    """The correction is scaled by alpha / rank."""
    targets: Annotated[str, arg(metavar="NAMES")] = "all-linear"
    """Layers to adapt, separated by commas, such as attn.q,attn.v."""

    def config(self):
        try:
            return LoRAConfig(self.rank, self.alpha, targets=tuple(self.targets.split(",")))
        except ValueError as error:
            raise Mistake(str(error)) from error


@dataclass
class Learn:
    """Teach a model one more thing, and show what that did to what it knew.

    A .jsonl file holds rows {"prompt": ..., "response": ...}, for a model with a chat template: the loss is on the
    responses, and the exam counts exact answers. Any other file is text, judged by bits per byte. A model that was
    trained here learns with all its weights; a published one gets a LoRA adapter.

    examples:
      nanogpt learn spam.jsonl --model smollm2-135m --out checkpoints/helper
      nanogpt learn topics.jsonl --model checkpoints/helper --out checkpoints/helper
      nanogpt learn data/bible/train.txt --name bible --out checkpoints/two
      nanogpt learn recipes.txt --method naive --out checkpoints/forgetful
    """

    file: Positional[Path]
    """UTF-8 text of a new domain, or JSONL rows of a new task."""
    out: Folder
    """Folder for the taught model; it may be the same as --model."""
    model: Model = MODEL
    name: Name = ""
    """What to call the task; by default the name of the file, or of its folder if the file is called train."""
    exam: Path | None = None
    """Held-out file that judges the task; by default a tenth of FILE is held out."""
    method: Annotated[str, arg(metavar="{replay,naive}")] = "replay"
    """replay joins kept rows of earlier tasks to each batch; naive trains on the new rows alone."""
    replay_rows: int | None = None
    """Old rows in each batch when the method is replay (default 8 for text of a model trained here, else 4)."""
    keep_rows: int = 512
    """Training rows that a published model keeps in all, shared by its tasks; 0 keeps none."""
    row_length: int = ROW_LENGTH
    """Tokens in a training row of a published model; longer prompts are cut."""
    learning: Annotated[Learning, arg(name="")] = field(default_factory=Learning)
    lora: Annotated[Lora, arg(name="")] = field(default_factory=Lora)
    save_every: int = 100
    """Steps between checkpoints."""
    resume: bool = False
    """Go on with a run that was stopped: the same command plus --resume."""
    device: Device = "auto"
    threads: Threads = None

    def run(self):
        if self.method not in ("replay", "naive"):
            raise Mistake(f"--method {self.method} is not known; choose replay or naive")
        for name in ("replay_rows", "keep_rows"):
            if (getattr(self, name) or 0) < 0:
                raise Mistake(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must not be negative")
        if self.row_length < 16:
            raise Mistake(f"--row-length is {self.row_length}; a row needs at least 16 tokens")
        kind = "answers" if self.file.suffix == ".jsonl" else "text"
        name = self.name or (self.file.parent.name if self.file.stem == "train" else self.file.stem)
        if kind == "answers":  # what is wrong with a file is told before a model is opened
            rows = read_rows(self.file)
            rows, exam = (rows, read_rows(self.exam)) if self.exam else hold_out_rows(rows)
        else:
            domain = read_domain(self.file, self.exam, name)
        device = pick_device(self.device)
        course = self.course(kind, name, device)
        if kind == "answers":
            course.exams.setdefault(name, write_rows(exam))
            task, cut = make_task(name, rows, course.loaded.template(), course.row_length)
            if cut:
                print(f"note: {cut} prompts were cut to fit rows of {course.row_length} tokens", file=sys.stderr)
        else:
            course.exams.setdefault(name, domain.exam)
            task = domain.task(course.tokenizer, course.row_length, progress=True)
        if kind == "answers":
            config = self.learning.config(ADAPT, len(task.train))
        else:
            config = self.learning.config(ADAPT_TEXT if course.loaded.base else LATER)
        taught(course, task, config, self, device)

    def course(self, kind, name, device):
        """The course that is to go on, or a new one on a published model."""
        whole = kind == "text" and is_course(self.model) and "base" not in read_index(self.model)
        replay_rows = (8 if whole else 4) if self.replay_rows is None else self.replay_rows
        replay_rows = replay_rows if self.method == "replay" else 0
        seed, precision = self.learning.seed, self.learning.precision
        same = {"replay_rows": replay_rows, "seed": seed}
        if self.resume:
            course = open_course(self.out, device, precision=precision, **same)
            if not course.progress:
                raise Mistake(f"{self.out} is complete: there is nothing to resume")
            return course
        if self.out.resolve() != Path(self.model).resolve() and checkpoint.exists(self.out):
            raise Mistake(f"{self.out} already holds a model; give another --out")
        if not is_course(self.model):
            if self.out.resolve() == Path(self.model).resolve():
                raise Mistake(f"{self.model} is a published model, and stays as it is; give another --out")
            loaded = open_model(self.model, device, precision)
            return course_on(
                loaded, self.lora.config(), kind=kind, row_length=self.row_length, keep_rows=self.keep_rows, **same
            )
        course = open_course(self.model, device, precision=precision, **same)
        if course.progress:
            raise Mistake(
                f"{self.model} was stopped while it learned {course.progress['domain']}; "
                "finish that with --resume, or give another --model"
            )
        if name in course.taught:
            raise Mistake(f"{self.model} already learned {name!r}; give this file another --name")
        if kind != course.kind:
            kinds = {"text": "text, judged by bits per byte", "answers": "rows (.jsonl), judged by exact answers"}
            raise Mistake(
                f"{self.model} learns {kinds[course.kind]}, and {self.file} holds {kinds[kind].split(',')[0]}: one "
                "course has one kind; start another from a published model, such as --model smollm2-135m"
            )
        if replay_rows and not len(course.replay.memory):
            print("note: this model kept no rows of what it learned, so there is nothing to replay", file=sys.stderr)
        return course


def read_domain(text, exam, name=""):
    """The Domain in a file: its name from the path where none is given, its exam from a file or held out."""
    train = read_text(text)
    name = name or (text.parent.name if text.stem == "train" else text.stem)
    train, judged = (train, read_text(exam)) if exam else hold_out(train)
    if not train.strip() or not judged.strip():
        raise Mistake(f"{text} is too short to hold some of it out; give more text, or a held-out file with --exam")
    return Domain(name, SEPARATOR.join(documents(train)), judged)


def taught(course, task, config, options, device):
    """Say what runs on what, teach, commit and print the matrix; Ctrl-C says how to go on."""
    autocast, precision = autocast_for(config.precision, device)
    model, folder = course.model, options.out
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    share = "" if trained == model.n_params() else f", {trained:,} of them trained"
    what = f"{len(task.train):,} rows of up to {course.row_length} tokens"
    print(f"{model.n_params():,} parameters{share} on {device} in {precision}; {what}", file=sys.stderr)
    try:
        teach(course, task, config, autocast=autocast, folder=folder, save_every=options.save_every)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{stop}; saved in {folder}. Go on with the same command plus --resume") from None
    print(matrix_table(course))
    print(f"saved in {folder}; try: nanogpt {'chat' if course.kind == 'answers' else 'sample'} --model {folder}")


def matrix_table(course):
    """The matrix as text: a row a task learned, a column an exam."""
    names, right = list(course.exams), course.kind == "answers"
    width = max(10, *(len(name) + 1 for name in names))
    title = "% of answers right after" if right else "bits per byte after learning"
    lines = [title.ljust(30) + "".join(name.rjust(width) for name in names)]
    for name, row in zip(course.taught, course.rows, strict=True):
        cells = "".join(f"{100 * value:{width}.1f}" if right else f"{value:{width}.3f}" for value in row)
        lines.append(f"  {name}".ljust(30) + cells)
    if len(course.taught) > 1:
        change = rise(course.matrix().rows)
        said = f"changed by {100 * change:+.1f} points" if right else f"rose by {change:.3f} bits per byte"
        lines.append(f"old {'tasks' if right else 'domains'} {said} on average")
    return "\n".join(lines)
