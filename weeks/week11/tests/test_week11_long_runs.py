"""Loss spikes, full disks, signals, several processes: what a long run meets, and what it makes of it."""

import errno
import math
import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from pretrain.trainer import checkpoint, rehearsal
from pretrain.trainer.disk import Disk
from pretrain.trainer.follow import follow
from pretrain.trainer.log import Board, Log, read_rows
from pretrain.trainer.plan import Plan
from pretrain.trainer.signals import Wish
from pretrain.trainer.spikes import LEAST, Detector
from pretrain.vendor.scaling.parallel import Team
from pretrain.vendor.shared.errors import Mistake
from safetensors.torch import load_file

pytestmark = pytest.mark.day(75)
WEEK = Path(rehearsal.__file__).resolve().parents[2]
SHORT = {"steps": 8, "save_every": 2, "keep_every": 0, "validate_every": 0, "sample_every": 0, "optimizer": "adamw"}


def whole(trainer):
    """The events of a run, which has tens of them; one that goes back for ever is cut off, and seen as not done."""
    return list(islice(trainer.events(), 300))


def run(folder, **changed):
    return whole(rehearsal.trainer(folder, **{**SHORT, **changed}))


def weights(folder, steps):
    return load_file(checkpoint.place(folder, steps) / checkpoint.TENSORS)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- spikes -----------------------------------------------------------------------------------------------------------


def test_the_detector_finds_a_rise_and_nothing_else():
    detector = Detector()
    for i in range(LEAST):
        assert detector.score(100.0) == 0  # too few are known
        detector.add(2.0 + 0.1 * (i % 3))
    # losses 2.0, 2.1, 2.2 with the middle 2.1 and the MAD 0.1: by hand, to rounding
    assert detector.score(2.1 + 1.4826) == pytest.approx(10, abs=1e-9)
    assert detector.score(0.1) < 0 and detector.score(math.nan) == math.inf
    other = Detector()
    other.load_state_dict(detector.state_dict())
    assert other.score(3.0) == detector.score(3.0)


def poisoned(position):
    """The batches of the rehearsal, number 5 of which ends in a loss that is no number."""
    inputs, targets = rehearsal.batch(position)
    return (inputs, torch.full_like(targets, 31)) if position == 5 else (inputs, targets)


