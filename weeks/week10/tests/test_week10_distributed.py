"""Several processes: the same weights as one, checkpoints that outlive their number, a kill, and bad input.

All that needs two processes happens in one start of torchrun, in a fixture; each test reads one number of it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import scaling.distributed.__main__ as command
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file
from scaling import parallel
from scaling.distributed import checkpoint, proof
from scaling.distributed.run import global_batch, make_optimizer, seed_of
from scaling.parallel import Team, share
from scaling.vendor.shared.errors import Mistake
from scaling.vendor.shared.files import locked

pytestmark = pytest.mark.day(70)
needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo"
)
PACKAGE = Path(parallel.__file__).resolve().parents[1]  # of the code that is graded
CAUGHT = {"capture_output": True, "text": True, "timeout": 300}
TWO_NODES = Path(__file__).resolve().parents[1] / "launch/two_nodes.sh"


# --- two processes and one --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """(folder, metrics) of everything that two processes did."""
    folder = tmp_path_factory.mktemp("proof")
    return folder, proof.prove(folder)


# Weights after 20 steps. DDP adds the gradients of two halves, where one process adds up all rows: rounding alone.
@needs_gloo
@pytest.mark.parametrize(("way", "bound"), [("ddp", 1e-6), ("fsdp", 1e-5)])
@pytest.mark.parametrize("kind", ["", "accumulated_", "muon_", "masked_"])
def test_two_processes_equal_one(way, bound, kind, proved):
    """The same global batches give the same weights, however many processes share the rows."""
    assert proved[1][f"{way}_{kind}max_diff"] <= bound


@needs_gloo
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
@pytest.mark.parametrize("direction", ["1_to_2", "2_to_1"])
def test_a_run_goes_on_with_another_number_of_processes(way, direction, proved):
    """Ten steps in one process and ten in two, or the other way round, are twenty steps."""
    assert proved[1][f"{way}_{direction}_max_diff"] <= {"ddp": 1e-6, "fsdp": 1e-5}[way]


@needs_gloo
def test_a_killed_worker_is_restarted_and_nothing_shows(proved):
    """Killed after step 13, gone on from the checkpoint of step 10: bit for bit the weights of the undisturbed run."""
    folder, metrics = proved
    assert metrics["worker_kills_survived"] == 1 and metrics["killed_max_diff"] == 0
    kept = [path.name for path in checkpoint.checkpoints(folder / "killed")]
    assert kept == [f"step-{n:08d}" for n in (5, 10, 15, 20)]


@needs_gloo
def test_shards_of_two_processes_load_exactly_into_one(proved):
    """Loading is copying: every weight and every tensor of the optimizer, bit for bit, whoever cut it."""
    folder, path = proved[0], checkpoint.checkpoints(proved[0] / "fsdp")[0]
    assert len(list(path.glob("*.safetensors"))) == 2
    module = proof.model()
    optimizer = make_optimizer(module, proof.job())
    assert checkpoint.load(path, module, optimizer, Team(), {}) == proof.HALFWAY
    whole = load_file(folder / "halfway.safetensors")  # written by two processes that loaded the same
    assert all(torch.equal(p, whole[name]) for name, p in module.named_parameters())
    parts = [load_file(shard) for shard in sorted(path.glob("*.safetensors"))]
    for full, tensor in checkpoint.tensors(module, optimizer).items():
        stored = [part[full] for part in parts if full in part]
        assert torch.equal(torch.cat(stored) if tensor.dim() else stored[0], tensor), full


@needs_gloo
def test_a_failure_of_one_process_is_told_by_all(proved):
    """Else the others would wait for it until their patience ends."""
    told = [(proved[0] / f"told-{rank}.txt").read_text() for rank in range(2)]
    assert told == ["process 1 of 2: the text is not on this machine"] * 2


def test_the_bias_of_the_keys_is_what_cannot_be_compared(tmp_path):
    """Its gradient is 0 but for rounding, and AdamW steps on rounding: why the proof has no biases."""
    for name, accumulate in (("whole", 1), ("cut", 4)):
        proof.finish(proof.job(accumulate=accumulate), Team(), tmp_path / name, bias=True)
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    apart = {name: (a[name] - b[name]).abs().max().item() for name in a}
    keys = {name for name in a if name.endswith("attn.qkv.bias")}
    width = proof.SIZES["n_embd"]
    assert max(gap for name, gap in apart.items() if name not in keys) < 1e-6
    for name in keys:
        q, k, v = (a[name] - b[name]).abs().split(width)
        assert k.max() > 3 * max(q.max(), v.max())


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_two_nodes_as_two_network_namespaces(tmp_path):
    """Two networks joined by a virtual cable, a process in each: the weights of a run in one process."""
    text = tmp_path / "text.txt"
    text.write_text("a text of a few words, again and again. " * 100)
    options = ["--data", str(text), "--steps", "4", "--every", "2", "--batch", "4", "--context", "16"]
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(PACKAGE)}
    script = tmp_path / "launch/two_nodes.sh"  # a copy: where it lies, Python would import from
    script.parent.mkdir()
    shutil.copy(TWO_NODES, script)
    line = ["bash", str(script), str(tmp_path / "two"), *options, "--way", "fsdp"]
    done = subprocess.run(line, env=environment, **CAUGHT)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 processes (fsdp) on cpu, from the start" in done.stdout
    command.main([*options, "--out", str(tmp_path / "one")])
    # 4 steps of AdamW with biases: the bias of the keys moves by up to lr a step, see above; the rest by rounding
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert max((a[name] - b[name]).abs().max() for name in a if not name.endswith("qkv.bias")) < 1e-5


# --- which rows, which batch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "size", "accumulate"), [(8, 1, 1), (8, 2, 1), (12, 3, 2), (64, 8, 4)])
def test_rows_are_shared_out_once(rows, size, accumulate):
    """Every row belongs to exactly one process."""
    shares = [range(rows)[share(rows, Team(rank, size), accumulate)] for rank in range(size)]
    assert sorted(row for rows_of_one in shares for row in rows_of_one) == list(range(rows))
    assert len({len(rows_of_one) for rows_of_one in shares}) == 1


@pytest.mark.parametrize(
    ("rows", "size", "accumulate", "sentence"),
    [
        (10, 4, 1, "a batch of 10 rows cannot be shared equally by 4 processes; give a batch of 8 or 12"),
        (8, 2, 3, "a batch of 8 rows .* 2 processes in 3 micro-batches each; give a batch of 6 or 12"),
        (1, 2, 1, "give a batch of 2, or start another number of processes"),
        (0, 1, 1, "a batch of 0 rows .* give a batch of 1"),
    ],
)
def test_a_batch_that_the_processes_do_not_divide(rows, size, accumulate, sentence):
    """A sentence that says which batches would do."""
    with pytest.raises(Mistake, match=sentence):
        share(rows, Team(0, size), accumulate)


def test_a_batch_is_a_function_of_seed_and_step():
    """So a run that goes on meets the batches that it would have met; and no two steps meet the same."""
    tokens, job = proof.tokens(), proof.job()
    first, again = (global_batch(tokens, job, 7, 16)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, global_batch(tokens, job, 8, 16)[0])
    seeds = {seed_of(seed, step, rank) for seed in range(10) for step in range(100) for rank in range(4)}
    assert len(seeds) == 10 * 100 * 4


def test_an_unknown_way_is_refused():
    """With the ways that there are."""
    with pytest.raises(Mistake, match="no way 'tensor' to share a model; choose from ddp, fsdp"):
        parallel.wrap(proof.model(), "tensor", Team())


def test_several_machines_must_not_share_one_store_over_restarts(monkeypatch):
    """torchrun's shared store still holds the addresses of the dead; on one machine a prefix tells the starts apart."""
    values = {"USE_AGENT_STORE": "True", "MAX_RESTARTS": "3", "RESTART_COUNT": "1"}
    for name, value in values.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Mistake, match="type TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun"):
        with parallel.join():
            pass


