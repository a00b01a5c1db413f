"""A course on disk: the model, what it was taught, the exams that judge it, and what its method remembers."""

import math
from dataclasses import dataclass, field

import torch

from .. import checkpoint
from ..kinds import KINDS
from ..sources import ADAPTER, Loaded, find, open_model
from ..vendor.continual.methods import METHODS, make
from ..vendor.continual.strategy import Strategy
from ..vendor.lora import adapter
from ..vendor.shared.errors import Mistake


@dataclass
class Course:
    """A model and its history. `scores[i][j]` is the score on exam j after task i, None where not measured.

    Without a base all weights are trained; with one, the adapter on it.
    """

    loaded: Loaded
    method: Strategy
    method_name: str
    tasks: str = "text"  # a row of KINDS: what it learns, and how that is judged
    row_length: int = 0  # tokens of a training row; 0 means the model's block_size
    learned: list = field(default_factory=list)  # names of the tasks, in order
    exams: dict = field(default_factory=dict)  # name -> held-out text, None if not kept; also of tasks to come
    scores: list = field(default_factory=list)
    progress: dict | None = None  # of a run that was stopped: task, stage, step, settings, losses
    training: dict = field(default_factory=dict)  # its optimizer and random state

    def __post_init__(self):
        if self.row_length == 0:
            self.row_length = self.model.config.block_size

    @property
    def model(self):
        return self.loaded.model

    @property
    def tokenizer(self):
        return self.loaded.tokenizer

    @property
    def kind(self):
        return KINDS[self.tasks]

    def columns(self):
        """The exam's number of each task learned."""
        return [list(self.exams).index(name) for name in self.learned]

    def check(self):
        """A ValueError, KeyError or TypeError where what is written down of the past does not hold together."""
        columns, names, begun = self.columns(), [*self.exams, *self.learned], self.progress
        if not all(isinstance(name, str) for name in names) or len(self.scores) != len(self.learned):
            raise ValueError(f"{self.learned!r} was learned and the scores are {self.scores!r}")
        for i, row in enumerate(self.scores):
            whole = all(score is None or math.isfinite(score) for score in row)
            if not whole or not max(columns[: i + 1]) < len(row) <= len(self.exams):
                raise ValueError(f"scores has {row!r}")
        if type(self.row_length) is not int or not 1 <= self.row_length <= self.model.config.block_size:
            raise ValueError(f"row_length is {self.row_length!r}")
        if begun is None:
            return
        kinds = {"task": str, "config": dict, "step": int, "losses": list}
        if wrong := [name for name, kind in kinds.items() if type(begun[name]) is not kind]:
            raise ValueError(f"progress has {wrong[0]} {begun[wrong[0]]!r}")
        if not all(isinstance(loss, float) and math.isfinite(loss) for loss in begun["losses"]):
            raise ValueError("progress has losses that are no numbers")
        if begun["step"] > begun["config"].get("steps", math.inf):
            raise ValueError(f"step {begun['step']} is beyond the last one, {begun['config']['steps']}")
        if begun["step"] < 0 or (begun.get("stage") != "judge" and "rng" not in self.training):
            raise ValueError(f"of step {begun['step']} there is no state of the training")


def save_course(folder, course):
    """Commit the course to `folder`, all or nothing."""
    state = course.method.state()
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    record = {
        "kind": "course",
        "tasks": course.tasks,
        "row_length": course.row_length,
        "learned": course.learned,
        "exams": list(course.exams),
        "scores": course.scores,
        "progress": course.progress,
        "method": {"name": course.method_name, "config": vars(course.method.config)},
        "state": {name: value for name, value in state.items() if name not in tensors},
    }
    # safetensors sorts its names, so the order of the exams is kept in the record and their text by number
    exams = {
        str(i): torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        for i, text in enumerate(course.exams.values())
        if text is not None
    }
    parts = {"state": tensors, "exams": exams, "training": course.training if course.progress else {}}
    parts = {name: tensors for name, tensors in parts.items() if tensors}
    if course.loaded.base is None:
        said = {"chat": course.loaded.special, "sample": course.loaded.sample}
        checkpoint.save(folder, course.model, course.tokenizer, record, **said, **parts)
        return
    config = adapter.adapters(course.model)[ADAPTER].to_dict()
    tensors = adapter.parameters(course.model, ADAPTER)
    checkpoint.save_adapter(folder, course.loaded.base, config, tensors, record, **parts)


