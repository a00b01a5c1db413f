# vendored from weeks/week13/continual/strategy.py, sha256 16546644c21fb284fe5d4c2960346c49dcfb2649a0eac07092a85dab5aa7d985; edit there, then run: make vendor
"""The contract of a continual-learning method. The defaults train naively: a method overrides only what it changes.

One task goes by like this (loop.py calls, in this order):

    rows = start(learner, task)      may add or freeze parameters; the optimizer is built after it
    for every step:
        batch(learner, rows)         once: the new rows of the step -> all rows of the step
        loss(learner, part)          once a micro-batch, each followed by the loop's backward
        grads(learner)               once: all gradients are summed, none is clipped yet
        rate(loss)                   once: a factor on the learning rate of this step
        stepped(learner)             once: the optimizer has moved the weights
    finish(learner, task)            remember what must not be forgotten
    with view(learner, name): ...    whenever the task of that name is judged
    with serving(learner, ids): ...  whenever a prompt is answered, and nobody says of which task it is

Left out on purpose: a backward, an optimizer, a data loader. Methods return values; the loop acts.
"""

from contextlib import nullcontext
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """A method's settings; naive training has none.

    A field's metadata: `help` makes it an option of `nanogpt learn`; `free` lets it change from one task to the next.
    """


class Strategy:
    """Naive training: learn the newest task, protect nothing. Every method is measured against it."""

    # What outlives a task inside the method: "nothing", "weights" (or statistics of them), "rows" of the training
    # data, or "synthetic" rows. Where rows may not be kept, for privacy, this line is what decides.
    keeps = "nothing"
    needs_task = False  # is a task judged right only where it is named? Tables must say so
    needs_view = False  # is what is judged inside `view` another model than the weights outside?
    needs_prompt = False  # is it the prompt that chooses the weights? Then there is no one model to hand on
    needs_text = False  # must the learner read and write text? `start` of such a method refuses one that cannot

    def __init__(self, config=None, *, seed=0, tasks=()):
        """`config`: an instance of the method's Config. `seed` is of what the method draws itself.

        `tasks` are known beforehand, also future ones: for upper bounds, which are no continual learning.
        """
        self.config = Config() if config is None else config

    def start(self, learner, task):
        """Rows to train on. May add or freeze parameters, for the optimizer does not exist yet.

        A run that goes on in the middle of a task calls `load`, then `start` again for that task: this must give the
        same rows and parameters as at first, and leave the loaded state as it is.
        """
        return task.train

    def batch(self, learner, rows):
        """All rows of one step, given its new ones: what joins them does not grow with the number of micro-batches."""
        return rows

    def loss(self, learner, batch):
        """Scalar mean loss of one micro-batch. The loop weighs it by the targets that the micro-batch judges."""
        return learner.loss(batch)

    def grads(self, learner):
        """Read or change the gradients, once a step: after all backwards, before clipping."""

    def rate(self, loss):
        """A factor on this step's learning rates, given the step's loss in nats. 1: nothing is touched."""
        return 1.0

    def stepped(self, learner):
        """Look at or put back weights, once a step: after the optimizer has moved them."""

    def finish(self, learner, task):
        """Remember: called once, after the last step of a task."""

    def view(self, learner, name):
        """A context manager that holds the weights to judge or serve the task called `name` with.

        A task that was never learned is judged with the weights as they are.
        """
        return nullcontext()

    def serving(self, learner, prompt):
        """A context manager that holds the weights to continue `prompt` with, a list of ids. Not for `needs_task`."""
        return self.view(learner, "")

    def state(self):
        """All that a stopped run needs to go on, as a flat dict: name -> tensor or JSON value. Callable at any step."""
        return {}

    def load(self, state):
        """Take back what `state` gave. A name that the method does not know raises, for it would be lost silently."""
        if state:
            raise ValueError(
                f"{type(self).__name__} keeps no state, but was given {sorted(state)}; "
                "build the method that wrote this state, with the same settings, then load again"
            )
