"""Teach a model one domain after another, and examine it on all of them after each."""

import torch

from ..evaluate import bits_per_byte
from ..model import GPT
from ..train import make_optimizer, restore_training_state, train, training_state
from ..vendor.learner import Learner
from ..vendor.methods.replay import Replay
from ..vendor.run import Mistake
from .store import Course, rows_digest, save_course


def new_course(config, tokenizer, *, seed=0, keep_rows=512, replay_rows=0, device="cpu"):
    """An untaught model. It will keep `keep_rows` training rows in all, shared evenly by the domains it is taught."""
    torch.manual_seed(seed)
    return Course(GPT(config).to(device), tokenizer, Replay(keep_rows, replay_rows, seed))


def examine(course, learner, *, progress=None):
    """Bits per byte on every exam of the course, in order."""
    return [
        bits_per_byte(learner, course.tokenizer, text, progress=progress and f"{progress} {name}")
        for name, text in course.exams.items()
    ]


def teach(course, task, config, *, autocast, folder=None, save_every=0, on_step=None, label=None):
    """Train on `task`, remember some of its rows, examine, and commit to `folder`. Returns the training losses.

    The course must hold an exam called `task.name`. With a `folder`, the run can be stopped at any step; a course
    opened from it goes on where it stopped, to the same weights bit for bit (on a CPU, with the same threads).
    """
    learner = Learner(course.model, autocast=autocast)
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
        what = {"domain": "another domain", "rows": "other text or row length", "config": "other training settings"}
        raise Mistake(
            f"a run that learns {begun['domain']} was stopped at step {begun['step']}, and this one has "
            f"{' and '.join(what[key] for key in changed)}; repeat the first command with --resume, or start afresh "
            "in another folder"
        )
    return begun["step"], list(begun["losses"])
