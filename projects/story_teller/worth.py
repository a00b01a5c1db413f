"""What is the choice worth? Over 40 common names: the share of drafts that pass each rule, and of the chosen ones.

    python projects/story_teller/worth.py --preset smoke                        seconds; its numbers mean nothing
    python projects/story_teller/worth.py --out weeks/week14/results            what the page quotes; some minutes

Every child gets a friend and a thing to see, from the same lists. Chosen is one story a name, by the rules of rules.py.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week14"))
import torch
from nanogpt.sources import open_model
from nanogpt.vendor.shared.errors import entry
from nanogpt.vendor.shared.results import Stopwatch, folder_to_fill, seed_number, thread_count, write_results
from rules import RULES, Cast, broken, ranked
from tell import DRAFTS, guessed_sex, write_drafts

OUT = common.RUNS / "story_teller"
GIRLS = """Mia Emma Olivia Ava Sophia Isabella Charlotte Amelia Evelyn Abigail Ella Chloe Grace Hannah Zoe Aaliyah Maya
Fatima Ingrid Yuki""".split()
BOYS = """Tom Ben Liam Noah Oliver Elijah James William Lucas Henry Alexander Daniel Michael Theo Oscar Mateo Ali Omar
Kofi Sanjay""".split()
THINGS = ("a red kite", "a small boat", "a lost puppy", "a big box", "a shiny key")
PRESETS = {  # names of each list, drafts a name, new tokens at most (None: as many as the context holds)
    "smoke": (2, 2, 24),
    "default": (20, DRAFTS, None),
    "full": (20, 4 * DRAFTS, None),
}


def casts(most):
    """The first `most` girls and boys; the friend is a child of the other list."""
    pairs = list(zip(GIRLS, BOYS))[:most]
    wishes = [(girl, "girl", boy) for girl, boy in pairs] + [(boy, "boy", girl) for girl, boy in pairs]
    return [Cast(*wish, THINGS[i % len(THINGS)]) for i, wish in enumerate(wishes)]


def shares(judged):
    """{rule: share of the drafts that pass it} and "all", from a list of (draft, broken rules)."""
    passes = {rule: sum(rule not in rules for _, rules in judged) / len(judged) for rule in RULES}
    return passes | {"all": sum(not rules for _, rules in judged) / len(judged)}


def metrics(told, drafts):
    """Before and after choosing, of casts and the drafts of each."""
    every = [(draft, broken(cast, draft)) for cast, some in zip(told, drafts) for draft in some]
    chosen = [ranked(cast, some)[0] for cast, some in zip(told, drafts)]
    before, after = shares(every), shares(chosen)
    return {
        "names": len(told),
        "drafts_per_name": len(drafts[0]),
        "before": before,
        "after": after,
        "names_kept_before": before["name"],
        "names_kept_after": after["name"],
        "nats_per_token_before": sum(draft.nats for draft, _ in every) / len(every),
        "nats_per_token_after": sum(draft.nats for draft, _ in chosen) / len(chosen),
    }


def parser():
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("--preset", choices=PRESETS, default="default", help="how long to run (default: %(default)s)")
    p.add_argument("--seed", type=seed_number, default=0, help="seed of the drafts (default: %(default)s)")
    p.add_argument(
        "--out", type=folder_to_fill, default=OUT, help="folder for the results (default: runs/story_teller)"
    )
    p.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    p.add_argument("--model", default="story", help="what nanogpt opens (default: the one that comes with it)")
    common.add_mine(p)
    return p


def main(argv=None):
    """Draw, judge, write; returns the metrics."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv)
    threads, watch = thread_count(args.threads), Stopwatch()
    torch.set_num_threads(threads)
    most, n, length = PRESETS[args.preset]
    told, loaded = casts(most), open_model(args.model, fold=True)
    print(f"the story teller: {len(told)} names, {n} drafts each, of {args.model}; {threads} threads", flush=True)
    found = metrics(told, write_drafts(loaded, told, n, args.seed, length=length))
    found["sex_guessed_right"] = sum(guessed_sex(loaded, cast.name) == cast.sex for cast in told) / len(told)
    path = write_results(
        args.out / f"teller-{args.preset}.json",
        command=shlex.join(["python", "projects/story_teller/worth.py", *argv]),
        preset=args.preset,
        seed=args.seed,
        seconds=watch.seconds,
        metrics=found,
        threads=threads,
    )
    print("\nshare that passes    drafts  chosen")
    for rule in (*RULES, "all"):
        print(f"{rule:19}  {found['before'][rule]:6.0%}  {found['after'][rule]:6.0%}")
    kept = f"{found['names_kept_before']:.0%} of the drafts, {found['names_kept_after']:.0%} of the chosen stories"
    print(f"\nnames kept to the end: {kept}\nresults: {path}")
    return found


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
