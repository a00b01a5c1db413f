"""Day 70: what several processes say to each other, with threads in their place, and a model in shards."""

import threading

import pytest
import torch
import torch.distributed as dist
from scaling import parallel
from scaling.distributed.checkpoint import checkpoints
from scaling.parallel import Team, fsdp, wrap
from scaling.vendor.shared.errors import Mistake
from week10_small import small, text

pytestmark = pytest.mark.day(70)


def side_by_side(work, size=2):
    """What work(team) gives or raises in each of `size` threads, which meet in `gather` as processes would."""
    board, found, barrier = [None] * size, [None] * size, threading.Barrier(size)

    class Member(Team):
        def gather(self, thing):
            board[self.rank] = thing
            barrier.wait(timeout=2)
            seen = list(board)
            barrier.wait(timeout=2)
            return seen

    def one(rank):
        try:
            found[rank] = work(Member(rank, size))
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("kind", [Mistake, OSError])
def test_the_failure_of_one_is_the_failure_of_all(kind):
    """The same sentence in both, with the process that failed; none of them waits for the other."""

    def work(team):
        with team.together():
            if team.rank == 1:
                raise kind("the text is not on this machine")
        return "went on"

    found = side_by_side(work)
    assert all(isinstance(each, Mistake) for each in found), found
    assert [str(each) for each in found] == ["process 1 of 2: the text is not on this machine"] * 2


def test_a_failure_that_all_share_names_nobody():
    """A file that is missing everywhere is no fault of process 0."""

    def work(team):
        with team.together():
            raise Mistake("no such file")

    assert [str(each) for each in side_by_side(work, 3)] == ["no such file"] * 3


def test_where_nothing_fails_all_go_on():
    def work(team):
        with team.together():
            pass
        return team.rank

    assert side_by_side(work) == [0, 1]
    with pytest.raises(Mistake, match="^alone$"), Team().together():
        raise Mistake("alone")


def test_a_total_is_a_sum_and_leaves_its_argument(monkeypatch):
    """Three processes with equal numbers, in place of all_reduce; alone, nothing is sent."""
    monkeypatch.setattr(parallel.dist, "all_reduce", lambda tensor: tensor.mul_(3))
    numbers = torch.tensor([1.0, 2.0])
    assert Team(0, 3).total(numbers).tolist() == [3.0, 6.0]
    assert numbers.tolist() == [1.0, 2.0]
    assert Team().total(numbers).tolist() == [1.0, 2.0]


def test_alone_there_is_nothing_to_share():
    model = small()
    assert wrap(model, "ddp", Team()) is model and wrap(model, "fsdp", Team()) is model


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="this torch has no gloo")
def test_every_block_is_sharded_by_itself():
    """A group of one process: each block gathers its own weights, what is left is sharded too, the loss is the same."""
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor, Shard

    plain, model = small(layers=3), small(layers=3)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        module = fsdp(model, Team())
        assert isinstance(module, FSDPModule) and all(isinstance(block, FSDPModule) for block in module.blocks)
        assert all(isinstance(p, DTensor) and p.placements == (Shard(0),) for p in module.parameters())
        assert [name for name, _ in module.named_parameters()] == [name for name, _ in plain.named_parameters()]
        assert module(*text())[1].item() == pytest.approx(plain(*text())[1].item(), abs=1e-12)  # float64
    finally:
        dist.destroy_process_group()


def test_only_whole_checkpoints_count_in_order(tmp_path):
    """A folder without its manifest, one of another name and one still being written are none."""
    for name in ("step-00000020", "step-00000003", "step-00000100", "step-7", ".step-00000200.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint.json").touch()
    (tmp_path / "step-00000300").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000003", "step-00000020", "step-00000100"]
    assert checkpoints(tmp_path / "nothing") == []
