"""Weeks 3 and 4: results/<preset>.json -> figures/*.png; draws, never trains.

python weeks/week03-04/figures.py                   # from the default run
python weeks/week03-04/figures.py --preset full     # from the full one
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from makemore.finder import smooth
from makemore.vendor.shared.errors import entry
from makemore.vendor.shared.results import drawing_parser, read_metrics

STYLES = {  # model -> name in a legend, colour, line, marker: apart in grey as well
    "mlp": ("MLP", "#1b3a5c", "-", "o"),
    "rnn": ("RNN", "#c2571a", "--", "s"),
    "gru": ("GRU", "#2a8a4a", "-.", "^"),
    "lstm": ("LSTM", "#7b3294", ":", "D"),
    "cnn": ("CNN", "#8a8a8a", "-", "v"),
}
LADDER = ("bigram", "trigram", *STYLES)
NAMES = {"bigram": "bigram, counted", "trigram": "trigram, counted"} | {key: style[0] for key, style in STYLES.items()}
# Losses that the lectures print for their validation names, the same as ours on makemore's file
LECTURES = {"lecture: MLP, context 3": 2.1701, "lecture: + batch norm": 2.1048, "lecture: WaveNet, context 8": 1.993}
VOWELS = "aeiou"
NAMED_SHARE = 0.02  # of the table of pairs: shares from here on are written into it
LETTER_STYLES = {  # colour, marker, colour of the letter
    "border": ("black", "s", "white"),
    "vowel": ("#c2571a", "o", "white"),
    "consonant": ("#c9d8ea", "o", "black"),
}


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)


def letters_of(metrics):
    return ["."] + list(metrics["alphabet"])


def draw_curves(metrics, path, lectures):
    """Validation loss of each network along its training, between the guesses that need none; and its end, larger."""
    figure, both = plt.subplots(1, 2, figsize=(11, 4.6))
    shown = [name for name in STYLES if f"{name}_curve" in metrics]
    levels = {"uniform guess, ln V": metrics["uniform_loss"], "bigram, counted": metrics["bigram_val"]}
    if lectures:
        levels["lecture's MLP"] = LECTURES["lecture: MLP, context 3"]
    for axes in both:
        for name in shown:
            label, color, line, marker = STYLES[name]
            steps, _, vals = zip(*metrics[f"{name}_curve"])
            share = [100 * step / steps[-1] for step in steps]
            label = f"{label}, {steps[-1]:,} steps"
            axes.plot(share, vals, line, color=color, marker=marker, markersize=4, label=label)
        axes.set_xlabel("share of its training (%)")
    best = min(shown, key=lambda name: metrics[f"{name}_val"])
    lowest, highest = (f(metrics[f"{name}_curve"][-1][2] for name in shown) for f in (min, max))
    both[0].set_ylim(lowest - 0.1, metrics["uniform_loss"] + 0.1)
    both[1].set_ylim(lowest - 0.02, highest + 0.14)
    both[1].set_xlim(20, 102)
    for label, level in levels.items():
        for axes in both:
            if axes.get_ylim()[0] < level < axes.get_ylim()[1]:
                axes.axhline(level, color="black", linewidth=0.9, linestyle=(0, (1, 2)))
                axes.annotate(f"{label}: {level:.3f}", (100, level), (0, 3), textcoords="offset points", ha="right",
                              fontsize=8)  # fmt: skip
    below = metrics["bigram_val"] - metrics[f"{best}_val"]
    title = f"All pass the bigram; the {STYLES[best][0]} ends lowest, {below:.2f} nats below it"
    if any(metrics[f"{name}_val"] > metrics["bigram_val"] for name in shown):
        title = f"Not all have passed the bigram yet; the {STYLES[best][0]} ends lowest"
    whose = "one seed" if metrics["seeds"] == 1 else f"curves: first seed; the ends in nats: mean of {metrics['seeds']}"
    figure.suptitle(f"{title} ({whose})", fontsize=10)
    both[0].set_ylabel("validation loss (nats per letter)")
    both[0].legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.92))
    both[1].set_title("the lower end, larger; neither axis starts at 0", fontsize=9)
    figure.tight_layout()
    save(figure, path)


def directions(table, weights):
    """Each row's place along the two directions in which rows differ most, and the share of the variance in them.

    weights: how much each row counts; the directions that a thousand "a" need are not those of one "q".
    """
    weights = weights / weights.sum()
    centred = table - weights @ table  # (V, n_embd)
    _, s, axes = np.linalg.svd(centred * np.sqrt(weights)[:, None], full_matrices=False)
    places = centred @ axes[:2].T  # (V, 2)
    return places, (s[:2] ** 2).sum() / (s**2).sum()


def vowel_gap(places, letters):
    """From the middle of the vowels to that of the consonants, in units of how far consonants lie from theirs."""
    vowels = np.array([place for place, letter in zip(places, letters) if letter in VOWELS])
    others = np.array([place for place, letter in zip(places, letters) if letter not in VOWELS + "."])
    if not len(vowels) or not len(others):
        return None
    return np.linalg.norm(vowels.mean(0) - others.mean(0)) / np.sqrt(((others - others.mean(0)) ** 2).sum(1).mean())


def draw_embeddings(metrics, path, lectures):
    """The MLP's vectors of the letters in two dimensions: every letter counting alike, and as often as it occurs."""
    table = np.array([[float(x) for x in row.split()] for row in metrics["mlp_embedding"]])  # (V, n_embd)
    often = np.array([sum(map(int, row.split())) for row in metrics["bigram_counts"]], dtype=float)  # (V,)
    letters = letters_of(metrics)
    a = letters.index("a") if "a" in letters else 1
    figure, both = plt.subplots(1, 2, figsize=(10.5, 5))
    gaps = []
    for axes, weights, label in ((both[0], np.ones_like(often), "alike"), (both[1], often, "as often as it occurs")):
        places, share = directions(table, weights)
        places *= np.where(places[a] < 0, -1, 1)  # a direction has no sign: "a" is always above and to the right
        gaps.append(vowel_gap(places, letters))
        for letter, (x, y), count in zip(letters, places, often):
            kind = "border" if letter == "." else "vowel" if letter in VOWELS else "consonant"
            color, marker, ink = LETTER_STYLES[kind]
            size = 60 + 340 * np.sqrt(count / often.max())
            axes.scatter(x, y, size, color=color, marker=marker, edgecolors="#1b3a5c", linewidths=0.6, zorder=2)
            axes.annotate(letter, (x, y), ha="center", va="center", color=ink, fontsize=9, zorder=3)
        apart = f": vowels at {gaps[-1]:.1f}" if gaps[-1] else ""
        axes.set_title(f"every letter counts {label}{apart}", fontsize=10)
        axes.set_xlabel(f"first principal direction of {table.shape[1]} (two hold {share:.0%} of the variance)")
    both[0].set_ylabel("second principal direction (no unit)")
    for kind, (color, marker, _) in LETTER_STYLES.items():
        looks = {"linestyle": "", "markeredgecolor": "#1b3a5c", "markersize": 9}
        both[0].plot([], [], marker=marker, color=color, label=f"{kind} ('.')" if kind == "border" else kind, **looks)
    both[0].legend(fontsize=9, title="larger: more frequent", title_fontsize=9)
    if gaps[1]:
        figure.suptitle(
            "The MLP was never told what a vowel is. At the right the vowels' middle is "
            f"{gaps[1]:.1f} times as far from the consonants' middle\nas the consonants are. "
            "At the left rare letters hide it.", fontsize=10,
        )  # fmt: skip
    figure.tight_layout()
    save(figure, path)


