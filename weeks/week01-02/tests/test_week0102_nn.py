"""Days 10, 11 and 13: layers, initialisation, modes, files; and what the functions for networks refuse.

Every test with a whole network runs twice: with a Linear in front (day 11), and with a convolution (day 13).
"""

import io
import zipfile

import numpy as np
import pytest
import torch
from autograd import functional as F
from autograd import init, nn, serialize
from autograd.conv import conv2d, max_pool2d
from autograd.tensor import Tensor


def rng(seed=0):
    return np.random.default_rng(seed)


class Net(nn.Module):
    """Every kind of layer, one inside another. It begins with a Linear, or with a convolution and a pool."""

    def __init__(self, seed=0, conv=False):
        r = rng(seed)
        first = (nn.Conv2d(1, 3, 3, r, padding=1), nn.MaxPool2d(2)) if conv else (nn.flatten, nn.Linear(16, 12, r))
        self.body = nn.Sequential(*first, nn.relu, nn.flatten, nn.Dropout(0.5, r), nn.LayerNorm(12))
        self.table = nn.Embedding(4, 12, r)
        self.head = nn.Linear(12, 2, r)

    def forward(self, x):
        return self.head(self.body(x) + self.table([1]))


IMAGES = rng(5).standard_normal((6, 1, 4, 4)).astype(np.float32)
both_networks = pytest.mark.parametrize(
    "conv",
    [
        pytest.param(False, id="linear first", marks=pytest.mark.day(11)),
        pytest.param(True, id="convolution first", marks=pytest.mark.day(13)),
    ],
)


@both_networks
def test_parameters_are_found_by_name_in_order(conv):
    """Optimizers and files rely on it: every parameter once, under the same name in every run."""
    shapes = {name: tensor.shape for name, tensor in Net(conv=conv).named_parameters().items()}
    first = {
        False: [("body.1.weight", (16, 12)), ("body.1.bias", (12,))],
        True: [("body.0.weight", (3, 1, 3, 3)), ("body.0.bias", (3,))],
    }[conv]
    assert list(shapes.items()) == [
        *first, ("body.5.weight", (12,)), ("body.5.bias", (12,)),
        ("table.weight", (4, 12)), ("head.weight", (12, 2)), ("head.bias", (2,)),
    ]  # fmt: skip
    assert all(tensor.requires_grad for tensor in Net(conv=conv).parameters())


@both_networks
def test_the_same_network_in_torch(conv):
    """All layers together, in evaluation mode, weights copied: outputs and gradients. float32 sums: 1e-5."""
    ours = Net(conv=conv).eval()
    if conv:
        first, place = (torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.MaxPool2d(2)), 0
    else:
        first, place = (torch.nn.Flatten(), torch.nn.Linear(16, 12)), 1
    theirs = torch.nn.Sequential(
        *first, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LayerNorm(12), torch.nn.Linear(12, 2)
    )
    state = {name: torch.tensor(value) for name, value in ours.state().items()}
    if not conv:
        state["body.1.weight"] = state["body.1.weight"].T  # torch's Linear keeps (n_out, n_in)
    keys = {f"{place}.weight": f"body.{place}.weight", f"{place}.bias": f"body.{place}.bias"}
    keys |= {"4.weight": "body.5.weight", "5.bias": "head.bias"}
    with torch.no_grad():
        for theirs_name, name in keys.items():
            theirs.get_parameter(theirs_name).copy_(state[name])
        theirs.get_parameter("5.weight").copy_(state["head.weight"].T)
        theirs.get_parameter("4.bias").copy_(state["body.5.bias"] + state["table.weight"][1])  # the row is a shift
    out, expected = ours(IMAGES), theirs(torch.tensor(IMAGES))
    upstream = rng(1).standard_normal(out.shape).astype(np.float32)
    out.backward(upstream)
    expected.backward(torch.tensor(upstream))
    close = lambda a, b: np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-5, atol=1e-5)
    close(out.data, expected)
    gradients = {name: tensor.grad for name, tensor in ours.named_parameters().items()}
    if not conv:
        gradients["body.1.weight"] = gradients["body.1.weight"].T
    for theirs_name, name in keys.items():
        close(gradients[name], theirs.get_parameter(theirs_name).grad)
    close(gradients["head.weight"].T, theirs.get_parameter("5.weight").grad)
    close(gradients["table.weight"][1], theirs.get_parameter("4.bias").grad)
    assert not gradients["table.weight"][[0, 2, 3]].any()


@both_networks
def test_modes(conv):
    """Evaluation is deterministic, training is not; the mode reaches every layer, and starts as training."""
    net = Net(conv=conv)
    assert not np.array_equal(net(IMAGES).data, net(IMAGES).data)
    assert net.eval() is net and not any(module.training for module in net.modules())
    assert np.array_equal(net(IMAGES).data, net(IMAGES).data)
    net.train()
    assert not np.array_equal(net(IMAGES).data, net(IMAGES).data)


