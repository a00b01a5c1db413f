"""Week 9: what two papers claim about byte-pair encoding, asked of text that is in the repository's data.

    python weeks/week09/claims.py sennrich-length sennrich-rare     # a vocabulary from 2 MB of an encyclopaedia
    python weeks/week09/claims.py zouhar-greedy zouhar-best         # every way to merge, of short texts
    python weeks/week09/claims.py zouhar-time                       # seconds: nothing else should run

The pages are papers/sennrich2016_bpe.md and papers/zouhar2023_formal_bpe.md; the predictions are in papers/claims.toml.
Nothing here is random but the choice of the text: a seed is another part of it.
"""

import math
import random
import statistics
import sys
from collections import Counter
from functools import cache
from pathlib import Path

from bpe import PATTERNS, Tokenizer, plain
from bpe.vendor.shared import claims
from bpe.vendor.shared.errors import entry
from bpe.vendor.shared.files import need
from bpe.vendor.shared.results import Stopwatch
from bpe.vendor.shared.text import END, documents, read_text

DATA = Path(__file__).resolve().parents[2] / "data"
CHARACTERS = 2_000_000  # of text to learn from
SHARE = 0.1  # merges over different words; 59,500 / 1,750,000 = 0.034 in the paper
OFTEN = 100  # a word that occurs so often in training is frequent
SHORT, STEPS, TEXTS = 150, 4, 20  # letters of a short text, merges, texts of a seed
LONG, FEW, MANY = 100_000, 64, 512  # characters, merges


# --- Sennrich et al. 2016 ---------------------------------------------------------------------------------------------


@cache
def text_of(part):
    """Entries of an encyclopaedia, in the order of the file."""
    return documents(read_text(need(DATA / "wiki-leads", "make data/wiki-leads") / f"{part}.txt"))


@claims.once
def vocabulary(run, seed):
    """(tokenizer, Counter of the words that it learned from); a word is a piece of GPT-2's pattern."""
    entries = list(text_of("train"))
    random.Random(seed).shuffle(entries)
    text = "\n".join(entries)[:CHARACTERS]
    words = Counter(Tokenizer({b"x": 0}).split(text))
    return Tokenizer.train(text, 256 + int(SHARE * len(words)), special_tokens=()), words


def sennrich_length(seed, run):
    """How far the number of tokens is from that of words (0) towards that of characters (1), on held-out text."""
    tokenizer, _ = vocabulary(run, seed)
    text = "\n".join(text_of("val"))
    words, tokens = len(tokenizer.split(text)), len(tokenizer.encode_ordinary(text))
    way = (tokens - words) / (len(text) - words)
    return {"value": way, "tokens_a_word": tokens / words, "ids": len(tokenizer.ranks)}


def sennrich_rare(seed, run):
    """Tokens of a held-out word that was never seen, less those of one that is frequent; different words count once."""
    tokenizer, seen = vocabulary(run, seed)
    held_out = {word for word in tokenizer.split("\n".join(text_of("val"))) if any(map(str.isalpha, word))}
    size = lambda words: statistics.fmean(len(tokenizer.encode_piece(word)) for word in words)
    unseen, frequent = size(held_out - seen.keys()), size([word for word in held_out if seen[word] >= OFTEN])
    return {"value": unseen - frequent, "unseen": unseen, "frequent": frequent}


# --- Zouhar et al. 2023 -----------------------------------------------------------------------------------------------


def greedy(ids, steps):
    """By how many ids a list gets shorter when each merge is the best one at its time, as in plain.py."""
    before = len(ids)
    for step in range(steps):
        ids = plain.merge(ids, plain.best_pair(plain.count_pairs([ids])), 1_000 + step)
    return before - len(ids)


def optimal(ids, steps, least=0):
    """The same for the best of all sequences of merges; `least` where none is better than that.

    A merge takes borders between today's neighbours away, and each border goes only once. So `steps` merges cannot
    shorten the list by more than the `steps` highest counts of pairs together: where that is not enough, stop.
    """
    if steps == 0:
        return max(least, 0)
    counts = plain.count_pairs([ids])
    ranked = sorted(counts, key=counts.get, reverse=True)
    for pair in ranked:
        others = [counts[other] for other in ranked[:steps] if other != pair][: steps - 1]
        if counts[pair] + sum(others) <= least:
            break  # the pairs after this one are rarer still
        after = plain.merge(ids, pair, 1_000 + steps)
        gained = len(ids) - len(after)
        least = gained + optimal(after, steps - 1, least - gained)
    return max(least, 0)


@claims.once
def shortened(run, seed):
    """[(by greedy merges, by the best ones)] for short texts."""
    text = read_text(need(DATA / "shakespeare", "make data/shakespeare") / "val.txt")
    draw, pairs = random.Random(seed), []
    for _ in run.bar(range(run.steps(TEXTS)), run.steps(TEXTS), "texts"):
        start = draw.randrange(len(text) - SHORT)
        ids = list(text[start : start + SHORT].encode())
        found = greedy(ids, STEPS)
        pairs.append((found, optimal(ids, STEPS, found)))
    return pairs


def zouhar_greedy(seed, run):
    """What greedy merges shorten a text by, over what the best merges do; mean over the texts."""
    return statistics.fmean(found / best for found, best in shortened(run, seed))


def zouhar_best(seed, run):
    """Share of the texts for which greedy merges are not the best ones."""
    return statistics.fmean(found < best for found, best in shortened(run, seed))


def zouhar_time(seed, run):
    """The power of the number of merges with which the time grows, recounting less incremental counts."""
    text = read_text(need(DATA / "shakespeare", "make data/shakespeare") / "train.txt").replace(END, "")
    text = text[seed * LONG : (seed + 1) * LONG]
    recount = lambda merges: plain.train(text, 256 + merges, PATTERNS["gpt2"])
    incremental = lambda merges: Tokenizer.train(text, 256 + merges, special_tokens=())
    few, many = run.steps(FEW), run.steps(MANY)
    power = lambda learn: math.log(least_seconds(learn, many) / least_seconds(learn, few)) / math.log(many / few)
    slow, quick = power(recount), power(incremental)
    return {"value": slow - quick, "recount": slow, "incremental": quick}


def least_seconds(learn, merges):
    """The least of three runs: what other work on the machine adds is not the program's."""
    taken = []
    for _ in range(3):
        watch = Stopwatch()
        learn(merges)
        taken.append(watch.seconds)
    return min(taken)


CLAIMS = {
    "sennrich-length": sennrich_length, "sennrich-rare": sennrich_rare, "zouhar-greedy": zouhar_greedy,
    "zouhar-best": zouhar_best, "zouhar-time": zouhar_time,
}  # fmt: skip


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
