"""A causal convolutional network: at every moment the same small window, and windows of windows above it.

Padding stands on the left alone, so moment t sees nothing after t; dilation (every 2nd, every 4th moment) lets few
layers look far back, as in WaveNet (van den Oord et al. 2016). Left out: gates, normalisation.
"""

import torch
from torch import nn

from .contract import LanguageModel


class CausalConv(nn.Module):
    """y_t = b + sum_k x_(t - k d) W_k for k = 0 ... size - 1 and dilation d; before the beginning x is 0."""

    def __init__(self, n_in, n_out, size, dilation=1):
        super().__init__()
        self.size, self.dilation = size, dilation
        self.weight = nn.Parameter(torch.empty(size, n_in, n_out))  # W_0 meets the present, W_1 d moments before, ...
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.uniform_(self.weight, -((size * n_in) ** -0.5), (size * n_in) ** -0.5)

    def plain(self, x):
        """The sum as it stands above: (B, T, n_in) -> (B, T, n_out)."""
        moments = []
        for t in range(x.shape[1]):
            y = self.bias.expand(len(x), -1)
            for k in range(self.size):
                if t - k * self.dilation >= 0:
                    y = y + x[:, t - k * self.dilation] @ self.weight[k]
            moments.append(y)
        return torch.stack(moments, dim=1)

    def forward(self, x):
        """What `plain` computes, in one product: the moments that one y needs are laid side by side."""
        B, T, _ = x.shape
        reach = (self.size - 1) * self.dilation
        padded = torch.cat([x.new_zeros(B, reach, x.shape[2]), x], dim=1)  # (B, reach + T, n_in)
        starts = [reach - k * self.dilation for k in range(self.size)]
        patches = torch.cat([padded[:, s : s + T] for s in starts], dim=2)  # (B, T, size * n_in)
        return patches @ self.weight.flatten(0, 1) + self.bias  # (B, T, n_out)


class CNN(LanguageModel):
    """Embed, then for each dilation x + W relu(conv(x)), then logits. Looks back 1 + (size - 1) sum(dilations)."""

    def __init__(self, vocab_size, n_embd=64, size=3, dilations=(1, 2, 4), dropout=0.0):
        """Sets `context`, `embedding` (V, n_embd), `convs` and `mixes` (an nn.ModuleList each, with a CausalConv and an
        nn.Linear for each dilation, n_embd to n_embd), `dropout`, and `output`, an nn.Linear to the V logits.

        As in the MLP, output's weight begins at a tenth and its bias at 0: a fresh network guesses evenly.
        """
        super().__init__()
        self.context = 1 + (size - 1) * sum(dilations)
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.convs = nn.ModuleList(CausalConv(n_embd, n_embd, size, d) for d in dilations)
        self.mixes = nn.ModuleList(nn.Linear(n_embd, n_embd) for _ in dilations)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(n_embd, vocab_size)
        with torch.no_grad():
            self.output.weight.mul_(0.1)  # a fresh network should guess evenly: loss ln V
            self.output.bias.zero_()

    def logits(self, tokens):
        """(B, T) -> (B, T, V): embedding, the layers of the class's first line, dropout, output."""
        x = self.embedding(tokens)  # (B, T, C)
        for conv, mix in zip(self.convs, self.mixes):
            x = x + mix(torch.relu(conv(x)))
        return self.output(self.dropout(x))  # (B, T, V)
