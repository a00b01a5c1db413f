"""What older versions wrote, in today's shape. The number of a folder's format is the place of its upgrade in the list.

An upgrade is a pair: one function for checkpoint.json, and one for the tensors of a part, which are read later.
A test opens a stored folder of the first format.
"""

BEGUN = ("config", "step", "losses")


def _with_kinds(index):
    """1 -> 2: a course says what it learns, text being all that there was. (A base and a chat template came too.)"""
    if "replay" in index["record"]:
        index["record"] = {"kind": "text", "row_length": 0, **index["record"]}
    return index


def _with_methods(index):
    """2 -> 3: a course names its method and the settings; its base is known part by part."""
    if "base" in index:
        index["base"] = {"model": index["base"]["model"], "digest": {"weights": index["base"]["sha256"]}}
    old = index["record"]
    if "replay" not in old:
        return index
    begun = old["progress"]
    kept, replay_rows = old["replay"], 4 if "base" in index else 8  # the number was not stored: the default of then
    index["record"] = {
        "kind": "course",
        "tasks": old["kind"],
        "row_length": old["row_length"],
        "learned": old["taught"],
        "exams": old["exams"],
        "scores": old["rows"],
        "progress": begun and {"rows": None, "task": begun["domain"], **{k: begun[k] for k in BEGUN}},
        "method": {"name": "replay", "config": {"keep_rows": kept["budget"], "replay_rows": replay_rows}},
        "state": kept["state"],
    }
    index["files"] = {("state" if part == "memory" else part): file for part, file in index["files"].items()}
    return index


def _two_tensors(part, tensors):
    """2 -> 3: rows are ids and what is judged of them; before, an id that is only read stood as its complement."""
    if part == "state" and "rows" in tensors:
        rows = tensors.pop("rows")
        judged = rows >= 0
        ids = rows.where(judged, ~rows)
        judged[:, 0] = False  # nothing comes before the first token to predict it from
        tensors |= {"rows.ids": ids, "rows.judged": judged}
    return tensors


UPGRADES = [(_with_kinds, None), (_with_methods, _two_tensors)]
FORMAT = len(UPGRADES) + 1


def upgrade_index(index):
    """The index as this version writes it; `was` says which format it had."""
    was = index["format"]
    for change, _ in UPGRADES[was - 1 :]:
        index = change(index)
    return {**index, "was": was}


def upgrade_tensors(index, part, tensors):
    for _, change in UPGRADES[index["was"] - 1 :]:
        tensors = change(part, tensors) if change else tensors
    return tensors
