"""A course on disk: the model, what it was taught, the exams that judge it, and the rows that it replays."""

import hashlib
from dataclasses import dataclass, field

import torch

from .. import checkpoint
from ..vendor.methods.replay import Replay
from ..vendor.metrics import Matrix
from ..vendor.run import Mistake


@dataclass
class Course:
    """A model and its history. `rows[i][j]` is bits per byte on exam j after domain i, None where not measured."""

    model: torch.nn.Module
    tokenizer: object
    replay: Replay
    taught: list = field(default_factory=list)  # names of the domains taught, in order
    exams: dict = field(default_factory=dict)  # name -> held-out text, also of domains not taught yet
    rows: list = field(default_factory=list)
    progress: dict | None = None  # of a run that was stopped: domain, step, settings, losses
    training: dict = field(default_factory=dict)  # its optimizer and random state

    def matrix(self):
        """The square matrix over the domains taught, lower is better."""
        order = [list(self.exams).index(name) for name in self.taught]
        rows = [[row[j] if j < len(row) else None for j in order] for row in self.rows]
        return Matrix(list(self.taught), rows, higher_is_better=False)


def rows_digest(rows):
    """sha256 of training rows: a stopped run must go on with the rows it began with."""
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()


def save_course(folder, course):
    """Commit the course to `folder`, all or nothing."""
    state = course.replay.state()
    memory = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    record = {
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
    checkpoint.save(folder, course.model, course.tokenizer, record, **parts)


def open_course(folder, device="cpu", *, replay_rows=0, seed=0):
    """The course that `save_course` wrote; `replay_rows` old rows will join each batch."""
    model, tokenizer, record = checkpoint.load(folder, device)
    index = checkpoint.read_index(folder)
    try:
        kept, names = record["replay"], record["exams"]
        replay = Replay(kept["budget"], replay_rows, seed)
        replay.load({**kept["state"], **checkpoint.load_part(folder, "memory", index)})
        texts = checkpoint.load_part(folder, "exams", index)
        exams = {name: texts[str(i)].numpy().tobytes().decode() for i, name in enumerate(names)}
        course = Course(model, tokenizer, replay, record["taught"], exams, record["rows"], record["progress"])
    except (KeyError, TypeError, ValueError) as error:
        raise Mistake(
            f"{folder}/{checkpoint.INDEX} lacks what a course needs ({type(error).__name__}: {error}); "
            "restore the folder from a copy, or train again"
        ) from error
    if course.progress:
        course.training = checkpoint.load_part(folder, "training", index)
    return course
