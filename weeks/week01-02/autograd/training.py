"""The training loop, and what a trained network says of inputs it has not seen."""

import math

import numpy as np

from .functional import cross_entropy, softmax
from .graph import no_grad
from .optim import cosine


def train(model, optimizer, loader, epochs, on_step=None, on_epoch=None):
    """`epochs` walks through the loader's (inputs, labels), the learning rate falling along half a cosine.

    The rate of step k = 0, 1, ... of all epochs together is the optimizer's own one times cosine(k, number of steps);
    afterwards the optimizer has its own rate again. The model is in training mode from the start of each epoch.
    on_step(loss) is called after each step, on_epoch(number from 1, mean loss) after each epoch, with plain numbers.
    Raises FloatingPointError as soon as the loss is no finite number ("the loss is nan in step 0; use a learning rate
    below 0.1"); the weights are then those of the step before.
    """
    steps, step, lr = epochs * len(loader), 0, optimizer.lr
    for epoch in range(1, epochs + 1):
        model.train()
        losses = []
        for inputs, labels in loader:
            optimizer.lr = lr * cosine(step, steps)
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs), labels)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(f"the loss is {losses[-1]} in step {step}; use a learning rate below {lr:g}")
            loss.backward()
            optimizer.step()
            step += 1
            if on_step:
                on_step(losses[-1])
        if on_epoch:
            on_epoch(epoch, float(np.mean(losses)))
    optimizer.lr = lr


def probabilities(model, inputs, batch_size=500):
    """What the model, in evaluation mode, thinks of each input: (N, ...) -> (N, classes), rows that sum to 1."""
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            batches = (inputs[i : i + batch_size] for i in range(0, len(inputs), batch_size))
            return np.concatenate([softmax(model(batch)).data for batch in batches])
    finally:
        model.train(was_training)
