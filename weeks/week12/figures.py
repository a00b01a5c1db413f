"""Draw the week's figures from results/*.json (no training here): learned against forgotten, and what it costs.

python weeks/week12/figures.py                  # figures/*.png, from the full run
"""

import sys

import matplotlib

matplotlib.use("Agg")
from lora.vendor.shared.errors import Mistake, entry  # noqa: E402
from lora.vendor.shared.results import drawing_parser, read_metrics  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

# Light to dark with the rank, so that the order shows in grey as well; full fine-tuning is dashed with squares.
MARKERS = ["o", "^", "D", "v", "P"]


def learned_vs_forgot(m, path, preset):
    """Each method's way from the base (0, 0): right is good (learned), up is bad (forgot)."""
    fig, ax = plt.subplots(figsize=(8, 5.2))
    names = [f"r{rank}" for rank in m["ranks"]]
    shades, broken = plt.get_cmap("viridis_r"), 0
    for i, name in enumerate([*names, "full"]):
        way = [(0.0, 0.0)] + [(m["base"]["new"] - new, old - m["base"]["old"]) for _, new, old in m[name]["curve"]]
        full = name == "full"
        colour = "black" if full else shades(0.15 + 0.85 * i / max(1, len(names)))
        label = "full fine-tuning" if full else f"LoRA rank {name[1:]}"
        label += f" ({m[name]['parameters']:,} parameters)"
        others = [(x, y) for rate, x, y in m.get("tried", {}).get(name, []) if rate != m[name]["rate"]]
        broken += sum(x <= 0 for x, _ in others)  # far off: they would press everything else into a corner
        others = [(x, y) for x, y in others if x > 0]
        if others:
            ax.plot(
                *zip(*others), marker="s" if full else MARKERS[i % len(MARKERS)], ms=5, ls="", mfc="none", mec=colour
            )
        ax.plot(*zip(*way), color=colour, ls="--" if full else "-", lw=1.3, marker="." if not full else "", ms=5)
        ax.errorbar(*way[-1], xerr=m[name].get("learned_sd"), yerr=m[name].get("forgot_sd"), color=colour,
                    marker="s" if full else MARKERS[i % len(MARKERS)], ms=9, capsize=3, ls="", label=label)  # fmt: skip
    ax.plot(0, 0, "*", color="tab:red", ms=15, label="base model", zorder=5)
    ax.axhline(0, color="grey", lw=0.8)
    ax.set_xlabel(f"learned: fall of bits per byte on unseen {m['new'].title()}  (right is better)")
    ax.set_ylabel(f"forgot: rise of bits per byte\non unseen {m['old'].title()}  (up is worse)")
    several = any(len(t) > 1 for t in m.get("tried", {}).values())
    notes = "\nhollow: other learning rates, first seed" if several else ""
    notes += f"; not drawn: {broken} that got worse on {m['new'].title()}" if broken else ""
    found = [
        f"rank {rank} learns {m[f'r{rank}']['learned_vs_full_pct']:.0f} % and forgets "
        f"{m[f'r{rank}']['forgot_vs_full_pct']:.0f} %" for rank in sorted({min(m["ranks"]), max(m["ranks"])})
    ]  # fmt: skip
    seeds = f"means of {m['seeds']} seeds; error bars: sd" if m["seeds"] > 1 else "one seed"
    ax.set_title(
        "Compared with full fine-tuning, " + ",\n".join(found) + f" ({m['tune_steps']} steps each; {seeds}){notes}",
        fontsize=10,
    )
    ax.grid(alpha=0.3)
    ax.legend(fontsize=9)
    fig.tight_layout()
    fig.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(fig)


# --- the experiments: (metrics, path) ---------------------------------------------------------------------------------

LABELS = {"full": "full fine-tuning"}


def style(name, names):
    """Colour and marker of a method: full fine-tuning is black and dashed, ranks get darker as they grow."""
    if name == "full":
        return {"color": "black", "marker": "s", "linestyle": "--"}
    place = names.index(name)
    shade = plt.get_cmap("viridis_r")(0.15 + 0.85 * (place + 1) / len(names))
    return {"color": shade, "marker": MARKERS[place % len(MARKERS)], "linestyle": "-"}


def label(name):
    return LABELS.get(name, f"LoRA rank {name[1:]}")


def save(fig, path):
    fig.savefig(path, dpi=110, metadata={"Software": None})  # no version inside: the same data, the same bytes
    plt.close(fig)


def seeds(m):
    return f"means of {m['seeds']} seeds" if m["seeds"] > 1 else "one seed"