def open_course(folder, device="cpu", *, precision="float32", method=None, seed=0):
    """The course that `save_course` wrote. `method`, (name, config), is another one than it was taught with.

    `folder` may be the name of one that ships.
    """
    folder = find(folder)

    def read(index):
        record = index["record"]
        if record.get("kind") != "course":
            raise Mistake(f"{folder} holds a model without a course; give it to --model, and another folder to --out")
        loaded = open_model(folder, device, precision, index=index)
        try:
            taught = record["method"]
            if method is None or method[0] == taught["name"]:
                strategy = make(taught["name"], taught["config"], seed=seed)
                state = {**record["state"], **checkpoint.load_part(folder, "state", index)}
                remember(strategy, taught["name"], state)
            else:
                strategy = make(*method, seed=seed)
            texts = checkpoint.load_part(folder, "exams", index)
            exams = {
                name: texts[str(i)].numpy().tobytes().decode() if str(i) in texts else None
                for i, name in enumerate(record["exams"])
            }
            name = taught["name"] if method is None else method[0]
            course = Course(loaded, strategy, name, exams=exams, **{key: record[key] for key in COPIED})
            if course.progress:
                course.training = checkpoint.load_part(folder, "training", index)
            _ = course.kind
            course.check()
            width(course)
        except (KeyError, TypeError, ValueError) as error:
            raise Mistake(
                f"{folder}/{checkpoint.INDEX} lacks what a course needs ({type(error).__name__}: {error}); "
                "restore the folder from a copy, or train again"
            ) from error
        return course

    return checkpoint.steady(folder, read)


def remember(strategy, name, state):
    """Load a method's state; a ValueError where a value is of another kind than the method writes, is no number any
    more, or would be forgotten."""
    fresh = strategy.state()
    for key, value in state.items():
        now = fresh.get(key, value)
        kinds = (float, type(None)) if now is None else (type(now),)  # None: a number that is not known yet
        words = value if isinstance(value, list) else []
        if type(value) not in kinds or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{key} of the state of {name} is {str(value)[:40]!r}")
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError(f"{key} of the state of {name} is {value}")
        if isinstance(value, torch.Tensor) and not value.sum(dtype=torch.float64).isfinite():
            raise ValueError(f"{key} of the state of {name} holds NaN or infinity")
    strategy.load(state)
    if lost := sorted(state.keys() - strategy.state().keys()):
        raise ValueError(f"{name} does not know {', '.join(lost[:8])} of its state")


def width(course):
    """A ValueError where rows that the method kept are of another length than the course's: nothing could join them."""
    for key, tensor in course.method.state().items():
        kept = tensor.shape[1] - 1 if key.rpartition(".")[2] == "ids" else course.row_length
        if kept != course.row_length:
            raise ValueError(f"row_length is {course.row_length}, and {course.method_name} keeps rows of {kept} tokens")


COPIED = ("tasks", "row_length", "learned", "scores", "progress")


def course_of(source):
    """The record of the course that a folder holds; {} where none is: what was published or imported has no history."""
    folder = find(source)
    record = checkpoint.read_index(folder)["record"] if checkpoint.exists(folder) else {}
    return record if record.get("kind") == "course" else {}


def opened(source, device="cpu", precision="float32"):
    """A model that is to be asked, and the method that says with which weights: (Loaded, Strategy).

    `with method.serving(learner, ids):` holds those that continue a prompt, `method.view` those that a text is judged
    with. Of most models these are the plain ones; then an adapter is merged for good.
    """
    taught = course_of(source).get("method")
    name = taught.get("name") if isinstance(taught, dict) else None
    if name in list(METHODS) and METHODS[name][1].needs_view:
        course = open_course(source, device, precision=precision)
        loaded, method = course.loaded, course.method
    else:
        loaded, method = open_model(source, device, precision, fold=True), Strategy()
    if precision == "bfloat16":  # one that was trained here lies in float32, and is asked in it unless somebody says so
        loaded.model.bfloat16()
    return loaded, method
