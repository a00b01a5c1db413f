"""The network doctor sees in a foreign model what week 5 sees in its own, names what was planted, changes nothing."""

import importlib
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

PLANTED = """
import torch
from torch import nn

CENTRES = torch.randn(10, 20, generator=torch.Generator().manual_seed(1))

def batch():
    targets = torch.randint(10, (128,))
    return (CENTRES[targets] + torch.randn(128, 20)) / 2**0.5, targets  # of mean square 1

def model():
    layers, width = [], 20
    for _ in range(5):
        layers += [nn.Linear(width, 64), {norm}{act}()]
        nn.init.normal_(layers[-{back}].weight, std={gain} / width**0.5)
        nn.init.constant_(layers[-{back}].bias, {bias})
        width = 64
    head = nn.Linear(width, 10)
    nn.init.normal_(head.weight, std={head})
    return nn.Sequential(*layers, head)

def optimizer(network):
    return torch.optim.Adam(network.parameters(), lr={lr})
"""
RIGHT = {"norm": "nn.LayerNorm(64), ", "act": "nn.ReLU", "back": 3, "gain": 1.414, "bias": 0, "head": 0.01, "lr": 3e-3}
BARE = {"norm": "", "back": 2}


@pytest.fixture(scope="module")
def visit(repo_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / "projects")
        yield importlib.import_module("network_doctor.visit")


@pytest.fixture
def see(visit, tmp_path, monkeypatch):
    """see(text of a file, options) -> the diagnosis; the figure is left out, for it takes longer than the visit."""
    monkeypatch.setattr(visit, "draw", lambda *args: None)

    def see(text, *options):
        path = tmp_path / "my_model.py"
        path.write_text(text)
        return visit.main([str(path), *options])

    return see


@pytest.mark.parametrize("name", ["healthy", "dead_relu", "wrong_gain"])
def test_the_three_patients_get_the_name_of_their_file(visit, repo_root, tmp_path, capsys, name):
    """What the page promises; the report ends with what to do, and one figure is drawn."""
    path = repo_root / "projects/network_doctor/patients" / f"{name}.py"
    found = visit.main([str(path), "--figure", str(tmp_path / "f.png")])
    out = capsys.readouterr().out
    assert (found.disease or "healthy") == name and f"diagnosis: {name}: " in out
    assert f"what to do: {found.advice}" in out and ("in torch:" in out) == (name != "healthy")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("disease", "planted"),
    [
        (None, {}),
        (None, {"act": "nn.GELU", "gain": 1.53}),
        (None, {"norm": "nn.BatchNorm1d(64), ", "act": "nn.Tanh", "gain": 1.667}),
        ("dead_relu", {"bias": -6, **BARE}),
        ("wrong_gain", {"gain": 0.3, **BARE}),
        ("wrong_gain", {"gain": 6, "act": "nn.Tanh", **BARE}),
        ("bad_init", {"head": 0.5}),
        ("high_lr", {"lr": 0.1}),
        ("low_lr", {"lr": 1e-7}),
        ("no_norm", {"act": "nn.Tanh", "gain": 1.667, **BARE}),
    ],
)
def test_each_planted_disease_is_named(see, disease, planted):
    """All six of week 5, in a model that week 5 has never seen; only its file differs."""
    steps = "200" if disease == "no_norm" else "40"  # drifting takes longest
    assert see(PLANTED.format(**RIGHT | planted), "--steps", steps).disease == disease


