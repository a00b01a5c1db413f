# vendored from weeks/week13/continual/methods/first.py, sha256 3bf516bf3c9965030ef3c44a8a048033ae1b945737524d4e3413fc61ba294c0a; edit there, then run: make vendor
"""The trainable weights as they were before the first task, for methods that go back to them.

With an adapter these are the adapter's first weights, which change nothing: the model without it.
"""

from ..weights import copied, holding, named, part, write


class First:
    def __init__(self):
        self.weights = {}  # by parameter name; empty until the first task starts

    def note(self, learner):
        """Remember the weights, unless it was done before."""
        if not self.weights:
            self.weights = copied(learner.parameters())

    def put(self, learner):
        """Write the first weights into the model."""
        write(learner, self.weights)

    def back(self, learner):
        """Run the block with the first weights, for reading alone; then the newest come back, also after an error."""
        return holding(learner, self.weights)

    def state(self):
        return named("first", copied(self.weights))

    def load(self, state):
        self.weights = part(state, "first")
