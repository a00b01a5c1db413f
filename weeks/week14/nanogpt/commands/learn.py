"""`nanogpt learn`: one more kind of text, or one more task."""

import math
import shlex
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from tyro.conf import Positional, arg

from .. import checkpoint, formats
from ..device import autocast_for, pick_device, pick_precision
from ..kinds import KINDS, kind_of
from ..presets import ADAPT_ROWS, ADAPT_TEXT, EPOCHS, LATER, REPLAY_ROWS, ROW_LENGTH, Lora
from ..sources import ADAPTER, find, open_model
from ..train import GROWTH, TrainConfig, idle
from ..vendor.continual.methods import METHODS, make
from ..vendor.continual.methods.grown import Grown
from ..vendor.continual.strategy import Config
from ..vendor.lora import adapter
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import locked
from ..workspace import gate
from ..workspace.learn import course_on, learn
from ..workspace.store import course_of, open_course
from .options import MODEL, Count, Device, Folder, Model, Name, Threads
from .settings import given, option, options_of, settle


class Method(NamedTuple):
    """A method by name, its settings, and the values among them that were given."""

    name: str
    config: Config
    given: dict


@dataclass
class Learn:
    """Teach a model one more thing, and show what that did to what it knew.

    A .jsonl file holds rows {"prompt": ..., "response": ...}, for a model with a chat template: the loss is on the
    responses, and the exam counts exact answers. Any other file is text, judged by bits per byte. A model that was
    trained here learns with all its weights; a published one gets a LoRA adapter.

    examples:
      nanogpt learn spam.jsonl --model smollm2-135m --out checkpoints/helper
      nanogpt learn topics.jsonl --model checkpoints/helper --out checkpoints/helper
      nanogpt learn data/fables/train.txt --name fables --out checkpoints/two
      nanogpt learn letters.txt --method naive --out checkpoints/forgetful

    --method ewc --help: options of another method. Published models learn with adamw at 0.001.
    """

    file: Positional[Path]
    """UTF-8 text of a new domain, or JSONL rows of a new task."""
    out: Folder
    """Folder for the taught model; it may be the same as --model."""
    model: Model = MODEL
    name: Name = ""
    """What to call the task; by default as the file (or its folder)."""
    exam: Path | None = None
    """Held-out file that judges the task; by default a tenth of FILE."""
    keep_exam: Literal["yes", "no"] = "yes"
    """Keep the held-out part, to judge the task again later."""
    method: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: as before)")] = None
    """How old tasks are protected; a wrong name lists all."""
    row_length: Annotated[int | None, arg(help_behavior_hint="(default: 256)")] = None
    """Tokens in a row of a published model; longer ones are cut."""
    max_forgetting: Annotated[float | None, arg(help_behavior_hint="(default: none)")] = None
    """Go back where old tasks lose more on average."""
    save_every: Count = 100
    """Steps between checkpoints."""
    resume: bool = False
    """Go on with a run that was stopped."""
    device: Device = "auto"
    threads: Threads = None

    @classmethod
    def of(cls, argv):
        """The command with the options of its method, of training and of the adapter."""
        base = options_of(method_settings(argv), cls)
        return options_of(Lora, options_of(TrainConfig, base, defaults=LATER, without=GROWTH))

    def run(self):
        if self.row_length is not None and self.row_length < 16:
            raise Mistake(f"--row-length is {self.row_length}; a row needs at least 16 tokens")
        if self.max_forgetting is not None and not 0 <= self.max_forgetting < math.inf:
            raise Mistake(f"--max-forgetting is {self.max_forgetting}; it must be 0 or more")
        method, _, _ = method_of(self), TrainConfig(**given(self, TrainConfig)), self.lora()  # before any work
        name, kind, content, exam = read_task(self.file, self.exam, self.name)
        suits(method.name, kind, self.file)
        device = pick_device(self.device)
        if not self.resume and not (source := find(self.model)).exists():
            checkpoint.read_index(source)  # says so: before a lock makes --out, which may be the same folder
        not_published(self.out)
        resumable(self)
        with locked(self.out):
            config = successor = None
            if self.resume:
                course, config = going_on(self, name, device, given(self, TrainConfig))
            else:
                course, successor = self.course(kind, name, device)
            taught = self.out if self.resume else self.model
            if kind != course.tasks:
                raise Mistake(
                    f"{taught} learns {course.tasks}, and {self.file} holds {kind}: one course has one kind; start "
                    "another from a published model, such as --model smollm2-135m"
                )
            if self.max_forgetting is not None and not any(course.exams[other] is not None for other in course.learned):
                raise Mistake(
                    f"--max-forgetting compares old tasks, and {taught} holds the exam of none; leave it out, or "
                    "teach it from the beginning with --keep-exam yes"
                )
            judged = course.kind.dump(exam)
            same = [other for other in course.learned if course.exams[other] == judged]
            if same and not (self.exam or self.resume):  # somebody may judge two tasks by one file
                raise Mistake(
                    f"{self.model} already learned the rows of {self.file}, as {same[0]!r}; give another file, or an "
                    "--exam FILE for this task"
                )
            course.exams[name] = judged
            task, note = course.kind.task(name, content, course.loaded, course.row_length)
            if note:
                print(f"note: {note}", file=sys.stderr)
            config = config or self.config(course, task)
            refuse_idle(config, given(self, TrainConfig))
            finish(course, task, config, self, device, successor)

    def lora(self):
        return Lora(**given(self, Lora)).config()

    def config(self, course, task):
        """The training settings of a new run: defaults by what is taught, changed where an option was given."""
        rows = course.tasks == "answers"
        default = LATER if course.loaded.base is None else ADAPT_ROWS if rows else ADAPT_TEXT
        config = replace(default, **given(self, TrainConfig))
        if rows and getattr(self, "steps", None) is None:
            a_step = config.batch_size * config.accumulate
            config = replace(config, steps=math.ceil(EPOCHS * len(task.train) / a_step))
        return config

    def course(self, kind, name, device):
        """The course that is to go on, or a new one on a published model; and (Strategy, name) of another method that
        is to take over, or None."""
        here = self.out.resolve() == find(self.model).resolve()
        seed, precision = getattr(self, "seed", None) or 0, getattr(self, "precision", None) or "auto"
        if not here:
            vacant(self.out)
        if not course_of(self.model):
            if here:
                raise Mistake(f"{self.model} is a published model, and stays as it is; give another --out")
            loaded, method = open_model(self.model, device, precision), method_of(self, replay_rows=REPLAY_ROWS)
            KINDS[kind].learner(loaded, None)  # has it what this kind needs?
            most = loaded.model.config.block_size - 1
            if self.row_length is not None and self.row_length > most:
                raise Mistake(f"--row-length is {self.row_length}, and a row of {self.model} holds at most {most}")
            length = self.row_length or min(ROW_LENGTH, most)
            return course_on(loaded, self.lora(), tasks=kind, row_length=length, method=method.name,
                             method_config=method.config, seed=seed), None  # fmt: skip
        method, course = method_of(self), open_taught(self, self.model, device, precision, seed)
        if course.progress:
            raise Mistake(
                f"{self.model} was stopped while it learned {course.progress['task']}; "
                "finish that with --resume, or give another --model"
            )
        if name in course.learned:
            raise Mistake(f"{self.model} already learned {name!r}; give this file another --name")
        if course.method_name != method.name and self.method is not None:
            if here:
                raise Mistake(
                    f"{self.model} was taught with {course.method_name}; with --method {method.name} what that method "
                    "remembers would be lost there: give another --out"
                )
            if METHODS[method.name][1].needs_prompt and course.tasks == "answers":
                raise Mistake(
                    f"--method {method.name} sends a prompt to the task that it is like, and of {self.model} it would "
                    f"know no prompt of {', '.join(course.learned)}: teach these with it too, from a published --model"
                )
            newest = f", and training goes on from the weights of {course.learned[-1]}"
            several = newest if course.method.needs_prompt else ""
            print(f"note: what {course.method_name} remembers is not taken along{several}", file=sys.stderr)
            return course, (make(*method[:2], seed=seed), method.name)
        return course, None