def draw_ladder(metrics, path, lectures):
    """What each model reaches, beside how many numbers it has, and what the lectures reached.

    Dots and no bars: a bar says "so many times as much" by its length, and this axis does not start at 0.
    """
    rows = [(NAMES[m], metrics[f"{m}_val"], metrics[f"{m}_params"], m) for m in LADDER if f"{m}_val" in metrics]
    figure, axes = plt.subplots(figsize=(8, 4.4))
    uniform = metrics["uniform_loss"]
    axes.axvline(uniform, color="black", linewidth=1, label=f"uniform guess: {uniform:.3f}")
    for place, (_, val, params, model) in enumerate(rows):
        looks = {"color": "#1b3a5c"} if model in STYLES else {"color": "white", "edgecolors": "#1b3a5c"}
        axes.scatter(val, place, 70, marker="o" if model in STYLES else "s", zorder=3, **looks)
        axes.annotate(f"{val:.3f}   {params:,} numbers", (val, place), (9, 0), textcoords="offset points", va="center",
                      fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    if lectures:
        for (label, level), line in zip(LECTURES.items(), ("--", "-.", ":")):
            axes.axvline(level, color="#c2571a", linestyle=line, linewidth=1.2, zorder=0.5, label=f"{label}: {level}")
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(0.955, 0.02))
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", alpha=0.3)
    lowest = min([val for _, val, *_ in rows] + [level for level in LECTURES.values() if lectures])
    axes.set_xlim(lowest - 0.06, uniform + 0.04)
    axes.set_xlabel("validation loss (nats per letter; less is better; the axis does not start at 0)")
    best, seeds = min(rows, key=lambda row: row[1]), metrics["seeds"]
    whose = "one seed" if seeds == 1 else f"mean of {seeds} seeds"
    axes.set_title(f"Looking further back pays: from {rows[0][1]:.3f} ({rows[0][0]}) to {best[1]:.3f} ({best[0]}), "
                   f"{whose}", fontsize=10)  # fmt: skip
    save(figure, path)


