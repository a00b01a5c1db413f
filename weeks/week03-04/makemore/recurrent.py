"""Networks that read a name letter by letter and carry a state: the plain recurrent cell, the GRU and the LSTM.

A cell writes `update`, its equations for one moment. `Cell.plain` does one letter after the other with it;
`Cell.forward` does the part that needs no state, x W, for all moments in one product first, and is what trains.
Left out: several layers, both directions, a state handed from one name to the next, clipping.
"""

import torch
from torch import nn

from .contract import LanguageModel


class Cell(nn.Module):
    """A recurrence. A subclass names how many `gates` it computes and writes `update`."""

    gates = 1
    memories = 1  # arrays in its state: h, and for the LSTM c too

    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.n_hidden = n_hidden
        self.weight_x = nn.Parameter(torch.empty(n_in, self.gates * n_hidden))
        self.weight_h = nn.Parameter(torch.empty(n_hidden, self.gates * n_hidden))
        self.bias = nn.Parameter(torch.zeros(self.gates * n_hidden))
        for weight in (self.weight_x, self.weight_h):
            nn.init.uniform_(weight, -(n_hidden**-0.5), n_hidden**-0.5)

    def start(self, x):
        """The state before the first letter: zeros (B, H), one or two."""
        return tuple(x.new_zeros(len(x), self.n_hidden) for _ in range(self.memories))

    def update(self, from_x, state):
        """from_x = x W_x + b (B, gates * H) of one moment, and the state before it -> the state after it."""
        raise NotImplementedError(f"{type(self).__name__} has no update(from_x, state); write one")

    def plain(self, x):
        """(B, T, n_in) -> h at every moment (B, T, H), one moment after the other.

        `start` gives the first state, `update` each next one; h is the first array of a state.
        """
        state, seen = self.start(x), []
        for t in range(x.shape[1]):
            state = self.update(x[:, t] @ self.weight_x + self.bias, state)
            seen.append(state[0])
        return torch.stack(seen, dim=1)

    def forward(self, x):
        """What `plain` computes. x W_x needs no state, so it is one large product instead of T small ones.

        `update` is still called once for each moment, with (B, gates * H).
        """
        from_x = x @ self.weight_x + self.bias  # (B, T, gates * H)
        state, seen = self.start(x), []
        for moment in from_x.unbind(dim=1):
            state = self.update(moment, state)
            seen.append(state[0])
        return torch.stack(seen, dim=1)


class RNNCell(Cell):
    """h' = tanh(x W_x + h W_h + b)   (Elman 1990)."""

    def update(self, from_x, state):
        """from_x = x W_x + b (B, H), state (h,) -> (h',): a tuple of one, (B, H)."""
        (h,) = state
        return (torch.tanh(torch.addmm(from_x, h, self.weight_h)),)


class GRUCell(Cell):
    """Two gates decide how much of the old state is read (r) and how much is kept (z).

        r, z = sigmoid(x W + h U + b)
        n    = tanh(x W_n + b_n + r (h U_n + c))
        h'   = z h + (1 - z) n
    As in PyTorch, r multiplies after the product with U_n (Cho et al. 2014 have it before), so n has a bias c of its
    own that r can switch off. Columns of the weights: r, z, n.
    """

    gates = 3

    def __init__(self, n_in, n_hidden):
        super().__init__(n_in, n_hidden)
        self.bias_n = nn.Parameter(torch.zeros(n_hidden))  # c

    def update(self, from_x, state):
        """from_x (B, 3 H): x W + b for r, z and n side by side. State (h,) -> (h',), (B, H).

        U is self.weight_h (H, 3 H), with the same order of columns; c is self.bias_n (H,).
        """
        (h,) = state
        H = self.n_hidden
        gates_x, n_x = from_x.split([2 * H, H], dim=1)
        gates_h, n_h = (h @ self.weight_h).split([2 * H, H], dim=1)
        r, z = torch.sigmoid(gates_x + gates_h).chunk(2, dim=1)
        n = torch.tanh(torch.addcmul(n_x, r, n_h + self.bias_n))  # n_x + r (n_h + c)
        return (torch.lerp(n, h, z),)  # n + z (h - n) = z h + (1 - z) n


class LSTMCell(Cell):
    """A memory c that is only scaled and added to, so that a gradient can walk far back (Hochreiter, Schmidhuber
    1997; its gate f is of Gers et al. 2000).

        i, f, o = sigmoid(x W + h U + b)          in, forget, out
        g       = tanh(x W_g + h U_g + b_g)       what is offered
        c'      = f c + i g
        h'      = o tanh(c')
    Columns of the weights: i, f, o, g, so that one call serves the three sigmoids (PyTorch's order is i, f, g, o).
    """

    gates, memories = 4, 2

    def __init__(self, n_in, n_hidden):
        """Built as every cell is (`super().__init__`), but one of the four gates begins with a bias of 1."""
        super().__init__(n_in, n_hidden)
        with torch.no_grad():
            self.bias[n_hidden : 2 * n_hidden] = 1.0  # remember at first (Jozefowicz et al. 2015)

    def update(self, from_x, state):
        """from_x (B, 4 H): x W + b for i, f, o and g side by side. State (h, c) -> (h', c'), each (B, H).

        U is self.weight_h (H, 4 H), with the same order of columns.
        """
        h, c = state
        H = self.n_hidden
        gates, offered = torch.addmm(from_x, h, self.weight_h).split([3 * H, H], dim=1)
        i, f, o = torch.sigmoid(gates).chunk(3, dim=1)
        c = torch.addcmul(f * c, i, torch.tanh(offered))  # f c + i g
        return o * torch.tanh(c), c


class Recurrent(LanguageModel):
    """Embed, carry a state, and read the logits off it at every moment; looks back to the beginning."""

    def __init__(self, vocab_size, cell, n_embd=32, n_hidden=128, dropout=0.0):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.cell = cell(n_embd, n_hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(n_hidden, vocab_size)
        with torch.no_grad():
            self.output.weight.mul_(0.1)  # a fresh network should guess evenly: loss ln V
            self.output.bias.zero_()

    def logits(self, tokens):
        h = self.cell(self.embedding(tokens))  # (B, T, H)
        return self.output(self.dropout(h))  # (B, T, V)
