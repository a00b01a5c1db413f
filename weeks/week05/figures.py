"""Week 5: results/<preset>.json -> figures/*.png; draws, never trains.

python weeks/week05/figures.py                   # from the default run
python weeks/week05/figures.py --preset full     # from the full one
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from deepmlp.diagnostics import FAST
from deepmlp.vendor.shared.errors import entry
from deepmlp.vendor.shared.results import drawing_parser, read_metrics

LECTURE = 2.1048  # validation loss of the lectures' batch-norm network, 12,097 parameters, 200,000 steps of SGD
RUNGS = {  # name -> (label, colour, line)
    "naive": ("naive start", "#b35806", ":"),
    "softmax_fix": ("+ small last layer", "#e08214", "-."),
    "gain_fix": ("+ right gain", "#8073ac", "--"),
    "bn": ("+ batch norm", "#2d004b", "-"),
}
STARTS = {"naive": "weights of sd 1", "gain_1": "gain 1", "kaiming": "gain 5/3", "bn": "batch norm"}
DEEP = {
    "none": ("no norm", "#b35806", ":", "s"),
    "bn": ("batch norm", "#2d004b", "-", "o"),
    "ln": ("layer norm", "#8073ac", "--", "^"),
    "residual_ln": ("residual, layer norm", "#1b7837", "-.", "D"),
}


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)


def shades(count):
    return plt.cm.viridis(np.linspace(0.05, 0.85, count))


def draw_curves(metrics, path):
    """Validation loss of the four rungs, on the axes of what guessing and counting give; left the first losses too."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(1, 1.6))
    for name, (label, color, line) in RUNGS.items():
        steps, losses = zip(*metrics[f"{name}_curve"])
        left.plot(steps[:3], losses[:3], line, color=color, marker="o", markersize=3)
        right.plot(steps[1:], losses[1:], line, color=color, label=f"{label}: {metrics[f'{name}_val']:.4f}")
    for axes in (left, right):
        axes.axhline(metrics["bigram_val"], color="grey", linewidth=1, linestyle=(0, (5, 1)))
        axes.set_xlabel(f"step (of {metrics['batch_size']:,} letters)")
    left.axhline(metrics["uniform_loss"], color="black", linewidth=1)
    left.set_yscale("log")
    ticks = [2, 3, 5, 10, 20]
    left.set_yticks(ticks, map(str, ticks))
    left.minorticks_off()
    left.set_ylabel("validation loss (nats a letter, log scale)")
    left.text(steps[2], metrics["uniform_loss"], "uniform", ha="right", va="bottom", fontsize=8)
    left.text(steps[2], metrics["bigram_val"], "bigram", ha="right", va="bottom", fontsize=8)
    if metrics["compared"]:
        right.axhline(LECTURE, color="black", linewidth=1, linestyle=":", label=f"lecture's batch norm: {LECTURE}")
    right.plot([], [], color="grey", linewidth=1, linestyle=(0, (5, 1)), label=f"bigram: {metrics['bigram_val']:.4f}")
    right.set_ylabel("validation loss (nats a letter)")
    right.set_title("from the second measurement on; the axis does not start at 0", fontsize=9)
    left.set_title("the first three measurements", fontsize=9)
    seeds = metrics["seeds"]
    ends = "first seed; loss at the end" if seeds == 1 else f"curve: first seed; number: mean of {seeds}"
    right.legend(fontsize=8, title=ends, title_fontsize=8)
    gap, whose = metrics["naive_val"] - metrics["bn_val"], "first seed" if seeds == 1 else f"mean of {seeds} seeds"
    figure.suptitle(
        f"The first loss falls from {metrics['naive_initial']:.1f} to {metrics['bn_initial']:.2f}; "
        f"after {metrics['steps']:,} steps of Adam all rungs together gain {gap:.3f} nats ({whose})", fontsize=10,
    )  # fmt: skip
    figure.tight_layout()
    save(figure, path)


