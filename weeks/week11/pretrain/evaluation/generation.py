"""What a model writes, judged without a reader: by another model, by its variety, by how it repeats itself.

No number here says that a text is good. Each catches one way to be bad: a high perplexity under a judge (no language),
a low distinct-n (always the same words), a high repetition (a loop). Low perplexity alone proves nothing: a loop is
easy to predict. So a sample stands beside human text of the same kind and length, under all three.
Left out: whether a text is true or makes sense (week 14's exams ask); MAUVE, which needs thousands of samples.
"""

import random
from collections import Counter

import numpy as np

from .compression import costs
from .interval import Score, bootstrap


def grams(text, n):
    """The runs of n words of a text, in order; words are what stands between blanks."""
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def distinct(texts, n):
    """Different runs of n words over all such runs, of all texts together (Li et al. 2016): 1 never repeats.

    It falls as texts grow, for words are few: compare equal amounts of text only. Raises ValueError where no text has
    n words.
    """
    found = [gram for text in texts for gram in grams(text, n)]
    if not found:
        raise ValueError(f"no text has {n} words, so there is no run of {n} to count; give longer texts or a smaller n")
    return len(set(found)) / len(found)


def repetition(texts, n=4, seed=0):
    """The Score of the share of runs of n words that their own text has had before (rep-n, Welleck et al. 2020).

    Raises ValueError where no text has n words.
    """
    rows = []
    for text in texts:
        count = Counter(grams(text, n))
        if total := sum(count.values()):
            rows.append((total - len(count), total))
    if not rows:
        raise ValueError(f"no text has {n} words, so there is no run of {n} to count; give longer texts or a smaller n")
    repeated, totals = zip(*rows)
    return bootstrap(repeated, totals, seed=seed)


def alike(samples, documents, seed=0):
    """Human passages as long as the samples: for each, one from the beginning of a document drawn at random.

    A passage is cut at a blank, so it may be shorter by a word. Raises ValueError where a sample is longer than every
    document, and names it: "sample 1" is the second.
    """
    draw, found = random.Random(seed), []
    for i, sample in enumerate(samples):
        long_enough = [text for text in documents if len(text) >= len(sample)]
        if not long_enough:
            raise ValueError(
                f"sample {i} has {len(sample)} characters, and no held-out document is so long; give longer documents"
            )
        passage = draw.choice(long_enough)[: len(sample) + 1]
        found.append(passage.rsplit(None, 1)[0] if len(passage) > len(sample) and " " in passage else passage)
    return found


def perplexity(judge, texts, *, label=None):
    """[(nats, tokens)] (N, 2) of N texts under a judge: what `judged` makes perplexities of."""
    table = np.zeros((len(texts), 2))
    for i, nats, tokens in costs(judge, texts, label=label):
        table[i] += nats, tokens
    return table


def judged(judge, samples, human, *, label=None, draws=1000, seed=0):
    """{"samples_ppl", "human_ppl", "ppl_ratio"}: Scores of samples and of human texts under one judge.

    A perplexity is exp(nats / token), the tokens those of the judge. The ratio is samples over human; near 1, a sample
    surprises the judge as much as people's text does. Its interval draws from both, independently. Raises ValueError
    where there is no sample, or no human text.
    """
    if not samples or not human:
        raise ValueError(
            f"{len(samples)} samples and {len(human)} human texts do not compare; give one or more of each"
        )
    ours, theirs = (perplexity(judge, texts, label=label) for texts in (samples, human))
    scores = [bootstrap(*table.T, transform=np.exp, draws=draws, seed=seed) for table in (ours, theirs)]
    rng = np.random.default_rng(seed)
    loss = lambda table: np.divide(*table[rng.integers(len(table), size=len(table))].sum(axis=0))
    low, high = np.exp(np.quantile([loss(ours) - loss(theirs) for _ in range(draws)], [0.025, 0.975]))
    ratio = Score(scores[0].value / scores[1].value, float(low), float(high), len(samples) + len(human))
    return {"samples_ppl": scores[0], "human_ppl": scores[1], "ppl_ratio": ratio}
