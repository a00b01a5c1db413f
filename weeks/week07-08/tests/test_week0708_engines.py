"""The GPT on numbers, on arrays and in torch gives the same logits, loss and gradients."""

import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gpt import loop, numpy_gpt, scalar_gpt
from gpt.engines import ENGINES, weights_of, with_weights
from gpt.loop import Recipe
from gpt.model import GPT, GPTConfig
from gpt.names import Names
from gpt.vendor.autograd.engine import Value
from gpt.vendor.autograd.tensor import Tensor
from gpt.vendor.shared.errors import Mistake

TOKENS, TARGETS = [0, 3, 6, 1, 3], [3, 6, 1, 3, 5]  # one id twice, so that a row of wte collects three gradients


def tiny(bias=True, **more):
    """A torch model in float64, two layers, no weight at a special value such as 0 or 1."""
    model = GPT(
        GPTConfig(**{"vocab_size": 7, "block_size": 6, "n_layer": 2, "n_head": 2, "n_embd": 4, "bias": bias} | more)
    )
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return model


def on_scalars(model):
    """The same weights on the scalar engine."""
    shape = {name: getattr(model.config, name) for name in scalar_gpt.Config.__dataclass_fields__}
    return scalar_gpt.GPT(scalar_gpt.Config(**shape), weights_of(model))


@pytest.mark.day(48)
@pytest.mark.parametrize("bias", [True, False])
def test_three_engines_same_weights_same_numbers(bias):
    """Logits, loss and every gradient. All in float64, so only the order of sums differs: 1e-10."""
    model = tiny(bias)
    scalars, arrays = on_scalars(model), numpy_gpt.GPT(model.config, weights_of(model), np.float64)

    logits, _ = model(torch.tensor([TOKENS]))
    loss = F.cross_entropy(logits[0], torch.tensor(TARGETS))  # the model's own is formed in float32
    loss.backward()
    number_logits, number_loss = scalars(TOKENS, TARGETS)
    number_loss.backward()
    array_logits, array_loss = arrays([TOKENS], [TARGETS])
    array_loss.backward()

    expected = logits[0].detach().numpy()
    np.testing.assert_allclose([[x.data for x in row] for row in number_logits], expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(array_logits.data[0], expected, rtol=0, atol=1e-10)
    assert number_loss.data == pytest.approx(loss.item(), abs=1e-10)
    assert array_loss.item() == pytest.approx(loss.item(), abs=1e-10)
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    flat = np.concatenate([gradient.ravel() for gradient in gradients.values()])
    assert (np.abs(flat) > 1e-6).mean() > 0.8  # else equal gradients would say little
    np.testing.assert_allclose([p.grad for p in scalars.parameters()], flat, rtol=0, atol=1e-10)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(arrays.weights[name].grad, gradient, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.day(48)
def test_numpy_in_float32_is_within_1e_5_of_torch():
    """What the results call numpy_gpt_max_diff, for a batch of a size at which float32 rounds visibly."""
    torch.manual_seed(1)
    model = GPT(GPTConfig(30, 16, 2, 4, 32))
    arrays = numpy_gpt.GPT(model.config, weights_of(model))
    ids = torch.randint(30, (4, 17))
    logits, loss = model(ids[:, :-1], ids[:, 1:])
    loss.backward()
    ours, our_loss = arrays(ids[:, :-1].numpy(), ids[:, 1:].numpy())
    our_loss.backward()
    assert ours.data.dtype == np.float32 == arrays.weights["wte.weight"].grad.dtype
    assert np.abs(ours.data - logits.detach().numpy()).max() < 1e-5
    for name, parameter in model.named_parameters():
        assert np.abs(arrays.weights[name].grad - parameter.grad.numpy()).max() < 1e-5, name


@pytest.mark.day(56)
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_trains_alike(name):
    """Six steps of Adam, two rows of different lengths each, same weights. float32 beside float64: 1e-4 of a loss."""
    config = scalar_gpt.Config(7, 6, 1, 2, 4)
    state = scalar_gpt.start(config, random.Random(0), std=0.3)
    rows = [[6, 0, 1, 6], [6, 2, 3, 4, 5, 1, 2], [6, 5, 6]]
    batches = [[rows[i % 3], rows[(i + 1) % 3]] for i in range(6)]
    losses, expected = (
        list(ENGINES[each].train(ENGINES[each].build(config, state), batches, 0.03)) for each in (name, "scalar")
    )
    assert losses == pytest.approx(expected, rel=1e-4)
    assert min(losses[3:]) < 0.9 * losses[0]


@pytest.mark.day(48)
def test_scalar_steps_are_those_of_torchs_adam():
    """The weights after four steps, in float64, with the falling rate set by hand: 1e-9, for Adam divides by roots."""
    model = tiny(n_layer=1)
    scalars = on_scalars(model)
    batches = [[[0, 3, 6, 1], [2, 2, 5]], [[2, 2, 5]], [[0, 3, 6, 1]], [[4, 4], [1, 2, 3]]]
    list(scalar_gpt.train(scalars, batches, 0.02))
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.85, 0.99))
    for step, rows in enumerate(batches):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 4)
        optimizer.zero_grad()
        for row in rows:
            (F.cross_entropy(model(torch.tensor([row[:-1]]))[0][0], torch.tensor(row[1:])) / len(rows)).backward()
        optimizer.step()
    expected = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    np.testing.assert_allclose([p.data for p in scalars.parameters()], expected, rtol=0, atol=1e-9)


