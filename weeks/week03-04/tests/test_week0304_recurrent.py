"""Days 22 to 25: recurrent cells, equal to torch.nn.RNN, GRU and LSTM with the same weights."""

import pytest
import torch
from makemore.recurrent import Cell, GRUCell, LSTMCell, RNNCell

N_IN, H = 5, 7
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")  # what @, matmul, linear and einsum come down to
# our columns -> torch's rows: the gates' order, and where our one bias belongs
CELLS = {
    "rnn": (RNNCell, torch.nn.RNN, [0]),
    "gru": (GRUCell, torch.nn.GRU, [0, 1, 2]),
    "lstm": (LSTMCell, torch.nn.LSTM, [0, 1, 3, 2]),  # ours i, f, o, g; torch's i, f, g, o
}
DAYS = {"rnn": 23, "gru": 24, "lstm": 25}  # the fast form comes on day 23; before it there is only the RNN's plain one


def on_its_day(*values):
    """A case of the day on which its cell and its form are both there."""
    return pytest.param(*values, marks=pytest.mark.day(22 if values == ("plain", "rnn") else DAYS[values[-1]]))


def as_torchs(columns, order):
    """(..., gates * H) with gates in our order -> in torch's."""
    blocks = columns.split(H, dim=-1)
    return torch.cat([blocks[i] for i in order], dim=-1)


def pair(name, dtype):
    """Our cell with random weights, and torch's with the same.

    0.3: with large weights each moment magnifies the rounding of the one before, and float32 then differs by more than
    its own rounding, whichever way the equation is written.
    """
    ours, theirs, order = CELLS[name]
    cell, peer = ours(N_IN, H).to(dtype), theirs(N_IN, H, batch_first=True).to(dtype)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
        peer.weight_ih_l0.copy_(as_torchs(cell.weight_x, order).T)
        peer.weight_hh_l0.copy_(as_torchs(cell.weight_h, order).T)
        peer.bias_ih_l0.copy_(as_torchs(cell.bias, order))
        peer.bias_hh_l0.zero_()  # torch has a second bias; beside the first it adds nothing ...
        if name == "gru":
            peer.bias_hh_l0[2 * H :] = cell.bias_n  # ... but here, where r stands between the two
    return cell, peer, order


@pytest.mark.day(22)
def test_one_moment_by_hand():
    """h' = tanh(x W_x + b + h W_h), a tuple of one: [0.5, -1] and [1, 2] W_h = [0.7, 1] make tanh [1.2, 0]. 1e-6."""
    cell = RNNCell(N_IN, 2)
    with torch.no_grad():
        cell.weight_h.copy_(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
    (h,) = cell.update(torch.tensor([[0.5, -1.0]]), (torch.tensor([[1.0, 2.0]]),))
    torch.testing.assert_close(h, torch.tensor([[1.2, 0.0]]).tanh(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("form, name", [on_its_day(form, name) for name in CELLS for form in ("plain", "forward")])
@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=["float32", "float64"]
)
def test_equal_to_torch(name, form, dtype, tolerance):
    """State at every moment, and the gradients of all weights and of the input, for a random upstream gradient.

    Relative to the largest number: 1e-6 in float32 (sums over nine moments in another order), 1e-12 in float64.
    """
    cell, peer, order = pair(name, dtype)
    x = torch.randn(3, 9, N_IN, dtype=dtype)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    h, expected = getattr(cell, form)(mine), peer(other)[0]
    upstream = torch.randn_like(expected)
    h.backward(upstream)
    expected.backward(upstream)
    found = {
        "h": (h, expected),
        "x": (mine.grad, other.grad),
        "weight_x": (as_torchs(cell.weight_x.grad, order).T, peer.weight_ih_l0.grad),
        "weight_h": (as_torchs(cell.weight_h.grad, order).T, peer.weight_hh_l0.grad),
        "bias": (as_torchs(cell.bias.grad, order), peer.bias_ih_l0.grad),
    }
    if name == "gru":
        found["bias_n"] = (cell.bias_n.grad, peer.bias_hh_l0.grad[2 * H :])
    for part, (a, b) in found.items():
        assert (a - b).abs().max() <= tolerance * b.abs().max(), part


@pytest.mark.parametrize("name", [on_its_day(name) for name in CELLS])
def test_the_fast_form_is_the_plain_one(name):
    """One product for all moments instead of one for each: the same numbers. float64: 1e-12."""
    cell = pair(name, torch.float64)[0]  # its bias is not 0
    x = torch.randn(2, 6, N_IN, dtype=torch.float64)
    torch.testing.assert_close(cell(x), cell.plain(x), rtol=0, atol=1e-12)


@pytest.mark.day(23)
def test_the_fast_form_multiplies_the_input_once():
    """What needs no state is done once for all letters; counted, for time would depend on the machine.

    The update of this cell multiplies nothing, so each product that is counted is one of the input.
    """
    moments = []

    class Counting(Cell):
        def update(self, from_x, state):
            moments.append(tuple(from_x.shape))
            return (torch.tanh(from_x + state[0]),)

    cell = Counting(N_IN, H)
    with torch.autograd.profiler.profile() as profile:
        cell(torch.randn(2, 6, N_IN))
    calls = {event.key: event.count for event in profile.key_averages()}
    assert sum(calls.get(f"aten::{name}", 0) for name in PRODUCTS) == 1 and moments == [(2, H)] * 6


@pytest.mark.day(25)
def test_the_lstm_remembers_at_first():
    """Near 1/2 a forget gate halves a gradient with every letter; its bias begins at 1 (Jozefowicz et al. 2015)."""
    cell = LSTMCell(N_IN, H)
    assert cell.bias.tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H


@pytest.mark.parametrize(
    "form", [pytest.param("plain", marks=pytest.mark.day(22)), pytest.param("forward", marks=pytest.mark.day(23))]
)
def test_a_cell_without_update_says_so(form):
    """What a new cell must bring is one function."""
    assert getattr(RNNCell(2, 3), form)(torch.zeros(1, 1, 2)).shape == (1, 1, 3)
    with pytest.raises(NotImplementedError, match=r"Cell has no update\(from_x, state\); write one"):
        getattr(Cell(2, 3), form)(torch.zeros(1, 1, 2))
