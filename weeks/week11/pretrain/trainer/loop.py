"""A long run as a stream of events: steps, validations, samples, checkpoints, spikes, and the wish to stop.

Everything that decides the weights is a pure function of what a checkpoint holds: `step` counts updates, `position`
counts batches, the batch is `batch(position)`, the rate is `rate(step)`, and dropout is seeded from seed, step and
rank. So a run that was killed does again what it had done since its last checkpoint, and nothing shows.

A loss spike costs the run nothing but time. The loss of a step was measured before its update, so either its batch is
bad, or the update before it was. Both batches are skipped (directly after a skip only the new one, for the update
before it is then one that was good), and the run goes back to a checkpoint from before them. Where to it goes back
does not matter: what lies between is done again, bit for bit.

Left out: FSDP and other shards (week 10's checkpoints), which rows are in a batch (the sampler's task).
"""

import json
import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import torch

from ..vendor.scaling.parallel import Team, bare, share, wrap
from ..vendor.scaling.step import cut, set_rate
from ..vendor.scaling.step import step as take
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import locked
from . import checkpoint, keep
from .disk import Disk, is_full
from .log import Log, read_rows
from .plan import Event, Plan, Progress, seed_of
from .signals import Wish
from .spikes import Detector
from .state import differences

PATIENCE = 5  # spikes within the detector's window; more of them are no bad batches