@pytest.mark.day(55)
def test_numpy_steps_are_those_of_the_torch_loop(monkeypatch):
    """Schedule, clipping (it binds), decay of matrices alone and AdamW, on the same batches; and both judge alike.

    The torch model forms its loss in float32, which is 1e-7 of a gradient; Adam's division makes 1e-5 of a step of it.
    """
    model, recipe = tiny(), Recipe(steps=4, batch_size=2, lr=1e-2, min_lr=1e-3, warmup=1, clip=0.05)
    arrays = numpy_gpt.GPT(model.config, weights_of(model), np.float64)
    tokens = np.arange(60) ** 2 % 7
    batches = [numpy_gpt.random_batch(tokens, 2, 6, np.random.default_rng(i)) for i in range(4)]
    ours, theirs = iter(batches), iter(batches)
    monkeypatch.setattr(numpy_gpt, "random_batch", lambda *_: next(ours))
    monkeypatch.setattr(loop, "random_batch", lambda *_: map(torch.tensor, next(theirs)))
    our_losses = [loss for _, loss in numpy_gpt.train(arrays, tokens, recipe, seed=0)]
    losses = [loss for _, loss in loop.train(model, torch.tensor(tokens), recipe, seed=0)]
    assert our_losses == pytest.approx(losses, abs=1e-6)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(arrays.state()[name], parameter.detach(), rtol=0, atol=1e-6, err_msg=name)
    assert numpy_gpt.evaluate(arrays, tokens, rows=2) == pytest.approx(
        loop.evaluate(model, torch.tensor(tokens)), abs=1e-6
    )


@pytest.mark.day(48)
def test_random_windows_and_the_next_token():
    inputs, targets = numpy_gpt.random_batch(np.arange(12), 400, 8, np.random.default_rng(0))
    assert (targets == inputs + 1).all() and set(inputs[:, 0]) == {0, 1, 2, 3}


# --- the nodes that are written out, each against finite differences with a random upstream gradient ------------------


def slopes_by_differences(function, numbers, upstream, step=1e-6):
    """d sum(upstream * function(numbers)) / d numbers, by central differences."""
    found = []
    for i in range(len(numbers)):
        ends = []
        for sign in (1, -1):
            moved = [*numbers]
            moved[i] += sign * step
            ends.append(sum(u * y.data for u, y in zip(upstream, function([Value(x) for x in moved]))))
        found.append((ends[0] - ends[1]) / (2 * step))
    return found


