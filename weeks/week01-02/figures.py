"""Weeks 1 and 2: results/<job>-<preset>.json -> figures/*.png, and two graphs -> *.svg; draws, never trains.

python weeks/week01-02/figures.py                   # as the README has them, from the full runs
"""

import math
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from autograd import draw as graphs
from autograd.engine import Value
from autograd.vendor.shared.errors import entry
from autograd.vendor.shared.files import atomic_write
from autograd.vendor.shared.results import drawing_parser, read_metrics


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)


# --- week 1: moons ----------------------------------------------------------------------------------------------------


def draw_boundary(metrics, path):
    """Where the network's score changes sign, beside the line of one neuron; each line is in the key."""
    grid, data = metrics["grid"], np.array(metrics["data"])
    xs, ys = np.array(grid["xs"]), np.array(grid["ys"])
    w_x, w_y, bias = metrics["line"]
    line = w_x * xs + w_y * ys[:, None] + bias
    accuracy = metrics["curve"][-1][1]
    title = f"One neuron can draw a line: {metrics['line_accuracy']:.0%} right. Two layers before it bend the line: "
    figure, both = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    panels = (line, f"one neuron, {len(metrics['line'])} numbers"), (
        np.array(grid["scores"]), f"MLP 2-16-16-1, {metrics['parameters']} numbers"
    )  # fmt: skip
    for axes, (scores, name) in zip(both, panels):
        fill = axes.contourf(xs, ys, np.clip(scores, -3, 3), np.linspace(-3, 3, 13), cmap="PuOr", alpha=0.6)
        looks = {"colors": "black", "linestyles": ["--", "-", "--"], "linewidths": [1, 2, 1]}
        axes.contour(xs, ys, scores, [-1, 0, 1], **looks)
        for label, marker, color in ((-1, "o", "#b35806"), (1, "^", "#542788")):
            x, y, _ = data[data[:, 2] == label].T
            style = {"color": color, "marker": marker, "edgecolors": "white", "linewidths": 0.6, "zorder": 3}
            axes.scatter(x, y, 22, label=f"label {label}", **style)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("x")
    both[0].set_ylabel("y")
    for line, width, name in (("-", 2, "score 0: the boundary"), ("--", 1, "scores -1 and 1: the margins")):
        both[1].plot([], [], color="black", linestyle=line, linewidth=width, label=name)
    figure.legend(*both[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    bar = figure.colorbar(fill, ax=both, ticks=range(-3, 4), label="score (3 and -3: that, or further from 0)")
    for score, line, width in ((-1, "--", 1), (0, "-", 2), (1, "--", 1)):
        bar.ax.axhline(score, color="black", linestyle=line, linewidth=width)
    figure.suptitle(f"{title}{accuracy:.0%} right (first seed)", fontsize=10)
    save(figure, path)


def draw_moons_curve(metrics, path):
    """Loss and accuracy of the first seed, step for step; the mean and the slowest step of all seeds are lines."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 5), sharex=True)
    curves = ("MLP", "#2166ac", "-", metrics["curve"]), ("one neuron", "#b35806", "--", metrics["line_curve"])
    for label, color, style, curve in curves:
        losses, accuracies = zip(*curve)
        above.plot(losses, style, color=color, label=label)
        below.plot([100 * a for a in accuracies], style, color=color, label=label)
    above.axhline(1, color="grey", linewidth=1, label="a score of 0 for all: 1")
    below.axhline(50, color="grey", linewidth=1, label="guessing: 50 %")
    above.set_yscale("log")
    above.set_ylabel("hinge loss + decay (log scale)")
    below.set_ylabel("points on their side (%)")
    below.set_ylim(45, 105)  # guessing is the bottom: nothing to see below it
    below.set_xlabel(f"step of gradient descent ({metrics['points']} points each)")
    perfect = next((step for step, (_, a) in enumerate(metrics["curve"]) if a == 1), None)
    when = f"{metrics['curve'][-1][1]:.0%} of the points" if perfect is None else f"every point by step {perfect}"
    title = f"First seed: the MLP has {when}; one neuron ends at {metrics['line_accuracy']:.0%}"
    slowest = metrics.get("first_perfect_step")
    if slowest is not None and metrics["seeds"] > 1:
        mean, seeds = metrics["first_perfect_mean"], metrics["perfect_seeds"]
        title += f"\n{seeds} of {metrics['seeds']} seeds have it: by step {mean:.0f} on average, {slowest} the slowest"
        for step, label, line in ((mean, "mean", (0, (1, 2))), (slowest, "slowest", (0, (5, 2)))):
            label = f"{label} of {seeds} seeds: {step:.0f}"
            below.axvline(step, color="black", linewidth=1, linestyle=line, label=label)
    above.set_title(title, fontsize=10)
    for axes in (above, below):
        axes.legend(fontsize=8)
    save(figure, path)


def drawn(root, **names):
    """The graph of `root` with its gradients, as SVG text."""
    root.backward()
    return graphs.draw(root, **names)


def draw_neuron():
    """tanh(w1 x1 + w2 x2 + b), node for node."""
    x1, x2, w1, w2, b = Value(2), Value(-1), Value(0.5), Value(1.5), Value(0.75)
    y = (w1 * x1 + w2 * x2 + b).tanh()
    return drawn(y, x1=x1, x2=x2, w1=w1, w2=w2, b=b, y=y)


def draw_counterexample():
    """b = a + a; c = b + b: three nodes, but four ways from c to a, so the gradient of a is 4."""
    a = Value(1)
    b = a + a
    c = b + b
    return drawn(c, a=a, b=b, c=c)


# --- week 2: digits ---------------------------------------------------------------------------------------------------

NETWORKS = {"mlp": ("MLP", "#b35806", "--", "s"), "cnn": ("CNN", "#2166ac", "-", "o")}


def pixels(text):
    """Hexadecimal digits, two a pixel, -> a square picture."""
    values = np.frombuffer(bytes.fromhex(text), np.uint8)
    return values.reshape(math.isqrt(values.size), -1)


def draw_curves(metrics, path):
    """Errors on validation images after each epoch, beside the errors on the test images at the end."""
    figure, axes = plt.subplots(figsize=(7, 4))
    seeds = f"mean of {metrics['seeds']} seeds" if metrics["seeds"] > 1 else "first seed"
    for name, (label, color, line, marker) in NETWORKS.items():
        epochs, _, accuracies = zip(*metrics[f"{name}_curve"])
        errors = [100 * (1 - a) for a in accuracies]
        axes.plot(epochs, errors, line, marker=marker, color=color, label=f"{label}, validation, first seed")
        test = 100 * (1 - metrics[f"mnist_{name}_test_accuracy"])
        axes.axhline(test, color=color, linewidth=1, linestyle=":", label=f"{label}, test, {seeds}: {test:.2f} %")
    axes.axhline(90, color="grey", linewidth=1, label="guessing: 90 %")
    axes.set_yscale("log")
    axes.set_yticks([0.5, 1, 2, 5, 10, 90], ["0.5", "1", "2", "5", "10", "90"])
    axes.set_xticks(epochs)
    axes.set_xlabel(f"epoch ({metrics['images']:,} images)")
    axes.set_ylabel("wrong answers (%, log scale)")
    mlp, cnn = (1 - metrics[f"mnist_{name}_test_accuracy"] for name in NETWORKS)
    sizes = metrics["cnn_parameters"] / metrics["mlp_parameters"]
    title = f"The MLP errs {mlp / cnn:.1f} times as often as the CNN on test images.\n"
    axes.set_title(f"{title}The CNN has {sizes:.0%} of its parameters.", fontsize=10)
    axes.legend(fontsize=8)
    save(figure, path)


def draw_confusion(metrics, path):
    """Which digit is taken for which, by the CNN: only the mistakes are coloured."""
    table = np.array([row.split() for row in metrics["cnn_confusion"]], int)
    mistakes = table - np.diag(np.diag(table))
    figure, axes = plt.subplots(figsize=(6.6, 5.4))
    image = axes.imshow(mistakes, cmap="Oranges")
    figure.colorbar(image, label="number of mistakes (the diagonal is left out)", shrink=0.8)
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            if count:
                dark = mistakes[i, j] > 0.6 * mistakes.max()
                axes.text(j, i, str(count), ha="center", va="center", fontsize=9, color="white" if dark else "black")
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.set_xlabel("answer of the CNN (digit)")
    axes.set_ylabel("label (digit)")
    i, j = np.unravel_index(mistakes.argmax(), mistakes.shape)
    total = f"{mistakes.sum()} mistakes in {table.sum():,} test images (CNN, first seed)"
    axes.set_title(f"{total};\nthe commonest: a {i} taken for a {j} ({mistakes[i, j]} times)", fontsize=9)
    save(figure, path)


def draw_worst(metrics, path):
    """The test images that the CNN got wrong with the most certainty."""
    figure, grid = plt.subplots(5, 5, figsize=(6.5, 8))
    for axes in grid.flat:
        axes.axis("off")
    for axes, (true, answer, p, text) in zip(grid.flat, metrics["cnn_worst"]):
        axes.imshow(pixels(text), cmap="gray_r")
        axes.set_title(f"a {true}, read as {answer}\np = {p:.3f}", fontsize=9)
    found = metrics["cnn_worst"]
    sure = sum(p >= 0.9 for _, _, p, _ in found)
    title = f"The CNN's {len(found)} surest mistakes (first seed): in {sure} it was 90 % certain or more"
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    save(figure, path)


def draw_filters(metrics, path):
    """Weights of the first layers, in grey: the CNN's windows of 5 x 5 pixels, the MLP's rows of 28 x 28."""
    figure, grid = plt.subplots(4, 8, figsize=(8.4, 4.8), layout="constrained")
    for row, (name, title) in enumerate((("cnn", "CNN, 5 x 5 pixels"), ("mlp", "MLP, 28 x 28 pixels"))):
        for axes, text in zip(grid[2 * row : 2 * row + 2].flat, metrics[f"{name}_filters"]):
            image = axes.imshow(pixels(text), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        grid[2 * row, 0].set_title(title, fontsize=10, loc="left")
    bar = figure.colorbar(image, ax=grid, shrink=0.8, label="weight (beside the unit's largest)")
    bar.set_ticks([0, 127.5, 255], labels=["-1", "0", "+1"])
    off = sum(pixels(text).min() == 0 for text in metrics["mlp_filters"])  # the largest weight is a negative one
    figure.suptitle(
        "First layers: the CNN uses its small windows at every place; a unit of the MLP watches one place.\n"
        f"In {off} of the {len(metrics['mlp_filters'])} MLP units shown, ink at that place pushes the unit down "
        "(its largest weight is negative).", fontsize=10,
    )  # fmt: skip
    save(figure, path)


# --- the menu ---------------------------------------------------------------------------------------------------------

# job -> the files that are drawn from its results, and how
DRAWINGS = {
    "moons": {"moons_boundary.png": draw_boundary, "moons_curve.png": draw_moons_curve},
    "mnist": {
        "mnist_curves.png": draw_curves,
        "mnist_confusion.png": draw_confusion,
        "mnist_worst.png": draw_worst,
        "mnist_filters.png": draw_filters,
    },
}
GRAPHS = {"graph.svg": draw_neuron, "counterexample.svg": draw_counterexample}  # these need no results


def main(argv=None):
    args = drawing_parser(__doc__.splitlines()[0], __file__, preset="full").parse_args(argv)
    results = {job: args.results / f"{job}-{args.preset}.json" for job in DRAWINGS}
    found = [job for job, path in results.items() if path.exists()]
    for job in found or DRAWINGS:  # each job runs alone, so one of the two may be absent, but not both
        command = f"python weeks/week01-02/train.py {job} --preset {args.preset}"
        metrics = read_metrics(results[job], command)
        for name, draw in DRAWINGS[job].items():
            draw(metrics, args.out / name)
    for name, draw in GRAPHS.items():
        atomic_write(args.out / name, draw())
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
