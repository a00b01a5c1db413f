# %% [markdown]
# # Play doctor: a sick network, and its cure
#
# Week 5 looks into a network from four sides. Here you make a network sick, see what it looks like from inside, ask the
# doctor, and cure it. At the end a patient waits whose disease you do not know. It needs this week's package and the
# names (`make data/names`), and runs in less than half a minute.
#
# **Before you start.** Six layers of tanh, and weights that are a little too small. What reaches the sixth layer?

# %%
from dataclasses import replace
from pathlib import Path

import deepmlp
import matplotlib.pyplot as plt
from deepmlp import doctor
from deepmlp.diagnostics import FAST, SLOW, gradients, look, saturation, typical
from deepmlp.model import DeepMLP
from deepmlp.vendor.makemore import names
from deepmlp.vendor.makemore.fit import evaluate
from deepmlp.vendor.shared.files import need

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})
DATA = Path(deepmlp.__file__).parents[3] / "data"
known = names.load(need(DATA / "names/names.txt", "make data/names"))
train, unseen = (names.windows(known, part[:2000], 3) for part in (known.train, known.val))
print(f"{len(train[1]):,} letters to learn from, each with the three before it")

# %% [markdown]
# ## The size of a signal, layer by layer
#
# Nothing is trained yet. One batch runs forward and back through six layers. Hidden weights start with the standard
# deviation gain / sqrt(fan_in). Below, only the gain changes.
#
# - Left: the spread of z, which is what each tanh reads. At gain 0.3 each layer makes it about 3 times smaller. At gain
#   5 it stays near 5: tanh reads large numbers and answers with 1 or -1.
# - Right: the spread of the gradient at each layer. Read it from right to left, for a gradient starts at the last
#   layer. At gain 0.3 hardly anything reaches layer 1. At gain 5 it grows on its way.
#
# Only one gain keeps both lines level, with z of a size where tanh bends. It is about 5/3.

# %%
bare, recipe = doctor.patient("no_norm")  # no norm holds the layers, so all depends on the start
recipe = replace(recipe, batch_size=128)  # half as many rows in half the time
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
looks = {0.3: ("#b35806", "o:"), 1.0: ("#e08214", "s-."), 5 / 3: ("#1b7837", "D-"), 5.0: ("#542788", "^--")}
for gain, (color, style) in looks.items():
    seen = look(DeepMLP(replace(bare, gain=gain)), *(part[: doctor.ROWS] for part in train))
    layers = range(1, bare.depth + 1)
    left.plot(layers, [row["z_std"] for row in saturation(seen).rows], style, color=color, label=f"gain {gain:.2g}")
    right.plot(layers, [row["std"] for row in gradients(seen).rows], style, color=color)
    print(f"gain {gain:.2g}: {saturation(seen).verdict}")
left.set(yscale="log", xlabel="layer", ylabel="spread of z", title="Forward: gain 0.3 fades, gain 5 is too loud")
right.set(yscale="log", xlabel="layer", ylabel="spread of the gradient", title="Back: only gain 1.7 stays level")
left.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## Call the doctor
#
# The doctor trains the patient for 200 steps and looks at it before and after. It never sees the config. It names a
# disease from the four diagnostics alone, and says what to do.


# %%
def visit(config, recipe):
    """Print what the doctor says of this network; returns (chart, loss on unseen names, sizes of the steps)."""
    model, history = DeepMLP(config), []
    chart = doctor.examine(model, train, recipe, history=history)
    found = doctor.diagnose(chart)
    print(f"diagnosis: {found.disease or 'healthy'}\nwhat to do: {found.advice}")
    loss = evaluate(model, unseen)
    print(f"loss on names it has not seen: {loss:.1f} nats a letter\n")  # another processor: another second digit
    return chart, loss, history


sick = replace(bare, gain=0.3)
uncured = visit(sick, recipe)

# %% [markdown]
# ## The cure
#
# Follow the advice. `gain=None` takes the right gain for tanh. The doctor is still not content: the layers start well,
# but nothing holds them there. So follow its advice again, and add a norm.
#
# Compare the losses. The right gain brings nearly all of the improvement. In so short a training the norm adds next to
# nothing: it prevents a fault that has not hurt yet.