def frontiers(m, path):
    """Every learning rate of every method as a point; a line through those that no other rate of it beats."""
    fig, ax = plt.subplots(figsize=(8, 5.2), layout="constrained")
    for name in (*m["drawn"], "full"):
        look, points = style(name, m["drawn"]), m[name]["points"]
        kept = [(x, y) for x, y in m["frontiers"][name] if x > 0]
        ax.plot(*zip((0, 0), *kept), color=look["color"], linestyle=look["linestyle"], linewidth=1.4)
        learned = [point[1:] for point in points if point[1] > 0]
        ax.plot(*zip(*learned), color=look["color"], marker=look["marker"], markersize=6, linestyle="",
                label=f"{label(name)}, {len(points)} rates")  # fmt: skip
    ax.plot(0, 0, "*", color="tab:red", markersize=14, label="base model")
    ax.set(xlabel="learned: fall of bits per byte on unseen Bible (right is better)",
           ylabel="forgot: rise of bits per byte on unseen Shakespeare (up is worse)")  # fmt: skip
    rows = [(f"rank {name[1:]}", row) for name, row in m["beside_full"].items() if row["full"] >= 0]
    for _, row in rows:
        ax.plot([row["learned"]] * 2, [row["forgot"], row["full"]], color="#8a8a8a", linestyle=":", linewidth=1.5)
    told = [f"{name} {row['forgot']:.2f} (full {row['full']:.2f})" for name, row in rows]
    ax.set_title("Forgotten where each rank has learned most, and by full fine-tuning at equal learning (dotted):\n"
                 f"{', '.join(told)}; {seeds(m)}", fontsize=10)  # fmt: skip
    ax.grid(alpha=0.3)
    ax.legend(fontsize=9, frameon=False)
    save(fig, path)


def ranks(m, path):
    """What the best rate of each rank learns, on an axis of parameters."""
    fig, ax = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
    rows = [(m[f"r{rank}"]["parameters"], m[f"r{rank}"], rank) for rank in m["ranks"]]
    for key, look in (
        ("learned", {"color": "#1b3a5c", "marker": "o"}),
        ("forgot", {"color": "#c2571a", "marker": "s"}),
    ):
        ax.plot([n for n, _, _ in rows], [row[key] for _, row, _ in rows], label=f"LoRA: {key}", **look)
        ax.axhline(m["full"][key], color=look["color"], linestyle="--", linewidth=1, label=f"full fine-tuning: {key}")
    for n, row, rank in rows:
        ax.annotate(f"r {rank}", (n, row["learned"]), (0, 7), textcoords="offset points", ha="center", fontsize=9)
    ax.set_xscale("log")
    ax.set(xlabel="parameters that learn", ylabel="bits per byte", ylim=(0, None))
    first, last = m["ranks"][0], m["ranks"][-1]
    share = lambda rank: 100 * m[f"r{rank}"]["learned"] / m["full"]["learned"]
    ax.set_title(f"Rank {first} learns {share(first):.0f} % of what full fine-tuning learns, rank {last} "
                 f"{share(last):.0f} %\n(each at its rate with the lowest validation loss; {seeds(m)})",
                 fontsize=10)  # fmt: skip
    ax.grid(alpha=0.3)
    ax.legend(fontsize=9, frameon=False)
    save(fig, path)


def places(m, path):
    """What is learned with equally many parameters on other matrices."""
    fig, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    rows = sorted(m["places"].items(), key=lambda item: item[1]["learned"])
    names = [f"{name}, rank {row['rank']:.0f}" for name, row in rows]
    bars = ax.barh(names, [row["learned"] for _, row in rows], color="#1b3a5c", label="learned")
    ax.plot([row["forgot"] for _, row in rows], names, "s", color="#c2571a", label="forgot")
    ax.bar_label(bars, fmt="%.3f", label_type="center", color="white", fontsize=9)
    ax.set(xlabel="bits per byte", xlim=(0, 1.2 * max(max(row["learned"], row["forgot"]) for _, row in rows)))
    most, least = rows[-1], rows[0]
    ax.set_title(f"About {m['budget']:,} parameters learn {most[1]['learned']:.2f} on {most[0]}, "
                 f"{least[1]['learned']:.2f} on {least[0]} ({seeds(m)})", fontsize=10)  # fmt: skip
    ax.legend(fontsize=9, frameon=False, loc="lower right")
    save(fig, path)


