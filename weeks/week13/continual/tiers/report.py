"""From cells to the table: one row a method, means over seeds and orders. Numbers in, numbers and text out."""

from statistics import mean, stdev

from ..methods import METHODS
from ..metrics import Matrix, bwt, forgetting_cut, interval, intransigence, recovery, spurious
from .table import ALWAYS, BOUND, ORDERLESS, parse

LAST = ("separate", "joint")
EVERYTHING = "cumulative"  # keeps all rows and trains on them all: a bound, not a way to learn on

# column -> (what stands above it, how it is written)
COLUMNS = {
    "acc": ("ACC", ".3f"),
    "acc_sd": ("sd", ".3f"),
    "bwt": ("BWT", "+.3f"),
    "fwt": ("FWT", "+.3f"),  # GEM's: the base's score is subtracted
    "forgetting": ("forgot", "+.3f"),
    "intransigence": ("intrans", "+.3f"),
    "recovery_pct": ("recov %", ".1f"),
    "spurious_pct": ("spurious %", ".0f"),
    "generic_rise": ("generic", "+.3f"),
    "extra_mb": ("extra MB", ".2f"),
    "seconds": ("s", ".1f"),
    "time_ratio": ("x naive", ".2f"),  # of the processors' time, whatever else the machine did
}

IN_ORDER = (
    "acc",
    "bwt",
    "forgetting_cut_pct",
    "intransigence",
    "recovery_pct",
    "generic_rise",
)  # told of each order of the tasks, too
IN_FIRST = (*IN_ORDER, "acc_likelihood", "learning_accuracy")  # and of the first run alone


def summarise(records, ratios=None):
    """The records of one tier -> {"tasks", "unit", ..., method: {column: mean, column_sd: ..., "matrix": ...}}.

    A method has the mean of all its "runs", and under the name of each order that of those in that order. Under
    "first" stands what the first seed gave in the first order: there all rows are of the same runs, also those that
    were measured once.

    What a record is compared with has its own seed and order: naive and joint training, and the base. `ratios`, {row:
    time_ratio} of costs.py, take the place of the seconds of cells, which were measured on different days; a row that
    is not among them has none.
    """
    found = {(r["method"], None if r["method"] in ORDERLESS else r["order"], r["seed"]): r for r in records}
    seeds = sorted({r["seed"] for r in records})
    numbers, drawn, once = {}, {}, {}
    for (spec, order, seed), record in found.items():
        beside = {
            name: found.get((name, None if name in ORDERLESS else order or "forward", seed))
            for name in ("base", *BOUND)
        }
        numbers.setdefault(spec, {}).setdefault(order, []).append(row(record, **beside))
        if seed == seeds[0] and order in (None, "forward"):
            once[spec] = numbers[spec][order][-1]
        if "matrix" in record and order in (None, "forward"):
            drawn.setdefault(spec, []).append((record, beside["base"]))
    first = next((r for r in records if r["order"] == "forward"), records[0])
    out = {"tasks": first["tasks"], "unit": first["unit"], "higher_is_better": first["higher_is_better"]}
    out |= {"seeds": len(seeds), "orders": sorted({r["order"] for r in records if r["method"] not in ORDERLESS})}
    for spec in sorted(numbers, key=place):
        out[spec] = together(sum(numbers[spec].values(), []))
        for order in numbers[spec].keys() - {None}:
            out[spec][order] = together([{k: cell[k] for k in cell if k in IN_ORDER} for cell in numbers[spec][order]])
        if spec in once:
            out[spec]["first"] = together([{k: once[spec][k] for k in once[spec] if k in IN_FIRST}])
        if ratios:
            out[spec] = {k: v for k, v in out[spec].items() if not k.startswith("time_ratio")}
            out[spec] |= {"time_ratio": ratios[spec]} if spec in ratios else {}
        if spec in drawn:
            out[spec]["matrix"] = average([scores(r["matrix"]) for r, _ in drawn[spec]])
            bases = [by_name(base, r["tasks"]) for r, base in drawn[spec] if base]
            out[spec] |= {"baseline": average(bases)} if bases else {}
        else:
            out[spec]["final"] = average([by_name(r, first["tasks"]) for r in records if r["method"] == spec])
    return out


def place(spec):
    """Where a row stands: floor, base, naive, the methods by name, and last what they are measured against."""
    return (ALWAYS.index(spec) + (len(ALWAYS) if spec in LAST else 0), "") if spec in ALWAYS else (len(ALWAYS), spec)


