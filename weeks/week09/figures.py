"""Week 9: results/<preset>.json -> figures/*.png; draws, never trains.

python weeks/week09/figures.py
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from bpe.vendor.shared.errors import entry
from bpe.vendor.shared.results import drawing_parser, read_metrics

STYLES = {"gpt2": ("#b35806", "--", "s"), "cl100k": ("#542788", ":", "D")}
SHADES = ("#c6dbef", "#fdd0a2", "#c7e9c0", "#dadaeb", "#f0f0f0")  # neighbours differ in lightness too


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)


def draw_compression(metrics, path):
    """Bytes per token over vocabulary size, with bytes and the published vocabularies on the same axes."""
    (name, values), sizes = next(iter(metrics["bytes_per_token"].items())), metrics["vocab_sizes"]
    x, y = zip(*metrics["curve"])
    learned = ", ".join(metrics["bytes_per_token"])
    figure, axes = plt.subplots(figsize=(7, 4.2))
    axes.plot(x, y, "o-", color="#2166ac", label=f"learned from {learned}")
    axes.axhline(1, color="grey", linewidth=1, label="bytes, no merges")
    for ruler, (color, line, marker) in STYLES.items():
        if ruler in values:
            axes.axhline(values[ruler], color=color, linestyle=line, linewidth=1)
            label = f"{ruler}, learned from the web: {values[ruler]:.2f}"
            axes.plot(sizes[ruler], values[ruler], marker, color=color, label=label)
    for a, b in zip(x, y):
        axes.annotate(f"{b:.2f}", (a, b), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8)
    axes.set_xscale("log", base=2)
    ticks = sorted({*x, *(sizes[r] for r in STYLES if r in sizes)})
    axes.set_xticks(ticks, [f"{t:,}" for t in ticks], rotation=30, ha="right", fontsize=8)
    axes.set_xlabel("vocabulary size (tokens, log scale)")
    axes.set_ylabel(f"bytes of held-out {name} per token")
    axes.set_ylim(0.8, max(max(y), *values.values()) + 0.5)
    title = f"{x[-1]:,} tokens learned from {learned}: {y[-1]:.2f} bytes each"
    if "gpt2" in values:
        title += f", {y[-1] / values['gpt2']:.0%} of GPT-2's with {x[-1] / sizes['gpt2']:.0%} of its vocabulary"
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=8, loc="lower right")
    save(figure, path)


def draw_views(metrics, path):
    """One sentence cut by each vocabulary: a box a token, blanks shown as a low dot."""
    views = metrics["views"]
    figure, axes = plt.subplots(figsize=(11, 0.75 * len(views) + 0.7))
    width = 0
    for row, (name, tokens) in enumerate(views.items()):
        left = 0
        for i, token in enumerate(tokens):
            shown = token.replace(" ", "·")
            cells = max(1, len(shown))
            axes.barh(
                -row, cells, left=left, height=0.62, color=SHADES[i % len(SHADES)], edgecolor="black", linewidth=0.6
            )
            axes.text(left + cells / 2, -row, shown, ha="center", va="center", fontsize=7.5, family="DejaVu Sans Mono")
            left += cells
        axes.text(0, -row + 0.36, f"{name}: {len(tokens)} tokens", fontsize=8, va="bottom")
        width = max(width, left)
    axes.set_xlim(0, width)
    axes.set_ylim(-len(views) + 0.5, 0.75)
    axes.axis("off")
    counts = {name: len(tokens) for name, tokens in views.items()}
    most, least = max(counts, key=counts.get), min(counts, key=counts.get)
    title = f"The same sentence: {counts[most]} tokens ({most}) or {counts[least]} ({least})"
    axes.set_title(title + r"; \x.. is a byte of a character cut in parts", fontsize=10)
    save(figure, path)


def main(argv=None):
    args = drawing_parser(__doc__.splitlines()[0], __file__).parse_args(argv)
    command = f"python weeks/week09/train.py --preset {args.preset}"
    metrics = read_metrics(args.results / f"{args.preset}.json", command)
    draw_compression(metrics, args.out / "bytes_per_token.png")
    draw_views(metrics, args.out / "tokens.png")
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
