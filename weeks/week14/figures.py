"""Draw the week's figures from results files: curves of loss, two matrices side by side, what ingredients do."""

import math
import sys

from nanogpt.vendor.shared.errors import entry
from nanogpt.vendor.shared.results import drawing_parser, read_metrics

TOLD = {"reuters-r8": "news topics", "trec-6": "questions", "sms-spam": "spam"}  # data set -> its name on the page


def whose(metrics):
    """Which seeds a figure shows."""
    return f"mean of {metrics['seeds']} seeds" if metrics.get("seeds", 1) > 1 else f"seed {metrics.get('seed', 0)}"


def loss_curve(metrics, plt):
    """Training loss on the first domain in nats per token, with what a uniform guess would need.

    None for a run of several seeds, which keeps no losses.
    """
    if "losses" not in metrics:
        return None
    first = metrics["domains"][0]
    losses = metrics["losses"][f"train {first}"]
    tokens = [(i + 1) * metrics["block_tokens"] / 1e6 for i in range(len(losses))]
    smooth, average = [], losses[0]
    for loss in losses:
        average = 0.9 * average + 0.1 * loss
        smooth.append(average)
    fig, ax = plt.subplots(figsize=(7.5, 4.3), layout="constrained")
    ax.plot(tokens, losses, color="0.75", linewidth=0.8, label="each step")
    ax.plot(tokens, smooth, color="tab:blue", linewidth=2, label="moving average")
    uniform = math.log(metrics["vocab_size"])
    ax.axhline(uniform, color="black", linestyle=":", label=f"uniform guess, ln {metrics['vocab_size']:,}")
    ax.set_xlabel(f"tokens of {first} read (millions)")
    ax.set_ylabel("training loss (nats per token)\nthe axis does not start at 0")
    bpb = metrics["pretrain_val_bpb"]
    ax.set_title(
        f"Training takes the loss from {losses[0]:.1f} to {smooth[-1]:.2f} nats a token ({whose(metrics)});\n"
        f"unseen text then needs {bpb:.2f} bits per byte", fontsize=11,
    )  # fmt: skip
    ax.legend()
    return fig


def heat_maps(metrics, plt):
    """Both matrices in bits per byte, coloured by the rise since a domain was learned, on one scale."""
    names, matrices = metrics["domains"], {m: metrics[f"matrix_{m}"] for m in ("naive", "replay")}
    n = len(names)
    rises = {m: [[row[j] - rows[j][j] if i >= j else math.nan for j in range(n)] for i, row in enumerate(rows)]
             for m, rows in matrices.items()}  # fmt: skip
    top = max(v for rows in rises.values() for row in rows for v in row if not math.isnan(v))
    fig, axes = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
    for ax, (method, rows) in zip(axes, matrices.items(), strict=True):
        image = ax.imshow(rises[method], cmap="Oranges", vmin=0, vmax=max(top, 1e-9), aspect="auto")
        for i in range(n):
            for j in range(n):
                known = i >= j
                dark = known and rises[method][i][j] > 0.6 * top
                ax.text(j, i, f"{rows[i][j]:.2f}", ha="center", va="center",
                        color="white" if dark else "black" if known else "0.55",
                        fontweight="bold" if i == j else "normal")  # fmt: skip
        ax.set_xticks(range(n), names)
        ax.set_yticks(range(n), [f"after {name}" for name in names])
        ax.set_xlabel("judged on (held-out text)")
        ax.set_title(f"{method}: old domains rise by {metrics[f'{method}_forgetting_bpb']:.2f} bits per byte")
    label = "colour: change, the rise since the domain was learned (bits per byte)\n"
    label += "number: value in bits per byte (bold: just learned; grey: not yet learned)"
    fig.colorbar(image, ax=axes, label=label, location="bottom", shrink=0.6)
    cut = metrics["forgetting_cut_pct"]
    found = f"cuts forgetting by {cut:.0f} %" if cut is not None else "had no forgetting to cut"
    fig.suptitle(f"Keeping {metrics['kept_pct']:.1f} % of the training text for replay {found} ({whose(metrics)})")
    return fig


