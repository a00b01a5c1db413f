"""Week 9: our time against the peers', in pairs on the same machine: ours, theirs, ours, theirs.

python weeks/week09/bench.py                       # against tiktoken, where it is installed
python weeks/week09/bench.py --peer ~/minbpe       # and against your own checkout of karpathy/minbpe
"""

import importlib
import statistics
import sys
from functools import partial
from pathlib import Path

from bpe import PATTERNS, Tokenizer, to_visible, vocabularies
from bpe.vendor.shared.errors import Mistake, entry
from bpe.vendor.shared.files import need
from bpe.vendor.shared.results import Stopwatch, finish, parser, thread_count
from bpe.vendor.shared.text import END, read_text

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"
HF_PART = 2**16  # characters of one text of the list that both trainers get
HF_SIZES = {"1mb": (1_100_000, 4096), "4mb": (4_500_000, 4096), "16mb": (16_000_000, 16384)}  # bytes, ids
HF_SETS = ("bible", "recipes", "code")  # what follows Shakespeare, as in the full preset of train.py


def in_turns(*functions, rounds, of=statistics.median):
    """Seconds of each (`of` several runs), measured in turn so that a busy moment of the machine meets all alike."""
    seconds = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, seconds):
            watch = Stopwatch()
            function()
            taken.append(watch.seconds)
    return tuple(map(of, seconds))


def against_tiktoken(text, folder, pairs):
    """Encoding GPT-2's ids against Rust: all pieces seen before (warm), none (emptied), or a new tokenizer (cold)."""
    try:
        tiktoken = importlib.import_module("tiktoken")
    except ImportError:
        print("tiktoken is not installed, so encoding is not compared; to compare: pip install tiktoken")
        return {}
    if not (folder / "gpt2").exists():
        print(f"{folder / 'gpt2'} does not exist, so encoding is not compared; to compare: make data/gpt2")
        return {}
    warm = vocabularies.gpt2(folder / "gpt2")
    theirs = tiktoken.Encoding(
        name="gpt2", pat_str=warm.pattern, mergeable_ranks=warm.ranks, special_tokens=warm.special_tokens
    )
    warm.encode_ordinary(text)

    def cold():
        Tokenizer(warm.ranks, pattern=warm.pattern).encode_ordinary(text)

    def emptied():
        warm._cache.clear()
        warm.encode_ordinary(text)

    peer = lambda: theirs.encode_ordinary(text)
    known = lambda: warm.encode_ordinary(text)
    taken = in_turns(cold, emptied, known, peer, rounds=3 * pairs, of=min)  # they are short
    cold_seconds, emptied_seconds, warm_seconds, peer_seconds = taken
    return {
        "encode_mb": len(text.encode("utf-8")) / 1e6,
        "encode_cold_seconds": cold_seconds,
        "encode_emptied_seconds": emptied_seconds,
        "encode_warm_seconds": warm_seconds,
        "tiktoken_seconds": peer_seconds,
        "encode_cold_vs_tiktoken_time_ratio": cold_seconds / peer_seconds,
        "encode_emptied_vs_tiktoken_time_ratio": emptied_seconds / peer_seconds,
        "encode_warm_vs_tiktoken_time_ratio": warm_seconds / peer_seconds,
        **against_hf_encoding(text, warm, cold_seconds, warm_seconds, pairs),
    }


def against_hf_encoding(text, ours, cold_seconds, warm_seconds, pairs):
    """The same text by Hugging Face's tokenizers with the same vocabulary, on one thread; its ids must be ours."""
    try:
        hf = importlib.import_module("tokenizers")
    except ImportError:
        print("tokenizers is not installed, so its encoding is not compared; to compare: pip install tokenizers")
        return {}
    merges = [(to_visible(left), to_visible(right)) for left, right in ours.merges]
    peer = hf.Tokenizer(hf.models.BPE({to_visible(token): i for token, i in ours.ranks.items()}, merges))
    peer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if peer.encode(text).ids != ours.encode_ordinary(text):
        raise Mistake("tokenizers has other ids for the same text and vocabulary; so no time of it is given")
    (seconds,) = in_turns(lambda: peer.encode(text), rounds=pairs, of=min)
    return {
        "hf_encode_seconds": seconds,
        "encode_cold_vs_hf_time_ratio": cold_seconds / seconds,
        "encode_warm_vs_hf_time_ratio": warm_seconds / seconds,
    }


