"""Weeks 3 and 4: train the family of small language models that invent names, and judge each on names it never saw.

python weeks/week03-04/train.py                             # all models, on every standard file that is there
python weeks/week03-04/train.py --model lstm                # one model (and the bigram, its baseline)
python weeks/week03-04/train.py --data towns.txt            # a file of your own, one name a line
python weeks/week03-04/train.py --sample 20 --model lstm    # names from the weights of an earlier run
"""

import string
import sys
from pathlib import Path

import torch
from makemore import models, names
from makemore.measure import PRESETS, measure
from makemore.sample import sample, sort_samples
from makemore.vendor.shared.errors import Mistake, entry
from makemore.vendor.shared.files import atomic_write, need
from makemore.vendor.shared.results import Stopwatch, command_line, models_folder, parser, save_run, thread_count

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"
# label -> (file, what its metrics' names end with); the lectures measured on the first, so only it is compared to them
STANDARD = {"makemore": (DATA / "names-makemore" / "names.txt", ""), "ssa": (DATA / "names" / "names.txt", "_ssa")}
MOST = 10_000  # names that --sample draws side by side
KINDS = {"seen": "seen in training", "held_out": "real, but kept out of training", "new": "new"}


def options_of(argv):
    p = parser(__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2])
    p.set_defaults(data=None)
    p.add_argument("--model", choices=models.MODELS, help="train or sample this one alone (default: all; sampled: mlp)")
    p.add_argument("--sample", type=int, metavar="N", help="train nothing; print N names from this preset's weights")
    p.add_argument(
        "--alphabet", default=string.ascii_lowercase, help="letters of the file; '' takes what it holds (%(default)s)"
    )
    return p.parse_args(argv)


def files_for(args):
    """label -> (names, suffix of its metrics): the file that was asked for, or the standard ones that are there."""
    if args.data is not None:
        path = need(args.data, "make data/names, and leave --data out; or give a file with one name a line")
        if path.is_dir():
            path = need(path / "names.txt", "make data/names, and leave --data out")
        wanted = {names.label(path): (path, "")}
    else:
        wanted = {label: pair for label, pair in STANDARD.items() if pair[0].exists()}
        if not wanted:
            need(STANDARD["ssa"][0], "make data/names (or, for the lectures' own file, make data/names-makemore)")
    try:
        return {label: (names.load(path, args.alphabet or None), suffix) for label, (path, suffix) in wanted.items()}
    except ValueError as error:
        raise Mistake(str(error)) from None


def print_samples(found):
    for kind, words in found.items():
        print(f"  {KINDS[kind]} ({len(words)}): {', '.join(words) or '-'}")


def show(args, found, weights):
    """Names from saved weights, sorted by whether training showed them."""
    if not 1 <= args.sample <= MOST:
        raise Mistake(f"--sample {args.sample:,} cannot be drawn at once; give a number from 1 to {MOST:,}")
    invented = {}
    name = args.model or "mlp"
    for label, (known, _) in found.items():
        again = f"python weeks/week03-04/train.py --preset {args.preset}"
        path = need(weights / f"{label}-{name}.safetensors", again)
        try:
            model, alphabet = models.load(path)
        except ValueError as error:
            raise Mistake(str(error)) from None
        if alphabet != known.alphabet:
            raise Mistake(f"{path} knows the letters {alphabet!r}, the file {known.alphabet!r}; train on it: {again}")
        drawn = sample(model, known, args.sample, torch.Generator().manual_seed(args.seed))
        invented[label] = sort_samples(drawn, known)
        print(f"{name}, trained on {label}:")
        print_samples(invented[label])
    return invented


def report(label, name, metrics):
    """One line for a model: what it reached, and how many numbers it needed."""
    sd = f" (sd {metrics[f'{name}_val_sd']:.4f})" if metrics.get(f"{name}_val_sd") else ""
    took = f", {metrics[f'{name}_seconds']:.0f} s" if f"{name}_seconds" in metrics else ""
    print(
        f"{label:>8} {name:>15}: val {metrics[f'{name}_val']:.4f}{sd}, train {metrics[f'{name}_train']:.4f}, "
        f"{metrics[f'{name}_params']:,} numbers{took}", flush=True,
    )  # fmt: skip


def train(args, found, weights, metrics):
    """Train on every file; weights go to their files, results into `metrics`, as soon as a model is finished."""
    preset = PRESETS[args.preset]
    for label, (known, suffix) in found.items():
        print(
            f"{label}: {args.model or f'{len(models.MODELS)} models'}, {len(known.train):,} names to train on, "
            f"{len(known.val):,} to choose, {len(known.test):,} to test; cpu, {torch.get_num_threads()} threads"
        )
        for name, model, part in measure(known, preset, args.seed, args.model, f"{label} "):
            path = weights / f"{label}-{name}.safetensors"
            atomic_write(path, models.to_bytes(name, model, known.alphabet))
            metrics |= {f"{key}{suffix}": value for key, value in part.items()}
            report(label, name, part)
        last = metrics[f"{name}_samples{suffix}"]
        print(f"{label}: names that {name} invents")
        print_samples(last)


def print_finding(found, metrics, command):
    """What the run showed on its first file, and what to type next."""
    label, (_, suffix) = next(iter(found.items()))
    ends = {name: metrics[f"{name}_val{suffix}"] for name in models.MODELS if f"{name}_val{suffix}" in metrics}
    best = min(ends, key=ends.get)
    print(
        f"What it showed: on held-out names of {label}, {best} needs {ends[best]:.3f} nats a letter; counting pairs "
        f"of letters (bigram) {ends['bigram']:.3f}, a blind guess {metrics[f'uniform_loss{suffix}']:.3f}."
    )
    print(f"To try next, names that it invents: {command} --sample 20 --model {best}")


def main(argv=None) -> dict:
    argv = sys.argv[1:] if argv is None else argv
    args = options_of(argv)
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    watch, found = Stopwatch(), files_for(args)
    weights = models_folder(__file__, args.out) / args.preset
    if args.sample is not None:
        return show(args, found, weights)
    # a run on one model, or on a file of one's own, must not take the place of the whole family's results
    own = list(found) if args.data else []
    stem = "-".join([*own, *([args.model] if args.model else []), args.preset])

    metrics = {}

    def save(name, folder=None):
        return save_run(__file__, args, argv, metrics, name=name, folder=folder, seconds=watch.seconds, threads=threads)

    try:
        train(args, found, weights, metrics)
    except KeyboardInterrupt:
        if not metrics:
            raise KeyboardInterrupt("no model was finished, so nothing was written") from None
        path = save(f"{stem}-interrupted", weights)
        raise KeyboardInterrupt(f"what was finished is kept: weights in {weights}, numbers in {path}") from None
    except (ValueError, FloatingPointError) as error:
        raise Mistake(str(error)) from None
    path = save(stem)
    print_finding(found, metrics, command_line(__file__, argv))
    print(f"results: {path}")
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