FUNCTIONS = {
    "softmax": lambda x: scalar_gpt.softmax(x, 0.7),
    "layer_norm": lambda x: scalar_gpt.layer_norm(x[:4], x[4:8], x[8:]),
    "layer_norm without bias": lambda x: scalar_gpt.layer_norm(x[:6], x[6:]),
    "gelu": lambda x: [scalar_gpt.gelu(value) for value in x],
    "cross_entropy": lambda x: [scalar_gpt.cross_entropy(x, 3)],
}


@pytest.mark.day(48)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_of_jacobians(name):
    """Central differences in float64 with steps of 1e-6 are good to about 1e-9: 1e-7."""
    rng, function = random.Random(name), FUNCTIONS[name]
    numbers = [rng.gauss(0.0, 1.5) for _ in range(12)]
    values = [Value(x) for x in numbers]
    outputs = function(values)
    upstream = [rng.gauss(0.0, 1.0) for _ in outputs]
    total = sum((u * y for u, y in zip(upstream, outputs)), Value(0.0))
    total.backward()
    assert [v.grad for v in values] == pytest.approx(slopes_by_differences(function, numbers, upstream), abs=1e-7)


@pytest.mark.day(48)
@pytest.mark.parametrize("name", ["linear", "gelu", "attention"])
def test_nodes_of_arrays(name):
    """The same for the three nodes of numpy_gpt, along a random direction of all operands at once: 1e-7."""
    rng = np.random.default_rng(0)
    function, operands = {
        "linear": (numpy_gpt.linear, [(5, 3), (4, 3), (4,)]),
        "gelu": (numpy_gpt.gelu, [(5, 3)]),
        "attention": (lambda qkv: numpy_gpt.attention(qkv, 2, 2), [(6, 12)]),
    }[name]
    arrays = [rng.standard_normal(shape) for shape in operands]
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    out = function(*tensors)
    upstream = rng.standard_normal(out.shape)
    out.backward(upstream)
    ways = [rng.standard_normal(shape) for shape in operands]
    ends = [
        (upstream * function(*(Tensor(a + sign * 1e-6 * w) for a, w in zip(arrays, ways))).data).sum()
        for sign in (1, -1)
    ]
    along = sum((tensor.grad * way).sum() for tensor, way in zip(tensors, ways))
    assert along == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


@pytest.mark.day(48)
def test_large_numbers_overflow_nowhere():
    """Scores of 1000 and logits of -1000: exp is only asked for numbers up to 0."""
    shares = scalar_gpt.softmax([Value(1000.0), Value(-1000.0)])
    assert [share.data for share in shares] == [1.0, 0.0]
    loss = scalar_gpt.cross_entropy([Value(1000.0), Value(-1000.0)], 1)
    assert loss.data == 2000.0 and loss.slopes == (1.0, -1.0)
    assert scalar_gpt.gelu(Value(-100.0)).data == 0.0 and scalar_gpt.gelu(Value(100.0)).data == 100.0


# --- names, samples, and what is refused ------------------------------------------------------------------------------


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.txt").write_text("ada\nbo\nabba\ndad\n", encoding="utf-8")
    return Names(tmp_path / "names.txt")


@pytest.mark.day(48)
def test_names_are_rows_between_ends(names):
    """Every name once before the first returns; ends around each; a long one is cut to its first inputs and targets."""
    assert names.alphabet == "abdo" and len(names) == 5 and names.end == 4
    rows = names.rows(0, 4, 16)
    assert sorted(map(names.text, rows)) == ["abba", "ada", "bo", "dad"]
    assert all(row[0] == row[-1] == 4 for row in rows)
    assert names.rows(4, 6, 16) == rows[:2]
    assert names.batches(2, 3, 16) == [rows[:3], [rows[3], *rows[:2]]]
    assert [len(row) for row in names.rows(0, 4, 2)] == [3] * 4
    with pytest.raises(Mistake, match="nowhere.txt does not exist"):
        Names(Path("nowhere.txt"))


