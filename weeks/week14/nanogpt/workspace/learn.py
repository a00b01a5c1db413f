"""Learn one task after another: validate, train and save, judge inside the method's view, decide, commit or go back."""

from contextlib import contextmanager

import torch

from .. import checkpoint
from ..model import GPT, GPTConfig
from ..sources import ADAPTER, Loaded, digest, lasting
from ..train import Diverged, make_optimizer, restore_training_state, train, training_state
from ..vendor.bpe.fast import Tokenizer
from ..vendor.continual.methods import make
from ..vendor.continual.weights import copied, write
from ..vendor.lora import adapter
from ..vendor.shared.errors import Mistake, sentence
from ..vendor.shared.text import END, documents
from .gate import verdict
from .store import Course, save_course


def new_course(config, tokenizer, *, method="replay", method_config=None, seed=0, device="cpu"):
    """An untaught model, and the method that will teach it."""
    torch.manual_seed(seed)
    return Course(Loaded(GPT(config).to(device), tokenizer), make(method, method_config, seed=seed), method)


def course_from(text, shape, **chosen):
    """An untaught model of `shape` ({field of GPTConfig: value}) with a vocabulary of its own, trained on `text`.

    `chosen` goes to `new_course`. A ValueError where the shape or the vocabulary cannot be.
    """
    GPTConfig(**shape)  # before minutes go into a vocabulary
    joined = "\n".join(documents(text))
    tokenizer = Tokenizer.train(joined, shape["vocab_size"], special_tokens=(END,), progress=True)
    return new_course(GPTConfig(**{**shape, "vocab_size": tokenizer.vocab_size}), tokenizer, **chosen)


def all_learned(tokenizer, text):
    """Whether `text` gives no larger vocabulary than this one: each of its pieces is a single token."""
    parts = "\n".join(documents(text)).split(END)
    return all(len(tokenizer.encode_ordinary(part)) == len(tokenizer.split(part)) for part in parts)


def course_on(loaded, lora, *, tasks, row_length, method="replay", method_config=None, seed=0):
    """A course in which an adapter learns on the frozen weights of `loaded`, an opened model."""
    loaded.base = {"model": lasting(loaded.source), "digest": digest(loaded)}
    torch.manual_seed(seed)
    try:
        adapter.attach(loaded.model, ADAPTER, lora)
    except ValueError as error:
        raise Mistake(str(error)) from error
    length = min(row_length, loaded.model.config.block_size - 1)
    return Course(loaded, make(method, method_config, seed=seed), method, tasks, length)


def check_exams(course):
    """A Mistake for an exam that cannot be judged, before minutes go into a training. Those of earlier tasks were."""
    for name, exam in course.exams.items():
        if exam is not None and name not in course.learned:
            content, where = course.kind.parse(exam, name), f"the exam of {name}"
            course.kind.check(where, content, course.loaded, course.row_length)


def judge(course, learner, *, progress=None):
    """The score on every exam of the course, in order; None for an exam that was not kept."""
    scores = []
    for name, exam in course.exams.items():
        if exam is None:
            scores.append(None)
            continue
        with torch.no_grad(), course.method.view(learner, name):
            content, label = course.kind.parse(exam, name), progress and f"{progress} {name}"
            scores.append(course.kind.score(learner, course.loaded, content, course.row_length, label))
    return scores


