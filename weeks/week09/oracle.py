"""Week 9: are our ids tiktoken's? 100,000 strings made to break a tokenizer, and megabytes of real text.

    python weeks/week09/oracle.py                     # some minutes for both vocabularies
    python weeks/week09/oracle.py --strings 1000

hypothesis draws the strings. Stops at a text with other ids, and shows the shortest such text that it finds.
"""

import argparse
import importlib
import sys
import unicodedata
from functools import partial
from pathlib import Path

from bpe import vocabularies
from bpe.vendor.shared.errors import Mistake, entry
from bpe.vendor.shared.files import need
from bpe.vendor.shared.progress import bar
from bpe.vendor.shared.results import Stopwatch, finish, folder_to_fill
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


def strings(known, tokens):
    """A strategy of short texts of five kinds, from `known` characters and from pieces of real `tokens`."""
    st = importlib.import_module("hypothesis.strategies")
    hard = st.sampled_from(HARD)
    kinds = (
        st.lists(st.sampled_from(known), min_size=1, max_size=30),  # anything
        st.lists(hard, min_size=1, max_size=30),  # what splits are about
        st.builds(lambda one, n, rest: [one * n, *rest], hard, st.integers(1, 60), st.lists(hard, max_size=3)),  # runs
        st.lists(st.sampled_from(tokens), min_size=1, max_size=12),  # tokens where they do not belong
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0x24F), min_size=1, max_size=40),  # where `re` splits
    )
    return st.one_of(kinds).map("".join)


def for_all(strategy, count, seed, check, label):
    """check(text) for `count` texts of a strategy; how many it has seen."""
    h, seen = importlib.import_module("hypothesis"), 0
    with bar(total=count, label=label, unit="string") as line:

        @h.seed(seed)
        @h.settings(
            max_examples=count, phases=(h.Phase.generate, h.Phase.shrink), database=None, deadline=None,
            suppress_health_check=list(h.HealthCheck),
        )  # fmt: skip
        @h.given(strategy)
        def each(text):
            nonlocal seen
            seen += 1
            line.update()
            check(text)

        each()
    return seen


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
    p.add_argument("--out", type=folder_to_fill, help="folder for oracle.json (default: runs/week09/results)")
    p.add_argument("--strings", type=int, default=100_000, help="how many for each vocabulary (default: %(default)s)")
    args = p.parse_args(argv)
    watch = Stopwatch()
    try:
        tiktoken, _ = (importlib.import_module(name) for name in ("tiktoken", "hypothesis"))
    except ImportError as error:
        raise Mistake(f"{error.name} is not installed; this needs it: pip install tiktoken hypothesis") from None
    texts = [read_text(path)[:MOST] for name in SETS if (path := args.data / name / "train.txt").exists()]
    known, seen, metrics = characters(), [], {"text_mb": sum(len(t.encode()) for t in texts) / 1e6}
    for name, (reader, place) in READERS.items():
        ours = reader(need(args.data / place, f"make data/{name}"))
        theirs = tiktoken.Encoding(
            name=name, pat_str=ours.pattern, mergeable_ranks=ours.ranks, special_tokens=ours.special_tokens
        )
        tokens = list(filter(None, (token.decode("utf-8", errors="ignore") for token in ours.ranks)))
        check = partial(compare, ours, theirs)
        seen.append(for_all(strings(known, tokens), args.strings, args.seed, check, name))
        for text in texts:
            compare(ours, theirs, text)
        metrics[f"{name}_ids_checked"] = sum(len(ours.encode_ordinary(text)) for text in texts)
    metrics["strings"], names = min(seen), " and ".join(READERS)
    print(f"{metrics['strings']:,} strings and {metrics['text_mb']:.1f} MB of text: the ids of {names} are tiktoken's")
    return finish(__file__, args, argv, metrics, preset="oracle", seconds=watch.seconds, threads=1)


if __name__ == "__main__":
    sys.exit(entry(main))
