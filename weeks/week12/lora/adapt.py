"""Adapt a published model to a file of one's own, and tell what that was worth on rows that it never saw.

A .jsonl file holds rows {"prompt": ..., "response": ...}: the loss counts the responses only, and the held-out rows
are judged by that loss and by exact answers. Any other file is text, judged by bits per byte. Reading, rows, judging
and the training loop are week 14's; LoRA and its file are this week's.

Left out: one task after another, and what that forgets (week 13, `nanogpt learn`).
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .adapter import attach, parameters
from .config import LoRAConfig
from .published import product, save_published, their_paths, told
from .vendor.shared.errors import Mistake

HELD_OUT = {"answers": 40, "text": 8_000}  # at most: rows, or characters
LENGTH = 256  # tokens of a training row
TOKENS = 40  # of a text's sample, and as many of its beginning
NAME = "adapted"


@dataclass(frozen=True)
class Settings:
    model: str = "smollm2-135m"
    exam: Path | None = None  # a file of its own; None: a tenth of what there is, at most HELD_OUT
    rank: int = 8
    lr: float = 1e-3
    steps: int | None = None  # None: two passes over rows; of a text 80, or two passes where that is less
    seed: int = 0


class Adaptation:
    """One file and one model: judge() before, learn(folder), judge() after."""

    def __init__(self, path, settings):
        """What is wrong with the file or a setting is told before the model is opened. Nothing is trained yet."""
        self.path, self.settings = Path(path), settings
        with told():
            kinds = product("kinds")
            self.kind_name = kinds.kind_of(self.path)
            self.kind = kinds.KINDS[self.kind_name]
            content, self.exam = self._read()
            config = LoRAConfig(rank=settings.rank, alpha=2 * settings.rank)
            self._recipe(rows=1)
            self.loaded = product("sources").open_model(settings.model)
            self.model = self.loaded.model
            autocast, self.precision = product("device").autocast_for("auto", self.model.embed.weight.device)
            self.learner = self.kind.learner(self.loaded, autocast)
            self.length = min(LENGTH, self.model.config.block_size - 1)
            task, self.note = self.kind.task(self.path.name, content, self.loaded, self.length)
            self.rows, self.recipe = task.train, self._recipe(len(task.train))
        torch.manual_seed(settings.seed)  # of A
        attach(self.model, NAME, config)
        with told():
            self._savable()
        self.parameters = sum(p.numel() for p in parameters(self.model, NAME).values())

    def _read(self):
        """(what to learn, what judges it)."""
        content, exam = self.kind.read(self.path), self.settings.exam
        if exam is not None:
            return content, self.kind.read(exam)
        try:
            return self.kind.hold_out(content, most=HELD_OUT[self.kind_name])
        except product("vendor.shared.errors").Mistake as error:
            raise Mistake(f"{self.path}: {error}") from None

    def _savable(self):
        """A Mistake now, not after an hour of training, where PEFT has no names for the layers of this model."""
        try:
            their_paths(self.model)
        except ValueError as error:
            raise Mistake(
                f"--model {self.settings.model}: PEFT and transformers have no names for the layers of this model, so "
                "its adapter could not be saved; give one of Llama's kind, such as smollm2-135m, or teach this one "
                "with: nanogpt learn"
            ) from error

    def _recipe(self, rows):
        """How to train on so many rows: what `nanogpt learn` does, and no longer a warm-up than a short run has."""
        presets, asked = product("presets"), self.settings
        base = presets.ADAPT_ROWS if self.kind_name == "answers" else presets.ADAPT_TEXT
        steps = asked.steps
        if steps is None:
            passes = math.ceil(presets.EPOCHS * rows / base.batch_size)
            steps = passes if self.kind_name == "answers" else min(base.steps, passes)
        return replace(base, steps=steps, warmup=min(base.warmup, steps // 4), lr=asked.lr, seed=asked.seed)

    def judge(self):
        """{"score", "told", "sample"}, and of rows the "loss": nats for each token of a held-out response."""
        with told():
            score = self.kind.score(self.learner, self.loaded, self.exam, self.length, progress="judge")
        out = {"score": score, "told": self.kind.told(score, self.exam)}
        return out | (self._answers() if self.kind_name == "answers" else {"sample": self._continuation()})

    @torch.no_grad()
    def _answers(self):
        """The loss of all held-out rows, and the answer to the first one."""
        task, _ = self.kind.task("exam", self.exam, self.loaded, self.length)
        self.model.eval()
        parts = [(self.learner.loss(rows).item(), self.learner.count(rows)) for rows in task.train.split(8)]
        judged = sum(count for _, count in parts)
        (answer,) = product("scores").answer_all(
            self.learner, self.loaded.template(), self.exam[:1], length=self.length, most=TOKENS
        )
        return {"loss": sum(loss * count for loss, count in parts) / judged, "sample": answer}

    @torch.no_grad()
    def _continuation(self):
        """How the model goes on after the first held-out tokens: the likeliest token each time."""
        ids = product("tasks").encode(self.loaded.tokenizer, self.exam)[:TOKENS].tolist()
        new = product("infer.generate").generate(self.model.eval(), ids, TOKENS, temperature=0)
        return self.loaded.tokenizer.decode(list(new))

    def learn(self, folder):
        """Train, save the adapter in `folder`, and return the losses; Ctrl-C saves what was learned so far."""
        steps = []
        with told():
            try:
                losses = product("train").train(
                    self.learner, self.rows, self.recipe, on_step=lambda step, info: steps.append(step), label="adapt"
                )
            except KeyboardInterrupt as stop:
                if not steps:  # nothing was learned
                    raise
                self.save(folder)
                said = str(stop) or f"stopped at once, after step {steps[-1]}"
                raise KeyboardInterrupt(f"{said}; the adapter so far is in {folder}") from None
            self.save(folder)
        return losses

    def save(self, folder):
        """The adapter as PEFT reads it; it names the base by the path of its file, where `nanogpt chat` finds it."""
        base = str(product("sources").find(self.settings.model).resolve())
        return save_published(self.model, NAME, folder, base=base)
