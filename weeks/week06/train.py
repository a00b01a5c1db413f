"""Week 6: check every hand-written backward, race it against autograd, train the tree.

python weeks/week06/train.py                      # all of it
python weeks/week06/train.py check                # the table of gradients alone: ours beside autograd's
python weeks/week06/train.py sample               # names that a trained network invents
python weeks/week06/train.py sample --help        # the options of a job
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from backprop import exam, experiment
from backprop.losses import cross_entropy_backward, cross_entropy_forward
from backprop.network import Sizes, logits_of, weights
from backprop.race import batches, race, side_by_side, update_ratios, verdict, whole_loss_apart
from backprop.vendor.makemore.names import label as label_of
from backprop.vendor.makemore.names import windows
from backprop.vendor.shared.errors import Mistake, entry
from backprop.vendor.shared.files import need
from backprop.vendor.shared.progress import bar
from backprop.vendor.shared.results import Stopwatch, command_line, models_folder, parser, save_run, thread_count

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"
FILES = {"": "names-makemore", "_ssa": "names"}  # suffix of the metrics -> folder in data/
DRAWN = ("loss_diff_f32", "loss_diff_f64", "update_ratios", "dlogits", "dlogits_targets")  # kept for one file only
MOST = 10_000  # names that a sample draws side by side
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def options(job):
    """The options that all jobs share."""
    p = parser(job.__doc__)
    p.prog = f"train.py {job.__name__}"
    return p


def files(args):
    """{suffix: path}: the one file of --data, or those of FILES that are there; the lectures measured on the first."""
    if args.data is not None:
        path = args.data / "names.txt" if args.data.is_dir() else args.data
        return {"": need(path, "make data/names, or give --data a text file with one name a line")}
    paths = {suffix: DATA / folder / "names.txt" for suffix, folder in FILES.items()}
    there = {suffix: path for suffix, path in paths.items() if path.exists()}
    return there or {"_ssa": need(paths["_ssa"], "make data/names (the lectures' own file: make data/names-makemore)")}


def label(args):
    """What the files of a run on one's own names begin with, so that they lie beside the standard ones."""
    return f"{label_of(args.data)}-" if args.data else ""


def settle(args):
    """Use as many threads as were asked for; returns how many."""
    torch.set_num_threads(thread_count(args.threads))
    return torch.get_num_threads()


# --- by hand ----------------------------------------------------------------------------------------------------------


def check(argv) -> dict:
    """Print each gradient of each hand-written backward beside autograd's: exact, approximate, largest difference."""
    args = options(check).parse_args(argv)
    settle(args)
    metrics = {}
    for name, dtype in (("f32", torch.float32), ("f64", torch.float64)):
        print(f"--- {dtype}: ours beside autograd's")
        metrics[f"manual_backprop_max_diff_{name}"] = exam.print_table(dtype, seed=args.seed)
        print(f"largest difference in {dtype}: {metrics[f'manual_backprop_max_diff_{name}']:.1e}")
    return metrics


