"""Week 9: learn a vocabulary, and measure what it costs and what it saves.

    python weeks/week09/train.py                     # 4096 tokens from Shakespeare
    python weeks/week09/train.py --vocab-size 1000
    python weeks/week09/train.py --preset full       # 16384 tokens from four text sets

Nothing here is random: --seed is taken and recorded, and changes nothing.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from bpe import PATTERNS, Tokenizer, plain
from bpe.compare import PUBLISHED, bytes_per_token, compare
from bpe.vendor.shared.errors import Mistake, entry
from bpe.vendor.shared.files import need
from bpe.vendor.shared.results import Stopwatch, models_folder, parser, save_run, thread_count
from bpe.vendor.shared.text import END, read_text

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"
SENTENCE = "It's the nightingale, and not the lark; don't_panic(42) — naïve Ωμέγα ☺"


@dataclass(frozen=True)
class Preset:
    vocab_size: int
    sets: tuple = ()  # text sets beside --data that join it
    plain_bytes: int = 200_000  # how much text both implementations learn from ...
    plain_vocab: int = 512  # ... and up to which size, to compare their time


PRESETS = {
    "smoke": Preset(400, plain_bytes=10_000, plain_vocab=276),
    "default": Preset(4096),
    "full": Preset(16384, sets=("bible", "recipes", "code")),
}


def read(folder, part):
    """One part of a text set, as text."""
    return read_text(need(Path(folder) / f"{part}.txt", f"make data/{Path(folder).name}"))


def truncated(tokenizer, vocab_size):
    """The first `vocab_size` ordinary tokens: merges are learned in order, so a small vocabulary starts a large one."""
    ranks = {token: i for token, i in tokenizer.ranks.items() if i < vocab_size}
    return Tokenizer(ranks, pattern=tokenizer.pattern, special_tokens={})


def published(folder):
    """name -> Tokenizer of each published vocabulary that has been made."""
    found = {name: read(folder / place) for name, (read, place) in PUBLISHED.items() if (folder / place).exists()}
    if missing := sorted(PUBLISHED.keys() - found.keys()):
        wanted = " ".join(f"data/{PUBLISHED[name][1].split('/')[0]}" for name in missing)
        print(f"without {missing} as a baseline; to have it run: make {wanted}")
    return found


def compare_with_plain(text, vocab_size):
    """Seconds of the recount and of the incremental trainer for equal work, whose merges must be equal."""
    watch = Stopwatch()
    merges = plain.train(text, vocab_size, PATTERNS["gpt2"])
    plain_seconds, watch = watch.seconds, Stopwatch()
    fast = Tokenizer.train(text, 256 + len(merges), special_tokens=())
    fast_seconds, tokens = watch.seconds, plain.vocabulary(merges)
    if fast.merges != [(tokens[left], tokens[right]) for left, right in merges]:
        raise Mistake("plain.py and fast.py learned different merges; run: make test-week WEEK=09")
    return {
        "plain_text_bytes": len(text.encode("utf-8")),
        "plain_merges": len(merges),
        "plain_seconds": plain_seconds,
        "fast_seconds": fast_seconds,
        "plain_vs_fast_time_ratio": plain_seconds / fast_seconds,
    }


def encoding_speed(tokenizer, text):
    """MB/s with an empty cache and with a full one, and seconds for one piece of 100,000 letters."""
    size, speed = len(text.encode("utf-8")) / 1e6, {}
    fresh = Tokenizer(tokenizer.ranks, pattern=tokenizer.pattern)
    for name in ("cold", "warm"):
        watch = Stopwatch()
        fresh.encode_ordinary(text)
        speed[f"encode_{name}_mb_per_s"] = size / watch.seconds
    watch = Stopwatch()
    fresh.encode_ordinary("".join(filter(str.isalpha, text))[:100_000])
    return {"encode_mb": size, **speed, "long_piece_seconds": watch.seconds}


def main(argv=None) -> dict:
    p = parser(__doc__.splitlines()[0], data=DATA / "shakespeare", epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--vocab-size", type=int, help="ids in all, special tokens among them (default: the preset's)")
    p.add_argument(
        "--vocabularies", type=Path, default=DATA, help="folder of gpt2/, cl100k/ ... (default: %(default)s)"
    )
    args = p.parse_args(argv)
    watch, preset = Stopwatch(), PRESETS[args.preset]
    vocab_size = preset.vocab_size if args.vocab_size is None else args.vocab_size
    threads = thread_count(args.threads)
    folders = [args.data, *(args.data.parent / name for name in preset.sets)]
    texts = [read(folder, "train") for folder in folders]
    held_out = {folder.name: read(folder, "val") for folder in folders}
    size = sum(len(text.encode("utf-8")) for text in texts)
    print(
        f"byte-level BPE, {vocab_size} ids from {size / 1e6:.1f} MB of {', '.join(held_out)}, one thread of {threads}"
    )

    training = Stopwatch()
    try:
        tokenizer = Tokenizer.train(texts, vocab_size, progress=True)
    except ValueError as error:
        raise Mistake(f"{args.data / 'train.txt'}: {error}") from None
    metrics = {
        "vocab_size": tokenizer.vocab_size,
        "train_mb": size / 1e6,
        "train_seconds": training.seconds,
        "longest_token": max(tokenizer.ranks, key=len).decode("utf-8", errors="replace"),
    }
    print(f"learned {len(tokenizer.ranks) - 256} merges in {metrics['train_seconds']:.2f} s")
    saved = tokenizer.save(models_folder(__file__, args.out) / f"{args.preset}.json")

    rulers = {"ours": tokenizer, **published(args.vocabularies)}
    metrics["bytes_per_token"] = compare(rulers, held_out)
    for name, values in metrics["bytes_per_token"].items():
        print(f"val {name}: " + ", ".join(f"{ruler} {value:.3f} bytes per token" for ruler, value in values.items()))
    first = next(iter(held_out.values()))
    steps = [256 * 2**k for k in range(12) if 256 * 2**k < len(tokenizer.ranks)] + [len(tokenizer.ranks)]
    metrics["curve"] = [[n, bytes_per_token(truncated(tokenizer, n), first)] for n in steps]
    metrics["vocab_sizes"] = {ruler: t.vocab_size for ruler, t in rulers.items()}

    views = {f"ours, {n}": truncated(tokenizer, n) for n in (512,) if n < len(tokenizer.ranks)}
    views |= {f"{ruler}, {t.vocab_size}": t for ruler, t in rulers.items()}
    metrics["sentence"] = SENTENCE
    metrics["views"] = {
        name: [t.token_bytes(i).decode("utf-8", errors="backslashreplace") for i in t.encode_ordinary(SENTENCE)]
        for name, t in views.items()
    }

    metrics |= encoding_speed(tokenizer, texts[0][:5_000_000])
    print(f"encode {metrics['encode_cold_mb_per_s']:.1f} MB/s cold, {metrics['encode_warm_mb_per_s']:.1f} MB/s warm")
    sample = texts[0].replace(END, "")[: preset.plain_bytes]
    print(f"learning {preset.plain_vocab} tokens from {len(sample) / 1e3:.0f} KB by recounting, to compare ...")
    metrics |= compare_with_plain(sample, preset.plain_vocab)
    print(f"recount {metrics['plain_seconds']:.1f} s, incremental {metrics['fast_seconds']:.3f} s, same merges")

    print(f"tokenizer: {saved} and {saved.with_suffix('.vocab').name}")
    path = save_run(__file__, args, argv, metrics, seconds=watch.seconds, threads=threads)
    name, carried = next(iter(metrics["bytes_per_token"].items()))
    found = f"on held-out text ({name}) each of our {tokenizer.vocab_size:,} tokens carries {carried['ours']:.2f} bytes"
    if "gpt2" in carried:
        found += f", each of GPT-2's {rulers['gpt2'].vocab_size:,} tokens {carried['gpt2']:.2f}"
    print(f"What it showed: {found}.")
    print("To try next, a smaller vocabulary: python weeks/week09/train.py --vocab-size 1000")
    print(f"results: {path}")
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
