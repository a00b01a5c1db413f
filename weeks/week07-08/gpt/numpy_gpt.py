"""The GPT on the tensor engine of week 2: NumPy forward, and beside each formula its derivative. No torch.

It is the model of model.py, weight for weight (arrays in the shapes of torch's). The stream is kept as (N, C) with
N = B * T, so that every linear map is one product of two matrices; only attention sees batches and heads. Three pieces
have a node of their own, because built from the engine's operations they would hold their large arrays several times:
`linear`, `gelu` and `attention`. The rest is week 2's as it stands. Left out: dropout, a cache.
"""

import math

import numpy as np

from .scalar_gpt import check, shapes
from .vendor.autograd.functional import cross_entropy, embedding, layer_norm
from .vendor.autograd.graph import no_grad, record
from .vendor.autograd.optim import AdamW
from .vendor.autograd.tensor import Tensor
from .vendor.makemore.schedules import SCHEDULES

# --- three functions with their gradients -----------------------------------------------------------------------------


def linear(x, weight, bias=None):
    """x (N, n_in), weight (n_out, n_in) as torch keeps it, bias (n_out,) or None -> (N, n_out)."""
    a, w = x.data, weight.data
    out = a @ w.T
    edges = [(x, lambda g: g @ w), (weight, lambda g: g.T @ a)]
    if bias is not None:
        out += bias.data
        edges.append((bias, lambda g: g.sum(0)))
    return record(out, *edges)


def gelu(x):
    """GPT-2's tanh form (Hendrycks and Gimpel 2016), element by element: x (1 + t) / 2 with t = tanh(c (x + b x^3))."""
    c, b = math.sqrt(2.0 / math.pi), 0.044715
    v = x.data
    t = v * v  # from here on in place: these are the largest arrays of a step
    t *= c * b
    t += c
    t *= v
    np.tanh(t, out=t)
    out = t + 1.0
    out *= v
    out *= 0.5

    def to_x(g):
        inner = v * v  # (1 + t) / 2 + x (1 - t^2) (c + 3 c b x^2) / 2
        inner *= 3.0 * c * b
        inner += c
        inner *= v
        slope = t * t
        np.subtract(1.0, slope, out=slope)
        slope *= inner
        slope += t
        slope += 1.0
        slope *= 0.5
        slope *= g
        return slope

    return record(out, (x, to_x))


def attention(qkv, batch, n_head):
    """Causal self-attention: qkv (B * T, 3 C), queries, keys and values side by side -> (B * T, C).

    Forward and backward are those of attention.py (`attention_masked`, `attention_backward`); of the (B, H, T, T)
    arrays only the shares are kept.
    """
    N, width = qkv.shape
    T, C = N // batch, width // 3
    D = C // n_head
    # subtle: views of one array, not copies; matmul hands their strides to BLAS as they are
    q, k, v = qkv.data.reshape(batch, T, 3, n_head, D).transpose(2, 0, 3, 1, 4)  # each (B, H, T, D)
    scale = 1.0 / math.sqrt(D)
    shares = q @ k.swapaxes(-1, -2)  # (B, H, T, T): first the scores, and then in place
    shares *= scale
    shares += np.triu(np.full((T, T), -np.inf, shares.dtype), 1)
    shares -= shares.max(-1, keepdims=True)
    np.exp(shares, out=shares)
    shares /= shares.sum(-1, keepdims=True)
    y = shares @ v  # (B, H, T, D)

    def to_qkv(g):
        g = g.reshape(batch, T, n_head, D).transpose(0, 2, 1, 3)  # (B, H, T, D)
        out = np.empty((batch, T, 3, n_head, D), g.dtype)
        dq, dk, dv = out.transpose(2, 0, 3, 1, 4)
        np.matmul(shares.swapaxes(-1, -2), g, out=dv)
        d = g @ v.swapaxes(-1, -2)  # (B, H, T, T): of the shares, then in place of the scores
        # sum_s dA_s A_s = sum_s (g . v_s) A_s = g . y: T * D products instead of T * T (Dao et al. 2022, appendix B)
        d -= (g * y).sum(-1, keepdims=True)
        d *= shares
        d *= scale
        np.matmul(d, k, out=dq)
        np.matmul(d.swapaxes(-1, -2), q, out=dk)
        return out.reshape(N, width)

    return record(y.transpose(0, 2, 1, 3).reshape(N, C), (qkv, to_qkv))


# --- the model --------------------------------------------------------------------------------------------------------