@pytest.mark.day(48)
def test_a_trained_scalar_gpt_writes_the_one_name_it_knows(names):
    """Overfitted on one name, cold sampling gives it back; a random one stays within the block."""
    config = scalar_gpt.Config(len(names), 6, 1, 1, 4)
    model = scalar_gpt.GPT(config, scalar_gpt.start(config, random.Random(0), 0.3))
    assert len(scalar_gpt.sample(model, names, random.Random(1), temperature=5.0)) <= 6
    row = names.rows(0, 1, 6)[0]
    losses = list(scalar_gpt.train(model, [[row]] * 60, 0.05))
    assert losses[-1] < 0.2 < losses[0]
    assert scalar_gpt.sample(model, names, random.Random(1), temperature=0.1) == names.text(row)


@pytest.mark.day(48)
def test_scalar_reads_no_later_token():
    """The logits of a prefix are those of the whole, bit for bit: what comes later is not there yet."""
    scalars = on_scalars(tiny())
    short, long = scalars(TOKENS[:3])[0], scalars(TOKENS)[0]
    assert [[x.data for x in row] for row in short] == [[x.data for x in row] for row in long[:3]]


@pytest.mark.day(48)
def test_first_weights_are_those_of_init_weights():
    """Names, shapes and order of torch's; spreads of 0.02 and 0.02 / sqrt(2 n_layer), to 3 sd of their estimate."""
    config = scalar_gpt.Config(50, 40, 2, 2, 32)
    state = scalar_gpt.start(config, random.Random(0))
    model = with_weights(config, state)
    assert [(n, tuple(p.shape)) for n, p in model.named_parameters()] == list(scalar_gpt.shapes(config).items())
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert (parameter == (0.0 if name.endswith("bias") else 1.0)).all()
        else:
            sd = 0.02 / math.sqrt(4) if "proj" in name or "down" in name else 0.02
            assert parameter.std().item() == pytest.approx(sd, rel=3 / math.sqrt(2 * parameter.numel()))


