"""Training: a resumed run is the undisturbed one bit for bit; Ctrl-C and NaN lose nothing."""

import math
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from nanogpt import checkpoint
from nanogpt.device import autocast_for, pick_device
from nanogpt.model import GPT, GPTConfig
from nanogpt.tasks import END
from nanogpt.train import TrainConfig, train
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.continual.rows import all_judged
from nanogpt.vendor.continual.task import Task
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.workspace.learn import learn, new_course
from nanogpt.workspace.store import open_course

TOKENIZER = Tokenizer.train("the quick brown fox jumps over the lazy dog " * 9, 270, special_tokens=(END,))
SHAPE = GPTConfig(TOKENIZER.vocab_size, block_size=8, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, dropout=0.2)
CONFIG = TrainConfig(steps=12, batch_size=3, accumulate=2, lr=1e-2, warmup=3, first_batch=1)
EXAMS = {"first": "the quick brown fox", "second": "over the lazy dog"}


def rows(seed, n=20):
    ids = torch.randint(0, TOKENIZER.vocab_size, (n, 9), generator=torch.Generator().manual_seed(seed))
    return all_judged(ids)


TASKS = [Task("first", rows(1)), Task("second", rows(2))]


def fresh(replay_rows=2):
    course = new_course(SHAPE, TOKENIZER, seed=3, method_config={"keep_rows": 6, "replay_rows": replay_rows})
    course.exams = dict(EXAMS)
    return course


def undisturbed(tmp_path):
    course = fresh()
    for task in TASKS:
        learn(course, task, CONFIG, autocast=nullcontext, folder=tmp_path / "whole")
    return course


def press_ctrl_c_at(step):
    return lambda i, info: signal.raise_signal(signal.SIGINT) if i == step else None


@pytest.mark.day(99)
@pytest.mark.parametrize("stopped_task", [0, 1])
@pytest.mark.parametrize("step", [1, 5, 11])
def test_resumed_run_equals_undisturbed_bit_for_bit(tmp_path, stopped_task, step):
    """Weights, optimizer, dropout, data order and the replay memory's draws must all continue where they were."""
    whole = undisturbed(tmp_path)
    folder, course = tmp_path / "stopped", fresh()
    for task in TASKS[:stopped_task]:
        learn(course, task, CONFIG, autocast=nullcontext, folder=folder)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {step} of 12"):
        learn(course, TASKS[stopped_task], CONFIG, autocast=nullcontext, folder=folder, on_step=press_ctrl_c_at(step))
    torch.manual_seed(999)  # whatever happened in between
    course = open_course(folder)
    assert course.progress["step"] == step
    for task in TASKS[stopped_task:]:
        losses, _ = learn(course, task, CONFIG, autocast=nullcontext, folder=folder)
        assert len(losses) == 12
    ours, theirs = course.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert course.scores == whole.scores
    left, right = course.method.state(), whole.method.state()
    assert all(torch.equal(left[name], right[name]) for name in ("rows.ids", "rows.judged", "generator"))


@pytest.mark.day(99)
def test_replay_rows_zero_is_naive_bit_for_bit():
    """The strategy that protects nothing must be plain training exactly, or the comparison is not fair."""
    course = fresh(replay_rows=0)
    for task in TASKS:
        learn(course, task, CONFIG, autocast=nullcontext)
    torch.manual_seed(3)
    model = GPT(SHAPE)
    for i, task in enumerate(TASKS):
        torch.manual_seed(CONFIG.seed + i)
        train(Learner(model), task.train, CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(course.model.parameters(), model.parameters(), strict=True))


@pytest.mark.day(96)
def test_equals_a_plain_torch_loop():
    """The loop against the lines that anyone would write with torch alone: same losses, same weights, bit for bit."""
    config = TrainConfig(steps=6, batch_size=4, lr=3e-3, warmup=2, schedule="cosine", min_lr=0.1, optimizer="adamw")
    torch.manual_seed(0)
    ours = GPT(SHAPE)
    theirs = GPT(SHAPE)
    theirs.load_state_dict(ours.state_dict())
    torch.manual_seed(1)
    losses = train(Learner(ours), rows(1), config)
    torch.manual_seed(1)
    decay = [p for p in theirs.parameters() if p.dim() >= 2]
    plain = [p for p in theirs.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], betas=(0.9, 0.95), fused=True
    )
    # the order in which rows come is the loop's own affair (seed 0): asked of it, all else by hand
    from nanogpt.vendor.continual.loop import Shuffle

    shuffle, expected = Shuffle(20, 4, 0), []
    theirs.train()
    for i in range(6):
        lr = 3e-3 * ((i + 1) / 3 if i < 2 else 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (i - 2) / 4)))
        for group in optimizer.param_groups:
            group["lr"] = lr
        batch = rows(1)[shuffle.at(i)].ids
        loss = theirs(batch[:, :-1], batch[:, 1:])[1]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        expected.append(loss.item())
    assert losses == expected
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.day(96)
def test_accumulated_batches_equal_one_large_batch():
    """Two micro-batches of 4 are one batch of 8, up to the rounding of another order of sums (1e-5)."""
    shape = GPTConfig(TOKENIZER.vocab_size, block_size=8, n_layer=2, n_head=2, n_embd=16)
    results = []
    for batch_size, accumulate in ((8, 1), (4, 2)):
        torch.manual_seed(0)
        model = GPT(shape)
        # plain descent, which moves by the gradient's size; AdamW and Muon would not see it doubled
        config = TrainConfig(
            steps=3, batch_size=batch_size, accumulate=accumulate, lr=1e-1, warmup=0, clip=1e6, optimizer="sgd"
        )
        results.append((train(Learner(model), rows(1), config), dict(model.named_parameters())))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.day(99)