def row(record, base, naive, joint):
    """The numbers of one cell; what cannot be told without a cell that is not there is None."""
    up, final = record["higher_is_better"], record["final"]
    n = {"acc": mean(scores(final))}
    n |= {f"acc_{name}": mean(values) for name, values in final.items()}
    if "matrix" in record:
        matrix = scores(record["matrix"])
        baseline = base and by_name(base, record["tasks"])
        n |= Matrix(record["tasks"], matrix, baseline, up).summary()
        if joint:
            n["intransigence"] = intransigence(matrix, by_name(joint, record["tasks"]), up)
        if "realigned" in record:
            learned = [matrix[i][i] for i in range(len(matrix) - 1)]
            share = spurious(learned, matrix[-1][:-1], record["realigned"], up)
            n["spurious_pct"] = percent(share)
    if naive and joint:
        at = [mean(scores(r["final"])) for r in (naive, joint)]
        n["recovery_pct"] = percent(recovery(n["acc"], *at, up))
        if n.get("bwt") is not None:
            damage = bwt(scores(naive["matrix"]), up)
            n["forgetting_cut_pct"] = percent(forgetting_cut(-n["bwt"], -damage))
    if "seconds" in record:
        n["seconds"] = sum(record["seconds"])
        n["extra_mb"] = record["extra_bytes"][-1] / 1e6
        if naive and naive["machine"] == record["machine"]:  # another one's seconds are of another length
            n["time_ratio"] = sum(record["cpu_seconds"]) / max(sum(naive["cpu_seconds"]), 1e-9)
    if len(record.get("generic", ())) == 2:
        n["generic_rise"] = record["generic"][1] - record["generic"][0]
    if "last" in record:
        n["acc_low"], n["acc_high"] = interval(record["last"])
    return n


def percent(share):
    """Of what cannot be told nothing can be told in percent either."""
    return None if share is None else 100 * share


def scores(table):
    """The score that counts: the first of a record's."""
    return next(iter(table.values()))


def by_name(record, names):
    """The final scores of a record, in the order of `names`: a base or a joint model knows no order."""
    return [dict(zip(record["tasks"], scores(record["final"])))[name] for name in names]


def average(values):
    """Mean over seeds of numbers, or cell by cell of lists of them."""
    return [average(column) for column in zip(*values)] if isinstance(values[0], list) else round(mean(values), 6)


def together(cells):
    """[{column: number}, ...] -> {"runs", column: mean, column_sd: standard deviation where there are two or more}."""
    out = {"runs": len(cells)}
    for name in cells[0]:
        values = [numbers.get(name) for numbers in cells]
        if None in values:
            continue  # undefined in some cell, such as recovery where naive equals joint
        out[name] = round(mean(values), 4)
        if len(values) > 1:
            out[f"{name}_sd"] = round(stdev(values), 4)
    return out


def methods_of(metrics):
    """The rows of a table, in their order."""
    return [name for name, value in metrics.items() if isinstance(value, dict) and "acc" in value]


def keeps(spec):
    """What a row keeps between tasks: "nothing", "weights", "rows" of the data, or "synthetic" ones."""
    return METHODS[parse(spec)[0]][1].keeps if parse(spec)[0] in METHODS else "nothing"


def knows(spec):
    """Must a row be told which task it is judged on?"""
    return spec == "separate" or spec not in ALWAYS and getattr(METHODS[parse(spec)[0]][1], "needs_task", False)


def best(metrics, without_rows=False):
    """The row of the highest recovery that keeps less than everything and is told no task; None where there is none.

    Only rows with as many runs as naive training has: one lucky run is not the best. without_rows: among those that
    keep no row of the data.
    """
    rows = [
        name
        for name in methods_of(metrics)
        if name not in (*ALWAYS, EVERYTHING) and "recovery_pct" in metrics[name] and not knows(name)
        if metrics[name].get("runs", 0) >= metrics["naive"].get("runs", 0)  # older results do not say
        if not (without_rows and keeps(name) == "rows")
    ]
    return max(rows, key=lambda name: metrics[name]["recovery_pct"], default=None)


def lines(metrics):
    """The table for people: one line a method."""
    shown = [c for c in COLUMNS if any(c in metrics[name] for name in methods_of(metrics))]
    more = [c for c in metrics["naive"] if c.startswith("acc_") and not c.endswith(("_sd", "_low", "_high"))][1:]
    width = max(len(name) for name in methods_of(metrics)) + 2
    told = [f"{metrics['unit']}; {metrics['seeds']} seed(s), order(s) {', '.join(metrics['orders'])}"]
    told.append(
        " " * width
        + f"{'keeps':>10}"
        + "".join(f"{COLUMNS[c][0]:>11}" for c in shown)
        + "".join(f"{c[4:]:>11}" for c in more)
    )
    for name in methods_of(metrics):
        numbers = metrics[name]
        hidden = ("bwt", "fwt", "forgetting", "intransigence") if name == "joint" else ()  # it has no past
        cells = (f"{numbers[c]:{COLUMNS[c][1]}}" if c in numbers and c not in hidden else "-" for c in shown)
        others = (f"{numbers[c]:.3f}" for c in more)
        mark = f"{name} *" if knows(name) else name
        told.append(f"{mark:<{width}}{keeps(name):>10}" + "".join(f"{cell:>11}" for cell in (*cells, *others)))
    if any(map(knows, methods_of(metrics))):
        told.append("* is told which task it is judged on")
    return "\n".join(told)