def suits(method, kind, file):
    """Mistake where a method that writes rows itself is to learn text."""
    if kind == "text" and METHODS[method][1].needs_text:
        raise Mistake(
            f"--method {method} is for rows of prompt and response, a .jsonl file, and {file} is text; choose another "
            "method, such as replay"
        )


def vacant(folder):
    """Mistake where `folder` holds a model, or a run that was stopped, and something else is to be put there."""
    if not checkpoint.exists(folder):
        return
    if begun := checkpoint.read_index(folder)["record"].get("progress"):
        raise Mistake(f"{folder} was stopped while it learned {begun.get('task')}; give --resume, or another --out")
    raise Mistake(f"{folder} already holds a model; give another --out. To teach it more: nanogpt learn")


def resumable(options):
    """Mistake where --resume is given and --out holds nothing; before a lock makes that folder."""
    if options.resume and not checkpoint.exists(options.out):
        raise Mistake(f"{options.out} holds no run that was stopped; leave --resume out to start one there")


def refuse_idle(config, chosen):
    """Mistake for an option that would be accepted and do nothing."""
    for name, what in idle(config, chosen).items():
        raise Mistake(f"{option(name)} {chosen[name]} does nothing without {what}; give that too, or leave it out")


def not_published(folder):
    """Mistake where a published model lies in `folder`: a checkpoint beside it would be opened in its place."""
    if folder.exists() and not checkpoint.exists(folder) and formats.row_of(folder):
        raise Mistake(f"{folder} is a published model, and stays as it is; give another --out")