def test_nan_loss_stops_and_keeps_the_last_checkpoint(tmp_path):
    """A loss that is not a number names its step; the saved model and the live weights are finite."""
    course = fresh()

    def poison(step, info):
        if step == 7:
            course.method.loss = lambda learner, batch: learner.loss(batch) * float("nan")

    with pytest.raises(Mistake, match="at step 7: the loss is nan.*step 5 of 12 is saved .*--resume and a lower --lr"):
        learn(course, TASKS[0], CONFIG, autocast=nullcontext, folder=tmp_path, save_every=5, on_step=poison)
    assert all(torch.isfinite(p).all() for p in course.model.parameters())
    again = open_course(tmp_path)
    assert again.progress["step"] == 5
    assert all(torch.isfinite(p).all() for p in again.model.parameters())


@pytest.mark.day(99)
@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (TASKS[1], "was stopped while it learned first; finish that first"),
        (Task("first", rows(5)), "was stopped while it learned other rows than first has now; .* the same --exam"),
    ],
)
def test_a_stopped_task_is_not_taken_for_another(tmp_path, task, sentence):
    """Else its steps would count as those of the new one, which would never be trained."""
    with pytest.raises(KeyboardInterrupt):
        learn(fresh(), TASKS[0], CONFIG, autocast=nullcontext, folder=tmp_path, on_step=press_ctrl_c_at(5))
    with pytest.raises(Mistake, match=sentence):
        learn(open_course(tmp_path), task, CONFIG, autocast=nullcontext, folder=tmp_path)
    assert open_course(tmp_path).progress["step"] == 5


@pytest.mark.day(99)
def test_a_full_disk_says_what_is_saved_and_how_to_go_on(tmp_path, monkeypatch):
    """The steps since the last save are lost, those before it are not."""
    from nanogpt.workspace import learn as workspace

    save, full = workspace.save_course, OSError(28, "No space left on device")

    def until_full(folder, course):
        if course.progress["step"] > 5:
            raise full
        save(folder, course)

    monkeypatch.setattr(workspace, "save_course", until_full)
    said = r"no space left on device; free what is in the way\. step 5 of 12 is saved in .*: go on with .*--resume"
    with pytest.raises(Mistake, match=said):
        learn(fresh(), TASKS[0], CONFIG, autocast=nullcontext, folder=tmp_path, save_every=5)
    assert open_course(tmp_path).progress["step"] == 5


