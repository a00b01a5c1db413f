"""The GPT on the scalar engine of week 1: each number is a node, each layer a loop over numbers. No array anywhere.

It is the model of model.py, weight for weight: give it that model's weights, and it gives that model's logits, loss and
gradients. It reads one token at a time, and what it keeps of the earlier ones is a cache. So no mask is needed: what
comes later is not there yet.

Four functions of many numbers (softmax, layer norm, GELU, cross-entropy) make one node for each of their results,
whose slopes are a row of the Jacobian, written out. Built of + and * they would give the same numbers through more
nodes, and nodes are what a step in Python costs. Source of the setting (one layer, 16 wide, one name a step, Adam with
these betas): Karpathy's microgpt, 2026. Left out: batches, dropout, weight decay, files of weights.
"""

import math
from dataclasses import dataclass

from .vendor.autograd.engine import Value, dot

EPS = 1e-5  # in a layer norm, as torch has it


@dataclass(frozen=True)
class Config:
    """The shape of a GPT, as GPTConfig of model.py has it. Wrong sizes raise ValueError."""

    vocab_size: int
    block_size: int = 16
    n_layer: int = 1
    n_head: int = 4
    n_embd: int = 16
    bias: bool = True

    def __post_init__(self):
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}, but it must be a whole number; give 1 or more")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd = {self.n_embd} cannot be cut into {self.n_head} heads; give a multiple of it")


def shapes(config):
    """{name: shape} of every weight, named and ordered as in the torch model; the head is wte, so it is not named."""
    C = config.n_embd
    found = {"wte.weight": (config.vocab_size, C), "wpe.weight": (config.block_size, C)}

    def layer(name, *shape):
        found[f"{name}.weight"] = shape
        if config.bias:
            found[f"{name}.bias"] = shape[:1]

    for i in range(config.n_layer):
        block = f"blocks.{i}"
        layer(f"{block}.norm1", C)
        layer(f"{block}.attn.qkv", 3 * C, C)  # (outputs, inputs), as torch keeps them
        layer(f"{block}.attn.proj", C, C)
        layer(f"{block}.norm2", C)
        layer(f"{block}.mlp.up", 4 * C, C)
        layer(f"{block}.mlp.down", C, 4 * C)
    layer("norm", C)
    return found


def start(config, rng, std=0.02):
    """{name: weights as nested lists} to begin with: matrices N(0, std), biases 0, norms 1, as init_weights has it.

    The two maps of a block that write to the residual stream are smaller by 1 / sqrt(2 n_layer). `rng` is a
    random.Random. The default std is GPT-2's, for hundreds of inputs; 16 inputs ask for more.
    """
    state = {}
    for name, shape in shapes(config).items():
        if len(shape) == 1:
            state[name] = [0.0 if name.endswith("bias") else 1.0] * shape[0]
        else:
            sd = std / math.sqrt(2 * config.n_layer) if name.endswith(("proj.weight", "down.weight")) else std
            state[name] = [[rng.gauss(0.0, sd) for _ in range(shape[1])] for _ in range(shape[0])]
    return state


def check(found, config):
    """Raise ValueError, naming every weight that is missing, unknown or misshapen, where {name: shape} does not fit."""
    wanted = shapes(config)
    names = sorted({name for name, _ in found.items() ^ wanted.items()})
    if names:
        wrong = "; ".join(f"{name} is {found.get(name, 'missing')}, not {wanted.get(name, 'known')}" for name in names)
        raise ValueError(f"these weights are of another GPT ({wrong}); give the config that they were made with")


def _shape(values):
    """Of nested lists; where the inner ones differ, they count as "uneven"."""
    if not isinstance(values, list):
        return ()
    inner = {_shape(each) for each in values}
    return (len(values), *(inner.pop() if len(inner) == 1 else ("uneven",)))


# --- functions of many numbers ----------------------------------------------------------------------------------------


def softmax(scores, scale=1.0):
    """T Values s -> T Values p = exp(scale s) / sum(exp(scale s)). d p_i / d s_j = scale p_i (1{i=j} - p_j)."""
    top = max(score.data for score in scores)  # shifts all alike: exp cannot overflow
    shares = [math.exp(scale * (score.data - top)) for score in scores]
    total = sum(shares)
    shares, children = [share / total for share in shares], tuple(scores)
    out = []
    for i, p in enumerate(shares):
        slopes = [-scale * p * other for other in shares]
        slopes[i] += scale * p
        out.append(Value(p, "softmax", children, tuple(slopes)))
    return out


def layer_norm(x, weight, bias=None):
    """C Values -> C Values: mean 0 and variance 1, then scaled and shifted (Ba et al. 2016).

    With z = (x - mean) / sd: d z_i / d x_j = (1{i=j} - 1/C - z_i z_j / C) / sd, for x_j moves the mean and sd too.
    """
    n = len(x)
    mean = sum(value.data for value in x) / n
    centred = [value.data - mean for value in x]
    scale = 1.0 / math.sqrt(sum(c * c for c in centred) / n + EPS)
    z = [c * scale for c in centred]
    out = []
    for i, w in enumerate(weight):
        own = w.data * scale
        slopes = [-own / n * (1.0 + z[i] * other) for other in z]
        slopes[i] += own
        children, value = (*x, w), w.data * z[i]
        if bias is not None:
            children, value = (*children, bias[i]), value + bias[i].data
        out.append(Value(value, "norm", children, (*slopes, z[i], 1.0)[: len(children)]))
    return out


def gelu(x):
    """One Value -> one Value, in GPT-2's tanh form (Hendrycks and Gimpel 2016)."""
    v, c = x.data, math.sqrt(2.0 / math.pi)
    t = math.tanh(c * (v + 0.044715 * v**3))
    slope = 0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * c * (1.0 + 3 * 0.044715 * v * v)
    return Value(0.5 * v * (1.0 + t), "gelu", (x,), (slope,))


