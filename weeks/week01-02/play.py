# %% [markdown]
# # Play with a neuron's graph
#
# Week 1 builds numbers that remember what they were made from. Here you see one neuron as a graph of such numbers, with
# every value and every gradient in it. Then you change one number and watch the gradients answer. It all runs in a few
# seconds, and needs only this week's package.
#
# **Before you start.** The neuron is y = tanh(w1 x1 + w2 x2 + b), and x2 is negative. If y is to grow, should w2 become
# larger or smaller?

# %%
import math

import matplotlib.pyplot as plt
from autograd.draw import draw
from autograd.engine import Value

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})
START = {"x1": 2.0, "x2": -1.0, "w1": 0.5, "w2": 1.5, "b": 0.75}


def neuron(activation=Value.tanh, **changes):
    """The Values of y = activation(w1 x1 + w2 x2 + b) by name, with their gradients; `changes` to the START."""
    part = {name: Value(number) for name, number in (START | changes).items()}
    part["y"] = activation(part["w1"] * part["x1"] + part["w2"] * part["x2"] + part["b"])
    part["y"].backward()
    return part


class Picture:
    """A graph that the notebook draws: the names of its Values are written into their boxes."""

    def __init__(self, root, **names):
        self.svg = draw(root, **names)

    def _repr_svg_(self):
        return self.svg


# %% [markdown]
# ## The neuron, node for node
#
# Read it from left to right. Blue boxes are the inputs. Each box shows its value (`data`) and its gradient (`grad`):
# how fast y changes with that box. The red number at an arrow is a *slope*: how fast the box at the arrow's head
# changes with the box at its tail.
#
# Look at w2. Its gradient is negative: a larger w2 makes y smaller, because x2 is negative. That answers the question.

# %%
part = neuron()
Picture(part["y"], **part)

# %% [markdown]
# ## The chain rule is a walk
#
# Go from y back to an input, and multiply the slopes on the way. That product is the gradient which `backward` has
# computed. Compare the last two columns.


# %%
def ways(node, leaf):
    """Every way from a node back to a leaf, each as the list of its slopes."""
    if node is leaf:
        yield []
    for child, slope in zip(node.children, node.slopes):
        for rest in ways(child, leaf):
            yield [slope, *rest]


for name in START:
    (slopes,) = ways(part["y"], part[name])
    walk = " * ".join(f"{slope:.3f}" for slope in slopes)
    print(f"{name}: {walk:22} = {math.prod(slopes):6.3f}    backward: {part[name].grad:6.3f}")

# %% [markdown]
# ## Two ways to the same place
#
# Here `a` is used twice, and so is what was made of it. There are four ways from c back to a. Each has the product
# 1 * 1, and the gradient is their sum, 4. So a gradient must be *added* to what is already there, never written over.

# %%
a = Value(1.0)
b = a + a
c = b + b
c.backward()
Picture(c, a=a, b=b, c=c)

# %% [markdown]
# Double it 16 times instead of 2 times. The number of ways doubles each time too. `backward` does not walk them one by
# one. It visits each node once, and by then that node's gradient is complete.

# %%
first = last = Value(1.0)
for _ in range(16):
    last = last + last
last.backward()
print(f"{sum(1 for _ in ways(last, first)):,} ways, but only {16 + 1} nodes; the gradient is {first.grad:,.0f}")

# %% [markdown]
# ## Is it true? Nudge an input and see
#
# A gradient says how y answers to a small push. So plot y while one input moves, and draw the line with that gradient
# through the point where we are (dashed). The line touches the curve: close to the point they agree, further away
# they do not. That is why training takes small steps.

# %%
figure, both = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
moves = [i / 20 for i in range(-40, 41)]
for axes, name in zip(both, ("w1", "w2")):
    axes.plot([START[name] + m for m in moves], [neuron(**{name: START[name] + m})["y"].data for m in moves],
              color="#2166ac", label="y")  # fmt: skip
    axes.plot([START[name] + m for m in moves], [part["y"].data + part[name].grad * m for m in moves],
              color="#b35806", linestyle="--", label=f"slope {part[name].grad:.2f}, from backward")  # fmt: skip
    axes.plot(START[name], part["y"].data, "ko", label="where we are")
    axes.set(xlabel=name, ylim=(-1.5, 1.5), title=f"y while {name} moves")
    axes.legend(fontsize=8, frameon=False)
both[0].set_ylabel("y")
plt.show()

h = 1e-5
for name in START:
    push = (neuron(**{name: START[name] + h})["y"].data - neuron(**{name: START[name] - h})["y"].data) / (2 * h)
    print(f"{name}: pushed {push:6.3f}, backward {part[name].grad:6.3f}")

# %% [markdown]
# ## Where a neuron stops listening
#
# Now only the bias moves. In the left plot tanh goes flat at both ends. In the right plot the gradient of w1 disappears
# there. A neuron that is pushed far out still gives an answer, but no gradient comes back through it: it cannot learn.
# relu has the same trouble on one side only.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
biases = [i / 10 for i in range(-60, 61)]
looks = {"tanh": ("#2166ac", "-"), "sigmoid": ("#1b7837", "-."), "relu": ("#b35806", "--")}
for kind, (color, line) in looks.items():
    seen = [neuron(getattr(Value, kind), b=b) for b in biases]
    left.plot(biases, [p["y"].data for p in seen], line, color=color, label=kind)
    right.plot(biases, [p["w1"].grad for p in seen], line, color=color, label=kind)
left.set(xlabel="bias b", ylabel="y", ylim=(-1.2, 3), title="Pushed far out, all but relu go flat")
right.set(xlabel="bias b", ylabel="gradient of w1", title="There the gradient of w1 is nearly 0")
right.legend(frameon=False)
plt.show()

# %% [markdown]
# ## The same neuron learns, or does not
#
# The target is y = -0.9, and the loss is (y - target)². Each step moves w1, w2 and b a little against their
# gradients. Both neurons below do the same steps. One starts with b = 0.75, the other with b = 4, far out on the flat
# part of tanh.


# %%
def learn(bias, steps=60, rate=0.03, target=-0.9):
    """What the neuron says after each step of gradient descent on (y - target)**2."""
    now, said = START | {"b": bias}, []
    for _ in range(steps):
        part = neuron(**now)
        said.append(part["y"].data)
        for name in ("w1", "w2", "b"):
            now[name] -= rate * 2 * (part["y"].data - target) * part[name].grad  # d loss / d y, times dy / d name
    return said


runs = {"starts with b = 0.75": learn(0.75), "starts with b = 4": learn(4.0)}
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for (label, said), (color, line) in zip(runs.items(), looks.values()):
    axes.plot(said, line, color=color, label=label)
axes.axhline(-0.9, color="grey", linewidth=1, linestyle=":", label="target")
axes.set(xlabel="step", ylabel="y", title="Far out on the flat part hardly any gradient comes back")
axes.legend(fontsize=8, frameon=False)
plt.show()
for label, said in runs.items():
    print(f"{label}: y goes from {said[0]:.3f} to {said[-1]:.3f}")

# %% [markdown]
# ## Your turn
#
# 1. Change `x1` below to 0. One gradient becomes 0. Which one, and why? Guess, then run the cell.
# 2. Change `b` to 5. All gradients become about 1,900 times smaller. Find the reason in the drawing.
# 3. Take `rate=0.5` in `learn`. The first neuron jumps to -1.000 in one step and stays there. Why does it not come
#    back to -0.9?

# %%
mine = neuron(x1=2.0, b=0.75)  # change these
Picture(mine["y"], **mine)
