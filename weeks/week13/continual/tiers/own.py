"""Anybody's tasks: JSONL files of prompt and response, one file a task, in the order in which they are given."""

import random
from itertools import permutations
from pathlib import Path

from ..pairs import read_pairs
from ..vendor.shared.errors import Mistake


def parts(paths, most_train, most_test):
    """({name: (train, test)}, [what was left out, in sentences]); the name is the file's.

    Of every ten rows one, at least one of all, is held out as the test. Rows that judge one task are learned in none. A
    row that a file has twice counts once, for it could be learned and judged by.

    A Mistake for two files of one name, for a file with fewer than three examples, and for a file whose rows all stand
    in another one: what is learned twice cannot show what is forgotten.
    """
    rows = {}
    for path in map(Path, paths):
        if path.stem in (other.stem for other in rows):
            raise Mistake(f"two files are called {path.stem!r}, and a task has its file's name; rename one of them")
        rows[path] = pairs = list(dict.fromkeys(read_pairs(path)))
        if len(pairs) < 3:
            raise Mistake(
                f"{path} has {len(pairs)} example{'s' * (len(pairs) > 1)}, too few: two are learned from and one is "
                "held out to judge by; give three or more that differ"
            )
    for path, other in permutations(rows, 2):
        if set(rows[path]) <= set(rows[other]):
            raise Mistake(f"every row of {path} stands in {other} too; leave one of the two files out")
    held = {path: picked(pairs, -(-len(pairs) // 10)) for path, pairs in rows.items()}
    tests = {path: picked(pairs, most_test) for path, pairs in held.items()}
    judging = set().union(*tests.values())
    found, said = {}, []
    for path, pairs in rows.items():
        out = set(held[path])
        rest = [pair for pair in pairs if pair not in out]
        free = [pair for pair in rest if pair not in judging]
        train = picked(free, most_train)
        if len(train) < 2:
            raise Mistake(
                f"{path} has {len(train)} of {len(rest)} rows to learn from without those that judge another task; "
                "give files that have fewer rows in common"
            )
        if len(free) < len(rest):
            said.append(f"{path.name}: {len(rest) - len(free):,} of {len(rest):,} rows judge another task: not learned")
        if len(train) < len(free) or len(tests[path]) < len(held[path]):
            said.append(
                f"{path.name}: {len(train):,} of {len(free):,} rows are learned, "
                f"{len(tests[path]):,} of {len(held[path]):,} held-out ones judge"
            )
        found[path.stem] = (train, tests[path])
    return found, said


def picked(pairs, n):
    """At most n of the pairs: one from each of n equal stretches, so that every part of a sorted file is seen.

    Which one is drawn, always the same: every tenth row of a file whose labels take turns would have one label.
    """
    if len(pairs) <= n:
        return pairs
    draw = random.Random(0)
    return [pairs[draw.randrange(i * len(pairs) // n, (i + 1) * len(pairs) // n)] for i in range(n)]


def room(parts, text, settings):
    """Tokens that an answer gets in the Format `text`: what the longest one needs, but half of a row at most.

    Never fewer than `settings["answer"]`, which is what the course's own tasks need.
    """
    longest = max(len(text.encode(pair.response)) for both in parts.values() for pairs in both for pair in pairs)
    return max(settings["answer"], min(longest, settings["length"] // 2))