class Trainer:
    """One run in one folder: FOLDER/metrics.jsonl, FOLDER/step-*/. `events()` trains and yields what happens.

    model: logits, loss = model(inputs, targets). optimizer: of its parameters. batch(position) -> (inputs (B, T),
    targets (B, T)): all `plan.rows` rows, the same in every process, a pure function of the position. rate(step) ->
    share of the peak rate. settings (JSON): what else decides the weights, such as {"model": {...}, "data": sha256}.
    validate(model) -> loss and sample(model) -> text are asked in one process, with the model in eval mode.
    parts: {name: thing with a state_dict} that is to be kept as well. older: take an older checkpoint where the newest
    is damaged, which then stays under another name. With several processes, all of them must see the same folder.
    """

    def __init__(
        self,
        model,
        optimizer,
        batch: Callable,
        plan: Plan,
        folder,
        *,
        rate: Callable = lambda step: 1.0,
        settings: dict | None = None,
        validate: Callable | None = None,
        sample: Callable | None = None,
        parts: dict | None = None,
        team: Team | None = None,
        older: bool = False,
        board=None,
        disk: Disk | None = None,
    ):
        self.team, self.plan, self.folder = team or Team(), plan, Path(folder)
        self.rows = share(plan.rows, self.team, plan.accumulate)  # a Mistake where they cannot be shared
        self.optimizer, self.batch, self.rate, self.older = optimizer, batch, rate, older
        self.judges = (("validation", plan.validate_every, validate), ("sample", plan.sample_every, sample))
        for name, every, judge in self.judges:
            if every and judge is None:
                raise ValueError(f"a {name} is due every {every} steps, but no function was given for it; give one")
        self.settings = json.loads(json.dumps({**(settings or {}), **plan.settings()}))  # as a checkpoint gives it back
        self.disk, self.wish, self.run = disk or Disk(), Wish(), uuid.uuid4().hex
        self.progress, self.detector = Progress(), Detector(plan.window)
        self.module = wrap(model, "ddp", self.team)
        kept = {"model": bare(self.module), "optimizer": optimizer, "progress": self.progress, "spikes": self.detector}
        self.parts = {**kept, **(parts or {})}
        self.logs = [Log(self.folder / "metrics.jsonl", self.disk), *([board] if board else [])]

    def stop(self):
        """Finish the step, save and end, as a signal would have it; for whoever consumes the events."""
        self.wish.number = -1

    def events(self) -> Iterator[Event]:
        """Go on from the newest checkpoint, or begin; to the last step, or until a signal."""
        with ExitStack() as held:
            with self.team.together():
                if self.team.leads:
                    held.enter_context(locked(self.folder))
            held.enter_context(self.wish)
            yield from self._begin()
            while self.progress.step < self.plan.steps:
                spike = self._step()
                yield spike or self._row
                if not spike:
                    yield from self._after_step()
                if stopped := self._agree():
                    if not spike:  # after a spike, the run stands where it went back to: on a checkpoint
                        yield from self._save(must=True)
                    yield Event("stopped", self.progress.step, {"signal": stopped})
                    return
            yield Event("done", self.progress.step, {"best": self.progress.best})

    # --- one step -----------------------------------------------------------------------------------------------------

    def _step(self) -> Event | None:
        """One update, in `_row`; or the spike that took its place."""
        at, plan, team, began = self.progress, self.plan, self.team, time.perf_counter()
        barred, jumped = at.barred(), []
        while at.position in barred:
            jumped.append(at.position)
            at.position += 1
        set_rate(self.optimizer, self.rate(at.step))
        inputs, targets = self.batch(at.position)
        if len(inputs) != plan.rows:
            raise ValueError(f"batch {at.position} has {len(inputs)} rows, but a step takes {plan.rows}; give as many")
        inputs, targets = (t[self.rows].to(team.device) for t in (inputs, targets))
        micro = (self.rows.stop - self.rows.start) // plan.accumulate
        self.module.train()
        with torch.random.fork_rng(devices=[team.device] if team.device.type == "cuda" else []):
            torch.manual_seed(seed_of(plan.seed, at.step, team.rank))
            # A spike is known only after the update, which is then taken back with all that came after the checkpoint.
            options = {"clip": plan.clip, "half": plan.half, "world": team}
            try:
                done, why = take(self.module, self.optimizer, cut(inputs, targets, micro), **options), None
            except FloatingPointError as error:
                done, why = None, str(error)
        score = self.detector.score(done.loss) if done else math.inf
        if score >= plan.spike:
            blamed = [at.position] if jumped or at.last is None else [at.last, at.position]
            return self._back(blamed, done and done.loss, score, why)
        self.detector.add(done.loss)
        at.step, at.last, at.position = at.step + 1, at.position, at.position + 1
        rate = self.optimizer.param_groups[0]["lr"]
        row = {"batch": at.last, "loss": done.loss, "norm": done.norm, "rate": rate, "judged": done.judged}
        self._row = self._tell("step", row | {"seconds": round(time.perf_counter() - began, 4)}, jumped)
        return None

    def _tell(self, kind, values, jumped=()) -> Event:
        """An event that is a row of the logs too."""
        if jumped:
            values["skipped"] = list(jumped)
        if self.team.leads:
            for log in self.logs:
                log.add({"kind": kind, "step": self.progress.step, **values})
        return Event(kind, self.progress.step, values)

    def _after_step(self) -> Iterator[Event]:
        """Validation, sample and checkpoint, each where it is due."""
        step, better = self.progress.step, False
        last = step == self.plan.steps
        for name, every, judge in self.judges:
            if every and (step % every == 0 or last):
                found = self._ask(judge)
                best = self.progress.best
                if name == "validation" and math.isfinite(found) and (best is None or found < best[0]):
                    self.progress.best, better = [found, step], True
                yield self._tell(name, {"loss" if name == "validation" else "text": found})
        if better or last or step % self.plan.save_every == 0:
            yield from self._save(must=last)

    def _ask(self, judge):
        """What a function says of the model, which computes in one process; no random number of training is used up."""
        found, model = None, bare(self.module)
        with self.team.together():
            if self.team.leads:
                model.eval()
                with torch.no_grad(), torch.random.fork_rng(devices=[]):
                    found = judge(model)
        return self.team.gather(found)[0]

    def _agree(self) -> int:
        """The signal that came to any of the processes, or 0: all of them stop after the same step."""
        if self.team.size == 1:
            return self.wish.number
        numbers = self.team.gather(self.wish.number)
        return next((number for number in numbers if number), 0)

    # --- spikes -------------------------------------------------------------------------------------------------------

    def _back(self, blamed: list[int], loss, score: float, why) -> Event:
        """Go back to before the blamed batches, and never take them."""
        at = self.progress
        spike = {"step": at.step, "batches": blamed, "loss": loss, "score": score if math.isfinite(score) else None}
        skipped = [*at.skipped, spike]
        near = [s for s in skipped if s["step"] > at.step - self.plan.window]
        if len(near) > PATIENCE:
            raise Mistake(
                f"{len(near)} loss spikes within {self.plan.window} steps, the last at step {at.step}"
                f"{f' ({why})' if why else ''}: the run itself is unstable, not a batch; the checkpoints in "
                f"{self.folder} stay, so begin again in another folder with a lower learning rate or a longer warm-up"
            )
        good = at.step + 1 - len(blamed)  # updates without the blamed batches
        with self.team.together():
            if self.team.leads:
                keep.forget_after(self.folder, self.run, good, self.disk)
        paths = [path for step, path in checkpoint.checkpoints(self.folder) if step <= good]
        self._load(self._lead(lambda: str(paths[-1]) if paths else self._nowhere(at.step)))
        at.skipped = skipped
        self._cut()
        return Event("spike", at.step, {**spike, "why": why})

    def _nowhere(self, step):
        raise Mistake(
            f"the loss spiked at step {step}, and {self.folder} has no checkpoint from before it; put the removed ones "
            "back, or begin again in another folder"
        )

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _lead(self, work):
        """What `work` gives in the process that leads, told to all; a failure of it is one of all."""
        found = None
        with self.team.together():
            if self.team.leads:
                found = work()
        return self.team.gather(found)[0]

    def _begin(self) -> Iterator[Event]:
        """Load the newest checkpoint, or write the one of step 0, which every run has."""
        told = self.team.gather(self.settings)
        if any(other != self.settings for other in told):
            raise Mistake(
                f"process {self.team.rank} of {self.team.size} has other settings than another; give all the same"
            )
        path, damaged = self._lead(self._choose)
        if path:
            self._load(path)
            self._cut()
        for sentence in damaged:
            yield Event("damaged", self.progress.step, {"why": sentence})
        yield Event("begin", self.progress.step, {"from": path})
        if not path:
            with self.team.together():
                if self.team.leads and read_rows(self.logs[0].path):
                    raise Mistake(
                        f"{self.logs[0].path} has rows of a run whose checkpoints are gone; "
                        "put them back, move the file away, or give another folder"
                    )
            self._cut()
            yield from self._save(must=True)

    def _choose(self) -> tuple[str | None, list[str]]:
        """(the checkpoint to go on from, sentences about damaged ones, which get another name)."""
        checkpoint.tidy(self.folder, self.disk)
        damaged = []
        for _, path in reversed(checkpoint.checkpoints(self.folder)):
            try:
                checkpoint.read(path)
            except checkpoint.Damaged as error:
                damaged.append((path, error))
                continue
            if damaged and not self.older:
                raise Mistake(
                    f"{damaged[0][1]}; to go on from {path.name}, ask for an older checkpoint (train.py: --older)"
                )
            return str(path), [self._aside(bad, why) for bad, why in damaged]
        if damaged:
            raise Mistake(f"{damaged[0][1]}, and there is no other checkpoint; begin again in another folder")
        return None, []

    def _aside(self, path, why) -> str:
        aside = path.with_name(f"damaged-{path.name}-{uuid.uuid4().hex[:8]}")
        self.disk.rename(path, aside)
        return f"{why}; it lies in {aside.name} now"

    def _load(self, path):
        """Fill every part from a checkpoint, after its settings were compared."""
        with self.team.together():
            about, state = checkpoint.read(path)
            if changed := differences(about["settings"], self.settings):
                raise Mistake(
                    f"{self.folder} was begun with other settings: {', '.join(changed)}; "
                    "give the old ones to go on, or another folder to begin anew"
                )
            if other := state.keys() ^ self.parts.keys():
                raise Mistake(f"{path} and this run differ in the parts {', '.join(sorted(other))}; give the same ones")
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self.run = about["run"]

    def _cut(self):
        with self.team.together():
            if self.team.leads:
                for log in self.logs:
                    log.cut(self.progress.step)

    def _save(self, must: bool) -> Iterator[Event]:
        """Save; a full disk is told and outlived, but where nothing comes after (`must`) it ends the run."""
        found = self._lead(self._write)
        if "why" in found:
            if must:
                raise Mistake(found["why"])
            yield Event("full", self.progress.step, found)
            return
        yield Event("saved", self.progress.step, found)
        if found["over"]:
            yield Event("over", self.progress.step, {"bytes": found["over"], "budget": self.plan.budget})

    def _write(self) -> dict:
        step, best = self.progress.step, self.progress.best
        try:
            for log in self.logs:
                log.flush()
            if not checkpoint.place(self.folder, step).exists():  # a signal may come right after a save
                state = {name: part.state_dict() for name, part in self.parts.items()}
                named = {"run": self.run, "settings": self.settings}
                checkpoint.write(self.folder, step, state, **named, disk=self.disk)
        except OSError as error:
            if not is_full(error):
                raise
            checkpoint.tidy(self.folder, self.disk)
            stands = [path.name for _, path in checkpoint.checkpoints(self.folder)][-1:] or ["none"]
            why = (
                f"the disk is full, so step {step} was not saved; the newest checkpoint in {self.folder} is {stands[0]}"
            )
            return {"why": f"{why}: make room, and give the same command again"}
        options = {"every": self.plan.keep_every, "budget": self.plan.budget, "disk": self.disk}
        removed, over = keep.prune(self.folder, self.run, best=best and best[1], **options)
        return {"path": str(checkpoint.place(self.folder, step)), "removed": removed, "over": over}
