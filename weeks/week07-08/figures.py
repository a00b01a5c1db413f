"""Draw figures/*.png from results/<preset>.json and results/traces/<preset>.json. No training here.

The figures of the copying task and of the ablations are drawn where their results exist; sampling.png needs none.

python weeks/week07-08/figures.py
"""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)
import torch  # noqa: E402
from gpt.sampling import (  # noqa: E402
    min_p_filter,
    penalise_repetition,
    temperature_scale,
    top_k_filter,
    top_p_filter,
)
from gpt.vendor.shared.errors import entry  # noqa: E402
from gpt.vendor.shared.files import need  # noqa: E402
from gpt.vendor.shared.results import drawing_parser, read_metrics  # noqa: E402

DARK, MIDDLE, LIGHT = "#1b3a5c", "#c2571a", "#8a8a8a"  # three that differ in grey too


def save(fig, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110, metadata={"Software": None})  # no version inside: the same data, the same bytes
    plt.close(fig)


def loss_curve(metrics, trace, path):
    """Training and validation loss against tokens seen, between the two baselines that need no network."""
    recipe, T = metrics["recipe"], metrics["config"]["block_size"]
    tokens = [step * recipe["batch_size"] * T / 1e6 for step, _, _ in trace["curve"]]
    val, train = [row[2] for row in trace["curve"]], [row[1] for row in trace["curve"]]
    fig, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    ax.plot(tokens, val, color=DARK, marker="o", markersize=4, label="validation")
    middle = [(a + b) / 2 for a, b in zip(tokens[:-1], tokens[1:])]  # a training loss is the mean of the time between
    ax.plot(middle, train[1:], color=MIDDLE, linestyle="--", marker="s", markersize=4,
            label="training (mean between two validations)")  # fmt: skip
    for key, label in (("uniform_loss", "uniform guess, ln V"), ("bigram_loss", "bigram table")):
        ax.axhline(metrics[key], color=LIGHT, linewidth=1, linestyle=":")
        ax.annotate(f"{label}: {metrics[key]:.2f}", (tokens[-1], metrics[key]), (0, 3), textcoords="offset points",
                    ha="right", fontsize=9)  # fmt: skip
    first = next((t for t, v in zip(tokens, val) if v < metrics["bigram_loss"]), None)
    passed = f"beats the bigram table by {metrics['bigram_loss'] - metrics['val_loss']:.2f} nats"
    title = f"The GPT {passed}" if first is not None else "The GPT has not yet reached the bigram table"
    ax.set_title(f"{title} (one seed)")
    ax.set(
        xlabel="training tokens seen (millions)",
        ylabel="loss (nats per character; the axis does not start at 0)",
        ylim=(0.9, metrics["uniform_loss"] + 0.3),
    )
    ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.85))
    save(fig, path)


def attention_map(metrics, trace, path):
    """Where the head that looks most at the previous character looks, on one sentence."""
    a = trace["attention"]
    letters = ["␣" if c == " " else c for c in a["sentence"]]
    fig, ax = plt.subplots(figsize=(7.5, 6.6), layout="constrained")
    image = ax.imshow(a["map"], cmap="Greys", vmin=0, vmax=1)
    ax.set_xticks(range(len(letters)), letters, fontsize=9, family="DejaVu Sans Mono")
    ax.set_yticks(range(len(letters)), letters, fontsize=9, family="DejaVu Sans Mono")
    ax.set(xlabel="character that is looked at (position s)", ylabel="character that looks (position t)")
    ax.set_title(
        f"On average {a['share']:.0%} of the attention goes one character back\n"
        f"(layer {a['layer']}, head {a['head']}; both are counted from 0)"
    )
    # the baseline: position t, looking evenly at its t + 1 characters, gives 1 / (t + 1) to the one before
    n = len(letters)
    even = sum(1 / (t + 1) for t in range(1, n)) / (n - 1)
    label = f"share of attention; a row sums to 1 (one back, even looking would give {even:.0%})"
    bar = fig.colorbar(image, ax=ax, shrink=0.8, label=label)
    bar.outline.set_visible(False)
    save(fig, path)