@pytest.mark.parametrize(("environment", "says"), [({"RANK": "0"}, "done"), ({}, "done, and so is Python")])
def test_what_torchrun_started_leaves_without_taking_python_down(environment, says):
    """Threads of gloo may hold tensors to the last, and they cannot let go of one while Python ends."""
    program = "import atexit; from scaling.parallel import leave; print('done', end='');"
    program += "atexit.register(print, ', and so is Python', end=''); leave(3)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(PACKAGE)} | environment, **CAUGHT
    )
    assert (done.returncode, done.stdout) == (3, says)


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A folder with the checkpoints of steps 10 and 20 of a run in one process."""
    proof.finish(proof.job(), Team(), tmp_path / "run")
    return tmp_path / "run"


def load(folder, module=None, settings=None):
    module = proof.model() if module is None else module
    return checkpoint.load(
        checkpoint.latest(folder), module, make_optimizer(module, proof.job()), Team(), settings or {}
    )


def test_a_resumed_run_is_the_undisturbed_one(run, tmp_path):
    """Bit for bit, with the losses too: the last ten steps done again from the checkpoint of step 10."""
    losses = proof.finish(proof.job(), Team(), tmp_path / "again")
    shutil.rmtree(run / "step-00000020")
    assert proof.finish(proof.job(), Team(), run) == losses[10:]
    assert proof.difference(run / "model.safetensors", tmp_path / "again/model.safetensors") == 0


def test_a_run_that_is_done_writes_its_weights_and_stops(run):
    """The same line once more costs nothing and changes nothing."""
    before = (run / "model.safetensors").read_bytes()
    assert proof.finish(proof.job(), Team(), run) == []
    assert (run / "model.safetensors").read_bytes() == before


def test_nothing_in_a_checkpoint_is_a_pickle(run):
    """Each file is safetensors, by what it holds and not by its name, or JSON."""
    for file in (path for path in run.rglob("*") if path.is_file()):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                assert opened.keys()
        else:
            assert file.name == "checkpoint.json"
            json.loads(file.read_text())


def test_a_save_that_was_cut_short_is_not_a_checkpoint(run):
    """Shards without their manifest, under the name of a part: the run goes on from the one before."""
    (run / "step-00000020").rename(run / ".step-00000020.part")
    (run / "step-00000030").mkdir()
    assert checkpoint.latest(run).name == "step-00000010"
    assert len(proof.finish(proof.job(), Team(), run)) == 10  # and the part of before is in nobody's way
    assert checkpoint.latest(run).name == "step-00000020"


def test_a_checkpoint_is_not_overwritten(run):
    """It may be the only one that a run of days has left."""
    module = proof.model()
    with pytest.raises(Mistake, match="step-00000020 is there already and is not overwritten"):
        checkpoint.save(run, module, make_optimizer(module, proof.job()), 20, Team(), {})


def flip(path):
    """One bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def spoil_json(path):
    path.write_text(path.read_text()[:100])