def draw_activations(metrics, path):
    """What six layers of tanh give out before the first step, for four starts."""
    figure, table = plt.subplots(2, 2, figsize=(8.6, 6.6), sharex=True, sharey=True)
    for axes, (name, label) in zip(table.flat, STARTS.items()):
        start = metrics[f"start_{name}"]
        count = len(start["outputs"])
        for number, (shares, color) in enumerate(zip(start["outputs"], shades(count)), start=1):
            middles = np.linspace(-1, 1, len(shares), endpoint=False) + 1 / len(shares)
            axes.plot(middles, 100 * np.array(shares), color=color, linewidth=1.2, label=f"layer {number}")
        flat = 100 * np.mean(start["flat"])
        first, *_, last = start["std"]
        axes.set_title(f"{label}: {flat:.0f} % saturated; sd {first:.2f} in layer 1, {last:.2f} in {count}", fontsize=9)
        axes.set_yscale("log")
    for axes in table[:, 0]:
        axes.set_ylabel("share of outputs (% a bin, log scale)")
    for axes in table[-1]:
        axes.set_xlabel("output of tanh")
    table[-1, -1].legend(fontsize=9, ncols=2)
    naive, right = (100 * np.mean(metrics[f"start_{name}"]["flat"]) for name in ("naive", "kaiming"))
    figure.suptitle(
        f"Six layers before the first step: with naive weights {naive:.0f} % of the outputs are saturated,\n"
        f"with the right gain {right:.0f} %; with a gain of 1 the outputs fade", fontsize=10,
    )  # fmt: skip
    figure.tight_layout()
    save(figure, path)


def draw_gradients(metrics, path):
    """The gradients of those outputs, on a logarithmic axis, where a shift is a factor."""
    figure, table = plt.subplots(2, 2, figsize=(8.6, 6.6), sharex=True, sharey=True)
    for axes, (name, label) in zip(table.flat, STARTS.items()):
        start = metrics[f"start_{name}"]
        for number, (shares, color) in enumerate(zip(start["log_grads"], shades(len(start["log_grads"]))), start=1):
            edges = np.linspace(-7, 2, len(shares) + 1)
            axes.plot((edges[1:] + edges[:-1]) / 2, 100 * np.array(shares), color=color, label=f"layer {number}")
        spread = start["grad_std"]
        axes.set_title(f"{label}: sd {spread[0]:.4f} in layer 1, {spread[-1]:.4f} in {len(spread)}", fontsize=9)
    for axes in table[:, 0]:
        axes.set_ylabel("share of gradients (% a bin)")
    for axes in table[-1]:
        axes.set_xlabel("log10 |d loss of a row / d output|")
    table[0, 0].legend(fontsize=9)
    spreads = {name: metrics[f"start_{name}"]["grad_std"] for name in STARTS}
    ratios = {name: spread[0] / spread[-1] for name, spread in spreads.items()}
    figure.suptitle(
        f"From the last layer down to the first, gradients change by a factor of {ratios['naive']:.3g}\n"
        f"with naive weights, of {ratios['kaiming']:.2g} with the right gain", fontsize=10,
    )  # fmt: skip
    figure.tight_layout()
    save(figure, path)


def draw_grad_data(metrics, path):
    """Spread of the gradient over spread of the values, for each weight of four deep networks after training."""
    figure, axes = plt.subplots(figsize=(7.5, 4))
    for name, (label, color, line, marker) in DEEP.items():
        weights, ratios = zip(*metrics[f"deep_{name}_grad_data"])
        axes.plot(weights, ratios, line, color=color, marker=marker, markersize=5, label=label)
    axes.set_yscale("log")
    axes.set_ylabel("sd of gradient / sd of weight (log scale)")
    axes.set_xlabel("weight matrix, from the input to the output")
    heads = [rows[-1][1] / np.median([ratio for _, ratio in rows[1:-1]])
             for rows in (metrics[f"deep_{name}_grad_data"] for name in DEEP)]  # fmt: skip
    axes.set_title(
        "gradient:data, the gradient's spread beside the weight's. After training (one seed)\n"
        f"the last layer still has {min(heads):.0f} to {max(heads):.0f} times as much as the hidden layers",
        fontsize=10,
    )
    axes.legend(fontsize=9)
    save(figure, path)


