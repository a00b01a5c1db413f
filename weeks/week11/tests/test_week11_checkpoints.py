"""What a run leaves on the disk: whole or absent, checked when it is read, and no more of it than the budget allows."""

import json
import math
from pathlib import Path

import pytest
import torch
from pretrain.trainer import checkpoint, keep
from pretrain.trainer.checkpoint import Damaged
from pretrain.trainer.disk import Disk
from pretrain.trainer.log import Log, read_rows
from pretrain.trainer.state import differences, pack, unpack
from pretrain.vendor.shared.errors import Mistake
from safetensors.torch import save as to_bytes
from week11_disk import Dying, Killed

pytestmark = pytest.mark.day(74)


def save(folder, step, state=None, run="ours", disk=None):
    state = {"n": step, "w": torch.arange(5.0)} if state is None else state
    return checkpoint.write(folder, step, state, run=run, settings={"lr": 0.1}, disk=disk or Disk())


def steps(folder):
    return [step for step, _ in checkpoint.checkpoints(folder)]


# --- tensors and a tree -----------------------------------------------------------------------------------------------


def test_packing_loses_nothing():
    """Keys that are numbers, tuples, infinities, half precision; tied weights are stored once."""
    shared = torch.arange(6.0).view(2, 3).T
    state = {
        "a": {0: (1, 2.5), "k": [True, None, float("inf")]},
        "tied": [shared, shared],
        "half": torch.ones(2).bfloat16(),
    }
    tensors, tree = pack(state)
    assert len(tensors) == 2
    back = unpack(tensors, json.loads(json.dumps(tree, allow_nan=False)))
    assert back["a"] == state["a"] and isinstance(back["a"][0], tuple) and isinstance(back["a"]["k"], list)
    assert torch.equal(back["tied"][1], shared) and back["half"].dtype == torch.bfloat16
    assert to_bytes(tensors)


def test_what_is_packed_is_a_copy():
    """Training goes on while a checkpoint is being written."""
    weight = torch.zeros(3)
    tensors, tree = pack([weight])
    weight += 1
    assert unpack(tensors, tree)[0].sum() == 0


def test_what_no_checkpoint_can_hold_is_named_by_its_path():
    """Else it would be lost without a word, and found missing a week later."""
    with pytest.raises(ValueError, match="state.x.0"):
        pack({"x": [{1}]})
    with pytest.raises(ValueError, match=r"state has the key \(1, 2\), which no checkpoint can hold"):
        pack({(1, 2): 0})


def test_settings_that_differ_are_named_with_both_values():
    """All of them at once, nested ones by their path."""
    old = {"model": {"width": 2, "heads": 1}, "data": "a"}
    new = {"model": {"width": 4, "heads": 1}, "seed": 0}
    assert differences(old, new) == [
        'data was "a" and is absent',
        "model.width was 2 and is 4",
        "seed was absent and is 0",
    ]
    assert differences(old, old) == []


# --- one checkpoint ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    """Weights and the memory of an optimizer, through the disk; and the manifest says whose it is."""
    memory = {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 3)}
    groups = [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0]}]
    state = {"model": {"w": torch.randn(2, 3)}, "optimizer": {"state": {0: memory}, "param_groups": groups}}
    path = save(tmp_path, 7, state | {"best": math.inf})
    about, back = checkpoint.read(path)
    assert path.name == "step-00000007" and steps(tmp_path) == [7]
    assert about["step"] == 7 and about["run"] == "ours" and about["settings"] == {"lr": 0.1}
    assert torch.equal(back["model"]["w"], state["model"]["w"]) and back["optimizer"]["param_groups"] == groups
    assert all(torch.equal(back["optimizer"]["state"][0][name], value) for name, value in memory.items())
    assert back["best"] == math.inf


def operations(folder):
    """How many operations of the disk a save takes."""
    disk = Dying()
    save(folder, 1, disk=disk)
    return disk.count


@pytest.mark.parametrize("power", [False, True])
def test_a_save_that_dies_anywhere_leaves_what_was_there(power, tmp_path):
    """At every operation, by a kill or by the power: the new one is whole or absent, and the old one stays."""
    count = operations(tmp_path / "counted")
    assert count >= 6
    for at in range(count):
        folder = tmp_path / f"{at}"
        save(folder, 1)
        with pytest.raises(Killed):
            save(folder, 2, disk=Dying(at, power))
        for step, path in checkpoint.checkpoints(folder):
            assert checkpoint.read(path)[1]["n"] == step
        assert 1 in steps(folder)
        if 2 not in steps(folder):
            save(folder, 2)  # what the dead process left is in nobody's way
        checkpoint.tidy(folder, Disk())
        assert not list(folder.glob(".step-*")) and steps(folder) == [1, 2]


