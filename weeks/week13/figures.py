"""Draw this week's figures from the tables that are there. No training here.

python weeks/week13/figures.py [--preset full]
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from continual.tiers.report import best, methods_of  # noqa: E402
from continual.vendor.shared.errors import Mistake, entry  # noqa: E402
from continual.vendor.shared.results import drawing_parser, read_metrics  # noqa: E402

LOOKS = {"naive": ("#c0392b", "o", "-"), "joint": ("#555555", "^", ":")}
BEST = ("#1f6fb2", "s", "--")
OTHERS = ("labels", "instructions", "ssr", "trace")  # tables beside that of the domains, each with figures of its own


def shown(metrics):
    """The three rows that a matrix is drawn of: naive, the best method, joint."""
    return [name for name in ("naive", best(metrics), "joint") if name]


def drawn(metrics, method):
    """The numbers of what is drawn: the runs in the first order of the tasks."""
    return metrics[method].get("forward", metrics[method])


def heat_maps(metrics, path):
    """The matrices on one colour scale: a row is a moment, a column a task, dark is bad.

    The scale ends at the floor: tasks not yet learned would use up all of it.
    """
    names, methods, up = metrics["tasks"], shown(metrics), metrics["higher_is_better"]
    values = [score for method in methods for row in metrics[method]["matrix"] for score in row]
    good = max(values) if up else min(values)
    floor = metrics["floor"]["final"]
    bad = min(*floor, good - 0.01) if up else max(*floor, good + 0.01)
    fig, axes = plt.subplots(1, len(methods), figsize=(11.6, 5.2), layout="constrained", squeeze=False)
    for axis, method in zip(axes[0], methods):
        matrix = metrics[method]["matrix"]
        low, high = sorted((good, bad))
        image = axis.imshow(matrix, cmap="cividis" if up else "cividis_r", vmin=low, vmax=high)
        for i, row in enumerate(matrix):
            for j, score in enumerate(row):
                dark = abs(score - good) / abs(bad - good) > 0.5
                weight = "bold" if i == j and method != "joint" else "normal"  # a task right after its turn
                axis.text(j, i, f"{score:.2f}", ha="center", va="center", color="white" if dark else "black",
                          fontsize=12, fontweight=weight)  # fmt: skip
        axis.set_xticks(range(len(names)), names, rotation=25, ha="right", rotation_mode="anchor")
        moments = [f"{i + 1}/{len(names)} of steps" if method == "joint" else f"after {name}"
                   for i, name in enumerate(names)]  # fmt: skip
        axis.set_yticks(range(len(names)), moments)
        axis.set_xlabel("judged on")
        told = "all tasks at once" if method == "joint" else f"BWT {drawn(metrics, method).get('bwt', 0):+.2f}"
        axis.set_title(f"{method}: {told}")
    label = f"colour and number: {metrics['unit']}, not their change (bold: just learned)\ndarkest: the floor or worse"
    fig.colorbar(image, ax=axes, label=label, location="bottom", shrink=0.6, extend="min" if up else "max")
    name = best(metrics)
    if "forgetting_cut_pct" not in drawn(metrics, "naive"):
        title = "There is nothing to avoid: naive training did not forget in this run"
    elif name:
        title = (
            f"{name} avoids {drawn(metrics, name)['forgetting_cut_pct']:.0f} % of the loss that naive training causes"
        )
    else:
        title = "Naive training, and all tasks at once"
    fig.suptitle(f"{title} ({whose(metrics)})")
    save(fig, path)


def whose(metrics):
    """Which seeds a figure shows."""
    return "one seed" if metrics["seeds"] == 1 else f"mean of {metrics['seeds']} seeds"


def save(fig, path):
    fig.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(fig)


def lines(metrics, values, what):
    """One line a method over the moments of training; `values(method's row)` gives its points."""
    names = metrics["tasks"]
    fig, axis = plt.subplots(figsize=(7.6, 4.6), layout="constrained")
    for method in shown(metrics):
        colour, marker, line = LOOKS.get(method, BEST)
        label = "joint (all tasks at once), after as many steps" if method == "joint" else method
        axis.plot(values(metrics[method]), color=colour, marker=marker, linestyle=line, label=label, linewidth=2)
    axis.set_xticks(range(len(names)), [f"after\n{name}" for name in names])
    better = "higher" if metrics["higher_is_better"] else "lower"
    axis.set_ylabel(f"{what}:\n{metrics['unit']} ({better} is better)")
    low, high = axis.get_ylim()
    axis.set_ylim(low - 0.3 * (high - low), high + 0.05 * (high - low))  # room for the key
    axis.legend(loc="lower left")
    axis.grid(alpha=0.3)
    return fig, axis


def first_task(metrics, path):
    """What happens to the first task from the moment when it was learned, while the others are learned."""
    first, floor = metrics["tasks"][0], metrics["floor"]["final"][0]
    fig, axis = lines(metrics, lambda row: [scores[0] for scores in row["matrix"]], first)
    low, high = axis.get_ylim()
    room = 0.08 * (high - low)  # for the word above the line
    axis.set_ylim(min(low, floor - room), max(high, floor + room))
    axis.axhline(floor, color="black", linewidth=0.8)
    axis.text(0.98, floor, f"floor: {floor:.2f}", transform=axis.get_yaxis_transform(), ha="right", va="bottom")
    ends = [f"{metrics[name]['matrix'][-1][0]:.2f} with {name}" for name in shown(metrics)[:2]]
    axis.set_title(f"{first} ends at {', at '.join(ends)} ({whose(metrics)})")
    save(fig, path)


def over_time(metrics, path):
    """The mean score of the tasks learned so far, after each task."""
    so_far = lambda row: [sum(scores[: i + 1]) / (i + 1) for i, scores in enumerate(row["matrix"])]
    fig, axis = lines(metrics, so_far, "mean of the tasks learned so far")
    axis.set_title(f"What is left of all that was learned ({whose(metrics)})")
    save(fig, path)


def cost(metrics, path):
    """Every method: what it costs, in times of naive training, and how much of the way to joint it recovers."""
    fig, axis = plt.subplots(figsize=(7.6, 4.6), layout="constrained")
    rows = [name for name in methods_of(metrics) if {"recovery_pct", "time_ratio"} <= metrics[name].keys()]
    low = -20
    for name in rows:
        share, ratio = metrics[name]["recovery_pct"], metrics[name]["time_ratio"]
        colour = LOOKS.get(name, BEST)[0]
        axis.plot(ratio, max(share, low), marker="v" if share < low else "o", color=colour, linestyle="")
        axis.annotate(name, (ratio, max(share, low)), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axis.axhspan(98.8, 101, color="#2e7d32", alpha=0.15)
    axis.axvline(1.3, color="black", linewidth=0.8, linestyle=":")
    axis.set_xlabel("seconds of training, in times of naive training (dotted: 1.3)")
    axis.set_ylabel("recovery: 0 is naive, 100 is joint (green: 98.8 and more)")
    axis.set_title(f"Cost against recovery ({whose(metrics)}; triangles lie below {low})")
    axis.grid(alpha=0.3)
    save(fig, path)


FIGURES = {"matrices": heat_maps, "first-domain": first_task, "over-time": over_time, "cost": cost}


def main(argv=None):
    p = drawing_parser(__doc__.splitlines()[0], __file__)
    args = p.parse_args(argv)
    command = f"python weeks/week13/train.py --preset {args.preset}"
    tables = {"": read_metrics(args.results / f"{args.preset}.json", command)}
    for tier in OTHERS:
        path = args.results / f"{tier}-{args.preset}.json"
        if path.exists():
            tables[f"{tier}-"] = read_metrics(path, command)
    args.out.mkdir(parents=True, exist_ok=True)
    for start, metrics in tables.items():
        if "tasks" not in metrics:
            raise Mistake(f"{args.results / start}{args.preset}.json is of an older program; run: {command}")
        for name, draw in FIGURES.items():
            draw(metrics, args.out / f"{start}{name}.png")
            print(args.out / f"{start}{name}.png")


if __name__ == "__main__":
    sys.exit(entry(main))