def engines(metrics, path):
    """The loss over seconds of training: three engines on the same names, two of them on Shakespeare."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.3), layout="constrained")
    styles = {"scalar": (MIDDLE, "o-"), "numpy": (DARK, "s--"), "torch": (LIGHT, "^-.")}
    for ax, what in ((left, "names"), (right, "text")):
        for name, curve in metrics[f"{what}_curves"].items():
            color, style = styles[name]
            label = f"{name}, {metrics[f'{what}_{name}_tokens_per_second']:,.0f} tokens/s"
            ax.plot(*zip(*curve), style, color=color, markersize=3, linewidth=1, label=label)
        ax.set(xlabel="seconds of training", ylabel="training loss (nats a character; not from 0)")
        ax.legend(frameon=False, loc="upper right")
    low, high = left.get_ylim()
    left.set(xscale="log", xlabel="seconds of training (log)", ylim=(low, high + 0.35 * (high - low)))  # for the legend
    left.set_title(f"Names, {metrics['names_params']:,} parameters:\none curve, three speeds")
    right.axhline(metrics["text_bigram_loss"], color=LIGHT, linewidth=1, linestyle=":")
    right.annotate(f"bigram table: {metrics['text_bigram_loss']:.2f}", (0.98, metrics["text_bigram_loss"]), (0, 3),
                   ha="right", xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=9)  # fmt: skip
    below = f"NumPy ends {metrics['text_numpy_below_bigram']:.2f} nats below the table"
    right.set_title(f"Shakespeare, {metrics['text_params']:,} parameters (one seed):\n{below} in validation")
    save(fig, path)


def induction_figure(metrics, trace, path):
    """Left: accuracy of each run over its steps. Right: where the head with the highest induction score looks."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for n_layer, color, style, marker in ((2, DARK, "-", "o"), (1, MIDDLE, "--", "s")):
        for i, run in enumerate(run for run in metrics["runs"] if run["n_layer"] == n_layer):
            label = f"{n_layer} layer{'s' * (n_layer > 1)}, {metrics['seeds']} seeds" if i == 0 else None
            left.plot(*zip(*run["curve"]), color=color, linestyle=style, marker=marker, markersize=3, label=label)
    chance = 1 / metrics["task"]["vocab_size"]
    left.axhline(chance, color=LIGHT, linewidth=1, linestyle=":", label=f"blind guess, {chance:.0%}")
    left.set(xlabel="steps of training", ylabel="share of known tokens that are right", ylim=(0, 1.02))
    two, one = metrics["induction_two_layer_acc"], metrics["induction_one_layer_acc"]
    left.set_title(f"Copying: two layers reach {two:.0%}, one layer {one:.0%}")
    left.legend(frameon=False)
    image = right.imshow(trace["map"], cmap="Greys", vmin=0, vmax=1)
    names = [str(token) for token in trace["tokens"][:-1]]
    right.set_xticks(range(len(names)), names, fontsize=7)
    right.set_yticks(range(len(names)), names, fontsize=7)
    right.set(xlabel="token that is looked at", ylabel="token that looks")
    right.set_title(f"Layer {trace['layer']}, head {trace['head']} (from 0): {trace['score']:.0%} of its attention\n"
                    f"is on what followed the token before")  # fmt: skip
    fig.colorbar(image, ax=right, shrink=0.8, label="share of attention; a row sums to 1").outline.set_visible(False)
    save(fig, path)


