"""Teach a model one task after another, and examine it on all of them after each."""

import torch

from ..answers import AnswerLearner, parse_rows
from ..model import GPT
from ..scores import answer_all, bits_per_byte, exact_match
from ..sources import ADAPTER, Loaded, digest, lasting
from ..train import make_optimizer, restore_training_state, train, training_state
from ..vendor.continual.learner import Learner
from ..vendor.continual.methods.replay import Replay
from ..vendor.lora import adapter
from ..vendor.shared.errors import Mistake
from .store import Course, rows_digest, save_course


def new_course(config, tokenizer, *, seed=0, keep_rows=512, replay_rows=0, device="cpu"):
    """An untaught model. It will keep `keep_rows` training rows in all, shared evenly by the tasks it is taught."""
    torch.manual_seed(seed)
    return Course(Loaded(GPT(config).to(device), tokenizer), Replay(keep_rows, replay_rows, seed))


def course_on(loaded, lora, *, kind, row_length, seed=0, keep_rows=512, replay_rows=0):
    """A course in which an adapter learns on the frozen weights of `loaded`, an opened model."""
    if kind == "answers" and loaded.chat is None:
        raise Mistake(
            f"{loaded.source} has no chat template, so it cannot tell a prompt from a response; "
            "teach it plain text, or take a model that has one, such as --model smollm2-135m"
        )
    loaded.base = {"model": lasting(loaded.source), "digest": digest(loaded)}
    torch.manual_seed(seed)
    try:
        adapter.attach(loaded.model, ADAPTER, lora)
    except ValueError as error:
        raise Mistake(str(error)) from error
    length = min(row_length, loaded.model.config.block_size - 1)
    return Course(loaded, Replay(keep_rows, replay_rows, seed), kind, length)


def learner_of(course, autocast):
    """What the training loop asks: the loss of windows of text, or of responses only."""
    return (AnswerLearner if course.kind == "answers" else Learner)(course.model, autocast=autocast)


def examine(course, learner, *, progress=None):
    """The score on every exam of the course, in order: bits per byte, or the share of exact answers."""
    scores = []
    for name, exam in course.exams.items():
        label = progress and f"{progress} {name}"
        if course.kind == "answers":
            rows = parse_rows(exam, name)
            template = course.loaded.template()
            answers = answer_all(learner, template, rows, length=course.row_length, progress=label)
            scores.append(exact_match(answers, rows))
        else:
            scores.append(bits_per_byte(learner, course.tokenizer, exam, progress=label))
    return scores


def teach(course, task, config, *, autocast, folder=None, save_every=0, on_step=None, label=None):
    """Train on `task`, remember some of its rows, examine, and commit to `folder`. Returns the training losses.

    The course must hold an exam called `task.name`. With a `folder`, the run can be stopped at any step; a course
    opened from it goes on where it stopped, to the same weights bit for bit (on a CPU, with the same threads).
    """
    learner = learner_of(course, autocast)
    rows = course.replay.start(learner, task)
    optimizer = make_optimizer(learner.parameters(), config)
    torch.manual_seed(config.seed + len(course.taught))
    start, losses = 0, []
    if course.progress:
        start, losses = resume_point(course, task, rows, config)
        restore_training_state(optimizer, course.training)

    def noted(step, info):
        losses.append(info["loss"])
        if on_step:
            on_step(step, info)

    def save(step):
        course.progress = progress_of(task, rows, config, step, losses)
        course.training = training_state(optimizer)
        save_course(folder, course)

    train(
        learner,
        rows,
        config,
        strategy=course.replay,
        optimizer=optimizer,
        start=start,
        save=save if folder else None,
        save_every=save_every,
        on_step=noted,
        label=label or f"learn {task.name}",
    )
    course.replay.finish(learner, task)
    course.progress, course.training = None, {}
    course.taught.append(task.name)
    course.rows.append(examine(course, learner, progress="exam"))
    if folder:
        save_course(folder, course)
    return losses


def progress_of(task, rows, config, step, losses):
    return {
        "domain": task.name,
        "rows": rows_digest(rows),
        "config": config.to_dict(),
        "step": step,
        "losses": list(losses),
    }


def resume_point(course, task, rows, config):
    """`(step, losses so far)` of the stopped run; a Mistake where what is asked now is not what was begun then."""
    begun = course.progress
    now = progress_of(task, rows, config, 0, [])
    changed = [key for key in ("domain", "rows", "config") if begun[key] != now[key]]
    if changed:
        what = {"domain": "another task", "rows": "other rows or another row length", "config": "other settings"}
        raise Mistake(
            f"a run that learns {begun['domain']} was stopped at step {begun['step']}, and this one has "
            f"{' and '.join(what[key] for key in changed)}; repeat the first command with --resume, or start afresh "
            "in another folder"
        )
    return begun["step"], list(begun["losses"])
