# vendored from weeks/week10/scaling/parallel.py, sha256 368d3e5f9e0a45b5c94eb3352b0cbd2f23e093804b1a8d5dc2ad46623facd379; edit there, then run: make vendor
"""Several processes train one model: who is who, whose rows are whose, how weights and gradients are shared.

torchrun starts the processes and sets RANK, WORLD_SIZE and LOCAL_RANK; torch.distributed does all of the talking.
Without torchrun there is one process, a Team of one, and the same code runs.

The mean over judged tokens, once more: DDP and FSDP2 both *average* the gradients of the processes. If each process
divided its loss by its own count, a process with few judged tokens would weigh as much as one with many. So each
divides its sum by the count of ALL processes and multiplies by their number, which the average takes away again.
"""

import os
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from ..shared.errors import Mistake


@dataclass(frozen=True)
class Team:
    """The processes of a run, seen from one of them: `rank` of 0 ... `size` - 1, and the device it computes on.

    It is the `world` that step.py asks for its size, for a total, and for quiet.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def leads(self) -> bool:
        """Rank 0 prints and writes what is written once."""
        return self.rank == 0

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes, of the same shape. Every process must call it, and gets the same."""
        if self.size == 1:
            return numbers
        sums = numbers.clone()
        dist.all_reduce(sums)
        return sums

    def quiet(self, module):
        """A context for every micro-batch but the last: gradients add up in each process, and are averaged once."""
        if self.size == 1:
            return nullcontext()
        return module.no_sync() if isinstance(module, nn.parallel.DistributedDataParallel) else _quiet_fsdp(module)

    def gather(self, thing) -> list:
        """What each process gave, in the order of their ranks. Every process must call it."""
        if self.size == 1:
            return [thing]
        found = [None] * self.size
        dist.all_gather_object(found, thing)
        return found

    def wait(self):
        """Nobody goes on before all have come here."""
        self.gather(None)

    @contextmanager
    def together(self):
        """A Mistake or OSError of one process becomes the same Mistake in all; else the others would wait for it.

        The block must not itself talk to other processes: the one that fails would leave them waiting inside.
        """
        trouble = None
        try:
            yield
        except (Mistake, OSError) as error:
            trouble = f"{error}"
        found = self.gather(trouble)
        first = next((rank for rank, sentence in enumerate(found) if sentence), None)
        if first is None:
            return
        where = "" if self.size == 1 or all(found) else f"process {first} of {self.size}: "
        raise Mistake(where + found[first])


