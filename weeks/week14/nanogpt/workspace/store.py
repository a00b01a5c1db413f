"""A course on disk: the model, what it was taught, the exams that judge it, and the rows that it replays."""

import hashlib
from dataclasses import dataclass, field

import torch

from .. import checkpoint
from ..sources import ADAPTER, Loaded, open_model
from ..vendor.continual.methods.replay import Replay
from ..vendor.continual.metrics import Matrix
from ..vendor.lora import adapter
from ..vendor.shared.errors import Mistake


@dataclass
class Course:
    """A model and its history. `rows[i][j]` is the score on exam j after task i, None where not measured.

    kind "text": windows of text, judged by bits per byte; kind "answers": prompt/response rows, judged by the share of
    exact answers. Without a base all weights are trained; with one, the adapter on it.
    """

    loaded: Loaded
    replay: Replay
    kind: str = "text"
    row_length: int = 0  # tokens of a training row; 0 means the model's block_size
    taught: list = field(default_factory=list)  # names of the tasks taught, in order
    exams: dict = field(default_factory=dict)  # name -> held-out text, or rows as JSONL; also of tasks not taught yet
    rows: list = field(default_factory=list)
    progress: dict | None = None  # of a run that was stopped: task, step, settings, losses
    training: dict = field(default_factory=dict)  # its optimizer and random state

    def __post_init__(self):
        self.row_length = self.row_length or self.model.config.block_size

    @property
    def model(self):
        return self.loaded.model

    @property
    def tokenizer(self):
        return self.loaded.tokenizer

    def matrix(self):
        """The square matrix over the tasks taught; of bits per byte lower is better, of right answers higher."""
        order = [list(self.exams).index(name) for name in self.taught]
        rows = [[row[j] if j < len(row) else None for j in order] for row in self.rows]
        return Matrix(list(self.taught), rows, higher_is_better=self.kind == "answers")


def rows_digest(rows):
    """sha256 of training rows: a stopped run must go on with the rows it began with."""
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()


def save_course(folder, course):
    """Commit the course to `folder`, all or nothing."""
    state = course.replay.state()
    memory = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    record = {
        "kind": course.kind,
        "row_length": course.row_length,
        "taught": course.taught,
        "exams": list(course.exams),
        "rows": course.rows,
        "progress": course.progress,
        "replay": {
            "budget": course.replay.memory.budget,
            "state": {name: value for name, value in state.items() if name not in memory},
        },
    }
    # safetensors sorts its names, so the order of the exams is kept in the record and their text by number
    exams = {
        str(i): torch.frombuffer(bytearray(t.encode()), dtype=torch.uint8) for i, t in enumerate(course.exams.values())
    }
    parts = {"memory": memory, "exams": exams, "training": course.training if course.progress else {}}
    parts = {name: tensors for name, tensors in parts.items() if tensors}
    if course.loaded.base is None:
        checkpoint.save(folder, course.model, course.tokenizer, record, chat=course.loaded.special, **parts)
        return
    config = adapter.adapters(course.model)[ADAPTER]
    shape = {"rank": config.rank, "alpha": config.alpha, "dropout": config.dropout, "targets": list(config.targets)}
    tensors = adapter.parameters(course.model, ADAPTER)
    checkpoint.save_adapter(folder, course.loaded.base, shape, tensors, record, **parts)


def open_course(folder, device="cpu", *, precision="float32", replay_rows=0, seed=0):
    """The course that `save_course` wrote; `replay_rows` old rows will join each batch."""
    index = checkpoint.read_index(folder)  # before weights are read: a folder that is no course is soon told
    record = index["record"]
    loaded = open_model(folder, device, precision)
    try:
        kept, names = record["replay"], record["exams"]
        replay = Replay(kept["budget"], replay_rows, seed)
        replay.load({**kept["state"], **checkpoint.load_part(folder, "memory", index)})
        texts = checkpoint.load_part(folder, "exams", index)
        exams = {name: texts[str(i)].numpy().tobytes().decode() for i, name in enumerate(names)}
        kind, length = record.get("kind", "text"), record.get("row_length", 0)  # which format 1 did not write
        course = Course(
            loaded, replay, kind, length, record["taught"], exams, record["rows"], record["progress"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Mistake(
            f"{folder}/{checkpoint.INDEX} lacks what a course needs ({type(error).__name__}: {error}); "
            "restore the folder from a copy, or train again"
        ) from error
    if course.progress:
        course.training = checkpoint.load_part(folder, "training", index)
    return course


def is_course(folder):
    """Whether the folder holds a course: a model with a history, not one that was published or imported."""
    return checkpoint.exists(folder) and "replay" in checkpoint.read_index(folder)["record"]
