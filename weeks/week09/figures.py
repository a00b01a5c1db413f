"""Week 9: results/<preset>.json -> figures/*.png; draws, never trains. domains.png needs results/full.json.

python weeks/week09/figures.py
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from bpe.compare import draw
from bpe.vendor.shared.errors import entry
from bpe.vendor.shared.results import drawing_parser, read_metrics

STYLES = {"gpt2": ("#b35806", "--", "s"), "cl100k": ("#542788", ":", "D"), "smollm2": ("#1b7837", "-.", "^")}
ROW = 1.65  # from one vocabulary's boxes to the next one's
SHADES = ("#c6dbef", "#fdd0a2", "#c7e9c0", "#dadaeb", "#f0f0f0")  # neighbours differ in lightness too


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)


def draw_compression(metrics, path):
    """Bytes per token over vocabulary size, with bytes and the published vocabularies on the same axes."""
    (name, values), sizes = next(iter(metrics["bytes_per_token"].items())), metrics["vocab_sizes"]
    x, y = zip(*metrics["curve"])
    if "ours" in sizes:  # the special token is an id as well, here as in the published vocabularies
        x = (*x[:-1], sizes["ours"])
    learned = ", ".join(metrics["bytes_per_token"])
    figure, axes = plt.subplots(figsize=(7, 4.2))
    axes.plot(x, y, "o-", color="#2166ac", label=f"learned from {learned}")
    axes.axhline(1, color="grey", linewidth=1, label="bytes, no merges")
    for ruler, (color, line, marker) in STYLES.items():
        if ruler in values:
            axes.axhline(values[ruler], color=color, linestyle=line, linewidth=1)
            label = f"{ruler}, {sizes[ruler]:,} ids learned from the web: {values[ruler]:.2f}"
            axes.plot(sizes[ruler], values[ruler], marker, color=color, label=label)
    for a, b in zip(x, y):
        axes.annotate(f"{b:.2f}", (a, b), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8)
    axes.set_xscale("log", base=2)
    ticks = []
    for size in sorted({*x, *(sizes[r] for r in STYLES if r in sizes)}):
        if not ticks or size > 1.2 * ticks[-1]:  # nearer ones would be written over each other
            ticks.append(size)
    axes.set_xticks(ticks, [f"{t:,}" for t in ticks], rotation=30, ha="right", fontsize=8)
    axes.set_xlabel("vocabulary size (ids, special tokens included; log scale)")
    axes.set_ylabel(f"bytes of held-out {name} per token")
    axes.set_ylim(0.8, max(max(y), *values.values()) + 0.5)  # less than a byte each is impossible
    title = f"{x[-1]:,} ids learned from {learned}: {y[-1]:.2f} bytes each"
    if "gpt2" in values:
        less = f"{y[-1] / values['gpt2']:.0%} of GPT-2's {values['gpt2']:.2f}"
        title += f",\n{less}, with {x[-1] / sizes['gpt2']:.0%} of its ids"
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    save(figure, path)


def draw_views(metrics, path):
    """One sentence cut by each vocabulary: a box a token, dark where it holds a part of a character; in two halves."""
    views = metrics["views"]
    rows, ends = {}, []
    for name, tokens in views.items():  # halves of the sentence, so that the letters are large enough to read
        rows[name] = halves([(shown_token(token), "\\x" in token) for token in tokens])
        ends += [sum(cells(shown) for shown, _ in half) for half in rows[name]]
    figure, axes = plt.subplots(figsize=(10, 1.15 * len(views) + 0.9))
    for row, (name, two) in enumerate(rows.items()):
        i = 0
        for line, half in enumerate(two):
            left, height = 0, -ROW * row - 0.62 * line
            for shown, dark in half:
                color = "#444444" if dark else SHADES[i % len(SHADES)]
                box = {"height": 0.5, "color": color, "edgecolor": "black", "linewidth": 0.7}
                axes.barh(height, cells(shown), left=left, **box)
                axes.text(left + cells(shown) / 2, height, shown, ha="center", va="center", fontsize=9.5,
                          color="white" if dark else "black", family="DejaVu Sans Mono")  # fmt: skip
                left, i = left + cells(shown), i + 1
        axes.text(0, -ROW * row + 0.27, f"{name}: {len(views[name])} tokens", fontsize=10, va="bottom")
    axes.set_xlim(-0.2, max(ends) + 0.2)
    axes.set_ylim(-ROW * len(views) + 0.6, 0.75)
    axes.axis("off")
    counts = {name: len(tokens) for name, tokens in views.items()}
    most, least = ([name for name in counts if counts[name] == f(counts.values())] for f in (max, min))
    title = f"The same sentence: {counts[most[0]]} tokens ({' and '.join(most)}) or {counts[least[0]]} "
    title += f"({' and '.join(least)}).\nDark boxes: parts of a character, its bytes in hexadecimal. Low dots: blanks."
    axes.set_title(title, fontsize=10)
    save(figure, path)


def shown_token(token):
    """A token as it is drawn: blanks as low dots, bytes without the sign that marks them in the results."""
    return token.replace(" ", "·").replace("\\x", "")


def cells(shown):
    """How many cells of the drawing a token takes: its characters, and a little air."""
    return len(shown) + 0.5


def halves(tokens):
    """The tokens in two lines of about the same length."""
    whole, left = sum(cells(shown) for shown, _ in tokens), 0
    for i, (shown, _) in enumerate(tokens):
        if left >= whole / 2:
            return tokens[:i], tokens[i:]
        left += cells(shown)
    return tokens, []


def main(argv=None):
    args = drawing_parser(__doc__.splitlines()[0], __file__).parse_args(argv)
    command = f"python weeks/week09/train.py --preset {args.preset}"
    metrics = read_metrics(args.results / f"{args.preset}.json", command)
    draw_compression(metrics, args.out / "bytes_per_token.png")
    draw_views(metrics, args.out / "tokens.png")
    if (full := args.results / "full.json").exists():  # of four text sets, so not everyone has it
        found = read_metrics(full, "python weeks/week09/train.py --preset full")
        draw(found["bytes_per_token"], found["vocab_sizes"], args.out / "domains.png")
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
