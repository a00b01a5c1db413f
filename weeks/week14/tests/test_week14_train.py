"""Training: a resumed run is the undisturbed one bit for bit; Ctrl-C and NaN lose nothing."""

import math
import signal
from contextlib import nullcontext

import pytest
import torch
from nanogpt import checkpoint
from nanogpt.device import autocast_for, pick_device
from nanogpt.model import GPT, GPTConfig
from nanogpt.tasks import END
from nanogpt.train import TrainConfig, make_optimizer, train
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.continual.task import Task
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.workspace.learn import new_course, teach
from nanogpt.workspace.store import open_course

TOKENIZER = Tokenizer.train("the quick brown fox jumps over the lazy dog " * 9, 270, special_tokens=(END,))
SHAPE = GPTConfig(TOKENIZER.vocab_size, block_size=8, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, dropout=0.2)
CONFIG = TrainConfig(steps=12, batch_size=3, accumulate=2, lr=1e-2, warmup=3)
EXAMS = {"first": "the quick brown fox", "second": "over the lazy dog"}


def rows(seed, n=20):
    return torch.randint(0, TOKENIZER.vocab_size, (n, 9), generator=torch.Generator().manual_seed(seed))


TASKS = [Task("first", rows(1)), Task("second", rows(2))]


def fresh():
    course = new_course(SHAPE, TOKENIZER, seed=3, keep_rows=6, replay_rows=2)
    course.exams = dict(EXAMS)
    return course


def undisturbed(tmp_path):
    course = fresh()
    for task in TASKS:
        teach(course, task, CONFIG, autocast=nullcontext, folder=tmp_path / "whole")
    return course


def press_ctrl_c_at(step):
    return lambda i, info: signal.raise_signal(signal.SIGINT) if i == step else None


@pytest.mark.parametrize("stopped_task", [0, 1])
@pytest.mark.parametrize("step", [1, 5, 11])
def test_resumed_run_equals_undisturbed_bit_for_bit(tmp_path, stopped_task, step):
    """Weights, optimizer, dropout, data order and the replay memory's draws must all continue where they were."""
    whole = undisturbed(tmp_path)
    folder, course = tmp_path / "stopped", fresh()
    for task in TASKS[:stopped_task]:
        teach(course, task, CONFIG, autocast=nullcontext, folder=folder)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {step} of 12"):
        teach(course, TASKS[stopped_task], CONFIG, autocast=nullcontext, folder=folder, on_step=press_ctrl_c_at(step))
    torch.manual_seed(999)  # whatever happened in between
    course = open_course(folder, replay_rows=2)
    assert course.progress["step"] == step
    for task in TASKS[stopped_task:]:
        losses = teach(course, task, CONFIG, autocast=nullcontext, folder=folder)
        assert len(losses) == 12
    ours, theirs = course.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert course.rows == whole.rows
    left, right = course.replay.state(), whole.replay.state()
    assert torch.equal(left["rows"], right["rows"]) and torch.equal(left["generator"], right["generator"])


def test_resuming_something_else_is_refused(tmp_path):
    """Other settings or other text under --resume would give a run that no command describes."""
    course = fresh()
    with pytest.raises(KeyboardInterrupt):
        teach(course, TASKS[0], CONFIG, autocast=nullcontext, folder=tmp_path, on_step=press_ctrl_c_at(4))
    for task, config, words in [
        (TASKS[1], CONFIG, "another task and other rows"),
        (TASKS[0], TrainConfig(steps=13, batch_size=3), "other settings"),
    ]:
        with pytest.raises(Mistake, match=words):
            teach(open_course(tmp_path), task, config, autocast=nullcontext, folder=tmp_path)


def test_replay_rows_zero_is_naive_bit_for_bit():
    """The strategy that protects nothing must be plain training exactly, or the comparison is not fair."""
    course = fresh()
    course.replay.batch_rows = 0
    for task in TASKS:
        teach(course, task, CONFIG, autocast=nullcontext)
    torch.manual_seed(3)
    model = GPT(SHAPE)
    for i, task in enumerate(TASKS):
        torch.manual_seed(CONFIG.seed + i)
        train(Learner(model), task.train, CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(course.model.parameters(), model.parameters(), strict=True))


