"""How many bytes of your own text does a token hold, with each tokenizer?

    python projects/tokenizer_comparer/compare.py mine.txt
    python projects/tokenizer_comparer/compare.py mine.txt --learn 1000 4000     also vocabularies learned from it
    python projects/tokenizer_comparer/compare.py mine.txt --tokenizer runs/week09/models/default.json

The last tenth of the text is judged, and vocabularies are learned from the rest. GPT-2's and cl100k's are compared
too, if they have been made (make data/gpt2 data/cl100k).
"""

import argparse
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week09"))
from bpe import Tokenizer, compare
from bpe.vendor.shared.errors import Mistake, entry
from bpe.vendor.shared.text import read_text

OUT = common.RUNS / "tokenizer_comparer"
DATA = common.ROOT / "data"
PUBLISHED = {name: compare.PUBLISHED[name] for name in ("gpt2", "cl100k")}


def parts(text):
    """(nine tenths to learn from, the last tenth to judge)."""
    border = len(text) * 9 // 10
    if not border:
        raise Mistake(f"the text has {len(text)} characters; give one of at least a few pages")
    return text[:border], text[border:]


def learned(text, size):
    """A vocabulary of `size` ids from this text, smaller where the text has no more pairs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the table shows the size that it has
            return Tokenizer.train(text, size, special_tokens=())
    except ValueError as error:
        raise Mistake(f"--learn {size}: {error}") from None


def rulers(text, sizes, files, data=DATA):
    """{name: Tokenizer}: the published ones that are there, the user's files, and what the text teaches."""
    found = {name: read(data / place) for name, (read, place) in PUBLISHED.items() if (data / place).exists()}
    for path in files:
        try:
            found[Path(path).stem] = Tokenizer.load(path)
        except (ValueError, OSError) as error:
            raise Mistake(f"{error}") from None
    return found | {f"learned, {size:,}": learned(text, size) for size in sizes}


def measure(text, tokenizers):
    """[(name, ids in the vocabulary, tokens, bytes a token)], the most bytes first."""
    size, rows = len(text.encode("utf-8")), []
    for name, tokenizer in tokenizers.items():
        tokens = len(tokenizer.encode_ordinary(text))
        rows.append((name, tokenizer.vocab_size, tokens, size / tokens))
    return sorted(rows, key=lambda row: -row[-1])


def draw(rows, path):
    """A bar for each tokenizer; 1 is a token for each byte."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [f"{name}\n{size:,} ids" for name, size, _, _ in rows]
    figure, ax = plt.subplots(figsize=(7, 1 + 0.6 * len(rows)), layout="constrained")
    bars = ax.barh(names, [each for *_, each in rows], color="#1b3a5c")
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.axvline(1, color="#c2571a", linestyle="--", label="a token for each byte")
    ax.invert_yaxis()
    ax.set(xlabel="bytes of the judged text in a token", xlim=(0, 1.15 * rows[0][-1]))
    ax.set_title(f"{rows[0][0]} needs the fewest tokens: {rows[0][-1]:.2f} bytes each", fontsize=11)
    ax.legend(frameon=False, loc="lower right")
    common.save_figure(figure, path)
    plt.close(figure)


def parser():
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("text", type=Path, help="a text file of yours, in UTF-8")
    p.add_argument("--learn", type=common.whole, nargs="*", default=[1000, 4000], metavar="IDS",
                   help="sizes of vocabularies to learn from it (default: 1000 4000)")  # fmt: skip
    p.add_argument("--tokenizer", type=Path, nargs="*", default=[], help="tokenizers of week 9 to compare, as .json")
    p.add_argument("--figure", type=Path, default=None, help=f"where to draw (default: below {OUT.name}/ in runs/)")
    common.add_mine(p)
    return p


def main(argv=None):
    """Print the table, draw it; the rows."""
    args = parser().parse_args(argv)
    text, judged = parts(read_text(args.text))
    tokenizers = rulers(text, args.learn, args.tokenizer)
    if not tokenizers:
        raise Mistake("there is no tokenizer to compare; give --learn 1000, or run: make data/gpt2 data/cl100k")
    rows = measure(judged, tokenizers)
    print(f"{args.text}: {len(judged.encode('utf-8')):,} bytes are judged\n")
    print(f"  {'tokenizer':20} {'ids':>9} {'tokens':>10} {'bytes a token':>14}")
    for name, size, tokens, each in rows:
        print(f"  {name:20} {size:>9,} {tokens:>10,} {each:>14.2f}")
    path = args.figure or common.free_path(OUT / f"{args.text.stem}.png")
    draw(rows, path)
    print(f"\nfigure: {path}")
    return rows


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