@pytest.mark.parametrize(
    ("pattern", "harm", "sentence"),
    [
        ("*.safetensors", flip, "is damaged: its bytes are not those that were saved; .* move step-00000020 out"),
        ("*.safetensors", Path.unlink, "is missing, so the checkpoint is not whole; to go on from step-00000010"),
        ("checkpoint.json", spoil_json, "checkpoint.json is damaged; to go on from step-00000010"),
    ],
)
def test_a_damaged_checkpoint_is_named_with_the_way_on(pattern, harm, sentence, run):
    """Which file it is, and how to go on from the one before; no weight has been touched."""
    harm(next((run / "step-00000020").glob(pattern)))
    module = proof.model()
    before = [p.clone() for p in module.parameters()]
    with pytest.raises(Mistake, match=sentence):
        load(run, module)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters()))


def test_a_shard_of_another_checkpoint_is_noticed(run):
    """The reader would take it in with the rest."""
    shard = next((run / "step-00000010").glob("*.safetensors"))
    shutil.copy(shard, run / "step-00000020" / "shard-00002-model-00001-of-00001.safetensors")
    with pytest.raises(Mistake, match="shard-00002.* does not belong to the checkpoint"):
        load(run)


def test_a_checkpoint_of_another_model_lists_what_differs(run):
    """All tensors that do not fit, not the first alone; nothing unknown is dropped."""
    other = proof.GPT(proof.GPTConfig(**proof.SIZES | {"vocab_size": 40, "n_layer": 1}, bias=False))
    with pytest.raises(Mistake, match=r"wte.weight has the shape \(40, 20\) here, \(31, 20\) there.*blocks\.1.*not in"):
        load(run, other)
    with pytest.raises(Mistake, match="blocks.0.norm1.bias is lacking there"):
        load(run, proof.model(bias=True))


