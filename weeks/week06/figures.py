"""Week 6: results/<preset>.json -> figures/*.png; draws, never trains.

python weeks/week06/figures.py                   # from the default run
python weeks/week06/figures.py --preset full     # from the full one
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)
import numpy as np  # noqa: E402
from backprop.vendor.shared.errors import entry  # noqa: E402
from backprop.vendor.shared.results import drawing_parser, read_metrics  # noqa: E402

DARK, MIDDLE, LIGHT = "#1b3a5c", "#c2571a", "#8a8a8a"  # three that differ in grey too
LECTURE = 1.993  # validation loss of the lecture's network of 76,579 parameters (part 5)
LETTERS = ".abcdefghijklmnopqrstuvwxyz"


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})  # no version inside: the same data, the same bytes
    plt.close(figure)


def draw_curves(metrics, path):
    """Training and validation loss of the tree on each file, between the baselines that need no network."""
    compared = "wavenet_curve" in metrics  # the lecture's number is of makemore's file
    files = [("", "makemore's names", DARK, "o"), ("_ssa", "our names", MIDDLE, "s")]
    files = [row for row in files if f"wavenet_curve{row[0]}" in metrics]
    first = files[0][0]
    figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    for suffix, name, color, marker in files:
        steps, train, val = zip(*metrics[f"wavenet_curve{suffix}"])
        axes.plot(steps, val, color=color, marker=marker, markersize=4, label=f"{name}: validation")
        label = f"{name}: training (mean since the last point)"
        axes.plot(steps, train, color=color, linestyle="--", linewidth=1, label=label)
    lines = [("uniform guess, ln V", metrics[f"uniform_loss{first}"], LIGHT)]
    lines += [("the lecture's tree", LECTURE, LIGHT)] if compared else []
    lines += [(f"bigram table, {name}", metrics[f"bigram_val{suffix}"], color) for suffix, name, color, _ in files]
    lines.sort(key=lambda line: line[1])
    for i, (label, value, color) in enumerate(lines):
        axes.axhline(value, color=color, linewidth=1, linestyle=":")
        near = value == LECTURE or i > 0 and value - lines[i - 1][1] < 0.06  # the curves, or another label, are there
        axes.annotate(
            f"{label}: {value:.3f}", (0.015 if near else 0.985, value), (0, 3), ha="left" if near else "right",
            xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8,
        )  # fmt: skip
    val, level, whose = metrics[f"wavenet_curve{first}"][-1][2], metrics[f"bigram_val{first}"], "the bigram table's"
    if compared:
        level, whose = LECTURE, "the lecture's"
    than = "below" if val < level else "above"
    axes.set_title(f"The tree ends at {val:.3f} on {files[0][1]}, {abs(val - level):.3f} {than} {whose} (first seed)")
    axes.set(xlabel="training step", ylabel="loss (nats a letter; the axis does not start at 0)", ylim=(1.7, 3.45))
    axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.9), fontsize=8)
    save(figure, path)


def draw_beside_autograd(metrics, path):
    """How far the two losses are apart at each step, in both precisions, on a log axis."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    floor = 1e-17
    for name, label, color, marker in (("f32", "float32", DARK, "o"), ("f64", "float64", MIDDLE, "s")):
        steps, apart = zip(*metrics[f"loss_diff_{name}"])
        apart = [max(value, floor) for value in apart]
        axes.semilogy(steps, apart, color=color, marker=marker, markersize=3, linewidth=0.8, label=label)
    axes.axhline(1e-5, color="black", linestyle="--", linewidth=1)
    axes.annotate("what the week allows: 1e-5", (0, 1e-5), (0, 4), textcoords="offset points", fontsize=9)
    largest, steps = metrics["manual_vs_autograd_max_loss_diff_f32"], metrics["side_steps"]
    axes.set_title(f"Over {steps:,} steps the losses by hand and by autograd differ by {largest:.0e} at most")
    axes.set(xlabel="training step (largest of each ten)", ylabel="|loss by hand - loss by autograd| (nats)")
    axes.set_ylim(floor, 1e-3)
    axes.legend(frameon=False, loc="upper right", fontsize=9)
    save(figure, path)


def draw_diagnostics(metrics, path):
    """Size of each step over the size of the weights, for the network that trains by hand."""
    steps, *ratios = zip(*metrics["update_ratios"])
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    names = "table (vectors of the letters)", "w1 (hidden layer)", "w2 (output)"
    for values, name, color, line in zip(ratios, names, (DARK, MIDDLE, LIGHT), ("-", "--", "-.")):
        axes.plot(steps, values, line, color=color, linewidth=1, label=name)
    axes.axhline(-3, color="black", linestyle=":", linewidth=1)
    axes.annotate("rule of thumb: -3", (steps[-1], -3), (0, -24), textcoords="offset points", ha="right", fontsize=9)
    axes.set_ylim(bottom=min(-3.3, min(map(min, ratios)) - 0.2))
    last = [sum(values[-10:]) / len(values[-10:]) for values in ratios]
    low, high = (f"{edge(last):.1f}" for edge in (min, max))
    axes.set_title(f"A step at learning rate 0.1 has 10^{low} to 10^{high} of the size of the weights")
    axes.set(xlabel="training step", ylabel="log10 of (size of the step / size of the weights)")
    axes.legend(frameon=False, fontsize=9)
    save(figure, path)


