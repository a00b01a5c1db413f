"""Draw figures/*.png from the results of this week's jobs. No training here.

python weeks/week11/figures.py
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)
from pretrain.vendor.shared.errors import entry  # noqa: E402
from pretrain.vendor.shared.results import drawing_parser, read_metrics  # noqa: E402

DARK, MIDDLE, LIGHT = "#1b3a5c", "#c2571a", "#8a8a8a"  # three that differ in grey too
SUBJECTS = {
    "ours": ("ours", DARK, "o"),
    "bigram": ("bigram table", LIGHT, "s"),
    "smollm2": ("SmolLM2-135M", MIDDLE, "D"),
}
EXAMS = {
    "grammar_acc": "grammar pairs", "next_line_acc": "next line of Shakespeare",
    "last_word_acc": "last word of a fable", "moral_acc": "moral of a fable", "news_topic_acc": "topic of a news story",
}  # fmt: skip
LIMIT = 500  # MB, what the pipeline must stay below


def save(fig, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110, metadata={"Software": None})  # no version inside: the same data, the same bytes
    plt.close(fig)


def training(metrics, path):
    """The loss of each step and of each validation, with the place of the kill."""
    fig, ax = plt.subplots(figsize=(7.5, 4.3), layout="constrained")
    ax.plot(*zip(*metrics["curve"]), color=LIGHT, linewidth=0.8, label="training, one step")
    ax.plot(*zip(*metrics["validations"]), "o-", color=DARK, markersize=4, label="held-out text")
    ax.axhline(metrics["uniform_loss"], color=LIGHT, linestyle=":", linewidth=1)
    ax.annotate("every token equally likely", (metrics["steps"], metrics["uniform_loss"]), (0, -12),
                textcoords="offset points", ha="right", fontsize=9)  # fmt: skip
    if metrics["killed_after_step"]:
        ax.axvline(metrics["killed_after_step"], color=MIDDLE, linestyle="--", linewidth=1, label="kill -9, and on")
    for spike in metrics["skipped"]:
        ax.axvline(spike["step"], color=MIDDLE, linestyle=":", linewidth=1, label="a spike, taken back")
    ax.set(xlabel="steps", ylabel="loss (nats a token; not from 0)",
           title=f"{metrics['params'] / 1e6:.1f} million parameters, {metrics['tokens'] / 1e6:.1f} million tokens: "
                 f"{metrics['val_loss']:.2f} nats a token")  # fmt: skip
    ax.legend(frameon=False)
    save(fig, path)


def exams(metrics, path):
    """Every exam that was sat: a mark and an interval for each subject, a bar for chance."""
    sat = [key for key in EXAMS if f"ours_{key}" in metrics]
    fig, ax = plt.subplots(figsize=(8, 1.4 + 0.7 * len(sat)), layout="constrained")
    for row, key in enumerate(sat):
        chance = metrics.get(f"ours_{key.removesuffix('_acc')}_chance")
        if chance is not None:
            ax.plot([chance, chance], [row - 0.35, row + 0.35], color="black", linewidth=1.5,
                    label="chance" if row == 0 else None)  # fmt: skip
        for place, (name, (label, color, mark)) in enumerate(SUBJECTS.items()):
            if f"{name}_{key}" not in metrics:
                continue
            low, high = metrics[f"{name}_{key}_interval"]
            y = row + 0.2 * (place - 1)
            ax.plot([low, high], [y, y], color=color, linewidth=1.5)
            ax.plot(metrics[f"{name}_{key}"], y, mark, color=color, markersize=6, label=label if row == 0 else None)
    ax.set(xlabel="share of right answers, with the middle 95 % of resampled exams", xlim=(-0.02, 1.02))
    ax.set_yticks(range(len(sat)), [EXAMS[key] for key in sat])
    ax.invert_yaxis()
    ax.set_title("What a small model learns first is grammar" if len(sat) > 3 else "Three models, the same exams")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    save(fig, path)


def pipeline(metrics, path):
    """Peak memory against the size of the input."""
    sizes = sorted(int(key.removeprefix("pipeline_peak_mb_")) for key in metrics if key.startswith("pipeline_peak_mb_"))
    peaks = [metrics[f"pipeline_peak_mb_{size}"] for size in sizes]
    fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    ax.plot(sizes, peaks, "o-", color=DARK, label="peak of all processes together")
    ax.plot(sizes, sizes, color=LIGHT, linestyle="--", label="the text itself")
    ax.axhline(LIMIT, color=MIDDLE, linestyle=":", label=f"{LIMIT} MB, the limit")
    for size, peak in zip(sizes, peaks):
        ax.annotate(f"{peak:.0f}", (size, peak), (0, 6), textcoords="offset points", ha="center", fontsize=9)
    ax.set(xscale="log", xlabel="MB of text", ylabel="MB of memory", ylim=(0, 900),
           title="Sixteen times the text, hardly more memory")  # fmt: skip
    ax.set_xticks(sizes, [f"{size}" for size in sizes])
    ax.minorticks_off()
    ax.legend(frameon=False)
    save(fig, path)


def main(argv=None):
    args = drawing_parser(__doc__.splitlines()[0], __file__, preset="full").parse_args(argv)
    command = f"python weeks/week11/train.py --preset {args.preset}"
    training(read_metrics(args.results / f"train-{args.preset}.json", command), args.out / "training.png")
    exams(read_metrics(args.results / f"evaluate-{args.preset}.json", command), args.out / "exams.png")
    if (args.results / "pipeline.json").exists():  # a bench, which a user's own round does not run
        bench = "python weeks/week11/bench.py pipeline"
        pipeline(read_metrics(args.results / "pipeline.json", bench), args.out / "pipeline.png")
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
