"""Subjects small enough for the tests of week 11's evaluation, and numbers worked out in the plainest way."""

import math

import torch
from pretrain.evaluation.subject import Bigram, Subject
from pretrain.vendor.gpt.model import GPT, GPTConfig

END = 256  # bytes are their own ids


def encode(text):
    return list(text.encode("utf-8"))


def gpt(block_size=32, seed=0, spread=8.0):
    """An untrained GPT on bytes. Its weights are made larger, so that its answers differ by more than rounding."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(257, block_size, 2, 2, 16)).double()
    with torch.no_grad():
        model.wte.weight.mul_(spread)
    return Subject(model.eval(), encode, END, block_size)


def bigram(text, block_size=64):
    return Subject(Bigram(torch.tensor([END, *encode(text), END]), 257), encode, END, block_size)


def plainly(subject, context, continuation):
    """The log-likelihood by one forward pass for each token, each with the whole of what stands before it."""
    ids, total = [*(context or [subject.end]), *continuation], 0.0
    for i in range(len(ids) - len(continuation), len(ids)):
        logits = subject.model(torch.tensor([ids[:i]]))[0][0, -1].detach().double()
        total += logits[ids[i]].item() - math.log(logits.exp().sum().item())
    return total
