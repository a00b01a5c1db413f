"""The peer of scalar_gpt.py: a program in the manner of Karpathy's microgpt (2026), written anew from its description.

A GPT of 4,192 numbers on a scalar engine, standard library alone. A node holds its children and its local gradients;
there is a node for each sum and each product of two numbers, and nothing for more than two. One layer, 16 wide, 4
heads, 16 positions; RMS norm without weights, ReLU, no biases, a head of its own; Adam, a name a step. For bench.py:
nothing else imports it.
"""

import math
import random


class Value:
    __slots__ = ("data", "grad", "children", "local_grads")

    def __init__(self, data, children=(), local_grads=()):
        self.data = data
        self.grad = 0.0
        self.children = children
        self.local_grads = local_grads

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, n):
        return Value(self.data**n, (self,), (n * self.data ** (n - 1),))

    def exp(self):
        e = math.exp(self.data)
        return Value(e, (self,), (e,))

    def log(self):
        return Value(math.log(self.data), (self,), (1.0 / self.data,))

    def relu(self):
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),))

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -other

    def __truediv__(self, other):
        return self * other**-1

    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        order, seen = [], set()

        def visit(node):
            if node not in seen:
                seen.add(node)
                for child in node.children:
                    visit(child)
                order.append(node)

        visit(self)
        self.grad = 1.0
        for node in reversed(order):
            for child, local in zip(node.children, node.local_grads):
                child.grad += local * node.grad


def linear(x, rows):
    return [sum(w * value for w, value in zip(row, x)) for row in rows]


def softmax(logits):
    top = max(value.data for value in logits)
    exps = [(value + -top).exp() for value in logits]
    total = sum(exps)
    return [e / total for e in exps]


def rmsnorm(x):
    scale = (sum(value * value for value in x) * (1.0 / len(x)) + 1e-5) ** -0.5
    return [value * scale for value in x]


class MicroGPT:
    def __init__(self, vocab_size, rng, block_size=16, n_embd=16, n_head=4, std=0.08):
        self.block_size, self.n_head = block_size, n_head
        matrix = lambda n_out, n_in: [[Value(rng.gauss(0.0, std)) for _ in range(n_in)] for _ in range(n_out)]
        self.wte, self.wpe = matrix(vocab_size, n_embd), matrix(block_size, n_embd)
        self.head = matrix(vocab_size, n_embd)
        self.q, self.k, self.v, self.proj = (matrix(n_embd, n_embd) for _ in range(4))
        self.up, self.down = matrix(4 * n_embd, n_embd), matrix(n_embd, 4 * n_embd)

    def parameters(self):
        matrices = (self.wte, self.wpe, self.head, self.q, self.k, self.v, self.proj, self.up, self.down)
        return [value for matrix in matrices for row in matrix for value in row]

    def read(self, token, keys, values):
        """The logits after one more token; keys and values of the tokens before gain its own."""
        x = rmsnorm([a + b for a, b in zip(self.wte[token], self.wpe[len(keys)])])
        inner = rmsnorm(x)
        q = linear(inner, self.q)
        keys.append(linear(inner, self.k))
        values.append(linear(inner, self.v))
        width, y = len(q) // self.n_head, []
        for first in range(0, len(q), width):
            head = range(first, first + width)
            shares = softmax([sum(q[d] * k[d] for d in head) * width**-0.5 for k in keys])
            y += [sum(share * v[d] for share, v in zip(shares, values)) for d in head]
        x = [a + b for a, b in zip(x, linear(y, self.proj))]
        inner = [value.relu() for value in linear(rmsnorm(x), self.up)]
        x = [a + b for a, b in zip(x, linear(inner, self.down))]
        return linear(x, self.head)

    def loss(self, row):
        """A row of ids -> the mean of -log p of each but the first."""
        keys, values, losses = [], [], []
        for token, target in zip(row, row[1:]):
            losses.append(-softmax(self.read(token, keys, values))[target].log())
        return sum(losses) * (1.0 / len(losses))


def train(model, rows, lr=0.01, betas=(0.85, 0.99), eps=1e-8):
    """A row a step; yields each loss."""
    parameters = model.parameters()
    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    for step, row in enumerate(rows):
        loss = model.loss(row)
        loss.backward()
        rate = lr * (1.0 - step / len(rows))
        for i, p in enumerate(parameters):
            m[i] = betas[0] * m[i] + (1.0 - betas[0]) * p.grad
            v[i] = betas[1] * v[i] + (1.0 - betas[1]) * p.grad**2
            mean, square = m[i] / (1.0 - betas[0] ** (step + 1)), v[i] / (1.0 - betas[1] ** (step + 1))
            p.data -= rate * mean / (square**0.5 + eps)
            p.grad = 0.0
        yield loss.data


def start(vocab_size, seed):
    return MicroGPT(vocab_size, random.Random(seed))