def method_settings(argv):
    """The settings class of the method that the command line names, so that its fields become options."""
    words = [word.removeprefix("--method=") for i, word in enumerate(argv)
             if word.startswith("--method=") or (i and argv[i - 1] == "--method")]  # fmt: skip
    return offered().get(words[-1] if words else "replay", METHODS["replay"])[0]


def offered():
    """The methods that can be served by whoever does not name the task, and that put no adapters on a bare model."""
    return {name: row for name, row in METHODS.items() if not row[1].needs_task and not issubclass(row[1], Grown)}


def method_of(options, **defaults):
    """The Method that the options ask for."""
    name = options.method or "replay"
    if name not in offered():
        why = "is not known"
        if name in METHODS:
            told = METHODS[name][1].needs_task
            why = "must be told the task of each prompt" if told else "grows adapters of its own on a bare model"
        raise Mistake(f"--method {name} {why}; choose one of {', '.join(offered())}")
    settings = METHODS[name][0]
    chosen = given(options, settings)
    try:
        fitting = {k: v for k, v in defaults.items() if k in settings.__dataclass_fields__}
        return Method(name, settings(**{**fitting, **chosen}), chosen)
    except ValueError as error:
        said = str(error)  # a setting at its beginning is said as it is typed
        typed = next((name for name in settings.__dataclass_fields__ if said.startswith(f"{name} is ")), None)
        raise Mistake(option(typed) + said.removeprefix(typed) if typed else said) from error


def open_taught(options, folder, device, precision, seed, free=True):
    """The course in `folder`, once every option that was given is what it was taught with.

    `free`: it is to learn something new, and the settings of its method that may change from task to task are taken.
    """
    course = open_course(folder, device, precision=precision, seed=seed)
    method = method_of(options)
    where = f"{folder}, taught with {course.method_name},"
    if options.method in (None, course.method_name):
        known = {f.name: f for f in fields(course.method.config)}
        if strange := [name for name in method.given if name not in known]:
            raise Mistake(f"{where} has no {', '.join(map(option, strange))}; leave it out, or give --method as well")
        may = [name for name, f in known.items() if free and f.metadata.get("free")]
        course.method.config = settle(method.given, course.method.config, where, free=may)
    if getattr(options, "row_length", None) is not None and options.row_length != course.row_length:
        given_length = f"--row-length {options.row_length}"
        raise Mistake(f"{where} has rows of {course.row_length} tokens, not {given_length}; leave it out")
    wanted = given(options, Lora)
    if wanted and course.loaded.base is None:
        said = ", ".join(f"{option(name)} {value}" for name, value in wanted.items())
        raise Mistake(
            f"{where} learns with all its weights: {said} is for an adapter; leave it out, or give it with "
            "a published --model"
        )
    if wanted:
        settle(wanted, Lora.of(adapter.adapters(course.model)[ADAPTER]), where)
    return course


