"""What is the best language model that your machine can train in an hour? One line of budget in, a plan out.

    python projects/budget_planner/budget.py "2 cores x 1 hour"
    python projects/budget_planner/budget.py "1 core x 30 minutes" --law runs/week10/results/frozen-default.json
    python projects/budget_planner/budget.py "1 core x 1 day" --rate 4e14        another machine: operations a second

It asks the law that week 10 fitted to small runs. The speed of your cores is measured, which takes a few seconds.
Nothing is trained.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week10"))
from scaling import frozen, plan, sweep
from scaling.law import interval
from scaling.vendor.shared.errors import Mistake, entry

OUT = common.RUNS / "budget_planner"
LAW = common.ROOT / "weeks/week10/results/frozen-full.json"
CLOSE = 0.01  # nats: sizes that lose no more than this are as good as the best
NEAR = 2  # sizes above and below the best that are shown


def alternatives(said, total, advised):
    """[(Choice, nats above the best)], NEAR sizes below the advised one to NEAR above."""
    curve = list(plan.choices(said.law, total, said.vocab_size))
    place = [choice.n for choice in curve].index(advised.n)
    return [(choice, choice.loss - advised.loss) for choice in curve[max(0, place - NEAR) : place + NEAR + 1]]


def flat(said, total, advised):
    """(smallest, largest) of the sizes that are expected to lose at most CLOSE nats."""
    good = [c.n for c in plan.choices(said.law, total, said.vocab_size) if c.loss <= advised.loss + CLOSE]
    return min(good), max(good)


def draw(said, total, advised, label, path):
    """Expected loss against size at this budget, with 80 % of the resampled laws around it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curve = [c for c in plan.choices(said.law, total, said.vocab_size) if c.loss < 1.25 * advised.loss]
    sizes = [c.n for c in curve]
    bands = [interval([law.loss(c.n, c.d) for law in said.laws]) for c in curve]
    figure, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    ax.plot(sizes, [c.loss for c in curve], "o-", color="#1b3a5c", markersize=4, label="what the law expects")
    ax.fill_between(sizes, *zip(*bands), color="#1b3a5c", alpha=0.15, linewidth=0, label="80 % of resampled laws")
    ax.plot(advised.n, advised.loss, "*", color="#c2571a", markersize=15,
            label=f"advised: {advised.layers} layers x {advised.width}")  # fmt: skip
    low, high = flat(said, total, advised)
    ax.axvspan(low, high, color="#8a8a8a", alpha=0.12, linewidth=0, label=f"within {CLOSE:g} nats of the best")
    ax.set(xscale="log", xlabel="parameters (the larger, the fewer tokens the budget pays for)",
           ylabel="expected loss (nats a token; not from 0)")  # fmt: skip
    ax.set_xticks([], minor=True)
    ax.set_xticks(sizes, [about(n).replace(" ", "\n") for n in sizes], fontsize=8)
    ax.set_title(f"{label}: {plain(low, high)}", fontsize=11)
    ax.legend(frameon=False)
    common.save_figure(figure, path)
    plt.close(figure)


def about(count):
    """A count of parameters in two digits: 2.3 million."""
    unit, word = (1e6, "million") if count >= 1e6 else (1e3, "thousand")
    return f"{float(f'{count:.1e}') / unit:g} {word}"


def plain(low, high):
    """What the flat part of the valley says."""
    if low == high:
        return f"{about(low)} parameters, and no other size comes near"
    return f"from {about(low)} to {about(high)} parameters it hardly matters"


def report(said, total, rate, advised, label):
    """Print the plan, and what a smaller or a larger model would lose."""
    print(f"{label}: {total:.2g} operations, at {rate:.2g} a second\n")
    for what, value, span, formula in advised.table():
        print(f"  {what:14} {value:>20}   {span:26} {formula}")
    print("\nThe third column holds 80 % of the laws fitted to resampled runs. Another size would lose:\n")
    for choice, worse in alternatives(said, total, advised):
        mark = "<- advised" if choice.n == advised.n else f"+{worse:.4f} nats"
        print(f"  {choice.layers:3} x {choice.width:<4} {choice.n:>13,} parameters {choice.d / choice.n:>8.1f} tokens "
              f"each   {mark}")  # fmt: skip
    if warning := plan.beyond(total, said.flops):
        print(f"\n{warning}")


def parser():
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("budget", nargs="?", default="2 cores x 1 hour", help="cores and time (default: %(default)s)")
    p.add_argument("--law", type=Path, default=LAW, help="a law that week 10 froze (default: ours)")
    p.add_argument("--rate", type=float, default=None, help="operations a second of all cores (default: measured here)")
    p.add_argument("--figure", type=Path, default=None, help=f"where to draw (default: below {OUT.name}/ in runs/)")
    common.add_mine(p)
    return p


def main(argv=None):
    """Print the plan and draw its curve; the Advice."""
    args = parser().parse_args(argv)
    try:
        budget, said = plan.parse_budget(args.budget), frozen.read(args.law)
        rate = plan.speed(said.law, budget, said.vocab_size, args.rate)
        total = rate * budget.seconds
        advised = plan.advise(said.law, said.laws, total, sweep.rate, said.vocab_size)
    except ValueError as error:
        raise Mistake(f"{error}") from None
    report(said, total, rate, advised, args.budget)
    name = re.sub(r"[^a-z0-9.]+", "-", args.budget.lower()).strip("-")
    path = args.figure or common.free_path(OUT / f"{name}.png")
    draw(said, total, advised, args.budget, path)
    print(f"\nfigure: {path}\nTo train it: week 10's sweep.run, with this shape and these operations.")
    return advised


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