def ablations_figure(metrics, path):
    """Loss above the whole model's, with the deviation over seeds; the whole model is the line at 0."""
    rows = [row for row in metrics["rows"] if row["loss"] is not None and row["name"] != "whole"]
    rows.sort(key=lambda row: row["above_whole"])
    whole = metrics["rows"][0]
    fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    ax.barh([row["name"] for row in rows], [row["above_whole"] for row in rows], color=DARK,
            xerr=[row["above_whole_sd"] for row in rows], error_kw={"ecolor": MIDDLE, "capsize": 3})  # fmt: skip
    ax.axvline(0, color=LIGHT, linewidth=1, linestyle=":")
    ax.set(xlabel=f"validation loss above the whole model's {whole['loss']:.3f} (nats per character; bar: ± 1 sd)")
    ax.set_title(f"{rows[-1]['name'].capitalize()} costs most: {rows[-1]['above_whole']:+.2f} nats "
                 f"({metrics['seeds']} seeds, equal tokens)")  # fmt: skip
    save(fig, path)


# one made-up distribution over ten tokens, likeliest first; the third has been said already
LOGITS = torch.tensor([[3.0, 2.5, 2.2, 1.6, 1.0, 0.6, 0.2, -0.4, -1.0, -2.0]])
SETTINGS = {
    "as it is": lambda logits: logits,
    "temperature 0.5": lambda logits: temperature_scale(logits, 0.5),
    "temperature 2": lambda logits: temperature_scale(logits, 2.0),
    "top-k 3": lambda logits: top_k_filter(logits, 3),
    "top-p 0.8": lambda logits: top_p_filter(logits, 0.8),
    "min-p 0.1": lambda logits: min_p_filter(logits, 0.1),
    "repetition penalty 1.5\n(token 2 was said)": lambda logits: penalise_repetition(logits, torch.tensor([[2]]), 1.5),
    "temperature 2, then top-k 3": lambda logits: top_k_filter(temperature_scale(logits, 2.0), 3),
}


def sampling_figure(path):
    """What each setting does to LOGITS: one panel a setting, with the distribution as it was behind it."""
    before = LOGITS.softmax(dim=-1)[0].tolist()
    fig, axes = plt.subplots(2, 4, figsize=(11, 5), sharex=True, sharey=True, layout="constrained")
    for ax, (name, change) in zip(axes.flat, SETTINGS.items()):
        after = change(LOGITS).softmax(dim=-1)[0].tolist()
        ax.bar(range(len(after)), after, color=DARK, label="after the setting")
        ax.step(range(len(before)), before, where="mid", color=MIDDLE, linewidth=1.2, label="as it is")
        ax.set_xticks(range(0, len(before), 3))
        ax.set_title(name, fontsize=10)
    axes[0, 0].legend(frameon=False, fontsize=8)
    fig.supxlabel("token, likeliest first")
    fig.supylabel("probability")
    fig.suptitle("Temperature moves mass, a filter drops the tail, the penalty lowers one token")
    save(fig, path)


def main(argv=None):
    args = drawing_parser("Draw the figures of weeks 7 and 8 from a results file.", __file__).parse_args(argv)
    command = f"python weeks/week07-08/train.py shakespeare --preset {args.preset}"
    metrics = read_metrics(args.results / f"{args.preset}.json", command)
    trace = need(args.results / "traces" / f"{args.preset}.json", f"{command} --out {args.results}")
    trace = json.loads(trace.read_text(encoding="utf-8"))
    loss_curve(metrics, trace, args.out / "loss.png")
    attention_map(metrics, trace, args.out / "attention.png")
    side_by_side = args.results / f"engines-{args.preset}.json"
    if side_by_side.exists():  # a job of its own, so it may not have run
        again = f"python weeks/week07-08/train.py engines --preset {args.preset}"
        engines(read_metrics(side_by_side, again), args.out / "engines.png")
    sampling_figure(args.out / "sampling.png")
    for job in ("induction", "ablations"):
        file = args.results / f"{job}-{args.preset}.json"
        if not file.exists():
            continue  # a job of its own, which not everyone runs
        command = f"python weeks/week07-08/{job}.py --preset {args.preset}"
        found = read_metrics(file, command)
        if job == "induction":
            seen = need(args.results / "traces" / file.name, f"{command} --out {args.results}")
            induction_figure(found, json.loads(seen.read_text(encoding="utf-8")), args.out / "induction.png")
        else:
            ablations_figure(found, args.out / "ablations.png")
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