def test_it_sees_what_week_5_sees(visit):
    """On week 5's own network the two looks agree: z, outputs, gradients and weights."""
    from deepmlp.diagnostics import look as own_look
    from deepmlp.model import Config, DeepMLP

    class Foreign(nn.Module):
        """The same network without week 5's layers: matrix products and F.relu."""

        def __init__(self, other):
            super().__init__()
            self.table = nn.Embedding.from_pretrained(other.embed[0].weight.detach().clone(), freeze=False)
            for i, layer in enumerate([*(block[0] for block in other.body), other.head]):
                linear = nn.Linear(*layer.weight.shape)
                linear.weight.data, linear.bias.data = layer.weight.data.T.clone(), layer.bias.data.clone()
                setattr(self, f"l{i}", linear)

        def forward(self, tokens, targets):
            x = self.table(tokens).flatten(1)
            logits = self.l3(F.relu(self.l2(torch.relu(self.l1(self.l0(x).relu())))))
            return logits, F.cross_entropy(logits, targets)

    ours = DeepMLP(Config(vocab_size=9, depth=3, n_hidden=16, activation="relu"), 0).double()
    foreign = Foreign(ours).double()
    tokens, targets = torch.randint(9, (32, 3)), torch.randint(9, (32,))
    want = own_look(ours, tokens, targets)
    seen, places, weights = visit.look(foreign, lambda model: model(tokens, targets)[1])
    assert seen.kinds == want.kinds == ["relu"] * 3 and places == ["Foreign"] * 3
    assert seen.loss == pytest.approx(want.loss, rel=1e-12)
    for mine, theirs in (*zip(seen.z, want.z), *zip(seen.out, want.out), *zip(seen.grads, want.grads)):
        torch.testing.assert_close(mine, theirs.float(), rtol=1e-5, atol=1e-8)
    assert [name.split(" (")[0] for name in seen.weights] == list(want.weights)
    for (value, gradient), (data, grad) in zip(seen.weights.values(), want.weights.values()):
        if value is not seen.weights["embed (table)"][0]:  # torch's Linear keeps its weight the other way round
            value, gradient = value.T, gradient.T
        torch.testing.assert_close(value, data.float(), rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient, grad.float(), rtol=1e-4, atol=1e-8)


def test_every_way_to_call_a_nonlinearity_is_seen_once(visit):
    """Modules, functions, methods, in place or not: foreign models use all of them."""
    calls = [
        nn.ReLU(), F.relu, torch.relu, torch.Tensor.relu, nn.ReLU(inplace=True), torch.relu_, nn.Tanh(), torch.tanh,
        torch.Tensor.tanh, F.tanh, nn.GELU(), F.gelu,
    ]  # fmt: skip

    class All(nn.Module):
        def __init__(self):
            super().__init__()
            self.acts = nn.ModuleList(call for call in calls if isinstance(call, nn.Module))
            self.linears = nn.ModuleList(nn.Linear(8, 8) for _ in range(len(calls) + 1))

        def forward(self, x):
            for linear, call in zip(self.linears, calls):
                self.given.append(linear(x))
                x = call(self.given[-1].clone())
            return self.linears[-1](x)

    model, x = All(), torch.randn(5, 8)
    model.given = []
    seen, _, _ = visit.look(model, lambda m: m(x).square().mean())
    assert seen.kinds == ["relu"] * 6 + ["tanh"] * 4 + ["gelu"] * 2
    for z, given in zip(seen.z, model.given, strict=True):
        assert torch.equal(z, given)  # what went in, even where the call wrote over it


def test_a_channel_of_a_convolution_is_one_unit(visit):
    """Two of four channels never fire: half of the units are dead, wherever in the picture one looks."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3), nn.Tanh(), nn.Linear(3, 2))
    nn.init.constant_(model[0].bias[:2], -100.0)
    x = torch.randn(6, 1, 8, 8)
    seen, places, _ = visit.look(model, lambda m: m(x).square().mean())
    rows = visit.saturation(seen).rows
    assert (rows[0]["dead"], places) == (0.5, ["1", "4"])
    assert [tuple(z.shape) for z in seen.z] == [(6 * 36, 4), (6, 3)]


def test_weights_stand_in_the_order_of_their_use(visit):
    """Not of their making: the last one used is the head. Torch's own layers hide some weights from their modules."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.out, self.table = nn.Linear(8, 5), nn.Embedding(5, 8)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
            self.never, self.own = nn.Linear(8, 8), nn.Parameter(torch.randn(8, 8))

        def forward(self, ids):
            return self.out(self.layer(self.table(ids)) @ self.own)

    model, ids = Odd(), torch.randint(5, (4, 6))
    seen, places, _ = visit.look(model, lambda m: m(ids).square().mean())
    assert (seen.kinds, places) == (["gelu"], ["layer"])
    assert list(seen.weights) == [
        "embed (table)", "hidden 1 (layer.self_attn.in_proj_weight)", "hidden 2 (layer.self_attn.out_proj)",
        "hidden 3 (layer.linear1)", "hidden 4 (layer.linear2)", "hidden 5 (own)", "head (out)",
    ]  # fmt: skip