def draw_update_data(metrics, path):
    """log10 of update:data of every weight over time, at a good learning rate and at ten times that."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    weights = [name for name, _ in metrics["deep_bn_grad_data"]]
    for axes, rate, title in zip(both, ("", "_fast"), ("learning rate 0.005", "ten times that")):
        rows = np.array(metrics[f"deep_bn{rate}_updates"])
        for column, (weight, color) in enumerate(zip(weights, shades(len(weights))), start=1):
            line = {"embed": ":", "head": "--"}.get(weight, "-")
            axes.plot(rows[:, 0], rows[:, column], line, color=color, linewidth=1.2, label=weight)
        lines = [
            axes.axhline(FAST, color="black", linewidth=1.2, linestyle=(0, (1, 2)), label=f"too fast: {FAST}"),
            axes.axhline(-3, color="black", linewidth=1.2, label="rule of thumb: -3"),
        ]
        named = metrics[f"deep_bn{rate}_verdict"]
        axes.set_title(f"{title}: val {metrics[f'deep_bn{rate}_val']:.3f}; the doctor says {named}", fontsize=9)
        axes.set_xlabel("step")
        axes.set_ylim(-5, 0)
    both[0].set_ylabel("log10(sd of update / sd of weight)")
    both[0].legend(handles=both[0].lines[: len(weights)], fontsize=8, ncols=2, loc="upper right")
    both[1].legend(handles=lines, fontsize=9, loc="upper right")
    figure.suptitle(
        "Six layers, batch norm, one seed: ten times the rate shows at the end of warm-up; "
        "later, larger weights hide it", fontsize=10,
    )  # fmt: skip
    figure.tight_layout()
    save(figure, path)


def draw_trap(metrics, path):
    """Loss of one trained network, judged with the statistics of batches of 1 to 512 rows."""
    rows, losses = zip(*metrics["bn_trap"])
    figure, axes = plt.subplots(figsize=(6.5, 3.8))
    axes.plot(rows, losses, "o-", color="#2d004b", label="statistics of the batch itself")
    axes.axhline(metrics["bn_running_loss"], color="#1b7837", linestyle="--", label="running statistics")
    axes.axhline(metrics["bigram_val"], color="grey", linewidth=1, linestyle=(0, (5, 1)), label="bigram table")
    axes.axhline(metrics["uniform_loss"], color="black", linewidth=1, label="uniform guess")
    axes.set_xscale("log", base=2)
    axes.set_xticks(rows, map(str, rows))
    axes.set_xlabel("rows judged together")
    axes.set_ylabel("validation loss (nats a letter)")
    axes.set_title(f"Without eval() a single row costs {losses[0]:.2f} nats a letter instead of "
                   f"{metrics['bn_running_loss']:.2f} (one network)", fontsize=10)  # fmt: skip
    axes.legend(fontsize=9)
    save(figure, path)


DRAWINGS = {
    "curves.png": draw_curves,
    "activations.png": draw_activations,
    "gradients.png": draw_gradients,
    "grad_data.png": draw_grad_data,
    "update_data.png": draw_update_data,
    "trap.png": draw_trap,
}


def main(argv=None):
    args = drawing_parser(__doc__.splitlines()[0], __file__).parse_args(argv)
    command = f"python weeks/week05/train.py --preset {args.preset}"
    metrics = read_metrics(args.results / f"{args.preset}.json", command)
    suffix = "" if "bn_val" in metrics else "_ssa"  # where only our own file was there
    metrics |= {key.removesuffix(suffix): value for key, value in metrics.items() if suffix and key.endswith(suffix)}
    metrics["compared"] = not suffix  # the lecture's number is of makemore's file
    for name, draw in DRAWINGS.items():
        draw(metrics, args.out / name)
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
