"""Two questions about the engines, each as pairs of steps in one process: scalar_gpt.py beside a program in the manner
of microgpt, and numpy_gpt.py beside the torch model. bench.py (job engines) asks them.
"""

import os
import random
import statistics
from itertools import islice

import numpy as np
import torch
from gpt import numpy_gpt, scalar_gpt
from gpt.engines import RATE, SIZE, SPREAD, weights_of
from gpt.loop import Recipe, train
from gpt.model import GPT, GPTConfig
from gpt.names import Names
from gpt.vendor.shared.progress import bar
from gpt.vendor.shared.results import Stopwatch, cpu_count

HELD_OUT = (20_000, 20_200)  # names that judge: far behind those of any training here
DEFAULT = GPTConfig(84, 128, 4, 4, 128)  # the shape of `default`, and its batch
BATCH = 16


def in_turns(first, second, steps, label):
    """Seconds of each step of two trainings that take turns, and their losses: [(s, s), ...], [(loss, loss), ...]."""
    seconds, losses = [], []
    for _ in bar(range(steps), label):
        times, found = [], []
        for training in (first, second):
            watch = Stopwatch()
            found.append(next(training))
            times.append(watch.seconds)
        seconds.append(times)
        losses.append(found)
    return seconds, losses


def scalar_beside_microgpt(microgpt, path, steps, seed):
    """A step each in turn, ours of SIZE names and microgpt's of one; then both judge names that neither saw.

    So the ratio is of 1,000 of our steps to 1,000 of its own; the one for a token says what the engine alone buys.
    microgpt: the module of that name, which bench.py alone may import.
    """
    names = Names(path)
    config = scalar_gpt.Config(len(names))
    ours = scalar_gpt.GPT(config, scalar_gpt.start(config, random.Random(seed), SPREAD))
    theirs = microgpt.start(len(names), seed)
    batches, rows = names.batches(steps, SIZE, config.block_size), names.rows(0, steps, config.block_size)
    count = lambda rows: sum(len(row) - 1 for row in rows)
    trainings = scalar_gpt.train(ours, batches, RATE), microgpt.train(theirs, rows)
    seconds, losses = in_turns(*trainings, steps, "scalar and microgpt")
    judges = names.rows(*HELD_OUT, config.block_size)[: max(1, steps // 5)]
    last = losses[-min(100, steps) :]
    ratio = sum(s for s, _ in seconds) / sum(s for _, s in seconds)
    return {
        "engine_steps": steps,
        "scalar_gpt_params": len(ours.parameters()),
        "microgpt_params": len(theirs.parameters()),
        "scalar_gpt_seconds": sum(s for s, _ in seconds),
        "microgpt_seconds": sum(s for _, s in seconds),
        "scalar_gpt_names_a_step": SIZE,
        "scalar_gpt_vs_microgpt_time_ratio": ratio,
        "scalar_gpt_vs_microgpt_token_time_ratio": ratio * count(rows) / sum(map(count, batches)),
        "scalar_gpt_last_100_loss": statistics.fmean(loss for loss, _ in last),
        "microgpt_last_100_loss": statistics.fmean(loss for _, loss in last),
        "scalar_gpt_val_loss": statistics.fmean(ours(row[:-1], row[1:])[1].data for row in judges),
        "microgpt_val_loss": statistics.fmean(theirs.loss(row).data for row in judges),
    }


def numpy_beside_torch(pairs, seed):
    """Steps of the default size in float32, with as many threads on each side; one thread: OMP_NUM_THREADS=1."""
    threads, before = int(os.environ.get("OMP_NUM_THREADS") or cpu_count()), torch.get_num_threads()
    torch.set_num_threads(threads)  # NumPy's products read that variable once, when they are loaded
    torch.manual_seed(seed)
    model = GPT(DEFAULT)
    arrays = numpy_gpt.GPT(DEFAULT, weights_of(model))
    ids = torch.randint(DEFAULT.vocab_size, (2, DEFAULT.block_size + 1))
    logits, loss = model(ids[:, :-1], ids[:, 1:])
    loss.backward()
    our_logits, our_loss = arrays(ids[:, :-1].numpy(), ids[:, 1:].numpy())
    our_loss.backward()
    apart = [np.abs(our_logits.data - logits.detach().numpy()).max()]
    apart += [np.abs(arrays.weights[name].grad - p.grad.numpy()).max() for name, p in model.named_parameters()]

    tokens, recipe = torch.randint(DEFAULT.vocab_size, (10_000,)), Recipe(steps=pairs + 1, batch_size=BATCH)
    trainings = numpy_gpt.train(arrays, tokens.numpy(), recipe, seed=seed), train(model, tokens, recipe, seed=seed)
    for training in trainings:
        list(islice(training, 1))  # the first step allocates, and torch imports a part of itself in it
    seconds, _ = in_turns(*trainings, pairs, "numpy and torch")
    torch.set_num_threads(before)
    return {
        "numpy_gpt_pairs": pairs,
        "numpy_gpt_threads": threads,
        "numpy_gpt_max_diff": float(max(apart)),
        "numpy_gpt_step_seconds": statistics.median(s for s, _ in seconds),
        "torch_gpt_step_seconds": statistics.median(s for _, s in seconds),
        "numpy_gpt_vs_torch_time_ratio": statistics.median(ours / theirs for ours, theirs in seconds),
    }