def assistant(metrics, plt):
    """Share of right answers after each task, both methods, with the share of the commonest answer below."""
    names = [TOLD.get(name, name) for name in metrics["tasks"]]
    n = len(names)
    fig, axes = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
    for ax, method in zip(axes, ("naive", "replay"), strict=True):
        rows = [metrics["baseline"], *metrics[f"matrix_{method}"]]
        image = ax.imshow(rows, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                ax.text(j, i, f"{100 * value:.0f} %", ha="center", va="center",
                        color="white" if value > 0.6 else "black",
                        fontweight="bold" if i == j + 1 else "normal")  # fmt: skip
        floors = [f"{name}\n({100 * share:.0f} %)" for name, share in zip(names, metrics["majority"], strict=True)]
        ax.set_xticks(range(n), floors)
        ax.set_yticks(range(n + 1), ["before", *(f"after {name}" for name in names)])
        ax.set_xlabel("judged on (share of the commonest label)")
        ax.set_title(f"{method}: {100 * metrics[f'assistant_{method}_acc']:.0f} % right at the end, "
                     f"{100 * metrics[f'assistant_bwt_{method}']:+.0f} points on old tasks", fontsize=11)  # fmt: skip
    label = "colour and number: share of answers that are exactly the label, not its change (bold: just learned)"
    fig.colorbar(image, ax=axes, label=label, location="bottom", shrink=0.6)
    naive, replay = (100 * metrics[f"assistant_{method}_acc"] for method in ("naive", "replay"))
    kept = f"With {metrics['keep_rows']} kept rows it ends at {replay:.0f} % right, without at {naive:.0f} %"
    fig.suptitle(f"SmolLM2-135M learns four tasks. {kept} ({whose(metrics)})")
    return fig


def race(metrics, plt):
    """Loss over the seconds of a whole process: a point of ours is a run of its own, the peer's are its estimates."""
    fig, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    names = {"free": "nanogpt train, 1,024 tokens", "char": "nanogpt train, characters"}
    for name, colour in zip(names, ("tab:blue", "tab:green"), strict=True):
        _, seconds, losses = zip(*metrics[f"{name}_curve"], strict=True)
        ax.plot(seconds, losses, "o-", color=colour, label=names[name])
    for i, run in enumerate(run for run in metrics["runs"] if run["name"] == "nanogpt_peer"):
        steps, losses = zip(*run["estimates"][1:], strict=True)
        seconds = [run["seconds"] * step / run["estimates"][-1][0] for step in steps]
        ax.plot(seconds, losses, ".:", color="0.5", label=None if i else "nanoGPT's train.py, its estimates")
        ax.plot(run["seconds"], run["val"], "s", color="black", label=None if i else "nanoGPT's train.py, whole split")
    ax.axhline(metrics["goal"], color="0.6", linewidth=0.8)
    ax.axhline(metrics["best"], color="0.6", linewidth=0.8)
    beside = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "bottom", "color": "0.4"}
    ax.text(0.45, metrics["goal"], f"{metrics['goal']}, where nanoGPT's setting ends", **beside)
    ax.text(0.45, metrics["best"], f"{metrics['best']}, nanoGPT's best, on an A100", **beside)
    ax.set_xscale("log")
    ax.set_xticks([10, 20, 50, 100, 200, 500], labels=["10", "20", "50", "100", "200", "500"], minor=False)
    ax.set_xticks([], minor=True)
    ax.set_xlabel("seconds of the whole process (logarithmic)")
    ax.set_ylabel("nats a character on the last tenth\nthe axis does not start at 0")
    ratio = metrics.get("time_to_1905_ratio")
    title = "Loss on tinyshakespeare over time"
    ax.set_title(title if ratio is None else f"{title}: {metrics['goal']} in {100 * ratio:.0f} % of nanoGPT's time")
    ax.legend()
    return fig


def ingredients(metrics, plt):
    """What switching each ingredient costs, at equal seconds and at equal tokens, beside the default."""
    rows = metrics["rows"]
    base = rows["default"]
    order = sorted((name for name in rows if name != "default"), key=lambda name: rows[name]["equal_seconds"])
    fig, ax = plt.subplots(figsize=(7.5, 6.0), layout="constrained")
    for shift, key, label, colour in (
        (0.15, "equal_seconds", "equal seconds", "tab:blue"),
        (-0.15, "bpb", "equal tokens", "tab:orange"),
    ):
        change = [rows[name][key] - base[key] for name in order]
        spread = [rows[name][f"{key}_sd"] or 0 for name in order]
        places = [i + shift for i in range(len(order))]
        ax.errorbar(change, places, xerr=spread, fmt="o", color=colour, label=label, capsize=2)
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.set_yticks(range(len(order)), order)
    ax.set_xlabel("change against the default, bits per byte (right: worse)")
    ax.set_title(f"What one switched ingredient does to the loss ({metrics['seeds']} seeds, {metrics['steps']} steps)")
    ax.legend()
    return fig


