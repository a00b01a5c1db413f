"""From documents to train.txt, val.txt and test.txt: the split that all texts share.

Each document is closed by a line that holds only <|endoftext|>. Left out: language detection, quality scores, fuzzy
hashing. These sets are small enough to be looked at.
"""

from shared.errors import Mistake
from shared.text import END, SEPARATOR

from .text import fraction, squeezed

WINDOW = 200  # characters: two documents that share so long a run are taken for copies of each other
SHARE = 0.05  # of the documents go to val, as many to test


def side(seed, title):
    """The split that a document belongs to. No other document is asked, so one that is added later moves none."""
    u = fraction(seed, title)
    return "val" if u < SHARE else "test" if u < 2 * SHARE else "train"


def drop_copies(documents):
    """The (title, text) pairs in order of title, without empty texts and without repetitions of an earlier text."""
    seen, kept = set(), []
    for title, text in sorted(documents):
        key = squeezed(text)
        if key and key not in seen:
            seen.add(key)
            kept.append((title, text))
    return kept


def split(documents, seed):
    """{train.txt, val.txt, test.txt}: the documents shared out about 90/5/5 so that none leaks into another part.

    A document of val or test that has a run of WINDOW characters in common with train (counted as `squeezed` counts) is
    left out: a parallel chapter, a recipe entered twice, a module that quotes another. So is one of test that has one
    with val. What may remain in common is shorter: quotations, set phrases, the first lines of modules.
    """
    parts = {"train": [], "val": [], "test": []}
    for title, text in drop_copies(documents):
        if END in text:
            raise Mistake(f"the document {title!r} holds {END}, which ends a document; let its recipe remove it")
        parts[side(seed, title)].append(text)
    parts["val"] = without_leak(parts["val"], parts["train"])
    parts["test"] = without_leak(parts["test"], parts["train"] + parts["val"])
    return {f"{name}.txt": "".join(f"{text}{SEPARATOR}" for text in texts) for name, texts in parts.items()}


def without_leak(texts, others):
    """Those of `texts` that have no run of WINDOW characters in common with any of `others`.

    Wherever a run of WINDOW lies in another text, it covers one whole half-window that starts at a multiple of
    WINDOW / 2. So it is enough to look for those at every place of `texts`, and to let each find grow both ways.
    """
    half = WINDOW // 2
    texts = [(text, squeezed(text)) for text in texts]
    wanted = {flat[i : i + half] for _, flat in texts for i in range(len(flat) - half + 1)}
    found = {}
    for other in map(squeezed, others):
        for i in range(0, len(other) - half + 1, half):
            if (run := other[i : i + half]) in wanted:
                found.setdefault(run, []).append((other, i))

    def leaks(flat):
        return any(
            common_run(flat, i, other, j, half) >= WINDOW
            for i in range(len(flat) - half + 1)
            for other, j in found.get(flat[i : i + half], ())
        )

    return [text for text, flat in texts if not leaks(flat)]


def common_run(a, i, b, j, length):
    """The length of the run that holds a[i : i + length] == b[j : j + length] and cannot be made longer either way."""
    before, after = 0, length
    while i > before and j > before and a[i - before - 1] == b[j - before - 1]:
        before += 1
    while i + after < len(a) and j + after < len(b) and a[i + after] == b[j + after]:
        after += 1
    return before + after