def going_on(options, name, device, chosen):
    """(course, settings) of the run that was stopped in --out; a Mistake where it differs from what is asked now."""
    begun = checkpoint.read_index(options.out)["record"].get("progress")
    if not begun:
        raise Mistake(f"{options.out} is complete: there is nothing to resume. To teach it more: nanogpt learn")
    stored = stored_config(begun, options.out / checkpoint.INDEX)
    if chosen.get("precision") == "auto":
        chosen = {**chosen, "precision": pick_precision("auto", device)}
    if name != begun["task"]:
        raise Mistake(f"{options.out} was stopped while it learned {begun['task']}, not {name}; give the file of that")
    config = settle(chosen, stored, f"the run that was stopped in {options.out}", free=("lr",))
    course = open_taught(options, options.out, device, config.precision, config.seed, free=False)
    if options.method is not None and options.method != course.method_name:
        raise Mistake(
            f"the run that was stopped in {options.out} has --method {course.method_name}, not {options.method}; "
            "leave it out to go on as before, or start anew in another folder"
        )
    return course, config


def stored_config(begun, file):
    """The TrainConfig of a run that was stopped, as `file` has it."""
    try:
        fields = begun["config"]
        missing = [name for name in ("task", "rows", "stage", "step", "losses") if name not in begun]
        missing += [name for name in ("steps", "batch_size", "seed", "optimizer") if name not in fields]
        if missing:  # in none by default
            raise Mistake(f"no {', '.join(missing)}")
        return TrainConfig(**fields)
    except (TypeError, KeyError, ValueError, Mistake) as error:
        raise Mistake(f"{file} lacks what a run needs ({error}); restore it from a copy, or train again") from error


def read_task(path, exam=None, name=""):
    """(name, kind, what to train on, what judges it) of a file; the name from its path where none is given."""
    kind = kind_of(path)
    content = KINDS[kind].read(path)
    try:
        content, judged = (content, KINDS[kind].read(exam)) if exam else KINDS[kind].hold_out(content)
    except Mistake as error:
        raise Mistake(str(error) if exam else f"{path}: {error}") from None
    whole = path.resolve()
    return name.strip() or (whole.parent.name if whole.stem == "train" else whole.stem) or "text", kind, content, judged


def finish(course, task, config, options, device, successor=None):
    """Say what runs on what, learn, and print the matrix and the verdict."""
    autocast, precision = autocast_for(config.precision, device)
    config, model, folder = replace(config, precision=precision), course.model, options.out
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    share = "" if trained == model.n_params() else f", {trained:,} of them trained"
    what = f"{len(task.train):,} rows of up to {course.row_length} tokens"
    print(f"{model.n_params():,} parameters{share} on {device} in {precision}; {what}", file=sys.stderr)
    keep_exam = getattr(options, "keep_exam", "yes") == "yes"
    _, verdict = learn(course, task, config, autocast=autocast, folder=folder, save_every=options.save_every,
                       most_forgetting=getattr(options, "max_forgetting", None), keep_exam=keep_exam,
                       successor=successor)  # fmt: skip
    print(reported(course.method, task.name), file=sys.stderr, end="")
    print(matrix_table(course))
    if not verdict.keep:
        again = shlex.join(["nanogpt", "undo", str(folder)])
        back = f"{folder} holds the state before; the new one comes back with: {again}"
        if not (folder / checkpoint.PREVIOUS).is_file():  # there was none: a first training
            back = f"{folder} holds what was trained, not judged; train again into another folder"
        raise Mistake(f"{verdict.sentence}. {back}")
    kept = f"the held-out part of {task.name} is kept in it as an exam" if keep_exam else "no exam was kept"
    again = shlex.join(["nanogpt", "chat" if course.loaded.chat else "sample", "--model", str(folder)])
    print(f"saved in {folder} ({kept}); try: {again}")


def reported(method, name):
    """What a method counted of the rows that it wrote itself, as a line; "" where it writes none."""
    counted = getattr(method, "report", {}).get(name)
    return f"to rehearse {name}: {', '.join(f'{key} {n:g}' for key, n in counted.items())}\n" if counted else ""


def matrix_table(course):
    """The matrix as text: a row a task learned, a column an exam."""
    width = max(10, *(len(name) + 1 for name in course.exams))
    lines = [course.kind.title.ljust(30) + "".join(name.rjust(width) for name in course.exams)]
    for name, row in zip(course.learned, course.scores, strict=True):
        cells = (("" if score is None else course.kind.shown(score)).rjust(width) for score in row)
        lines.append(f"  {name}".ljust(30) + "".join(cells))
    moved = gate.change(course.scores, course.columns())
    return "\n".join(lines if moved is None else [*lines, course.kind.change(moved)])