# %%
started = visit(replace(sick, gain=None), recipe)
cured = visit(replace(sick, gain=None, norm="batch"), recipe)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", width_ratios=(2, 1))
patients = {
    "gain 0.3": (uncured, "#b35806", "o:"),
    "gain 5/3": (started, "#8073ac", "s--"),
    "gain 5/3, batch norm": (cured, "#1b7837", "D-"),
}
for n, (label, ((chart, loss, _), color, style)) in enumerate(patients.items()):
    left.plot(layers, [row["z_std"] for row in chart.before["saturation"].rows], style, color=color, label=label)
    left.plot(layers, [row["z_std"] for row in chart.after["saturation"].rows], style, color=color, alpha=0.4)
    right.bar_label(right.bar(n, loss, color=color), [f"{loss:.2f}"])
left.set(yscale="log", xlabel="layer", ylabel="spread of z", title="Full colour: at the start. Pale: after 200 steps")
left.legend(frameon=False, fontsize=8, loc="lower left")
right.set_xticks(range(3), ["0.3", "5/3", "5/3, norm"])
right.set(ylabel="nats a letter", ylim=(0, 3.9), title="Loss on unseen names")
right.axhline(chart.first_loss, color="grey", linewidth=1, linestyle=":")
right.text(2.4, chart.first_loss, "knowing nothing", ha="right", va="bottom", fontsize=8)
plt.show()

# %% [markdown]
# ## A fault that no picture of the start can show
#
# Now the start is right, and only the learning rate changes. Look at the size of a step beside the size of the weight
# that it changes, `update:data`. The grey lines are the doctor's limits. Above the upper one a weight is made anew in
# 40 steps or fewer, and what one batch has taught is soon written over. Below the lower one it hardly moves.
#
# The doctor reads steps 10 to 20, where the rate has nearly risen to its height. At the end the rate falls to 0, so all
# three lines fall. Compare the losses too: the high rate costs little here. A disease is a risk; the loss says whether
# it hurts.

# %%
figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
well = replace(sick, gain=None, norm="batch")
runs = {
    recipe.lr * 10: (visit(well, replace(recipe, lr=recipe.lr * 10)), "#b35806", ":"),
    recipe.lr: (cured, "#1b7837", "-"),
    recipe.lr / 1000: (visit(well, replace(recipe, lr=recipe.lr / 1000)), "#542788", "--"),
}
for rate, ((_, loss, history), color, line) in runs.items():
    steps, sizes = zip(*history)
    middle = [typical([{"weight": name, "log10": size} for name, size in row.items()]) for row in sizes]
    axes.plot(steps, middle, line, color=color, label=f"learning rate {rate:g}: loss {loss:.2f}")
for limit in (FAST, SLOW):
    axes.axhline(limit, color="grey", linewidth=1, linestyle=(0, (5, 2)))
axes.set(xlabel="step", ylabel="log10 of update:data", title="One rate in three moves the weights by the right amount")
axes.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## Your turn: a patient whose disease you do not know
#
# One of the six known diseases was chosen by `number`. Look at the picture and say which it is: `bad_init`,
# `wrong_gain`, `dead_relu`, `high_lr`, `low_lr` or `no_norm`. Then take away the `#` before `visit`. The numbers 0 to 5
# are six patients. Which three diseases do not show at the start?

# %%
number = 1
diseases = sorted(filter(None, doctor.ADVICE))
config, treatment = doctor.patient(diseases[number * 5 % 6], seed=number)
seen = look(DeepMLP(config), *(part[: doctor.ROWS] for part in train))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
left.plot(layers, [row["z_std"] for row in saturation(seen).rows], "o-", color="#2166ac", label="spread of z")
left.plot(layers, [row["dead"] for row in saturation(seen).rows], "s--", color="#b35806", label="share of dead units")
right.plot(layers, [row["std"] for row in gradients(seen).rows], "D-", color="#2166ac")
left.set(xlabel="layer", ylim=(-0.1, None), title=f"Patient {number} before the first step; loss {seen.loss:.2f}")
left.legend(frameon=False, fontsize=8)
right.set(yscale="log", xlabel="layer", title="Spread of the gradient")
plt.show()
# visit(config, treatment)

# %% [markdown]
# Two more things to try:
#
# 1. Set `gain=1.0` in `sick`, and expect a loss of about 2.5 before the cure. The doctor sees it, though it learns.
# 2. Visit `replace(bare, gain=0.3, norm="batch")`. Every layer has the right size now, and yet the doctor names another
#    disease. Why is the same step too large for this network? (How large are its weights?)
