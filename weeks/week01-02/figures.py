"""Weeks 1 and 2: results/<job>-<preset>.json -> figures/*.png; draws, never trains.

python weeks/week01-02/figures.py
"""

import json
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from autograd.vendor.run import Mistake, entry, parser

WEEK = Path(__file__).resolve().parent


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)
    print(path)


# --- week 2: digits ---------------------------------------------------------------------------------------------------

NETWORKS = {"mlp": ("MLP", "#b35806", "--", "s"), "cnn": ("CNN", "#2166ac", "-", "o")}


def pixels(text):
    """Hexadecimal digits, two a pixel, -> a square picture."""
    values = np.frombuffer(bytes.fromhex(text), np.uint8)
    return values.reshape(math.isqrt(values.size), -1)


def draw_curves(metrics, path):
    """Errors on validation images after each epoch, beside the errors on the test images at the end."""
    figure, axes = plt.subplots(figsize=(7, 4))
    seeds = f"mean of {metrics['seeds']} seeds" if metrics["seeds"] > 1 else "at the end"
    for name, (label, color, line, marker) in NETWORKS.items():
        epochs, _, accuracies = zip(*metrics[f"{name}_curve"])
        errors = [100 * (1 - a) for a in accuracies]
        axes.plot(epochs, errors, line, marker=marker, color=color, label=f"{label}, validation")
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
    title = f"The MLP errs {mlp / cnn:.1f} times as often as the CNN, which has {sizes:.0%} of its parameters"
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=8)
    save(figure, path)


def draw_confusion(metrics, path):
    """Which digit is taken for which, by the CNN: only the mistakes are coloured."""
    table = np.array([row.split() for row in metrics["cnn_confusion"]], int)
    mistakes = table - np.diag(np.diag(table))
    figure, axes = plt.subplots(figsize=(5.6, 5))
    axes.imshow(mistakes, cmap="Oranges")
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            if count:
                dark = mistakes[i, j] > 0.6 * mistakes.max()
                axes.text(j, i, str(count), ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.set_xlabel("answer of the CNN (digit)")
    axes.set_ylabel("label (digit)")
    i, j = np.unravel_index(mistakes.argmax(), mistakes.shape)
    total = f"{mistakes.sum()} mistakes in {table.sum():,} test images"
    axes.set_title(f"{total};\nthe commonest: a {i} taken for a {j} ({mistakes[i, j]} times)", fontsize=9)
    save(figure, path)


def draw_worst(metrics, path):
    """The test images that the CNN got wrong with the most certainty."""
    figure, grid = plt.subplots(5, 5, figsize=(6.5, 8))
    for axes in grid.flat:
        axes.axis("off")
    for axes, (true, answer, p, text) in zip(grid.flat, metrics["cnn_worst"]):
        axes.imshow(pixels(text), cmap="gray_r")
        axes.set_title(f"a {true}, read as {answer}\np = {p:.3f}", fontsize=8)
    found = metrics["cnn_worst"]
    sure = sum(p >= 0.9 for _, _, p, _ in found)
    title = f"The CNN's {len(found)} worst mistakes: in {sure} of them it was 90 % certain or more"
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    save(figure, path)


def draw_filters(metrics, path):
    """What the first layers look for: the CNN's windows of 5 x 5 pixels, the MLP's rows of 28 x 28."""
    figure, grid = plt.subplots(4, 8, figsize=(7, 4.2))
    for row, (name, title) in enumerate((("cnn", "CNN, 5 x 5 pixels"), ("mlp", "MLP, 28 x 28 pixels"))):
        for axes, text in zip(grid[2 * row : 2 * row + 2].flat, metrics[f"{name}_filters"]):
            axes.imshow(pixels(text), cmap="PuOr", vmin=0, vmax=255, interpolation="nearest")
            axes.axis("off")
        grid[2 * row, 0].set_title(title, fontsize=9, loc="left")
    figure.suptitle(
        "First layers: the CNN's windows are used at every place, a unit of the MLP waits for a stroke at one\n"
        "(orange: negative weights, purple: positive)", fontsize=9,
    )  # fmt: skip
    save(figure, path)


# --- the menu ---------------------------------------------------------------------------------------------------------

# job -> the files that are drawn from its results, and how
DRAWINGS = {
    "mnist": {
        "mnist_curves.png": draw_curves,
        "mnist_confusion.png": draw_confusion,
        "mnist_worst.png": draw_worst,
        "mnist_filters.png": draw_filters,
    },
}


def main(argv=None):
    p = parser(__doc__.splitlines()[0], data=WEEK / "results")
    args = p.parse_args(argv)
    found = [job for job in DRAWINGS if (args.data / f"{job}-{args.preset}.json").exists()]
    if not found:
        first = next(iter(DRAWINGS))
        command = f"python weeks/week01-02/train.py {first} --preset {args.preset}"
        raise Mistake(f"{args.data} has no results of the preset {args.preset} to draw; run: {command}")
    for job in found:
        record = json.loads((args.data / f"{job}-{args.preset}.json").read_text(encoding="utf-8"))
        for name, draw in DRAWINGS[job].items():
            draw(record["metrics"], (args.out or WEEK / "figures") / name)


if __name__ == "__main__":
    sys.exit(entry(main))
