"""Draw this week's two figures from results/<preset>.json. No training here.

python weeks/week13/figures.py [--preset full]
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from continual.vendor.shared.errors import entry  # noqa: E402
from continual.vendor.shared.results import drawing_parser, read_metrics  # noqa: E402

METHODS = ("naive", "replay", "joint")
LOOKS = {"naive": ("#c0392b", "o", "-"), "replay": ("#1f6fb2", "s", "--"), "joint": ("#555555", "^", ":")}


def heat_maps(metrics, path):
    """The three matrices on one colour scale: a row is a moment, a column a domain, dark is bad.

    The scale ends where a model is no better than byte frequencies: domains not yet learned would use up all of it.
    """
    names = metrics["domains"]
    low = min(score for method in METHODS for row in metrics[method]["matrix"] for score in row)
    high = max(max(metrics["unigram_floor"].values()), low + 0.01)
    fig, axes = plt.subplots(1, 3, figsize=(11.6, 5.2), layout="constrained")
    for axis, method in zip(axes, METHODS):
        matrix = metrics[method]["matrix"]
        image = axis.imshow(matrix, cmap="cividis_r", vmin=low, vmax=high)
        for i, row in enumerate(matrix):
            for j, score in enumerate(row):
                dark = (score - low) / (high - low) > 0.5
                weight = (
                    "bold" if i == j and method != "joint" else "normal"
                )  # the diagonal: a task right after its turn
                axis.text(j, i, f"{score:.2f}", ha="center", va="center", color="white" if dark else "black",
                          fontsize=12, fontweight=weight)  # fmt: skip
        axis.set_xticks(range(len(names)), names, rotation=25, ha="right", rotation_mode="anchor")
        if method == "joint":
            axis.set_yticks(range(len(names)), [f"{i + 1}/{len(names)} of steps" for i in range(len(names))])
        else:
            axis.set_yticks(range(len(names)), [f"after {name}" for name in names])
        axis.set_xlabel("judged on")
        told = "all domains at once" if method == "joint" else f"old domains {metrics[method]['rise']:+.2f} bits"
        axis.set_title(f"{method}: {told}")
    label = (
        f"colour and number: bits per byte, not their change (bold: just learned)\n"
        f"darkest: {high:.2f} or more, no better than byte frequencies"
    )
    fig.colorbar(image, ax=axes, label=label, location="bottom", shrink=0.6, extend="max")
    title = f"With a memory of {metrics['settings']['budget']} rows, replay "
    if "forgetting_cut_pct" in metrics:
        title += f"avoids {metrics['forgetting_cut_pct']:.0f} % of the rise that naive training causes"
    else:
        title += "has nothing to avoid: naive training did not forget in this run"
    fig.suptitle(f"{title} ({whose(metrics)})")
    fig.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(fig)


def whose(metrics):
    """Which seeds a figure shows."""
    return "one seed" if metrics["seeds"] == 1 else f"mean of {metrics['seeds']} seeds"


def first_domain(metrics, path):
    """What happens to the first domain from the moment when it was learned, while the others are learned."""
    names = metrics["domains"]
    first = names[0]
    fig, axis = plt.subplots(figsize=(7.6, 4.6), layout="constrained")
    ends = {}
    for method in METHODS:
        colour, marker, line = LOOKS[method]
        scores = [row[0] for row in metrics[method]["matrix"]]
        label = "joint (all domains at once), after as many steps" if method == "joint" else method
        axis.plot(scores, color=colour, marker=marker, linestyle=line, label=label, linewidth=2)
        ends[method] = scores[-1]
    floor = metrics["unigram_floor"][first]
    axis.axhline(floor, color="black", linewidth=0.8)
    axis.text(
        0.98, floor + 0.02, f"byte frequencies alone: {floor:.2f}", transform=axis.get_yaxis_transform(), ha="right"
    )
    axis.set_xticks(range(len(names)), [f"after\n{name}" for name in names])
    axis.set_ylabel(f"bits per byte on {first} (lower is better)\nthe axis does not start at 0")
    axis.set_title(
        f"{first.capitalize()} ends at {ends['naive']:.2f} bits per byte naively, {ends['replay']:.2f} with replay\n"
        f"({whose(metrics)}; {metrics['naive']['baseline'][0]:.2f} before any training)"
    )
    low, high = axis.get_ylim()
    axis.set_ylim(low - 0.3 * (high - low), high + 0.05 * (high - low))  # room for the key and the floor's name
    axis.legend(loc="lower left")
    axis.grid(alpha=0.3)
    fig.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(fig)


def main(argv=None):
    p = drawing_parser(__doc__.splitlines()[0], __file__)
    args = p.parse_args(argv)
    metrics = read_metrics(args.results / f"{args.preset}.json", f"python weeks/week13/train.py --preset {args.preset}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name, draw in (("matrices", heat_maps), ("first-domain", first_domain)):
        draw(metrics, args.out / f"{name}.png")
        print(args.out / f"{name}.png")


if __name__ == "__main__":
    sys.exit(entry(main))