def test_a_changed_setting_names_both_values(run):
    """Another seed or rate would be another run; another number of processes or way is the same one."""
    settings = proof.job().settings(proof.model())
    with pytest.raises(Mistake, match="saved with seed = 0, and this run has seed = 5; give the same"):
        load(run, settings=settings | {"seed": 5})
    assert not {"way", "accumulate", "every"} & set(settings)


def test_a_checkpoint_of_a_later_format(run):
    """Said as such, not called damaged."""
    manifest = run / "step-00000020/checkpoint.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 9}))
    with pytest.raises(Mistake, match="has format 9, and this version reads format 1"):
        load(run)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def line(tmp_path):
    """Options of a short run."""
    (tmp_path / "text.txt").write_text("a text of a few words, again and again. " * 100)
    return ["--data", str(tmp_path / "text.txt"), "--out", str(tmp_path / "out"), "--context", "16", "--every", "2"]


def test_the_command_goes_on_where_it_stood(line, capsys):
    """The same line again, and it says from where."""
    command.main([*line, "--steps", "4"])
    assert "1 processes (alone) on cpu, from the start" in capsys.readouterr().out
    shutil.rmtree(Path(line[3]) / "step-00000004")
    command.main([*line, "--steps", "4"])
    assert "from step-00000002" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data", "nowhere.txt"], "nowhere.txt does not exist; run: make data/shakespeare"),
        (["--steps", "0"], "--steps is 0; give 1 or more"),
        (["--threads", "100000"], "--threads 100000 is more than a machine can start"),
        (["--heads", "3"], "n_head = 3 does not divide n_embd = 32"),
        (["--context", "9999"], "too few for one window of 9999"),
        (["--batch", "8", "--accumulate", "3"], "a batch of 8 rows cannot be shared equally"),
        (["--optimizer", "adagrad"], "there is no optimizer 'adagrad'"),
        (["--lr", "nan"], "lr = nan"),
        (["--lr", "1e20", "--warmup", "0", "--steps", "9"], "the .* is (nan|inf) at a learning rate of"),
    ],
)
def test_bad_options_are_a_sentence_each(options, sentence, line):
    """Before or during training: what was given, why not, what to do."""
    with pytest.raises(Mistake, match=sentence):
        command.main([*line, *options])


def test_another_text_is_another_run(line):
    """A checkpoint is of one text; going on with another would give a model of neither."""
    command.main([*line, "--steps", "2"])
    Path(line[1]).write_text("another text of a few words, again. " * 100)
    with pytest.raises(Mistake, match="saved with text = '[0-9a-f]{16}', and this run has text = "):
        command.main([*line, "--steps", "2"])


def test_two_runs_do_not_write_to_one_folder(line):
    """The second is refused, and the first is not disturbed."""
    with locked(line[3]), pytest.raises(Mistake, match="another command is at work"):
        command.main(line)