def by_hand(names, plan, seed):
    """The metrics of the manual half: the exam, 1,000 steps beside autograd, the race. On one thread: tiny arrays."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sizes = Sizes(vocab_size=names.vocab_size)
    turns = batches(windows(names, names.train, sizes.context), sizes, plan.side_steps, seed)
    metrics, curves = {}, {}
    for name, dtype in (("f32", torch.float32), ("f64", torch.float64)):
        layers = max(exam.worst(dtype, exam.PRINTED, seed).values())
        metrics[f"manual_backprop_max_diff_{name}"] = max(layers, whole_loss_apart(sizes, turns[0], dtype, seed))
        together = side_by_side(sizes, turns, dtype, seed)
        losses, apart, moved, ratios = [], [], [], []
        with bar(together, f"beside autograd, {name}", total=len(turns), unit="step") as line:
            for step, (loss, a, m, hand) in enumerate(line):
                losses.append(loss)
                apart.append(a)
                moved.append(m)
                if step % 10 == 0:
                    ratios.append([step, *(round(ratio, 3) for ratio in update_ratios(hand).values())])
        metrics[f"manual_vs_autograd_max_loss_diff_{name}"] = max(apart)
        metrics[f"manual_vs_autograd_max_weight_diff_{name}"] = max(moved)
        tens = range(0, len(turns), 10)  # the largest of each ten steps
        curves[f"loss_diff_{name}"] = [[i, max(apart[i : i + 10])] for i in tens]
    first = weights(sizes, seed)
    logits = logits_of(sizes, first, turns[0][0])
    (dlogits,) = cross_entropy_backward(1.0, cross_entropy_forward(logits, turns[0][1])[1])
    raced = race(sizes, turns, plan.race_turns, seed=seed)
    torch.set_num_threads(threads)
    about = {
        "race_parameters": sum(value.numel() for value in first.values()),
        "race_threads": 1,
        "side_steps": plan.side_steps,
        "side_first_loss": losses[0],
        "side_last_loss": losses[-1],
        **curves,
        "update_ratios": ratios,  # of table, w1, w2
        "dlogits": [[round(x, 5) for x in row] for row in dlogits.tolist()],
        "dlogits_targets": turns[0][1].tolist(),
    }
    return metrics | verdict(raced) | about


# --- the tree ---------------------------------------------------------------------------------------------------------


class Bar:
    """A bar over all trainings of a file: loss, names' letters a second, time left."""

    def __init__(self, title, steps, rows):
        self.line = bar(total=steps, label=title, unit="step")
        self.rows, self.watch, self.done = rows, Stopwatch(), 0

    def __enter__(self):
        return self

    def __exit__(self, *stopped):
        self.line.close()

    def __call__(self, step, loss):
        self.done += 1
        pace = self.done * self.rows / self.watch.seconds
        self.line.set_postfix(loss=f"{loss:.4f}", letters_s=f"{pace:,.0f}", refresh=False)
        self.line.update()


def tree(names, plan, seed, weights_file, title):
    """Train and judge the tree on one file of names; prints as it goes."""
    with Bar(title, plan.seeds * plan.recipe.steps, plan.recipe.batch_size) as on_step:
        metrics, model = experiment.measure(names, plan, seed, weights_file, on_step)
    print(
        f"{title}: validation {metrics['wavenet_val']:.4f}, test {metrics['wavenet_test']:.4f} nats a letter "
        f"(uniform {metrics['uniform_loss']:.4f}, bigram {metrics['bigram_val']:.4f}); {weights_file}"
    )
    print("  invented:", " ".join(name or "(empty)" for name, _ in metrics["wavenet_samples"][:12]))
    return metrics, model


def train(argv) -> dict:
    """Check the gradients, train by hand beside autograd and against the clock, then train the tree on both files."""
    p = options(train)
    p.add_argument("--alphabet", default=LETTERS, help="the letters that a name may hold (default: a to z)")
    p.add_argument("--context", type=int, help="letters that the tree sees, a power of two (default: 8)")
    args = p.parse_args(argv)
    threads, watch, plan = settle(args), Stopwatch(), experiment.PLANS[args.preset]
    runs, metrics = models_folder(__file__, args.out) / args.preset, {}

    def save(name, folder=None):
        name = f"{label(args)}{name}"
        return save_run(__file__, args, argv, metrics, name=name, folder=folder, seconds=watch.seconds, threads=threads)

    try:
        data = {suffix: experiment.read(path, args.alphabet, plan.names) for suffix, path in files(args).items()}
        first = next(iter(data))
        context = plan.shape.context if args.context is None else args.context
        shape = replace(plan.shape, vocab_size=data[first].vocab_size, context=context)
        plan = replace(plan, shape=shape)
        for names in data.values():
            windows(names, names.val, shape.context)  # a context that no name fills is refused before anything runs
        size = experiment.parameters(experiment.Tree(shape))
        print(f"tree of {size:,} parameters, context {shape.context}; {len(data)} files of names, {threads} threads")
        for suffix, names in data.items():
            found = by_hand(names, plan, args.seed)
            found = {name: value for name, value in found.items() if suffix == first or name not in DRAWN}
            metrics |= {f"{name}{suffix}": value for name, value in found.items()}
        print(
            f"by hand: gradients within {metrics[f'manual_backprop_max_diff_f32{first}']:.1e} of autograd (float32), "
            f"losses within {metrics[f'manual_vs_autograd_max_loss_diff_f32{first}']:.1e} over {plan.side_steps} "
            f"steps, {metrics[f'manual_vs_autograd_time_ratio{first}']:.2f} of its time"
        )
        for suffix, names in data.items():
            title = f"{FILES[suffix]}/names.txt" if args.data is None else str(args.data)
            path = runs / f"{label(args)}tree{suffix}.safetensors"
            found, model = tree(names, plan, args.seed, path, title)
            found |= experiment.both_forms(model, names) if suffix == first else {}
            metrics |= {f"{name}{suffix}": value for name, value in found.items()}
        with Bar("batch norm's bug", 2 * plan.bug_seeds * plan.bug.steps, plan.bug.batch_size) as on_step:
            bug = experiment.bug_effect(data[first], plan, args.seed, on_step)
        metrics |= {f"{name}{first}": value for name, value in bug.items()}
    except (ValueError, FloatingPointError) as error:
        raise Mistake(str(error)) from None
    except KeyboardInterrupt:
        if not metrics:
            raise
        kept = save("interrupted", runs)
        raise KeyboardInterrupt(f"what was finished is kept: numbers in {kept}, trained trees beside them") from None
    print(f"batch norm over rows alone: validation {bug['bn_bug_val']:.4f}, repaired {bug['bn_fixed_val']:.4f}")
    file = save(args.preset)
    apart, val, bigram = (
        metrics[f"{name}{first}"] for name in ("manual_backprop_max_diff_f32", "wavenet_val", "bigram_val")
    )
    print(
        f"What it showed: gradients written by hand are autograd's to within {apart:.0e}; the tree needs {val:.3f} "
        f"nats a letter of held-out names, a table of pairs (bigram) {bigram:.3f}."
    )
    print(f"To try next, names that the tree invents: {command_line(__file__, ['sample', *sampled(args)])}")
    print(f"results: {file}")
    return metrics


