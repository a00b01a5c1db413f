"""A run that is killed goes on to the same weights, at whatever operation of the disk it dies."""

import pytest
import torch
from pretrain.trainer import checkpoint, rehearsal
from pretrain.trainer.log import read_rows
from pretrain.trainer.plan import seed_of
from pretrain.vendor.shared.errors import Mistake
from safetensors.torch import load_file
from week11_disk import Dying, Killed

pytestmark = pytest.mark.day(75)
SHORT = {"steps": 8, "save_every": 2, "keep_every": 4, "validate_every": 3, "sample_every": 0, "optimizer": "adamw"}


def run(folder, **changed):
    return list(rehearsal.trainer(folder, **{**SHORT, **changed}).events())


def outcome(folder, steps=8):
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(folder / "metrics.jsonl")]
    return load_file(checkpoint.place(folder, steps) / checkpoint.TENSORS), rows


def assert_same(folder, wanted):
    """Bit for bit, for going on is doing the same arithmetic again."""
    weights, rows = outcome(folder)
    assert weights.keys() == wanted[0].keys() and all(torch.equal(weights[n], wanted[0][n]) for n in weights)
    assert rows == wanted[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder, disk = tmp_path_factory.mktemp("undisturbed"), Dying()
    run(folder, disk=disk)
    return outcome(folder), disk.count


@pytest.mark.parametrize("power", [False, True])
def test_a_run_may_die_at_any_operation_of_the_disk(power, undisturbed, tmp_path):
    """Every third operation, from another first one for each kind of death."""
    wanted, operations = undisturbed
    assert operations > 60
    for at in range(int(power), operations, 3):
        folder = tmp_path / str(at)
        with pytest.raises(Killed):
            run(folder, disk=Dying(at, power))
        for _, path in checkpoint.checkpoints(folder):
            checkpoint.read(path)  # whole or absent: none is damaged
        assert run(folder)[-1].kind == "done"
        assert_same(folder, wanted)
        assert not list(folder.glob(".step-*"))


def test_a_finished_run_has_nothing_left_to_do(tmp_path, undisturbed):
    run(tmp_path)
    assert [event.kind for event in run(tmp_path)] == ["begin", "done"]
    assert_same(tmp_path, undisturbed[0])


def test_a_dropout_seed_is_a_function_of_seed_step_and_rank():
    """The same for the same three, another for any other: also where their sums or their digits are alike."""
    threes = [(seed, step, rank) for seed in range(3) for step in range(120) for rank in range(12)]
    assert len({seed_of(*three) for three in threes}) == len(threes)
    assert all(0 <= seed_of(*three) < 2**63 for three in threes)
    assert seed_of(1, 2, 3) == seed_of(1, 2, 3)


def test_other_settings_are_named(tmp_path):
    run(tmp_path, steps=2)
    with pytest.raises(
        Mistake, match=r"other settings: optimizer was \"adamw\" and is \"sgd\", steps was 2 and is 8; give"
    ):
        run(tmp_path, optimizer="sgd")


@pytest.mark.parametrize("name", [checkpoint.TENSORS, checkpoint.MANIFEST])
def test_a_damaged_checkpoint_is_named_and_the_older_taken_when_asked(name, tmp_path, undisturbed):
    run(tmp_path)
    newest = checkpoint.place(tmp_path, 8) / name
    content = bytearray(newest.read_bytes())
    content[len(content) // 3] ^= 1
    newest.write_bytes(content)
    sentence = r"step-00000008/\S+ is not what was written: its checksum differs; to go on from step-00000006, ask"
    with pytest.raises(Mistake, match=sentence):
        run(tmp_path)
    assert newest.read_bytes() == content
    events = run(tmp_path, older=True)
    assert events[0].kind == "damaged" and events[1].values["from"].endswith("step-00000006")
    assert [path.is_dir() for path in tmp_path.glob("damaged-step-00000008-*")] == [True]  # nothing is lost
    assert_same(tmp_path, undisturbed[0])


def test_rows_without_their_checkpoints_are_not_overwritten(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "step", "step": 1}\n')
    with pytest.raises(Mistake, match="has rows of a run whose checkpoints are gone"):
        run(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"kind": "step", "step": 1}\n'


def test_the_budget_takes_the_oldest_of_every_k_and_nothing_of_others(tmp_path):
    run(tmp_path / "measured", steps=2)
    size = sum(file.stat().st_size for file in checkpoint.place(tmp_path / "measured", 2).iterdir())
    folder, plan = (
        tmp_path / "a",
        {**SHORT, "steps": 12, "keep_every": 2, "validate_every": 0, "budget": int(3.5 * size)},
    )
    for event in rehearsal.trainer(folder, **plan).events():
        if event.kind == "begin":
            (folder / "step-00000001").mkdir()
            (folder / "step-00000001/mine.txt").write_text("mine")
    assert [step for step, _ in checkpoint.checkpoints(folder)] == [1, 8, 10, 12]
    assert (folder / "step-00000001/mine.txt").read_text() == "mine"


def test_the_last_two_stay_even_over_the_budget(tmp_path):
    events = run(tmp_path, keep_every=2, validate_every=0, budget=1)
    assert [step for step, _ in checkpoint.checkpoints(tmp_path)] == [6, 8]
    assert [event.step for event in events if event.kind == "over"] == [0, 2, 4, 6, 8]