def draw_dlogits(metrics, path):
    """The gradient of a batch's logits as an image: one dark place a row, the rest pushes back."""
    image = np.array(metrics["dlogits"])
    figure, axes = plt.subplots(figsize=(7.5, 6), layout="constrained")
    limit = np.abs(image).max()
    drawn = axes.imshow(image, cmap="RdGy", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(image.shape[1]), list(LETTERS[: image.shape[1]]), fontsize=9)
    axes.set(xlabel="next letter (the dot is the end of a name)", ylabel="example of the batch")
    axes.set_title("Each row pulls one letter up (red, with the letter)\nand pushes the others down (grey)")
    for row, target in enumerate(metrics["dlogits_targets"]):
        axes.text(target, row, LETTERS[target], ha="center", va="center", color="white", fontsize=9)
    bar = figure.colorbar(drawn, label="colour: gradient of the logit (negative: the step raises the logit)")
    bar.ax.tick_params(labelsize=8)
    save(figure, path)


def draw_tree(metrics, path):
    """The two layouts of the same weights: two windows as two trees, and all places in three dilated layers."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    tree, row = both
    for end, bottom, color, marker in ((8, 4.4, DARK, "o"), (9, 0, MIDDLE, "s")):
        draw_window(tree, end, bottom, color, marker)
        tree.text(0.7, bottom + 2.95, f"the window up to place {end}", fontsize=9)
    tree.set_yticks([*range(4), *(4.4 + i for i in range(4))], ["letters", "pairs", "fours", "eights"] * 2, fontsize=9)
    tree.set_title("as trees: 7 knots for each window\n(none is shared)", fontsize=10)
    for layer, step in ((1, 1), (2, 2), (3, 4)):
        for place in range(2**layer, 10):
            for child in (place - step, place):
                row.plot([child, place], [layer - 1, layer], color=LIGHT, linewidth=0.8, zorder=1)
            row.scatter(place, layer, 46, facecolor="white", edgecolor=LIGHT, zorder=2,
                        label="of earlier windows" if (layer, place) == (1, 2) else None)  # fmt: skip
    row.scatter(range(1, 10), [0] * 9, 40, color="black", marker="^", zorder=3)
    draw_window(row, 9, 0, MIDDLE, "s")
    row.plot([], [], "s", color=MIDDLE, label="the window up to place 9")
    row.legend(loc="upper left", fontsize=9)
    row.set_yticks(range(4), ["letters", "distance 1", "distance 2", "distance 4"], fontsize=9)
    title = "as dilated convolutions: 3 new knots for each place\n(at place 9 those at the right edge)"
    row.set_title(title, fontsize=10)
    for axes in both:
        axes.set_xticks(range(1, 10))
        axes.set_xlim(0.5, 9.5)
        axes.set_xlabel("place in the row of letters")
    less = metrics["tree_products_long"] / metrics["dilated_products_long"]
    figure.suptitle(f"The same weights, laid out twice: in a long row the trees multiply {less:.1f} times as much")
    save(figure, path)


def draw_window(axes, end, bottom, color, marker):
    """The tree whose last letter is at place `end`."""
    axes.scatter(range(end - 7, end + 1), [bottom] * 8, 40, color="black", marker="^", zorder=3)
    level = [end]
    for layer in (3, 2, 1):
        children = [child for place in level for child in (place - 2 ** (layer - 1), place)]
        for i, child in enumerate(children):
            ends = [child, level[i // 2]], [bottom + layer - 1, bottom + layer]
            axes.plot(*ends, color=color, linewidth=1.3, zorder=2)
        axes.scatter(level, [bottom + layer] * len(level), 46, color=color, marker=marker, zorder=3)
        level = children


DRAWINGS = {
    "curves.png": draw_curves,
    "manual_vs_autograd.png": draw_beside_autograd,
    "diagnostics.png": draw_diagnostics,
    "dlogits.png": draw_dlogits,
    "tree.png": draw_tree,
}


def main(argv=None):
    args = drawing_parser(__doc__.splitlines()[0], __file__).parse_args(argv)
    command = f"python weeks/week06/train.py --preset {args.preset}"
    metrics = read_metrics(args.results / f"{args.preset}.json", command)
    first = "" if "wavenet_curve" in metrics else "_ssa"  # where makemore's file was not there, ours stands alone
    of_first = {name.removesuffix(first): value for name, value in metrics.items() if name.endswith(first)}
    for name, draw in DRAWINGS.items():
        draw(metrics if draw is draw_curves else of_first, args.out / name)
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