@pytest.mark.day(96)
def test_second_ctrl_c_stops_at_once(capfd):
    """Someone who presses twice does not want to wait; what was saved before stays. The first press is answered."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(Learner(GPT(SHAPE)), rows(1), CONFIG,
              on_step=lambda i, info: [signal.raise_signal(signal.SIGINT) for _ in range(2)])  # fmt: skip
    assert not str(caught.value) and "stopping after this step; a second Ctrl-C" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.day(96)
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", {0: 1 / 11, 9: 10 / 11, 10: 1.0, 60: 0.6, 110: 0.2}),
        ("linear", {0: 1 / 11, 10: 1.0, 60: 0.6, 110: 0.2}),
        ("constant", {0: 1 / 11, 10: 1.0, 110: 1.0}),
    ],
)
def test_learning_rate_schedule(schedule, expected):
    """Rises linearly to lr, then as it is called: against values worked out by hand."""
    config = TrainConfig(steps=110, warmup=10, min_lr=0.2, lr=3.0, schedule=schedule)
    for step, value in expected.items():
        assert math.isclose(config.lr_at(step), 3.0 * value, abs_tol=1e-12)  # exact but for the cosine's rounding


@pytest.mark.day(96)
def test_a_new_optimizer_is_a_row(monkeypatch):
    """An optimizer that the table knows is one that can be trained with; another name is told which there are."""
    from nanogpt.optimizers import OPTIMIZERS

    def signs(named, *, lr, weight_decay, betas):
        return torch.optim.Rprop(named.values(), lr=lr)

    with pytest.raises(Mistake, match="--optimizer is 'signs'; choose one of adamw, sgd"):
        TrainConfig(optimizer="signs")
    monkeypatch.setitem(OPTIMIZERS, "signs", signs)
    model = GPT(SHAPE)
    before = [p.detach().clone() for p in model.parameters()]
    train(Learner(model), rows(1), TrainConfig(steps=2, optimizer="signs"))
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.day(96)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": -3}, "--steps is -3"),
        ({"steps": 0}, "--steps is 0"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"batch_size": 2**40}, "--batch-size is 1099511627776; it must be from 1 to 1000000"),
        ({"accumulate": 2**40}, "--accumulate is 1099511627776; it must be from 1 to 1000000"),
        ({"lr": -1.0}, "--lr is -1.0"),
        ({"lr": float("nan")}, "--lr is nan"),
        ({"warmup": -1}, "--warmup is -1"),
        ({"precision": "float16"}, "--precision is 'float16'; choose one of auto, float32, bfloat16"),
        ({"min_lr": 2.0}, "--min-lr is 2.0"),
        ({"seed": -1}, "--seed is -1; give a whole number from 0"),
        ({"seed": 2**63}, "give a whole number from 0 to 9223372036854775807"),
        ({"schedule": "steps"}, "--schedule is 'steps'; choose one of cosine, linear, constant"),
        ({"clip": float("inf")}, "--clip is inf"),
        ({"weight_decay": float("nan")}, "--weight-decay is nan"),
        ({"lr": 1e300}, "--lr is 1e.300; it must be above 0 and at most 1e.06"),
    ],
)
def test_absurd_settings_get_a_sentence(change, sentence):
    """Told before any work, in the words of the command's options."""
    with pytest.raises(Mistake, match=sentence):
        TrainConfig(**change)


@pytest.mark.day(96)
def test_bfloat16_training_follows_float32():
    """Autocast must compute the same thing more coarsely: losses within 2 % over 12 steps (bf16 keeps 8 bits)."""
    shape = GPTConfig(TOKENIZER.vocab_size, block_size=8, n_layer=2, n_head=2, n_embd=16)
    losses = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        autocast, name = autocast_for(precision, torch.device("cpu"))
        assert name == precision
        losses[precision] = train(
            Learner(GPT(shape), autocast=autocast), rows(1), TrainConfig(steps=12, lr=1e-3, warmup=0)
        )
    torch.testing.assert_close(losses["bfloat16"], losses["float32"], rtol=0.02, atol=0)
    assert losses["bfloat16"] != losses["float32"]


@pytest.mark.day(96)
def test_unknown_device_gets_a_sentence():
    """A device that is not there must say so before the model is built."""
    with pytest.raises(Mistake, match="try --device cpu"):
        pick_device("tpu")


@pytest.mark.day(99)
def test_saved_memory_is_part_of_the_course(tmp_path):
    """Rows kept for replay survive on disk, evenly shared, and are training rows of their own domain."""
    undisturbed(tmp_path)
    course = open_course(tmp_path / "whole")
    assert course.method.memory.counts() == {"first": 3, "second": 3} and course.learned == ["first", "second"]
    for row in course.method.memory.rows.ids[:3]:
        assert (TASKS[0].train.ids == row).all(dim=1).any()
    assert not checkpoint.load_part(tmp_path / "whole", "training")  # a finished run keeps no optimizer


@pytest.mark.day(99)
def test_damaged_course_is_told(tmp_path):
    """A record that lost a field is a sentence, not a KeyError."""
    import json

    undisturbed(tmp_path)
    path = tmp_path / "whole" / "checkpoint.json"
    index = json.loads(path.read_text())
    del index["record"]["method"]
    path.write_text(json.dumps(index))
    with pytest.raises(Mistake, match="lacks what a course needs"):
        open_course(tmp_path / "whole")


@pytest.mark.day(96)
def test_memory_that_was_freed_is_kept():
    """Blocks of 64 MB, each freed before the next: after a while none needs fresh pages. In a process of its own."""
    pytest.importorskip("resource", reason="this system does not count the pages that a process gets")
    code = """
import resource, torch
from nanogpt.device import keep_memory
kept, pages = keep_memory(), lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def blocks(n):
    for _ in range(n):
        torch.ones(2**24)
blocks(20)
before = pages()
blocks(20)
print(kept, pages() - before)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    kept, fresh = said.split()
    if kept == "False":
        pytest.skip("the C library of this system has no mallopt")
    assert int(fresh) < 2 * 16_384  # those of two blocks; it would be those of all twenty