def spectrum(m, path):
    """Left: singular values of the changes. Right: what full fine-tuning keeps when its change is cut."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    names = [name for name in m if name.startswith("r") and name[1:].isdigit()]
    for name in (*names, "full"):
        values = [v for v in m[name]["values"] if v > 1e-6]
        look = style(name, names)
        left.plot(range(1, len(values) + 1), values, color=look["color"], linestyle=look["linestyle"],
                  marker=look["marker"], markersize=3,
                  label=f"{label(name)}: {m[name]['directions']:.1f} hold 90 %")  # fmt: skip
    left.set(xlabel="singular value, the largest first", ylabel="its share of the change's size", yscale="log")
    left.set_title(f"Full fine-tuning changes many directions\n(means of {m['matrices']} matrices; {seeds(m)})",
                   fontsize=10)  # fmt: skip
    left.legend(fontsize=9, frameon=False)
    kept, learned, forgot = zip(*m["cuts"])
    right.plot(kept, learned, "o-", color="#1b3a5c", label="learned")
    right.plot(kept, forgot, "s--", color="#c2571a", label="forgot")
    right.set_xscale("log", base=2)
    right.set_xticks(kept, [f"{rank:.0f}" for rank in kept])
    right.set(xlabel="rank to which full fine-tuning's change of each matrix is cut", ylabel="bits per byte")
    near = next((rank for rank, value, _ in m["cuts"] if value >= 0.9 * learned[-1]), kept[-1])
    right.set_title(f"Cut to rank {near:.0f}, it keeps 90 % of what its matrices learned", fontsize=10)
    right.axhline(0, color="#8a8a8a", linewidth=0.8)
    right.legend(fontsize=9, frameon=False)
    for ax in (left, right):
        ax.grid(alpha=0.3)
    save(fig, path)


def memory(m, path):
    """Bytes of a training step, part by part."""
    fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    told = {"full": "full", "lora_fa": "LoRA-FA r 8", "dora": "DoRA r 8", "int8": "LoRA r 8 on 8 bits"}
    names = [told.get(name, f"LoRA r {name[1:]}") for name in m["bytes"]][::-1]
    rows, left = list(m["bytes"].values())[::-1], [0.0] * len(m["bytes"])
    parts = {"weights": "#1b3a5c", "gradients": "#c2571a", "optimizer": "#e3b04b", "activations": "#c9c9c9"}
    for part, colour in parts.items():
        sizes = [row[part] / 1e6 for row in rows]
        ax.barh(names, sizes, left=left, color=colour, label=part, edgecolor="white")
        left = [a + b for a, b in zip(left, sizes)]
    for name, row, end in zip(names, rows, left):
        ax.annotate(f"file {row['file'] / 1e6:.2f} MB", (end, name), (5, 0), textcoords="offset points", va="center",
                    fontsize=9)  # fmt: skip
    ax.set(xlabel="MB of one step of AdamW, float32", xlim=(0, 1.25 * max(left)))
    ax.set_title(f"Rank 8: {m['optimizer_ratio']:.0f} times less for the optimizer, a file {m['file_ratio']:.0f} times "
                 "smaller;\nactivations stay", fontsize=10)  # fmt: skip
    ax.legend(fontsize=9, frameon=False, loc="lower right")
    save(fig, path)


EXPERIMENTS = {"grid": {"frontiers": frontiers, "ranks": ranks}, "places": {"places": places},
               "spectrum": {"spectrum": spectrum}, "memory": {"memory": memory}}  # fmt: skip


def results_of(args, job):
    """The results file of an experiment: the default preset's where the asked one was not run; None without either."""
    paths = [args.results / f"{job}-{preset}.json" for preset in (args.preset, "default")]
    return next((path for path in paths if path.exists()), None)


def draw_experiments(args):
    """The figures of every job whose results are there; the others are named."""
    for job, figures in EXPERIMENTS.items():
        path, command = results_of(args, job), f"python weeks/week12/experiments.py {job}"
        if path is None:
            missing(args.results / f"{job}-{args.preset}.json", command)
            continue
        metrics = read_metrics(path, command)
        for name, draw in figures.items():
            guarded(draw, path, metrics, args.out / f"{name}.png")


def missing(path, command):
    print(f"{path} does not exist; to have its figures, run: {command} --out {path.parent}")


def guarded(draw, source, *what):
    try:
        draw(*what)
    except KeyError as error:
        raise Mistake(f"{source} is not a results file of this week ({error!r}); make it again") from None


def main(argv=None):
    args = drawing_parser(__doc__.splitlines()[0], __file__, preset="full").parse_args(argv)
    path = args.results / f"{args.preset}.json"
    command = f"python weeks/week12/train.py --preset {args.preset}"
    if path.exists() or not any(results_of(args, job) for job in EXPERIMENTS):
        metrics = read_metrics(path, command)  # where there is nothing at all, this says so
        args.out.mkdir(parents=True, exist_ok=True)
        guarded(learned_vs_forgot, path, metrics, args.out / "learned_vs_forgot.png", args.preset)
    else:
        args.out.mkdir(parents=True, exist_ok=True)
        missing(path, command)
    draw_experiments(args)
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