@both_networks
def test_zero_grad_of_a_module(conv):
    """All of its parameters forget, also those inside."""
    net = Net(conv=conv)
    net(IMAGES).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.day(11)
def test_a_module_without_forward_says_so():
    """The one thing that a new layer must bring."""
    with pytest.raises(NotImplementedError, match=r"Module has no forward\(x\); write one"):
        nn.Module()(1)


# --- initialisation ---------------------------------------------------------------------------------------------------


@pytest.mark.day(11)
@pytest.mark.parametrize("shape", [(300, 200), (64, 32, 5, 3)])
@pytest.mark.parametrize(
    "start, theirs",
    [
        (init.kaiming_normal, lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu")),
        (init.kaiming_uniform, lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu")),
        (init.xavier_normal, torch.nn.init.xavier_normal_),
        (init.xavier_uniform, torch.nn.init.xavier_uniform_),
    ],
)
def test_initial_weights_are_spread_as_in_torch(start, theirs, shape):
    """Mean, standard deviation and largest value; 30,000 draws or more, so 5 standard errors of an sd are 2 %."""
    ours = start(rng(), shape)
    layout = shape if len(shape) == 4 else shape[::-1]  # torch's Linear keeps (n_out, n_in)
    expected = theirs(torch.empty(layout)).numpy()
    assert ours.shape == shape and ours.dtype == np.float32
    assert ours.std() == pytest.approx(expected.std(), rel=0.02) and abs(ours.mean()) < 5 * ours.std() / ours.size**0.5
    if "uniform" in start.__name__:  # the bound is reached to within 1 / 30,000 of it, in nearly all draws
        assert abs(ours).max() == pytest.approx(abs(expected).max(), rel=1e-3)


@pytest.mark.day(11)
def test_signals_keep_their_size_through_ten_layers():
    """What Kaiming's 2 is for: ten relu layers keep the mean square near that of the input; with Xavier it is lost."""
    x = rng(1).standard_normal((200, 256)).astype(np.float32)
    sizes = {}
    for start in (init.kaiming_normal, init.xavier_normal):
        r = rng(2)
        layers = [layer for _ in range(10) for layer in (nn.Linear(256, 256, r, start), nn.relu)]
        sizes[start.__name__] = float((nn.Sequential(*layers)(x).data ** 2).mean())
    assert 1 / 4 < sizes["kaiming_normal"] < 4  # six seeds gave 0.75 to 2.3
    # the same draws, but half the variance where both sides are equally wide, ten times; float32 sums, so 1e-3
    assert sizes["xavier_normal"] / sizes["kaiming_normal"] == pytest.approx(2**-10, rel=1e-3)


# --- files ------------------------------------------------------------------------------------------------------------


@both_networks
def test_weights_go_to_a_file_and_back(conv, tmp_path):
    """Bit for bit, as a zip of plain arrays that any NumPy opens without pickle."""
    net, other = Net(0, conv), Net(1, conv)
    serialize.save(tmp_path / "new" / "net.npz", net)
    assert serialize.load(tmp_path / "new" / "net.npz", other) is other
    for name, value in net.state().items():
        assert value.tobytes() == other.state()[name].tobytes()
    np.testing.assert_array_equal(net.eval()(IMAGES).data, other.eval()(IMAGES).data)
    with np.load(tmp_path / "new" / "net.npz", allow_pickle=False) as file:
        assert sorted(file.files) == sorted(net.state())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["net.npz"]


@pytest.mark.day(11)
def test_weights_of_another_network_are_listed_and_none_is_taken(tmp_path):
    """Everything that does not fit, in one sentence; a half-loaded network would be worse than none."""
    net, before = Net(), {name: value.copy() for name, value in Net().state().items()}
    other = dict(net.state()) | {"head.weight": np.zeros((12, 3)), "tail": np.zeros(1), "body.1.bias": np.ones(12)}
    del other["head.bias"]
    np.savez(tmp_path / "other.npz", **other)
    with pytest.raises(ValueError) as caught:
        serialize.load(tmp_path / "other.npz", net)
    assert str(caught.value) == (
        f"{tmp_path / 'other.npz'}: these weights are of another network (head.bias is missing; head.weight has shape "
        "(12, 3), here (12, 2); tail is unknown here); build the network that they were saved from"
    )
    assert all(np.array_equal(value, before[name]) for name, value in net.state().items())


def broken_files():
    whole = io.BytesIO()
    np.savez(whole, **Net().state())
    objects = io.BytesIO()
    np.savez(objects, head=np.array([{}], dtype=object))
    array = io.BytesIO()
    np.save(array, np.ones(3))
    foreign = io.BytesIO()
    with zipfile.ZipFile(foreign, "w") as file:
        file.writestr("note.txt", "no array")
    return {
        "empty": b"", "text": b"no weights", "cut": whole.getvalue()[:-200], "objects": objects.getvalue(),
        "one array": array.getvalue(), "zip of text": foreign.getvalue(),
    }  # fmt: skip


@pytest.mark.day(11)
@pytest.mark.parametrize("kind", ["empty", "text", "cut", "objects", "one array", "zip of text"])
def test_what_is_no_file_of_weights_is_a_sentence(kind, tmp_path):
    """Cut short, empty, text, a pickle in disguise: refused, and nothing in it is ever executed."""
    path = tmp_path / "net.npz"
    path.write_bytes(broken_files()[kind])
    with pytest.raises(ValueError, match="not a whole .npz of plain arrays|weights are of another network"):
        serialize.load(path, Net())


# --- what is refused --------------------------------------------------------------------------------------------------


# day, what is done, what is raised
REFUSED = [
    (10, lambda: F.cross_entropy(np.ones((2, 3)), [0]), ValueError,
     r"shape \(2, 3\) do not fit targets of shape \(1,\)"),
    (10, lambda: F.cross_entropy(np.ones((0, 3)), np.zeros(0, int)), ValueError, "with N of 1 or more"),
    (10, lambda: F.cross_entropy(np.ones((2, 3)), [0, 3]), ValueError, "the target 3 is outside of 0 to 2"),
    (10, lambda: F.cross_entropy(np.ones((2, 3)), [0, -1]), ValueError, "the target -1 is outside of 0 to 2"),
    (10, lambda: F.cross_entropy(np.ones((2, 3)), [0.0, 1.0]), TypeError, "must be an integer, not float64"),
    (10, lambda: F.embedding(Tensor(np.ones((4, 2))), [4]), ValueError, "the index 4 is outside of 0 to 3"),
    (10, lambda: F.dropout(np.ones(3), 1.0, rng()), ValueError, "dropout probability is 1.0; it must be"),
    (10, lambda: F.layer_norm(np.ones((2, 3)), Tensor(np.ones(2)), Tensor(np.ones(3))), ValueError,
     r"of \(2, 3\) needs a weight and a bias of shape \(3,\), not \(2,\) and \(3,\)"),
    (11, lambda: nn.Linear(3, 2, rng())(np.ones((4, 5))), ValueError, r"shapes \(4, 5\) and \(3, 2\)"),
    (11, lambda: init.fans((3,)), ValueError, r"weights of 2 or 4 axes, not of \(3,\)"),
    (13, lambda: conv2d(np.ones((1, 2, 4, 4)), Tensor(np.ones((1, 3, 2, 2)))), ValueError,
     r"images \(1, 2, 4, 4\) and weights \(1, 3, 2, 2\); give \(N, C, H, W\)"),
    (13, lambda: conv2d(np.ones((1, 1, 2, 9)), Tensor(np.ones((1, 1, 3, 3)))), ValueError,
     r"a window of 3 x 3 does not fit into images \(1, 1, 2, 9\) with padding 0"),
    (13, lambda: conv2d(np.ones((1, 1, 4, 4)), Tensor(np.ones((1, 1, 3, 3))), stride=0), ValueError, "cannot slide"),
    (13, lambda: max_pool2d(np.ones((4, 4)), 2), ValueError, r"needs images \(N, C, H, W\), not shape \(4, 4\)"),
    (13, lambda: max_pool2d(np.ones((1, 1, 4, 4)), 0), ValueError, "a window of 0 x 0.*cannot slide"),
]  # fmt: skip


@pytest.mark.parametrize(
    "do, error, sentence", [pytest.param(*row[1:], marks=pytest.mark.day(row[0])) for row in REFUSED]
)
def test_misuse_is_a_sentence(do, error, sentence):
    """Both shapes, or the value and its range, and what to give instead."""
    with pytest.raises(error, match=sentence):
        do()


@pytest.mark.day(11)
def test_a_shared_layer_is_stepped_once():
    """Two names for one array: an optimizer that got both would move it twice."""
    layer = nn.Linear(2, 2, rng())
    assert len(nn.Sequential(layer, nn.relu, layer).parameters()) == 2


@pytest.mark.day(11)
def test_weights_that_are_no_real_numbers_change_nothing():
    """Checked before the first array is taken over."""
    layer = nn.Linear(2, 2, rng())
    before = layer.state()
    with pytest.raises(ValueError, match="bias holds <U1, no real numbers"):
        layer.load_state({"weight": np.zeros((2, 2)), "bias": np.array(["a", "b"])})
    assert all(np.array_equal(value, before[name]) for name, value in layer.state().items())