def hf_train(hf, texts, vocab_size):
    """Merges from texts by the module `hf`, Hugging Face's tokenizers, with GPT-2's pattern."""
    level = hf.pre_tokenizers.ByteLevel
    peer = hf.Tokenizer(hf.models.BPE())
    peer.pre_tokenizer = level(add_prefix_space=False, use_regex=True)
    alphabet = level.alphabet()
    trainer = hf.trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    peer.train_from_iterator(texts, trainer)


def against_hf_trainer(text, sizes, pairs):
    """Learning from text to merges against Hugging Face's Rust trainer: the least of `pairs` alternating runs of each.

    Both get the same list of texts, so that theirs may spread over all cores. `sizes`: {name: (bytes, vocab_size)}.
    """
    try:
        hf = importlib.import_module("tokenizers")
    except ImportError:
        print("tokenizers is not installed, so its trainer is not compared; to compare: pip install tokenizers")
        return {}
    metrics = {}
    for name, (size, vocab_size) in sizes.items():
        if len(text) < size * 0.95:
            print(f"there are {len(text) / 1e6:.1f} MB of text, so the row of {size / 1e6} MB is left out")
            continue
        texts = [text[i : i + HF_PART] for i in range(0, min(size, len(text)), HF_PART)]
        ours = partial(Tokenizer.train, texts, vocab_size, special_tokens=())
        our_seconds, peer_seconds = in_turns(ours, partial(hf_train, hf, texts, vocab_size), rounds=pairs, of=min)
        metrics |= {
            f"bpe_train_seconds_{name}": our_seconds,
            f"hf_train_seconds_{name}": peer_seconds,
            f"bpe_train_vs_hf_time_ratio_{name}": our_seconds / peer_seconds,
        }
    return metrics


def against_minbpe(text, checkout, pairs):
    """Learning 512 tokens with GPT-2's pattern: incremental counts against a recount for each merge."""
    if checkout is None or not (checkout / "minbpe").is_dir():
        print(f"no minbpe at {checkout}, so training is not compared; to compare: git clone it and pass --peer FOLDER")
        return {}
    sys.path.insert(0, str(checkout))
    try:
        peer = importlib.import_module("minbpe")
    finally:
        sys.path.remove(str(checkout))
    ours = lambda: Tokenizer.train(text, 512, special_tokens=())
    theirs = lambda: peer.RegexTokenizer(PATTERNS["gpt2"]).train(text, 512)
    our_seconds, peer_seconds = in_turns(ours, theirs, rounds=pairs)
    return {
        "train_kb": len(text.encode("utf-8")) / 1e3,
        "train_seconds": our_seconds,
        "minbpe_train_seconds": peer_seconds,
        "train_vs_minbpe_time_ratio": our_seconds / peer_seconds,
    }


def main(argv=None) -> dict:
    p = parser(__doc__.splitlines()[0], data=DATA / "shakespeare", epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--peer", type=Path, help="your checkout of minbpe; nothing of it is needed otherwise")
    p.add_argument("--vocabularies", type=Path, default=DATA, help="folder of gpt2/ (default: %(default)s)")
    p.add_argument("--pairs", type=int, default=3, help="how often both are timed (default: %(default)s)")
    args = p.parse_args(argv)
    watch, threads = Stopwatch(), thread_count(args.threads)
    path = need(args.data / "train.txt", f"make data/{args.data.name}")
    text = read_text(path).replace(END, "")
    metrics = {"pairs": args.pairs, **against_tiktoken(text[:1_000_000], args.vocabularies, args.pairs)}
    metrics |= against_minbpe(text[:185_000], args.peer, args.pairs)
    more = [args.data.parent / name / "train.txt" for name in HF_SETS]
    corpus = "".join([text, *(read_text(path).replace(END, "") for path in more if path.exists())])
    metrics |= against_hf_trainer(corpus, HF_SIZES, args.pairs)
    for name, value in metrics.items():
        print(f"{name:>36}  {value:.4g}")
    return finish(__file__, args, argv, metrics, preset="bench", seconds=watch.seconds, threads=threads)


if __name__ == "__main__":
    sys.exit(entry(main))