def test_equals_a_plain_torch_loop():
    """The loop against the lines that anyone would write with torch alone: same losses, same weights, bit for bit."""
    config = TrainConfig(steps=6, batch_size=4, lr=3e-3, warmup=2, weight_decay=0.1)
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
        [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], betas=(0.9, 0.99), fused=True
    )
    # the order in which rows come is the loop's own affair (seed 0): asked of it, all else by hand
    from nanogpt.vendor.continual.loop import Shuffle

    shuffle, expected = Shuffle(20, 4, 0), []
    theirs.train()
    for i in range(6):
        lr = 3e-3 * ((i + 1) / 3 if i < 2 else 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (i - 2) / 4)))
        for group in optimizer.param_groups:
            group["lr"] = lr
        batch = rows(1)[shuffle.at(i)]
        loss = theirs(batch[:, :-1], batch[:, 1:])[1]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        expected.append(loss.item())
    assert losses == expected
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_accumulated_batches_equal_one_large_batch():
    """Two micro-batches of 4 are one batch of 8, up to the rounding of another order of sums (1e-5)."""
    shape = GPTConfig(TOKENIZER.vocab_size, block_size=8, n_layer=2, n_head=2, n_embd=16)
    results = []
    for batch_size, accumulate in ((8, 1), (4, 2)):
        torch.manual_seed(0)
        model = GPT(shape)
        config = TrainConfig(steps=3, batch_size=batch_size, accumulate=accumulate, lr=1e-3, warmup=0)
        results.append((train(Learner(model), rows(1), config), model))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=0)


def test_nan_loss_stops_and_keeps_the_last_checkpoint(tmp_path):
    """A loss that is not a number names its step; the saved model and the live weights are finite."""
    course = fresh()

    def poison(step, info):
        if step == 7:
            course.replay.loss = lambda learner, batch: learner.loss(batch) * float("nan")

    with pytest.raises(Mistake, match="training stopped at step 7: the loss is nan.*A lower --lr"):
        teach(course, TASKS[0], CONFIG, autocast=nullcontext, folder=tmp_path, save_every=5, on_step=poison)
    assert all(torch.isfinite(p).all() for p in course.model.parameters())
    again = open_course(tmp_path)
    assert again.progress["step"] == 5
    assert all(torch.isfinite(p).all() for p in again.model.parameters())


def test_second_ctrl_c_stops_at_once():
    """Someone who presses twice does not want to wait; what was saved before stays."""
    with pytest.raises(KeyboardInterrupt) as caught:
        train(Learner(GPT(SHAPE)), rows(1), CONFIG,
              on_step=lambda i, info: [signal.raise_signal(signal.SIGINT) for _ in range(2)])  # fmt: skip
    assert not str(caught.value)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_optimizer_groups_partition_the_model():
    """Each parameter once; only matrices decay."""
    model = GPT(SHAPE)
    groups = make_optimizer(dict(model.named_parameters()), CONFIG).param_groups
    assert sum(p.numel() for g in groups for p in g["params"]) == model.n_params()
    assert all((p.dim() >= 2) == (g["weight_decay"] > 0) for g in groups for p in g["params"])


def test_learning_rate_schedule():
    """Rises linearly, peaks at 1, ends at min_lr: against values worked out by hand."""
    config = TrainConfig(steps=110, warmup=10, min_lr=0.2)
    expected = {0: 1 / 11, 9: 10 / 11, 10: 1.0, 60: 0.6, 110: 0.2}
    for step, value in expected.items():
        assert math.isclose(config.lr_factor(step), value, abs_tol=1e-12)  # exact but for the cosine's rounding


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": -3}, "--steps is -3"),
        ({"steps": 0}, "--steps is 0"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"lr": -1.0}, "--lr is -1.0"),
        ({"lr": float("nan")}, "--lr is nan"),
        ({"warmup": -1}, "--warmup is -1"),
        ({"precision": "float16"}, "choose auto, float32 or bfloat16"),
        ({"min_lr": 2.0}, "--min-lr is 2.0"),
    ],
)
def test_absurd_settings_get_a_sentence(change, sentence):
    """Told before any work, in the words of the command's options."""
    with pytest.raises(Mistake, match=sentence):
        TrainConfig(**change)


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


def test_unknown_device_gets_a_sentence():
    """A device that is not there must say so before the model is built."""
    with pytest.raises(Mistake, match="try --device cpu"):
        pick_device("tpu")


def test_saved_memory_is_part_of_the_course(tmp_path):
    """Rows kept for replay survive on disk, evenly shared, and are training rows of their own domain."""
    undisturbed(tmp_path)
    course = open_course(tmp_path / "whole")
    assert course.replay.memory.counts() == {"first": 3, "second": 3} and course.taught == ["first", "second"]
    for row in course.replay.memory.rows[:3]:
        assert (TASKS[0].train == row).all(dim=1).any()
    assert not checkpoint.load_part(tmp_path / "whole", "training")  # a finished run keeps no optimizer


def test_damaged_course_is_told(tmp_path):
    """A record that lost a field is a sentence, not a KeyError."""
    import json

    undisturbed(tmp_path)
    path = tmp_path / "whole" / "checkpoint.json"
    index = json.loads(path.read_text())
    del index["record"]["replay"]
    path.write_text(json.dumps(index))
    with pytest.raises(Mistake, match="lacks what a course needs"):
        open_course(tmp_path / "whole")