@pytest.mark.day(48)
@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"n_embd": 6, "n_head": 4}, "n_embd = 6 cannot be cut into 4 heads; give a multiple of it"),
        ({"n_layer": 0}, "n_layer is 0, but it must be a whole number; give 1 or more"),
        ({"vocab_size": True}, "vocab_size is True, but it must be"),
    ],
)
def test_sizes_are_refused_before_any_weight(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        scalar_gpt.Config(**{"vocab_size": 5} | wrong)


@pytest.mark.day(48)
def test_weights_of_another_gpt_are_refused_by_name():
    """All that is wrong, in one sentence, by both engines."""
    config = scalar_gpt.Config(5, 4, 1, 1, 2, bias=False)
    state = scalar_gpt.start(config, random.Random(0))
    state["head.weight"] = state.pop("wpe.weight")
    state["norm.weight"] = [1.0, 1.0, 1.0]
    sentence = (r"another GPT \(head.weight is \(4, 2\), not known; norm.weight is \(3,\), not \(2,\); "
                r"wpe.weight is missing, not \(4, 2\)\); give the config")  # fmt: skip
    for engine in (scalar_gpt, numpy_gpt):
        with pytest.raises(ValueError, match=sentence):
            engine.GPT(config, state)


@pytest.mark.day(48)
def test_too_long_too_short_and_not_finite():
    config = scalar_gpt.Config(5, 4, 1, 1, 2)
    state = scalar_gpt.start(config, random.Random(0))
    with pytest.raises(ValueError, match="token 5 is beyond block_size = 4; give fewer tokens"):
        scalar_gpt.GPT(config, state)([0] * 5)
    model = numpy_gpt.GPT(config, state)
    with pytest.raises(ValueError, match=r"tokens have shape \(1, 5\); give \(batch, time\) with a time from 1 to"):
        model([[0] * 5])
    with pytest.raises(ValueError, match="has 4 tokens, too few for one window of block_size = 4"):
        next(numpy_gpt.train(model, np.zeros(4, int), Recipe(steps=1, batch_size=1), seed=0))
    with pytest.raises(ValueError, match="1 tokens leave nothing to predict"):
        numpy_gpt.evaluate(model, np.zeros(1, int))
    broken = numpy_gpt.GPT(config, state | {"norm.weight": [math.nan, 1.0]})
    with pytest.raises(FloatingPointError, match="the loss became nan at step 0; lower the learning rate"):
        next(numpy_gpt.train(broken, np.zeros(9, int), Recipe(steps=1, batch_size=1), seed=0))
    with pytest.raises(ValueError, match="the recipe asks for 'sgd'; this engine has AdamW"):
        next(numpy_gpt.train(model, np.zeros(9, int), Recipe(steps=1, batch_size=1, optimizer="sgd"), seed=0))
    with pytest.raises(ValueError, match="dropout is 0.1, but there is none on this engine"):
        numpy_gpt.GPT(GPTConfig(5, 4, 1, 1, 2, dropout=0.1), state)
    for row, said in (([-1], r"\[-1, -1\]"), ([5], r"\[5, 5\]"), ([], r"\[\]")):
        with pytest.raises(ValueError, match=f"{said} cannot be read; give one id or more, from 0 to 4"):
            scalar_gpt.GPT(config, state)(row, row)


@pytest.mark.day(48)
def test_two_engines_need_no_torch():
    """In a process of its own, for this one has torch: the scalar file brings not even NumPy."""
    week = str(Path(scalar_gpt.__file__).parents[1])
    code = (
        "import sys; from gpt import names, scalar_gpt; assert 'numpy' not in sys.modules;"
        "from gpt import numpy_gpt; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=week, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.day(48)
def test_scalar_gpt_is_one_file_of_250_lines():
    """The promise of the page, beside microgpt's 200: counted, with its comments."""
    assert len(Path(scalar_gpt.__file__).read_text(encoding="utf-8").splitlines()) <= 250


# --- the bench: what stands beside ours is what it claims to be -------------------------------------------------------


@pytest.mark.day(56)
def test_the_peer_is_microgpt_in_shape_and_its_gradients_hold(load_script, names):
    """4,192 numbers at 27 letters, and gradients as differences give them: a slow peer may be, a wrong one may not.

    Central differences with steps of 1e-5 on a loss near 3: 1e-7.
    """
    microgpt = load_script("week07-08", "microgpt")
    assert len(microgpt.start(27, 0).parameters()) == 4_192
    model, row = microgpt.MicroGPT(5, random.Random(0), block_size=4, n_embd=4, n_head=2, std=0.5), [4, 0, 2, 4]
    model.loss(row).backward()
    for p in random.Random(1).sample(model.parameters(), 15):
        start, ends = p.data, []
        for sign in (1, -1):
            p.data = start + sign * 1e-5
            ends.append(model.loss(row).data)
        p.data = start
        assert p.grad == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-7)
    losses = list(microgpt.train(model, [row] * 20, lr=0.05))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.day(56)
def test_bench_of_the_engines_measures_both_sides(load_script, names, tmp_path, monkeypatch):
    """Every number that the page quotes is there and finite; NumPy's numbers are torch's within 1e-5."""
    bench, microgpt = (load_script("week07-08", name) for name in ("bench_engines", "microgpt"))
    monkeypatch.setattr(bench, "HELD_OUT", (0, 2))
    found = bench.scalar_beside_microgpt(microgpt, tmp_path / "names.txt", 3, 0)
    assert found["scalar_gpt_vs_microgpt_time_ratio"] == found["scalar_gpt_seconds"] / found["microgpt_seconds"]
    monkeypatch.setattr(bench, "DEFAULT", GPTConfig(20, 16, 2, 2, 16))
    found |= bench.numpy_beside_torch(2, 0)
    assert found["numpy_gpt_max_diff"] < 1e-5
    assert all(math.isfinite(value) and value > 0 for value in found.values())
