"""Week 9: are our ids tiktoken's? 100,000 strings made to break a tokenizer, and megabytes of real text.

    python weeks/week09/oracle.py                     # about a minute for both vocabularies
    python weeks/week09/oracle.py --strings 1000

The tests ask the same of a few hundred strings. Stops at the first text with other ids, and shows it.
"""

import argparse
import importlib
import random
import sys
import unicodedata
from pathlib import Path

from bpe import vocabularies
from bpe.vendor.shared.errors import Mistake, entry
from bpe.vendor.shared.files import need
from bpe.vendor.shared.progress import bar
from bpe.vendor.shared.results import Stopwatch, command_line, results_folder, write_results
from bpe.vendor.shared.text import read_text

DATA = Path(__file__).resolve().parents[2] / "data"
SETS = ("shakespeare", "bible", "recipes", "code", "wiki-leads", "fables")
MOST = 2_000_000  # characters of each set
READERS = {"gpt2": (vocabularies.gpt2, "gpt2"), "cl100k": (vocabularies.cl100k, "cl100k/cl100k_base.tiktoken")}
HARD = (
    *"' \t\n\r.,!?0123456789sStTlLvVeErRdDmM", "'s", "'LL", "'\u017f", "  ", "\r\n", "\u00a0", "\u3000", "\u2028",
    "\x85", "\x00", "\x1c", "\u0301", "\u0323", "\u200d", "\ufe0f", "👍🏽", "👩\u200d👧", "🇩🇪", "é", "ß", "İ", "ﬁ", "Ⅻ",
    "½", "²", "٣", "日本", "한", "क्ष", "<|endoftext|>", "the", " the", "ing", "http://", "\\n", "ʼ", "’", "\ufeff",
    "\U0010ffff",
)  # fmt: skip


def characters():
    """Every character that this Python knows by name or class: `regex` and tiktoken may know a newer Unicode."""
    found = map(chr, range(sys.maxunicode + 1))
    return [char for char in found if unicodedata.category(char) not in ("Cs", "Cn")]


def strings(count, seed, known, tokens):
    """Short texts of five kinds, from `known` characters and from pieces of real `tokens`."""
    draw = random.Random(seed)
    kinds = (
        lambda: draw.choices(known, k=draw.randrange(1, 30)),  # anything
        lambda: draw.choices(HARD, k=draw.randrange(1, 30)),  # what splits are about
        lambda: [draw.choice(HARD) * draw.randrange(1, 60), *draw.choices(HARD, k=3)],  # long runs
        lambda: draw.choices(tokens, k=draw.randrange(1, 12)),  # tokens where they do not belong
        lambda: [chr(draw.randrange(0x20, 0x250)) for _ in range(draw.randrange(1, 40))],  # Latin, where `re` splits
    )
    for i in range(count):
        yield "".join(kinds[i % len(kinds)]())


def compare(ours, theirs, text):
    """Raises where the ids of a text differ, or do not decode to it."""
    found = ours.encode_ordinary(text)
    if found != theirs.encode_ordinary(text) or ours.decode(found) != text:
        raise Mistake(f"tiktoken has other ids for {text[:200]!r}; that is a mistake in bpe/fast.py or bpe/pieces.py")


def main(argv=None) -> dict:
    layout = {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": __doc__.split("\n", 2)[2]}
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], **layout)
    p.add_argument("--data", type=Path, default=DATA, help="folder of the data sets (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="of the strings (default: %(default)s)")
    p.add_argument("--out", type=Path, help="folder for oracle.json (default: runs/week09/results)")
    p.add_argument("--strings", type=int, default=100_000, help="how many for each vocabulary (default: %(default)s)")
    args = p.parse_args(argv)
    watch = Stopwatch()
    try:
        tiktoken = importlib.import_module("tiktoken")
    except ImportError:
        raise Mistake(
            "tiktoken is not installed, so there is nothing to compare with; run: pip install tiktoken"
        ) from None
    texts = [read_text(path)[:MOST] for name in SETS if (path := args.data / name / "train.txt").exists()]
    known, metrics = characters(), {"strings": args.strings, "text_mb": sum(len(t.encode()) for t in texts) / 1e6}
    for name, (reader, place) in READERS.items():
        ours = reader(need(args.data / place, f"make data/{name}"))
        theirs = tiktoken.Encoding(
            name=name, pat_str=ours.pattern, mergeable_ranks=ours.ranks, special_tokens=ours.special_tokens
        )
        tokens = [token.decode("utf-8", errors="ignore") for token in ours.ranks]
        for text in bar(strings(args.strings, args.seed, known, tokens), name, total=args.strings, unit="string"):
            compare(ours, theirs, text)
        for text in texts:
            compare(ours, theirs, text)
        metrics[f"{name}_ids_checked"] = sum(len(ours.encode_ordinary(text)) for text in texts)
    names = " and ".join(READERS)
    print(f"{args.strings:,} strings and {metrics['text_mb']:.1f} MB of text: the ids of {names} are tiktoken's")
    path = write_results(
        results_folder(__file__, args.out) / "oracle.json",
        command=command_line(__file__, sys.argv[1:] if argv is None else argv),
        preset="oracle", seed=args.seed, seconds=watch.seconds, metrics=metrics, threads=1,
    )  # fmt: skip
    print(f"results: {path}")
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