def draw_finder(metrics, path, lectures):
    """The loss while the learning rate grows; what the finder suggests, and what the runs use."""
    rates, losses = zip(*metrics["sweep"])
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    axes.plot(rates, losses, color="#8fb3d9", linewidth=1, label="loss of a batch")
    means = smooth(losses)
    axes.plot(rates, means, color="#1b3a5c", linewidth=2, label="running mean")
    suggested, used = metrics["suggested_rate"], metrics["used_rate"]
    axes.axvline(suggested, color="#c2571a", linestyle="--", label=f"falls fastest: {suggested:.2g}")
    axes.axvline(used, color="black", linestyle=":", label=f"used, with a cosine to 0: {used:.2g}")
    axes.axhline(metrics["uniform_loss"], color="grey", linewidth=0.8, linestyle=(0, (1, 2)),
                 label=f"uniform guess: {metrics['uniform_loss']:.2f}")  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(min(losses) - 0.1, metrics["uniform_loss"] + 0.8)
    axes.set_xlabel("learning rate of AdamW (log scale), one step each")
    axes.set_ylabel("training loss (nats per letter)")
    lowest = rates[means.index(min(means))]
    axes.set_title(f"The loss falls fastest at {suggested:.2g}, is lowest at {lowest:.2g}, then rises", fontsize=10)
    axes.legend(fontsize=8, loc="upper left", framealpha=1)
    save(figure, path)


def draw_bigram(metrics, path, lectures):
    """How often each letter follows each: the whole model, to be read."""
    counts = np.array([[int(n) for n in row.split()] for row in metrics["bigram_counts"]])  # (V, V)
    letters = letters_of(metrics)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(8.2, 8.6))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=max(0.4, np.quantile(shares, 0.995)))
    for i, j in np.argwhere(shares >= NAMED_SHARE):  # smaller ones are left to the colour: digits must be readable
        ink = "white" if shares[i, j] > 0.22 else "black"
        axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", fontsize=9, color=ink)
    axes.set_xticks(range(len(letters)), letters, fontsize=10)
    axes.set_yticks(range(len(letters)), letters, fontsize=10)
    axes.set_xlabel("next letter ('.': the name ends)")
    axes.set_ylabel("letter ('.': a name begins)")
    i, j = np.unravel_index(shares.argmax(), shares.shape)
    axes.set_title(f"Most certain: '{letters[j]}' after '{letters[i]}', {shares[i, j]:.0%}; a uniform guess would give "
                   f"{1 / len(letters):.0%} everywhere", fontsize=10)  # fmt: skip
    label = f"share of what follows (each row sums to 1); numbers: %, from {NAMED_SHARE:.0%} on"
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.7, pad=0.08, extend="max", label=label)
    bar.outline.set_visible(False)
    save(figure, path)


def draw_names(metrics, path, lectures):
    """Names that the models invented, sorted by whether training showed them."""
    shown = [name for name in ("bigram", "trigram", "mlp", "lstm") if f"{name}_samples" in metrics]
    kinds = {"new": "in no part of the file", "held_out": "real, kept out of training", "seen": "seen in training"}
    figure, axes = plt.subplots(figsize=(10.4, 0.9 + len(shown)))
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(0, len(shown) + 0.4))
    for column, label in enumerate(kinds.values()):
        axes.text(0.1 + 0.32 * column, len(shown) + 0.1, label, fontsize=10, weight="bold")
    for place, name in enumerate(shown):
        top = len(shown) - place - 0.05
        axes.text(0, top, NAMES[name].replace(", counted", ""), fontsize=10, weight="bold", va="top")
        for column, kind in enumerate(kinds):
            words = [word if len(word) < 14 else word[:12] + "…" for word in metrics[f"{name}_samples"][kind][:9]]
            lines = [", ".join(words[i : i + 3]) for i in range(0, len(words), 3)]
            text = "\n".join([f"{metrics[f'{name}_{kind}_share']:.1%}", *lines])
            axes.text(0.1 + 0.32 * column, top, text, fontsize=8.6, va="top", family="DejaVu Sans Mono")
    real = {name: metrics[f"{name}_seen_share"] + metrics[f"{name}_held_out_share"] for name in shown}
    most, least = max(real, key=real.get), min(real, key=real.get)
    axes.set_title(f"Real names among the invented: from {real[least]:.0%} ({NAMES[least].split(',')[0]}) to "
                   f"{real[most]:.0%} ({NAMES[most].split(',')[0]})", fontsize=10)  # fmt: skip
    save(figure, path)


DRAWINGS = {  # figure -> how it is drawn, and a metric that it cannot do without
    "curves": (draw_curves, "mlp_curve"),
    "ladder": (draw_ladder, "mlp_val"),
    "embeddings": (draw_embeddings, "mlp_embedding"),
    "lr_finder": (draw_finder, "sweep"),
    "bigram": (draw_bigram, "bigram_counts"),
    "names": (draw_names, "bigram_samples"),
}


def main(argv=None):
    args = drawing_parser(__doc__.splitlines()[0], __file__).parse_args(argv)
    command = f"python weeks/week03-04/train.py --preset {args.preset}"
    record = read_metrics(args.results / f"{args.preset}.json", command)
    files = {"": record}
    if "bigram_val_ssa" in record:
        files["_ssa"] = {key.removesuffix("_ssa"): value for key, value in record.items() if key.endswith("_ssa")}
    for suffix, metrics in files.items():
        for name, (draw, wanted) in DRAWINGS.items():
            if wanted in metrics:  # makemore's file may be absent, or one model may have been trained alone
                draw(metrics, args.out / f"{name}{suffix}.png", lectures=not suffix)
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