def stories(metrics, plt):
    """What the later domains do to the stories that the shipped model wrote itself, in each way of learning them."""
    names = metrics["domains"]
    fig, ax = plt.subplots(figsize=(7.5, 4.3), layout="constrained")
    for method, colour in (("naive", "tab:orange"), ("replay", "tab:blue"), ("experts", "tab:green")):
        values = [row[0] for row in metrics[f"matrix_{method}"]]
        ax.plot(range(len(names)), values, "o-", color=colour, label=method)
        ax.annotate(f"{values[-1]:.2f}", (len(names) - 1, values[-1]), (6, 0), textcoords="offset points", va="center")
    ax.set_xticks(range(len(names)), ["before", *(f"after {name}" for name in names[1:])])
    ax.set_ylabel("bits per byte of stories\nthe axis does not start at 0")
    ax.margins(x=0.08)
    naive, replay, experts = (
        metrics[f"stories_{name}_bpb"] - metrics["stories_before_bpb"] for name in ("naive", "replay", "experts")
    )
    ax.set_title(
        f"Three later domains make the stories {naive:+.2f} bits per byte worse naively, {replay:+.2f} with\n"
        f"stories that the model wrote itself, {experts:+.2f} with the weights of each ({whose(metrics)})", fontsize=11,
    )  # fmt: skip
    ax.legend()
    return fig


def story_curve(metrics, plt):
    """Training loss of the model that ships."""
    losses = metrics["losses"]
    smooth = [sum(part) / len(part) for part in (losses[max(0, i - 49) : i + 1] for i in range(len(losses)))]
    fig, ax = plt.subplots(figsize=(7.5, 4.3), layout="constrained")
    ax.plot(range(1, len(losses) + 1), losses, color="0.8", linewidth=0.6, label="each step")
    ax.plot(range(1, len(losses) + 1), smooth, color="tab:blue", linewidth=2, label="mean of 50 steps")
    ax.set_xlabel("steps")
    ax.set_ylabel("training loss (nats per token)\nthe axis does not start at 0")
    ax.set_ylim(min(smooth) - 0.3, 5)
    ax.set_title(f"The story model: {metrics['story_val_bpb']:.2f} bits per byte on held-out stories at the end")
    ax.legend()
    return fig


def of(job):
    """preset -> the results file of that job, without its ending."""
    return lambda preset: f"{job}-{preset}"


# A figure, its results file for a preset, the script that writes it, how it is drawn. The story model is trained by its
# `full` preset alone.
FIGURES = (
    ("loss", str, "train", loss_curve),
    ("forgetting", str, "train", heat_maps),
    ("assistant", lambda preset: of("assistant")(preset).removesuffix("-default"), "assistant", assistant),
    ("race", of("race"), "race", race),
    ("ingredients", of("ingredients"), "ingredients", ingredients),
    ("stories", of("forgetting"), "forgetting", stories),
    ("story_curve", lambda preset: "story-full", "story", story_curve),
)


def main(argv=None):
    """Draw every figure that there are numbers for, and return their paths."""
    args = drawing_parser(__doc__, __file__).parse_args(argv)
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def read(file, script):
        path = args.results / f"{file(args.preset)}.json"
        return read_metrics(path, f"python weeks/week14/{script}.py --preset {args.preset}")

    there = [row for row in FIGURES if (args.results / f"{row[1](args.preset)}.json").exists()]
    # where there is nothing, reading the first one says what is to be run
    drawings = [(name, draw, read(file, script)) for name, file, script, draw in there or FIGURES[:1]]
    args.out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw, metrics in drawings:
        if fig := draw(metrics, plt):
            paths.append(args.out / f"{name}.png")
            fig.savefig(paths[-1], dpi=110, metadata={"Software": None})
            plt.close(fig)
    print(f"figures: {args.out}")
    return paths


if __name__ == "__main__":
    sys.exit(entry(main))