def test_looking_changes_nothing(visit):
    """No gradient is left, running statistics are as before, and no hook stays on the model."""
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    x, before = torch.randn(9, 4), {k: v.clone() for k, v in model.state_dict().items()}
    visit.look(model, lambda m: m(x).square().mean())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_numbers_as_targets_and_the_courses_contract(see):
    """Regression has no ln V to compare with; a model of this course brings its own loss."""
    text = PLANTED.format(**RIGHT)
    numbers = text.replace("targets  # of", "50 + torch.randn(128, 10)  # of")
    assert see(numbers, "--steps", "30").disease != "bad_init"
    own = text + "\ndef loss(out, targets):\n    return nn.functional.cross_entropy(out, targets) + 7\n"
    assert see(own, "--steps", "30").disease is None


def test_a_loss_that_is_no_number_is_a_disease_and_no_crash(see):
    """A rate of a million: the visit ends early, and says that the steps are too large."""
    assert see(PLANTED.format(**RIGHT | {"lr": 1e30, "norm": "", "back": 2})).disease == "high_lr"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def model(): pass", r"has no function batch\(\); write one that gives \(inputs, targets\)"),
        ("def batch(): pass", r"has no function model\(\)"),
        ("import no_such_thing", "the file of .* fails, line 1: ModuleNotFoundError"),
        ("def batch(): pass\ndef model():\n    return 1 / 0", r"model\(\) of .* fails, line 3: ZeroDivisionError"),
        ("def batch(): pass\ndef model(): return 5", "gave a int; give a torch.nn.Module"),
        ("from torch import nn\ndef batch(): return 5\ndef model(): return nn.Tanh()", "it gave a int"),
        (
            "import torch\nfrom torch import nn\ndef batch(): return torch.ones(3, 2), torch.ones(3, 2)\n"
            "def model(): return nn.Sequential(nn.Linear(2, 2), nn.Sigmoid())",
            "no tanh, relu or gelu was called",
        ),
        (
            "import torch\nfrom torch import nn\ndef batch(): return torch.ones(3, 2), torch.ones(3, 2)\n"
            "def model(): return nn.Sequential(nn.Linear(2, 2), nn.Tanh())",
            "has no hidden weight matrix",
        ),
        (
            "import torch\nfrom torch import nn\ndef batch(): return torch.ones(3, 2), torch.ones(3, 2)\n"
            "class M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)\n"
            "    def forward(self, x):\n        y = self.a(x).relu()\n        y += 1\n        return self.b(y)\n"
            "def model(): return M()",
            "the way back of .* fails: RuntimeError: .* modified by an inplace operation",
        ),
        (
            "import torch\nfrom torch import nn\ndef batch(): return torch.ones(3, 9), torch.ones(3, 2)\n"
            "def model(): return nn.Sequential(nn.Linear(2, 2), nn.Tanh())",
            "the forward pass of .* fails: RuntimeError",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_a_sentence(see, visit, text, sentence):
    """A user's own file fails in a user's own ways; each says where and what to do."""
    with pytest.raises(visit.Mistake, match=sentence):
        see(text)


def test_new_writes_an_example_that_is_healthy_and_never_overwrites(visit, see, tmp_path):
    """The quickest way in: change a file that works."""
    path = tmp_path / "mine.py"
    visit.main(["--new", str(path)])
    assert see(path.read_text(), "--steps", "20").disease is None
    path.write_text("mine")
    with pytest.raises(visit.Mistake, match="is there already and stays as it is"):
        visit.main(["--new", str(path)])
    assert path.read_text() == "mine" and str(tmp_path) not in sys.path
    with pytest.raises(visit.Mistake, match="nothing.py does not exist; run: .*--new"):
        visit.main([str(tmp_path / "nothing.py")])
