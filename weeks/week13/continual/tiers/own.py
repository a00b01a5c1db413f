"""Anybody's tasks: JSONL files of prompt and response, one file a task, in the order in which they are given."""

from pathlib import Path

from ..pairs import read_pairs
from ..vendor.shared.errors import Mistake


def parts(paths, most_train, most_test):
    """{name: (train, test)}: the name is the file's, and every tenth row, at least one, is held out as the test.

    A row that a file has twice counts once, for it could be learned and judged by. A Mistake for two files of one name,
    for a file with one example, and for a file whose rows all stand in another one: what is learned twice cannot show
    what is forgotten.
    """
    found, everything = {}, {}
    for path in map(Path, paths):
        if path.stem in found:
            raise Mistake(f"two files are called {path.stem!r}, and a task has its file's name; rename one of them")
        pairs = list(dict.fromkeys(read_pairs(path)))
        if len(pairs) < 3:
            raise Mistake(
                f"{path} has {len(pairs)} example{'s' * (len(pairs) > 1)}, too few: two are learned from and one is "
                "held out to judge by; give three or more that differ"
            )
        for name, other in everything.items():
            if set(pairs) <= other:
                raise Mistake(f"every row of {path} stands in {name} too; leave one of the two files out")
        everything[path] = set(pairs)
        held = range(0, len(pairs), max(2, len(pairs) // max(1, len(pairs) // 10)))
        test = [pairs[i] for i in held][:most_test]
        train = [pair for i, pair in enumerate(pairs) if i not in held][:most_train]
        found[path.stem] = (train, test)
    return found


def room(parts, text, settings):
    """Tokens that an answer gets in the Format `text`: what the longest one needs, but half of a row at most.

    Never fewer than `settings["answer"]`, which is what the course's own tasks need.
    """
    longest = max(len(text.encode(pair.response)) for both in parts.values() for pairs in both for pair in pairs)
    return max(settings["answer"], min(longest, settings["length"] // 2))
