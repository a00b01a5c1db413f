"""Draw figures/*.png from the results of this week's jobs. No training here; the schedules need no results.

python weeks/week10/figures.py
"""

import math
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)
from scaling.law import Law, interval, residuals  # noqa: E402
from scaling.schedules import SCHEDULES  # noqa: E402
from scaling.vendor.shared.errors import entry  # noqa: E402
from scaling.vendor.shared.results import drawing_parser, read_metrics  # noqa: E402

DARK, MIDDLE, LIGHT = "#1b3a5c", "#c2571a", "#8a8a8a"  # three that differ in grey too
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def save(fig, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110, metadata={"Software": None})  # no version inside: the same data, the same bytes
    plt.close(fig)


def level(ax, value, label, place):
    ax.axhline(value, color=LIGHT, linewidth=1, linestyle=":")
    ax.annotate(f"{label}: {value:.2f}", (place, value), (0, 3), textcoords="offset points", ha="right", fontsize=9)


def race(metrics, path):
    """Validation loss against steps and against seconds: AdamW's run, and Muon's, each of its own length."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 4.3), layout="constrained", sharey=True)
    for ax, column, unit in zip(axes, (0, 1), ("steps", "seconds")):
        for number, row in enumerate(metrics["races"]):
            runs = [("AdamW", row["adamw"], DARK, "o-"), *(("Muon", run, MIDDLE, "s--") for run in row["muon"])]
            for index, (name, run, color, style) in enumerate(runs):
                x, y = [point[column] for point in run["curve"]], [point[2] for point in run["curve"]]
                ax.plot(x, y, style, color=color, markersize=3, linewidth=1, alpha=0.8,
                        label=name if number == 0 and index < 2 else None)  # fmt: skip
        level(ax, metrics["adamw_loss"], "AdamW's end", ax.get_xlim()[1])
        level(ax, metrics["bigram_loss"], "bigram table", ax.get_xlim()[1])
        ax.set(xlabel=f"{unit} of training (each run falls to a rate of 0 at its own end)")
    axes[0].set(ylabel="validation loss (nats a character; not from 0)")
    axes[0].legend(frameon=False)
    seeds = f"{metrics['seeds']} seeds" if metrics["seeds"] > 1 else "one seed"
    fig.suptitle(f"Muon reaches AdamW's loss in {metrics['muon_vs_adamw_steps_ratio']:.2f} of its steps and "
                 f"{metrics['muon_vs_adamw_time_ratio']:.2f} of its time ({seeds})")  # fmt: skip
    save(fig, path)


def rates(metrics, path):
    """The loss at the end of a run against its learning rate, for each optimizer of the race."""
    fig, ax = plt.subplots(figsize=(7.5, 4.3), layout="constrained")
    best = {}
    for (name, rows), color, style in zip(metrics["rates"].items(), (DARK, MIDDLE), ("o-", "s--")):
        kept = [(lr, loss) for lr, loss in rows if loss is not None]
        ax.plot(*zip(*kept), style, color=color, label=f"{name}, {len(rows)} rates")
        best[name] = min(kept, key=lambda row: row[1])[0]
    ax.set(xscale="log", xlabel="peak learning rate", ylabel="validation loss (nats a character; not from 0)")
    ax.set_ylim(top=max(ax.get_ylim()[1], metrics["bigram_loss"] + 0.05))
    level(ax, metrics["bigram_loss"], "bigram table", ax.get_xlim()[1])
    ax.set_title("Both best rates have a worse one on each side: " + ", ".join(f"{n} {lr:g}" for n, lr in best.items()))
    ax.legend(frameon=False, loc="lower left")
    save(fig, path)


def schedules(path, steps=1000, warmup=100):
    """Every row of SCHEDULES over one run."""
    fig, ax = plt.subplots(figsize=(7.5, 4.3), layout="constrained")
    for (name, schedule), dash in zip(SCHEDULES.items(), DASHES):
        more = {"anneal": 300} if name == "infinite" else {}
        label = f"{name} (anneal=300)" if more else name
        ax.plot([schedule(step, steps, warmup, 0.1, **more) for step in range(steps + 1)], linestyle=dash, label=label,
                color=DARK if name in ("stable_decay", "infinite") else MIDDLE)  # fmt: skip
    ax.axhline(0.1, color=LIGHT, linewidth=1, linestyle=":")
    ax.annotate("floor: 0.1", (0, 0.1), (4, 4), textcoords="offset points", fontsize=9)
    ax.set(xlabel="step", ylabel="share of the peak learning rate", ylim=(0, 1.05))
    ax.set_title("Two schedules hold the rate, so the end can be chosen late")
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.12, 0.12))
    save(fig, path)


def law_of(metrics):
    return Law(*(metrics[f"law_{key}"] for key in Law._fields))


def isoflop(metrics, path):
    """Loss against parameters, a curve a budget, and the law's own curves through them."""
    fig, ax = plt.subplots(figsize=(7.5, 5), layout="constrained")
    law, rows = law_of(metrics), metrics["rows"]
    budgets = {each: [row for row in rows if row["budget"] == each] for each in {row["budget"] for row in rows}}
    for number, (budget, same) in enumerate(sorted(budgets.items())):
        same.sort(key=lambda row: row["params"])
        color = plt.get_cmap("cividis")(0.85 * number / max(1, len(budgets) - 1))
        ax.plot(
            [r["params"] for r in same], [r["loss"] for r in same], "o", color=color, label=f"{budget:.0e} operations"
        )
        ax.plot([r["params"] for r in same], [law.loss(r["params"], r["tokens"]) for r in same], "--", color=color,
                linewidth=1)  # fmt: skip
    if metrics["valleys"]:
        ax.plot([n for _, n, _ in metrics["valleys"]], [loss for *_, loss in metrics["valleys"]], "k*-", markersize=9,
                linewidth=1, label="bottom of a parabola")  # fmt: skip
    ax.set(xscale="log", xlabel="parameters N (embeddings too)", ylabel="validation loss (nats a token; not from 0)")
    ax.set_title(f"The fitted law (dashes) is within {metrics['worst_residual_pct']:.1f} % of all "
                 f"{metrics['scaling_runs']} runs (dots)")  # fmt: skip
    ax.legend(frameon=False, fontsize=9)
    save(fig, path)