def learn(course, task, config, *, autocast, folder=None, save_every=0, on_step=None, label=None, most_forgetting=None,
          keep_exam=True, again="the same command plus --resume", successor=None):  # fmt: skip
    """Train on `task`, judge, decide. Returns (training losses, the gate's Verdict).

    The course must hold an exam called `task.name`; an exam that cannot be judged is a Mistake before any work. With a
    `folder` the state before is kept there, training is saved before anything is judged, and a course opened from it
    goes on where it stopped, to the same weights bit for bit (on a CPU, with the same threads). What the gate refuses
    is undone: the folder holds the state before, and `undo` brings the other one back. `again` is what to type after a
    stop. `successor`, (Strategy, its name), takes over from the course's method once the state before is kept.
    """
    begun, losses, digest_of_rows = course.progress or {}, [], task.train.digest()
    if begun and begun["task"] != task.name:
        raise Mistake(f"{folder or 'the course'} was stopped while it learned {begun['task']}; finish that first")
    if begun and begun["rows"] not in (None, digest_of_rows):
        raise Mistake(
            f"{folder or 'the course'} was stopped while it learned other rows than {task.name} has now; give the same "
            "file, and the same --exam"
        )
    check_exams(course)
    learner, saved = course.kind.learner(course.loaded, autocast, course.row_length), None
    torch.manual_seed(config.seed + len(course.learned))

    def save(step, stage="train"):
        nonlocal saved
        course.progress = {
            "task": task.name,
            "rows": digest_of_rows,
            "config": config.to_dict(),
            "stage": stage,
            "step": step,
            "losses": list(losses),
        }
        course.training = training_state(optimizer, config.optimizer) if stage == "train" else {}
        save_course(folder, course)
        saved = step

    def noted(step, info):
        losses.append(info["loss"])
        if on_step:
            on_step(step, info)

    new = folder and not checkpoint.exists(folder)
    try:
        if begun:
            losses, saved = list(begun["losses"]), begun["step"]
        elif new and course.learned:
            save_course(folder, course)  # the state before, to which a refusal or `undo` goes back
        if successor:
            hand_over(course, learner, *successor)
        if begun.get("stage") != "judge":
            with telling():
                rows = course.method.start(learner, task)
            optimizer = make_optimizer(learner.parameters(), config)
            if begun:
                restore_training_state(optimizer, course.training, config.optimizer)
            elif folder:
                save(0)
            train(
                learner,
                rows,
                config,
                strategy=course.method,
                optimizer=optimizer,
                start=begun.get("step", 0),
                save=save if folder else None,
                save_every=save_every,
                on_step=noted,
                label=label or f"learn {task.name}",
            )
            with telling():
                course.method.finish(learner, task)
            if folder:
                save(config.steps, "judge")
        scores = [*course.scores, judge(course, learner, progress="exam")]
        columns = [*course.columns(), list(course.exams).index(task.name)]
        decided = verdict(course.kind, scores, columns, most=most_forgetting)
        return losses, _commit(course, task, scores, decided, folder, keep_exam)
    except KeyboardInterrupt as stop:
        said = f"{stop}; " if str(stop) else ""
        raise KeyboardInterrupt(f"{said}{_kept(saved, config, folder, again)}") from None
    except (Mistake, OSError) as error:
        if saved is None and not isinstance(error, Diverged):
            raise  # nothing has begun: the same command would only say the same
        again += " and a lower --lr" if isinstance(error, Diverged) else ""
        raise Mistake(f"{sentence(error, 'free what is in the way')}. {_kept(saved, config, folder, again)}") from error
    finally:
        if new and saved is None:  # the state before alone would be in the way of the next try
            checkpoint.clear(folder)


def hand_over(course, learner, method, name):
    """Another method from here on. It goes on from the weights that were judged; where a prompt or a text chose among
    several, from the newest.
    """
    if course.method.needs_view and not course.method.needs_prompt:
        with course.method.view(learner, ""):
            served = copied(learner.parameters())
        write(learner, served)
    course.method, course.method_name = method, name


@contextmanager
def telling():
    """A method's ValueError says what cannot be and what to do: to whoever typed the command it is a Mistake."""
    try:
        yield
    except ValueError as error:
        raise Mistake(str(error)) from error


def _kept(saved, config, folder, again):
    """What is left of a run that ends here, and how to go on."""
    if saved is None:
        return f"nothing was saved; start again with {again.replace(' plus --resume', '')}"
    place = f"step {saved} of {config.steps}" if saved < config.steps else "the training"
    return f"{place} is saved in {folder}: go on with {again}"


def _commit(course, task, scores, decided, folder, keep_exam):
    """Write down what was learned; where the gate says no, put the state before back in its place."""
    if decided.finite:
        course.progress, course.training = None, {}
        course.learned, course.scores = [*course.learned, task.name], scores
        if not keep_exam:
            course.exams[task.name] = None
        if folder:
            save_course(folder, course)
    if not decided.keep and folder and (folder / checkpoint.PREVIOUS).is_file():
        checkpoint.undo(folder)
    return decided