def cross_entropy(logits, target):
    """V Values and the id that came -> -log p(target), one Value; its slopes are the probabilities minus the truth."""
    top = max(logit.data for logit in logits)
    parts = [math.exp(logit.data - top) for logit in logits]
    total = sum(parts)
    slopes = [part / total for part in parts]
    slopes[target] -= 1.0
    return Value(math.log(total) + top - logits[target].data, "cross_entropy", tuple(logits), tuple(slopes))


# --- the model --------------------------------------------------------------------------------------------------------


class GPT:
    """`logits, loss = model(tokens, targets)` for one row of tokens. `state`: see `start`; it must fit the config."""

    def __init__(self, config, state):
        check({name: _shape(values) for name, values in state.items()}, config)
        self.config = config
        self.weights = {name: _values(state[name]) for name in shapes(config)}

    def parameters(self):
        """Every weight once, as a flat list, in the order of `shapes`."""
        matrices = (weight if isinstance(weight[0], list) else [weight] for weight in self.weights.values())
        return [value for matrix in matrices for row in matrix for value in row]

    def __call__(self, tokens, targets=None):
        """T ids -> T lists of V logits, and the mean loss in nats: one Value, or None without targets (T ids)."""
        ids = [*tokens, *(targets or ())]
        if not ids or not 0 <= min(ids) <= max(ids) < self.config.vocab_size:  # -1 would quietly be the last id
            raise ValueError(f"{ids} cannot be read; give one id or more, from 0 to {self.config.vocab_size - 1}")
        past = [[] for _ in range(self.config.n_layer)]
        logits = [self.read(token, past) for token in tokens]
        if targets is None:
            return logits, None
        losses = tuple(cross_entropy(row, target) for row, target in zip(logits, targets, strict=True))
        n = len(losses)
        return logits, Value(sum(loss.data for loss in losses) / n, "mean", losses, (1.0 / n,) * n)

    def read(self, token, past):
        """The V logits of what comes after `token`. `past`: a list for each layer of the (keys, values) of the tokens
        before, C Values each; it gains this token's. Raises ValueError beyond block_size."""
        place = len(past[0])
        if place >= self.config.block_size:
            raise ValueError(f"token {place + 1} is beyond block_size = {self.config.block_size}; give fewer tokens")
        x = _add(self.weights["wte.weight"][token], self.weights["wpe.weight"][place])
        for i, before in enumerate(past):
            block = f"blocks.{i}"
            x = _add(x, self.attention(f"{block}.attn", self.norm(f"{block}.norm1", x), before))
            inner = [gelu(value) for value in self.linear(f"{block}.mlp.up", self.norm(f"{block}.norm2", x))]
            x = _add(x, self.linear(f"{block}.mlp.down", inner))
        x = self.norm("norm", x)
        return [dot(row, x) for row in self.weights["wte.weight"]]  # tied: what a token is, and what it looks for

    def attention(self, name, x, before):
        C, D = self.config.n_embd, self.config.n_embd // self.config.n_head
        qkv = self.linear(f"{name}.qkv", x)
        before.append((qkv[C : 2 * C], qkv[2 * C :]))
        y = []
        for first in range(0, C, D):  # head by head
            head = slice(first, first + D)
            shares = softmax([dot(qkv[head], k[head]) for k, _ in before], 1.0 / math.sqrt(D))
            y += [dot(shares, [v[d] for _, v in before]) for d in range(first, first + D)]
        return self.linear(f"{name}.proj", y)

    def linear(self, name, x):
        weight = self.weights[f"{name}.weight"]
        bias = self.weights.get(f"{name}.bias", [0.0] * len(weight))
        return [dot(row, x, b) for row, b in zip(weight, bias)]

    def norm(self, name, x):
        return layer_norm(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))


def _add(xs, ys):
    return [x + y for x, y in zip(xs, ys)]


def _values(numbers):
    return [_values(each) for each in numbers] if isinstance(numbers, list) else Value(numbers)


def train(model, batches, lr, betas=(0.85, 0.99), eps=1e-8):
    """Train in place, some rows of ids a step, by Adam (Kingma and Ba 2015); the rate falls in a line from lr to 0.
    Yields the loss of each step, the mean of its rows', as a float."""
    parameters, (b1, b2) = model.parameters(), betas
    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    for step, rows in enumerate(batches):
        losses = [model(row[:-1], row[1:])[1] * (1.0 / len(rows)) for row in rows]
        for loss in losses:
            loss.backward()  # gradients add up
        rate = lr * (1.0 - step / len(batches)) / (1.0 - b1 ** (step + 1))  # m starts at 0: divide by what it lacks
        lack = 1.0 - b2 ** (step + 1)
        for i, p in enumerate(parameters):
            g, p.grad = p.grad, 0.0
            m[i] = b1 * m[i] + (1.0 - b1) * g
            v[i] = b2 * v[i] + (1.0 - b2) * g * g
            p.data -= rate * m[i] / (math.sqrt(v[i] / lack) + eps)
        yield sum(loss.data for loss in losses)


def sample(model, names, rng, temperature=0.5):
    """A new name: letter after letter drawn by `rng` (a random.Random), until the end or as long as the model reads."""
    past, row = [[] for _ in range(model.config.n_layer)], [names.end]
    while len(row) <= model.config.block_size and (len(row) == 1 or row[-1] != names.end):
        shares = softmax(model.read(row[-1], past), 1.0 / temperature)
        row += rng.choices(range(len(shares)), [share.data for share in shares])
    return names.text(row)
