# vendored from weeks/week10/scaling/groups.py, sha256 4f36988bbc056cc7782b008c75c3d195cc782f01d585c1e54c2cd781948061f6; edit there, then run: make vendor
"""Which parameter gets which settings: a recipe of (pattern, settings), where the first match wins.

    [(vectors, {"weight_decay": 0.0}), ("wte.*|wpe.*", {"lr": 1e-3}), ("*", {})]

A pattern is text with * and ?, matched against the whole name, with | between alternatives; or a function
f(name, parameter) -> bool, as the two below. A pattern that no parameter matches is a slip of the pen, and is refused.
"""

import difflib
from fnmatch import fnmatchcase


def vectors(name, parameter):
    """Biases and norms. They take no decay: a norm pulled to 0 is a layer switched off."""
    return parameter.dim() < 2


def hidden(name, parameter):
    """The matrices of numbered layers, such as blocks.0.mlp.up.weight: neither embeddings nor the head."""
    return parameter.dim() == 2 and any(part.isdigit() for part in name.split("."))


def matches(pattern, name, parameter):
    if callable(pattern):
        return bool(pattern(name, parameter))
    return any(fnmatchcase(name, part) for part in pattern.split("|"))


def groups(named, recipe, *, strict=True):
    """{name: Parameter} (or a model) -> a list of {"params", "names", **settings}, the partition of what is trained.

    A frozen parameter is in no group, so that no step can move it. strict=False leaves out a pattern without members,
    as a recipe for models of all kinds needs it. Raises ValueError where the groups would be no partition:
    - "there are no parameters, so there is nothing to train; ...", or "all 28 parameters are frozen, so ..."
    - "no pattern of the recipe matches wte.weight; end the recipe with ('*', {})"
    - a pattern without members: the sentence that `_empty` makes of it
    - "wte and head are one tensor, which would be moved twice a step; give one of the names"
    """
    named = dict(named.named_parameters()) if hasattr(named, "named_parameters") else dict(named)
    trained = {name: p for name, p in named.items() if p.requires_grad}
    if not trained:
        why = f"all {len(named)} parameters are frozen" if named else "there are no parameters"
        raise ValueError(f"{why}, so there is nothing to train; give some that require a gradient")
    members = [[] for _ in recipe]
    for name, p in trained.items():
        first = next((i for i, (pattern, _) in enumerate(recipe) if matches(pattern, name, p)), None)
        if first is None:
            raise ValueError(f"no pattern of the recipe matches {name}; end the recipe with ('*', {{}})")
        members[first].append(name)
    if strict:
        for (pattern, _), names in zip(recipe, members):
            if not names:
                raise ValueError(_empty(pattern, trained))
    found = [
        {"params": [trained[name] for name in names], "names": names, **settings}
        for (_, settings), names in zip(recipe, members)
        if names
    ]
    grouped = [p for group in found for p in group["params"]]
    if len({id(p) for p in grouped}) < len(grouped):
        seen = {}
        one, two = next((seen[id(p)], n) for n, p in trained.items() if seen.setdefault(id(p), n) != n)
        raise ValueError(f"{one} and {two} are one tensor, which would be moved twice a step; give one of the names")
    whole = sum(p.numel() for p in trained.values())
    assert sum(p.numel() for p in grouped) == whole, "the groups do not sum up to the whole model"
    return found


def _empty(pattern, trained):
    """Why nothing is left for a pattern: other patterns came first, or no name is like it."""
    label = pattern.__name__ if callable(pattern) else repr(pattern)
    if any(matches(pattern, name, p) for name, p in trained.items()):
        return f"the pattern {label} gets no parameter, for earlier patterns match all of its own; put it before them"
    near = difflib.get_close_matches(str(pattern), trained, 3, 0.3) if not callable(pattern) else []
    names = ", ".join(near or list(trained)[:3])
    return f"the pattern {label} matches no parameter; there are names such as {names}; correct the pattern"
