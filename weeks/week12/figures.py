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


def main(argv=None):
    args = drawing_parser(__doc__.splitlines()[0], __file__, preset="full").parse_args(argv)
    path = args.results / f"{args.preset}.json"
    metrics = read_metrics(path, f"python weeks/week12/train.py --preset {args.preset}")
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        learned_vs_forgot(metrics, args.out / "learned_vs_forgot.png", args.preset)
    except KeyError as error:
        raise Mistake(f"{path} is not a results file of this week ({error!r}); run train.py again") from None
    print(f"figures: {args.out}")


if __name__ == "__main__":
    sys.exit(entry(main))