@pytest.mark.parametrize("name", [checkpoint.TENSORS, checkpoint.MANIFEST])
def test_a_changed_byte_is_noticed(name, tmp_path):
    """Anywhere in either file, and also a file that is cut off or gone."""
    path = save(tmp_path, 1)
    whole = (path / name).read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 12)):
        (path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(Damaged):
            checkpoint.read(path)
    (path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Damaged):
        checkpoint.read(path)
    (path / name).unlink()
    with pytest.raises(Damaged, match=f"holds no {name}"):
        checkpoint.read(path)


def test_a_later_format_is_not_called_damaged(tmp_path, monkeypatch):
    """Its bytes are right; this version cannot read them."""
    monkeypatch.setattr(checkpoint, "FORMAT", 9)
    path = save(tmp_path, 1)
    monkeypatch.undo()
    with pytest.raises(Mistake, match="has format 9, and this version reads format 1") as caught:
        checkpoint.read(path)
    assert not isinstance(caught.value, Damaged)


def test_a_removal_that_dies_leaves_no_half(tmp_path):
    """Half a folder under its own name would be taken for a damaged checkpoint."""
    for at in range(3):
        folder = tmp_path / f"{at}"
        path = save(folder, 1)
        with pytest.raises(Killed):
            checkpoint.remove(path, Dying(at))
        for _, left in checkpoint.checkpoints(folder):
            checkpoint.read(left)
        checkpoint.tidy(folder, Disk())
        if path.exists():
            checkpoint.remove(path, Disk())
        assert steps(folder) == [] and not list(Path(folder).iterdir())


def test_a_removal_copes_with_the_rest_of_an_earlier_one(tmp_path):
    """A run that goes on writes the same step again, and may remove it again before anybody tidied up."""
    with pytest.raises(Killed):
        checkpoint.remove(save(tmp_path, 1), Dying(2))
    assert [path.name for path in tmp_path.iterdir()] == [".step-00000001.gone"]
    checkpoint.remove(save(tmp_path, 1), Disk())
    assert list(tmp_path.iterdir()) == []


# --- many checkpoints, and the log ------------------------------------------------------------------------------------


def test_the_last_two_the_best_and_every_kth_stay(tmp_path):
    """And nothing that another run wrote, or nobody."""
    for step in range(1, 10):
        save(tmp_path, step)
    save(tmp_path, 10, run="another")
    (tmp_path / "step-00000011").mkdir()
    removed, over = keep.prune(tmp_path, "ours", best=2, every=3, budget=None, disk=Disk())
    assert removed == [1, 4, 5, 7] and over == 0
    assert steps(tmp_path) == [2, 3, 6, 8, 9, 10, 11]


def test_a_budget_takes_the_oldest_of_every_kth_first(tmp_path):
    """The last two and the best stay even where the budget is too small, which is said in bytes."""
    for step in range(1, 7):
        save(tmp_path, step, {"w": torch.zeros(100)})
    each = keep.size(checkpoint.place(tmp_path, 6))
    options = {"best": 2, "every": 1, "disk": Disk()}
    assert keep.prune(tmp_path, "ours", budget=4 * each, **options) == ([1, 3], 0)
    assert steps(tmp_path) == [2, 4, 5, 6]
    assert keep.prune(tmp_path, "ours", budget=each, **options) == ([4], 2 * each)
    assert steps(tmp_path) == [2, 5, 6]


def test_rows_after_the_checkpoint_are_cut(tmp_path):
    """They are about to be written again; and a line without its end, which a dying process left, is no row."""
    log = Log(tmp_path / "metrics.jsonl", Disk())
    log.path.write_text("".join(json.dumps({"kind": "step", "step": n}) + "\n" for n in range(1, 6)) + '{"kind": "st')
    assert [row["step"] for row in read_rows(log.path)] == [1, 2, 3, 4, 5]
    log.cut(3)
    assert [row["step"] for row in read_rows(log.path)] == [1, 2, 3]
    assert log.path.read_bytes().endswith(b"}\n")
    log.path.write_text('{"kind": "step", "step": 1}\nnonsense\n')
    with pytest.raises(Mistake, match="line 2"):
        read_rows(log.path)


def test_a_cut_that_dies_leaves_the_old_rows_or_the_new(tmp_path):
    """At each of its operations, also when the power goes."""
    line = lambda n: json.dumps({"kind": "step", "step": n}) + "\n"
    for power in (False, True):
        for at in range(4):
            path = tmp_path / f"{power}-{at}.jsonl"
            path.write_text(line(1) + line(2))
            with pytest.raises(Killed):
                Log(path, Dying(at, power)).cut(1)
            assert [row["step"] for row in read_rows(path)] in ([1, 2], [1])