@contextmanager
def join(seconds: float = 600.0):
    """Meet the other processes that torchrun started; yields the Team, and leaves it however the block ends.

    NCCL where there are GPUs, one a process, else gloo. After `seconds` without an answer a process gives up, so that
    a machine that died cannot hold the others for ever.
    """
    if "RANK" not in os.environ:
        yield Team()
        return
    local, cards = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if cards and local >= cards:
        raise Mistake(
            f"torchrun started process {local} (counted from 0) on a machine with {cards} GPUs; "
            f"give --nproc-per-node {cards} or fewer"
        )
    device = torch.device("cuda", local) if cards else torch.device("cpu")
    if cards:
        torch.cuda.set_device(device)
    # gloo beside NCCL: checkpoints gather small things that lie in the processor's memory
    backend, limit = "cpu:gloo,cuda:nccl" if cards else "gloo", timedelta(seconds=seconds)
    dist.init_process_group(backend, timeout=limit, **_meeting_place(limit))
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def leave(status: int):
    """End this process with `status`; to be called at the end of a program that torchrun starts.

    At once, as multiprocessing ends its children, and not by sys.exit: that would take Python down first, while gloo's
    threads still live (FSDP's caches keep the process group, whatever destroys it). Such a thread may not have let go
    of its last tensor yet, and on a machine with much to do torch 2.13 then aborted a run that had done all of its
    work: "terminate called without an active exception".
    """
    if "RANK" not in os.environ:
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _meeting_place(limit) -> dict:
    """Where the processes of THIS start exchange their addresses; arguments of init_process_group.

    torchrun keeps one store for all restarts (2.13), under the same keys. So after a restart a process may read the
    address of one that is dead, and be refused. On one machine the number of the restart tells the starts apart. On
    several it does not, for each counts its own; there, torchrun must be told to open a new store each time.
    """
    get = os.environ.get
    if get("TORCHELASTIC_USE_AGENT_STORE") != "True" or get("TORCHELASTIC_MAX_RESTARTS", "0") == "0":
        return {}
    size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    if get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]:
        raise Mistake(
            "torchrun on several machines would restart with the addresses of dead processes; "
            "type TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun on each machine, or leave --max-restarts out"
        )
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=limit)
    store = dist.PrefixStore(f"start-{get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    return {"store": store, "rank": rank, "world_size": size}


def share(batch_size: int, team: Team, accumulate: int = 1) -> slice:
    """Which rows of a global batch of `batch_size` are this process's: an equal, contiguous share.

    Every process draws the same global batch and takes its rows, so that the batch does not depend on how many they
    are. Raises a Mistake where the rows cannot be shared equally, and again cut into `accumulate` micro-batches.
    """
    parts = team.size * accumulate
    if batch_size < 1 or batch_size % parts:
        low, high = batch_size // parts * parts, (max(batch_size, 0) // parts + 1) * parts
        near = f"{low} or {high}" if low > 0 else f"{high}"
        cut = f" in {accumulate} micro-batches each" if accumulate > 1 else ""
        raise Mistake(
            f"a batch of {batch_size} rows cannot be shared equally by {team.size} processes{cut}; "
            f"give a batch of {near}, or start another number of processes"
        )
    mine = batch_size // team.size
    return slice(team.rank * mine, (team.rank + 1) * mine)


# --- ways to share a model --------------------------------------------------------------------------------------------


def ddp(model: nn.Module, team: Team) -> nn.Module:
    """Distributed data parallel (Li et al. 2020): every process holds all weights; gradients are averaged."""
    devices = [team.device] if team.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices)


def fsdp(model: nn.Module, team: Team) -> nn.Module:
    """Fully sharded data parallel, torch's second (`fully_shard`): every process holds a share of each weight.

    A block's weights (all tensors in `model.blocks`) are gathered just before it computes and freed after it; its
    gradients are averaged and scattered. The parameters become DTensors, cut along their first dimension, and so does
    an optimizer's state: 1 / size of the memory. (ZeRO stage 3, Rajbhandari et al. 2020, section 5.) Muon needs whole
    matrices, so for it every process gathers each hidden matrix once a step, and repeats the others' work.
    """
    from torch.distributed.device_mesh import init_device_mesh  # here: a run in one process needs none of it
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(team.device.type, (team.size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)  # last: what is left, that is the embeddings, the head tied to them, the last norm
    return model


@contextmanager
def _quiet_fsdp(module):
    module.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        module.set_requires_gradient_sync(True)


WAYS = {"ddp": ddp, "fsdp": fsdp}  # name -> f(model, team): the module to call


def wrap(model: nn.Module, way: str, team: Team) -> nn.Module:
    """`model` on the team's device, shared the way that is named. Alone, there is nothing to share: the model itself.

    Make the optimizer after this call, from `named(module)`: fsdp puts new parameters in the place of the old.
    """
    if way not in WAYS:
        raise Mistake(f"there is no way {way!r} to share a model; choose from {', '.join(WAYS)}")
    model = model.to(team.device)
    return model if team.size == 1 else WAYS[way](model, team)


def bare(module: nn.Module) -> nn.Module:
    """The model inside, whose names carry no prefix of a wrapper."""
    return module.module if isinstance(module, nn.parallel.DistributedDataParallel) else module


def named(module: nn.Module) -> dict[str, nn.Parameter]:
    """{name: Parameter}, the same names however the model is shared; a tied parameter stands under its first name."""
    return dict(bare(module).named_parameters())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor, in every process: a DTensor is gathered (so all must call), any other is itself."""
    tensor = tensor.detach()
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