class GPT:
    """`logits, loss = model(tokens, targets=None)`, as the torch model has it, for arrays of ids.

    config: scalar_gpt.Config, or model.GPTConfig without dropout, else ValueError. state: {name: array or nested
    lists}, else ValueError by `scalar_gpt.check`. dtype: float32, or float64 to compare.
    """

    def __init__(self, config, state, dtype=np.float32):
        if getattr(config, "dropout", 0.0):
            raise ValueError(f"dropout is {config.dropout}, but there is none on this engine; give a config with 0.0")
        check({name: np.shape(values) for name, values in state.items()}, config)
        self.config = config
        self.weights = {name: Tensor(state[name], requires_grad=True, dtype=dtype) for name in shapes(config)}

    def parameters(self):
        return list(self.weights.values())

    def state(self):
        """{name: read-only array}."""
        return {name: tensor.data for name, tensor in self.weights.items()}

    def __call__(self, tokens, targets=None):
        """tokens (B, T) integers -> logits, a Tensor (B, T, V), and the mean loss in nats, or None without targets.

        Raises ValueError for another number of axes, and beyond block_size.
        """
        tokens, w = np.asarray(tokens), self.weights
        if tokens.ndim != 2 or not 1 <= tokens.shape[1] <= self.config.block_size:
            raise ValueError(
                f"tokens have shape {tokens.shape}; give (batch, time) with a time from 1 to block_size = "
                f"{self.config.block_size}"
            )
        B, T = tokens.shape
        x = embedding(w["wte.weight"], tokens) + w["wpe.weight"][:T]  # (B, T, C) + (T, C)
        x = x.reshape(B * T, self.config.n_embd)
        for i in range(self.config.n_layer):
            block = f"blocks.{i}"
            qkv = self.linear(f"{block}.attn.qkv", self.norm(f"{block}.norm1", x))  # (N, 3 C)
            x = x + self.linear(f"{block}.attn.proj", attention(qkv, B, self.config.n_head))
            inner = gelu(self.linear(f"{block}.mlp.up", self.norm(f"{block}.norm2", x)))  # (N, 4 C)
            x = x + self.linear(f"{block}.mlp.down", inner)
        logits = linear(self.norm("norm", x), w["wte.weight"])  # (N, V); tied
        loss = None if targets is None else cross_entropy(logits, np.asarray(targets).reshape(-1))
        return logits.reshape(B, T, self.config.vocab_size), loss

    def linear(self, name, x):
        return linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, name, x):
        weight = self.weights[f"{name}.weight"]
        return layer_norm(x, weight, self.weights.get(f"{name}.bias", Tensor(np.zeros_like(weight.data))))


# --- training and judging ---------------------------------------------------------------------------------------------


def random_batch(tokens, batch_size, block_size, rng):
    """Windows at random places of tokens (N,): inputs and targets, each (B, T), the targets one token later."""
    starts = rng.integers(len(tokens) - block_size, size=(batch_size, 1))
    windows = tokens[starts + np.arange(block_size + 1)]  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def clip(parameters, most):
    """Shrink all gradients alike where their common norm is above `most`."""
    norm = math.sqrt(sum(float(np.vdot(p.grad, p.grad)) for p in parameters))
    if norm > most:
        for p in parameters:
            p.grad = p.grad * (most / (norm + 1e-6))  # 1e-6 as in torch


def train(model, tokens, recipe, *, seed):
    """What loop.train does, on this engine: tokens (N,) int64, a loop.Recipe (AdamW); yields (step, loss) each step.

    Only matrices decay. The batches are drawn by NumPy's generator, so they are others than torch draws. Raises
    ValueError for too short a text and for another optimizer, FloatingPointError at the first loss that is not finite.
    """
    if recipe.optimizer != "adamw":
        raise ValueError(f"the recipe asks for {recipe.optimizer!r}; this engine has AdamW: give optimizer='adamw'")
    T = model.config.block_size
    if len(tokens) <= T:
        raise ValueError(
            f"the training text has {len(tokens)} tokens, too few for one window of block_size = {T} and its targets; "
            f"give a longer text or a smaller block_size"
        )
    rng = np.random.default_rng(seed)
    everything = model.parameters()
    kinds = (
        ([p for p in everything if p.ndim == 2], recipe.weight_decay),
        ([p for p in everything if p.ndim == 1], 0.0),
    )
    optimizers = [AdamW(some, recipe.lr, recipe.betas, weight_decay=decay) for some, decay in kinds]
    floor, end = recipe.min_lr / recipe.lr, max(1, recipe.steps - 1)
    for step in range(recipe.steps):
        _, loss = model(*random_batch(tokens, recipe.batch_size, T, rng))
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss became {loss.item()} at step {step}; lower the learning rate")
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        clip(everything, recipe.clip)
        for optimizer in optimizers:
            optimizer.lr = recipe.lr * SCHEDULES[recipe.schedule](step, end, recipe.warmup, floor)
            optimizer.step()
        yield step, loss.item()


def evaluate(model, tokens, rows=64):
    """Mean loss in nats over every token of (N,) but the first, in windows side by side, as loop.evaluate."""
    T, n = model.config.block_size, len(tokens) - 1
    if n < 1:
        raise ValueError(f"{len(tokens)} tokens leave nothing to predict; give a text of two characters or more")
    full = n // T * T
    inputs, targets = tokens[:full].reshape(-1, T), tokens[1 : full + 1].reshape(-1, T)
    chunks = [(inputs[i : i + rows], targets[i : i + rows]) for i in range(0, len(inputs), rows)]
    if full < n:
        chunks.append((tokens[None, full:n], tokens[None, full + 1 :]))
    with no_grad():
        return sum(model(x, y)[1].item() * y.size for x, y in chunks) / n