class Nan(torch.nn.Module):
    """A model whose loss is nan where a target is not of the vocabulary."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(31, 31)

    def forward(self, inputs, targets=None):
        logits = self.table(inputs)
        bad = (targets == 31).any()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.clamp(max=30).flatten())
        return logits, loss * (math.nan if bad else 1.0)


def nan_run(folder, batch=poisoned, **changed):
    from pretrain.trainer.loop import Trainer

    torch.manual_seed(0)
    model = Nan()
    plan = Plan(**{"steps": 8, "rows": rehearsal.ROWS, "save_every": 3, **changed})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    return Trainer(model, optimizer, batch, plan, folder, rate=lambda step: 1 / (1 + step))


def test_a_loss_that_is_no_number_is_taken_back_and_its_batch_skipped(tmp_path):
    """The weights are those of a run that was never offered the blamed batches, its learning rates too."""
    events = whole(nan_run(tmp_path / "a"))
    spike = next(event for event in events if event.kind == "spike")
    assert spike.step == 3 and spike.values["batches"] == [4, 5] and "loss is nan" in spike.values["why"]
    rows = read_rows(tmp_path / "a/metrics.jsonl")
    assert [row["batch"] for row in rows] == [0, 1, 2, 3, 6, 7, 8, 9] and rows[4]["skipped"] == [4, 5]
    assert [row["step"] for row in rows] == list(range(1, 9))  # no step twice
    around = lambda position: rehearsal.batch(position if position < 4 else position + 2)
    whole(nan_run(tmp_path / "b", around))
    model = lambda folder: {k: v for k, v in weights(folder, 8).items() if k.startswith("state.model")}
    assert model(tmp_path / "a") and equal(model(tmp_path / "a"), model(tmp_path / "b"))
    _, state = checkpoint.read(checkpoint.place(tmp_path / "a", 8))
    assert [entry["batches"] for entry in state["progress"]["skipped"]] == [[4, 5]]


@pytest.mark.parametrize("seen", [4, 5, 6])
def test_a_spike_right_after_going_on_is_answered_alike(seen, tmp_path):
    """Stopped after any step near the spike: the checkpoint may already hold the blamed update."""
    whole(nan_run(tmp_path / "a"))
    trainer = nan_run(tmp_path / "b")
    for event in islice(trainer.events(), 300):
        if event.kind == "step" and event.step == seen:
            trainer.stop()
    assert whole(nan_run(tmp_path / "b"))[-1].kind == "done"
    assert equal(weights(tmp_path / "a", 8), weights(tmp_path / "b", 8))


def test_a_run_that_only_spikes_ends_with_a_sentence(tmp_path):
    broken = lambda position: (lambda a, b: (a, torch.full_like(b, 31)))(*rehearsal.batch(position))
    with pytest.raises(Mistake, match="6 loss spikes within 64 steps, the last at step 0 .*lower learning rate"):
        whole(nan_run(tmp_path, broken))
    assert checkpoint.checkpoints(tmp_path)


# --- disks ------------------------------------------------------------------------------------------------------------


class Small(Disk):
    """Refuses to write while `full` says so, after half of the bytes, as a disk does."""

    def __init__(self, full):
        self.full = full

    def write(self, path, content):
        if self.full(Path(path)):
            super().write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        super().write(path, content)

    def append(self, path, content):
        if self.full(Path(path)):
            super().append(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        super().append(path, content)


def test_a_full_disk_is_told_and_outlived(tmp_path):
    run(tmp_path / "a")
    disk = Small(lambda path: "step-00000004" in str(path))
    events = run(tmp_path / "b", disk=disk)
    (full,) = [event for event in events if event.kind == "full"]
    assert "step 4 was not saved; the newest checkpoint in" in full.values["why"]
    assert full.values["why"].endswith("is step-00000002: make room, and give the same command again")
    assert not list((tmp_path / "b").glob(".step-*")) and events[-1].kind == "done"
    assert equal(weights(tmp_path / "a", 8), weights(tmp_path / "b", 8))


def test_a_disk_full_to_the_end_keeps_the_older_checkpoint(tmp_path):
    run(tmp_path / "a")
    with pytest.raises(Mistake, match="the disk is full, so step 8 was not saved; .* is step-00000006: make room"):
        run(tmp_path / "b", disk=Small(lambda path: "step-00000008" in str(path)))
    run(tmp_path / "b")
    assert equal(weights(tmp_path / "a", 8), weights(tmp_path / "b", 8))


def test_rows_wait_for_room(tmp_path):
    left = [True, True, False, False]
    log = Log(tmp_path / "metrics.jsonl", Small(lambda path: path.suffix == ".jsonl" and left.pop(0)))
    log.path.touch()
    for step in (1, 2):
        log.add({"kind": "step", "step": step})
        assert log.path.read_bytes() == b"" and len(log.waiting) == step
    log.add({"kind": "step", "step": 3})
    assert [row["step"] for row in read_rows(log.path)] == [1, 2, 3]
    with open(log.path, "ab") as file:
        file.write(b'{"kind": "st')  # of a process that died
    log.cut(2)
    assert [row["step"] for row in read_rows(log.path)] == [1, 2]
    log.path.write_text('{"kind": "step", "step": 1}\nnonsense\n')
    with pytest.raises(Mistake, match="line 2 of .* is 'nonsense', no row of a log"):
        read_rows(log.path)


def test_without_tensorboard_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Mistake, match="TensorBoard is not installed; run: pip install tensorboard"):
        Board(tmp_path)


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(number, status, tmp_path):
    run(tmp_path / "a")
    handler = signal.getsignal(number)

    def batch(position):
        if position == 4:
            signal.raise_signal(number)
        return rehearsal.batch(position)

    said = []
    assert follow(rehearsal.trainer(tmp_path / "b", **SHORT, batch=batch), said.append) == status
    name = signal.Signals(number).name
    assert said[-1] == f"stopped by {name} after step 5, which is saved in {tmp_path / 'b'}; " + (
        "the same command goes on from there"
    )
    assert signal.getsignal(number) == handler
    assert follow(rehearsal.trainer(tmp_path / "b", **SHORT), said.append) == 0
    assert equal(weights(tmp_path / "a", 8), weights(tmp_path / "b", 8))


def test_a_second_signal_does_what_it_always_does():
    """The first one is a wish; whoever cannot wait presses again."""
    came, before = [], signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with Wish() as wish:
            signal.raise_signal(signal.SIGTERM)
            assert wish.number == signal.SIGTERM and not came
            signal.raise_signal(signal.SIGTERM)
            assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_looked_at_does_not_change_what_is_learned(tmp_path):
    """Validation and samples use up no random number and leave the model in train mode: dropout goes on."""
    run(tmp_path / "a")
    noisy = lambda model: torch.rand(()).item()
    events = run(tmp_path / "b", validate_every=1, sample_every=3, validate=noisy)
    assert [event.step for event in events if event.kind == "sample"] == [3, 6, 8]
    model = lambda folder: {k: v for k, v in weights(folder, 8).items() if k.startswith("state.model")}
    assert equal(model(tmp_path / "a"), model(tmp_path / "b"))


# --- several processes ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo")
def test_two_processes_equal_one(tmp_path):
    """The same global batches: DDP adds the gradients of two halves, so rounding alone, 1e-6 as in week 10.

    And with week 10's learning rate, for what rounding does to the weights grows with it (1.3e-6 at 0.02).
    """
    list(rehearsal.trainer(tmp_path / "one", dropout=0.0, steps=12, lr=1e-3).events())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "pretrain.trainer.rehearsal", str(tmp_path / "two"), "12", "1e-3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(WEEK)}
    if sys.platform == "linux":  # else gloo asks a name server for this machine's address
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = weights(tmp_path / "one", 12), weights(tmp_path / "two", 12)
    names = [name for name in one if name.startswith("state.model")]
    assert one.keys() == two.keys() and max((one[name] - two[name]).abs().max().item() for name in names) < 1e-6
    assert [row["step"] for row in read_rows(tmp_path / "two/metrics.jsonl") if row["kind"] == "step"] == [
        *range(1, 13)
    ]


def test_a_world_that_does_not_divide_the_batch_is_refused(tmp_path):
    with pytest.raises(Mistake, match="a batch of 8 rows cannot be shared equally by 3 processes"):
        rehearsal.trainer(tmp_path, Team(0, 3))


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"steps": 0}, "steps is 0; give 1 or more"),
        ({"validate_every": -1}, "validate_every is -1; give 0 for never"),
        ({"keep_every": 3, "save_every": 2}, "give a multiple of 2"),
        ({"window": 8}, "window is 8, and no loss is judged beside fewer than 16"),
        ({"clip": 0.0}, "clip is 0.0 and budget None; both must be above 0"),
    ],
)
def test_a_plan_that_cannot_be(field, sentence):
    with pytest.raises(ValueError, match=sentence):
        Plan(**{"steps": 2, "rows": 2, **field})


def test_a_batch_of_other_size_is_refused(tmp_path):
    small = lambda position: tuple(t[:3] for t in rehearsal.batch(position))
    with pytest.raises(ValueError, match="batch 0 has 3 rows, but a step takes 8; give as many"):
        run(tmp_path, batch=small)