def sampled(args):
    """The options of `sample` that find what this training wrote."""
    given = {"--preset": args.preset, "--data": args.data, "--out": args.out}
    return [text for name, value in given.items() if value is not None for text in (name, str(value))]


def sample(argv) -> dict:
    """Invent names with a tree that was trained before; says of each whether the preset's run knew it."""
    p = options(sample)
    p.add_argument("--count", type=int, default=20, help="how many names (default: %(default)s)")
    p.add_argument("--weights", type=Path, help="file that a training wrote (default: this preset's)")
    args = p.parse_args(argv)
    settle(args)
    if not 1 <= args.count <= MOST:
        raise Mistake(f"--count {args.count:,} cannot be drawn at once; give a number from 1 to {MOST:,}")
    suffix, file = next(iter(files(args).items()))
    default = models_folder(__file__, args.out) / args.preset / f"{label(args)}tree{suffix}.safetensors"
    path = need(args.weights or default, command_line(__file__, sampled(args)))
    try:
        model, alphabet = experiment.load_weights(path)
        names = experiment.read(file, alphabet, experiment.PLANS[args.preset].names)
    except ValueError as error:
        raise Mistake(str(error)) from None
    invented = experiment.invent(model, names, args.count, args.seed)
    answer = dict(zip(invented, experiment.origins(invented, names)))
    for name in invented:
        print(f"{name:<18} {answer[name]}")
    read = len(names.train + names.val + names.test)
    print(f"(train, val or test: among the {read:,} names of {file.name} that the {args.preset} preset reads)")
    return answer


# --- the menu ---------------------------------------------------------------------------------------------------------

JOBS = {"train": train, "check": check, "sample": sample}


def main(argv=None) -> dict:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] in (["-h"], ["--help"]):
        return menu().parse_args(argv)
    job = argv.pop(0) if argv and not argv[0].startswith("-") else "train"
    if job not in JOBS:
        menu().error(f"there is no job {job!r}; give one of {', '.join(JOBS)}")
    try:
        return JOBS[job](argv)
    except KeyboardInterrupt as stop:
        again = command_line(__file__, [job, *argv])
        raise KeyboardInterrupt(f"{str(stop) or 'no results were written'}; to start again: {again}") from None


def menu():
    return argparse.ArgumentParser(
        prog="train.py",
        usage="train.py [train|check|sample] [options of the job]",
        description=__doc__.splitlines()[0],
        epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


if __name__ == "__main__":
    sys.exit(entry(main))