def frontier(metrics, held, path):
    """The lowest loss that a budget buys by the law, its interval, and the run predicted beside its measurement."""
    fig, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    law, laws = law_of(metrics), [Law(*each) for each in metrics["laws"]]
    flops = [row["flops"] for row in metrics["rows"]]
    low, high = math.log10(min(flops)), math.log10(5 * max(flops))
    budgets = [10 ** (low + (high - low) * i / 60) for i in range(61)]
    lowest = lambda each, budget: each.loss(*each.best(budget / 6))
    ax.plot(budgets, [lowest(law, b) for b in budgets], color=DARK, label="the law's lowest, with C = 6 N D")
    ax.fill_between(budgets, *zip(*[interval([lowest(each, b) for each in laws]) for b in budgets]), color=DARK,
                    alpha=0.15, linewidth=0, label="80 % of the laws of resampled runs")  # fmt: skip
    ax.plot(flops, [row["loss"] for row in metrics["rows"]], "o", color=LIGHT, markersize=4, label="runs of the sweep")
    title = "The law's frontier; the run that it predicts was not made yet"
    if held:
        ax.plot(held["run"]["flops"], held["run"]["loss"], "*", color=MIDDLE, markersize=13, label="the run predicted")
        title = (f"At {held['run']['flops'] / max(flops):.0f} times the compute: predicted {held['foretold']:.3f}, "
                 f"measured {held['run']['loss']:.3f} ({held['scaling_prediction_error_pct']:+.1f} %)")  # fmt: skip
    ax.set(
        xscale="log",
        xlabel="compute C (floating-point operations)",
        ylabel="validation loss (nats a token; not from 0)",
    )
    ax.set_title(title, fontsize=11)
    ax.legend(frameon=False, fontsize=9)
    save(fig, path)


def misses(metrics, path):
    """What the law says less what was measured, a dot a run."""
    fig, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    rows = metrics["rows"]
    wrong = [100 * r for r in residuals(law_of(metrics), [(row["params"], row["tokens"], row["loss"]) for row in rows])]
    dots = ax.scatter(
        [row["flops"] for row in rows], wrong, c=[math.log10(row["params"]) for row in rows], cmap="cividis"
    )
    fig.colorbar(dots, ax=ax, label="log10 of the parameters").outline.set_visible(False)
    ax.axhline(0, color=LIGHT, linewidth=1)
    ax.set(xscale="log", xlabel="compute (floating-point operations)", ylabel="law over measured, less 1 (%)")
    ax.set_title(f"The law misses its own runs by at most {max(map(abs, wrong)):.1f} %")
    save(fig, path)


def large(metrics, path):
    """The training loss of a model of GPT-2's size, and where it was stopped and resumed."""
    fig, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    ax.plot(*zip(*[row[:2] for row in metrics["curve"]]), color=DARK, linewidth=1, label="training loss of the step")
    level(ax, math.log(50257), "uniform guess, ln V", metrics["steps"])
    ax.axvline(metrics["resumed_at"] - 0.5, color=MIDDLE, linestyle="--", label="stopped here, built anew, resumed")
    ax.set(xlabel=f"optimizer step ({metrics['batch_tokens']:,} tokens each)", ylabel="loss (nats a token; not from 0)")
    size, end = metrics["params"] / 1e6, metrics["last_loss"]
    ax.set_title(
        f"{size:.0f} million parameters: loss {metrics['first_loss']:.1f} to {end:.1f} in {metrics['steps']} steps"
    )
    ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.9))
    save(fig, path)


def main(argv=None):
    p = drawing_parser("Draw the figures of week 10 from its results files.", __file__, preset="full")
    args = p.parse_args(argv)

    def read(job, needed=True):
        path = args.results / f"{job}-{args.preset}.json"
        return (
            read_metrics(path, f"python weeks/week10/train.py {job} --preset {args.preset}")
            if needed or path.exists()
            else None
        )

    schedules(args.out / "schedules.png")
    found = read("race")
    race(found, args.out / "race.png")
    if any(len(rows) > 1 for rows in found["rates"].values()):
        rates(found, args.out / "rates.png")
    fitted = read("law")
    isoflop(fitted, args.out / "isoflop.png")
    misses(fitted, args.out / "misses.png")
    frontier(fitted, read("predict", needed=False), args.out / "frontier.png")
    if found := read("gpt2", needed=False):
        large(found, args.out / "gpt2.png")
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
