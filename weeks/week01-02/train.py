"""Weeks 1 and 2: train what the two engines of this folder can train.

python weeks/week01-02/train.py moons                     # a network of single numbers parts two moons
python weeks/week01-02/train.py mnist                     # networks of arrays read handwritten digits
python weeks/week01-02/train.py predict picture.png       # ... one that you drew
python weeks/week01-02/train.py moons --help              # the options of a job
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from autograd.moons import moons as two_moons
from autograd.moons import objective, train
from autograd.scalar_nn import MLP
from autograd.vendor.shared.errors import Mistake, entry
from autograd.vendor.shared.files import need
from autograd.vendor.shared.progress import bar
from autograd.vendor.shared.results import (
    Stopwatch,
    command_line,
    cpu_count,
    models_folder,
    parser,
    save_run,
    thread_count,
)

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"


# --- week 1: moons ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moons:
    points: int = 100
    steps: int = 100
    seeds: int = 1  # networks and data, each pair from a seed of its own
    grid: int = 41  # scores of grid x grid places, for the figure


MOST = 10_000  # points; a step of these takes seconds
MOONS = {"smoke": Moons(points=20, steps=8, grid=9), "default": Moons(), "full": Moons(seeds=20)}


def part_moons(model, points, labels, steps, rate, title):
    """Train `model`; returns its curve [(loss, accuracy)] of steps + 1 rows, the last one after the last update."""
    curve, watch = [], Stopwatch()
    steps_of = train(model, points, labels, steps, rate)
    with bar(steps_of, title, total=steps, unit="step") as line:
        for loss, accuracy in line:
            curve.append((loss, accuracy))
            pace = len(points) * len(curve) / watch.seconds
            line.set_postfix(loss=f"{loss:.4g}", points_s=f"{pace:,.0f}", refresh=False)
    loss, accuracy = objective(model, points, labels)
    return [*curve, (loss.data, accuracy)]


def first_perfect(curve):
    """The first step with every point on its side, or None."""
    return next((step for step, (_, accuracy) in enumerate(curve) if accuracy == 1), None)


def scores_on_grid(model, points, side):
    """The network's score on side x side places that cover the points with a margin: what the figure colours."""
    (left, right), (low, high) = ((min(axis) - 0.5, max(axis) + 0.5) for axis in zip(*points))
    xs, ys = ([a + (b - a) * i / (side - 1) for i in range(side)] for a, b in ((left, right), (low, high)))
    return {"xs": xs, "ys": ys, "scores": [[round(model([x, y])[0].data, 2) for x in xs] for y in ys]}


def summary(runs, side):
    """The metrics of finished runs [(curve, model, points, labels), ...]; what figures show is the first one's."""
    perfect = [first_perfect(curve) for curve, *_ in runs if curve[-1][1] == 1]
    curve, model, points, labels = runs[0]
    return {
        "moons_accuracy": mean(curve[-1][1] for curve, *_ in runs),
        "moons_loss": mean(curve[-1][0] for curve, *_ in runs),
        "points": len(points),
        "steps": len(curve) - 1,
        "parameters": len(model.parameters()),
        "seeds": len(runs),
        "perfect_seeds": len(perfect),
        **({"first_perfect_step": max(perfect), "first_perfect_mean": mean(perfect)} if perfect else {}),
        "curve": [[round(loss, 5), accuracy] for loss, accuracy in curve],
        "data": [[round(x, 4), round(y, 4), label] for (x, y), label in zip(points, labels)],
        "grid": scores_on_grid(model, points, side),
    }


def moons(argv) -> dict:
    """Part the two moons with a network of single numbers, and draw a line (one neuron) beside it."""
    p = parser(moons.__doc__)
    p.prog = "train.py moons"
    p.add_argument("--points", type=int, help="how many points (default: 100; smoke: 20)")
    p.add_argument("--steps", type=int, help="how many steps of gradient descent (default: 100; smoke: 8)")
    p.add_argument("--noise", type=float, default=0.1, help="standard deviation of the noise (default: %(default)s)")
    p.add_argument("--rate", type=float, default=0.3, help="learning rate at the start (default: %(default)s)")
    args = p.parse_args(argv)
    if args.data is not None:
        raise Mistake(f"the moons job makes its own points, so it cannot read {args.data}; leave --data out")
    thread_count(args.threads)  # single numbers keep one thread busy, however many may be used
    preset, watch = MOONS[args.preset], Stopwatch()
    count = preset.points if args.points is None else args.points
    steps = preset.steps if args.steps is None else args.steps
    if steps < 1 or not args.rate > 0:
        raise Mistake(f"{steps} steps at a learning rate of {args.rate:g} train nothing; give both above 0")
    if count > MOST:
        raise Mistake(f"{count:,} points are too many for single numbers in pure Python; give at most {MOST:,}")
    runs = []

    def save(metrics, name, folder=None):
        return save_run(
            __file__, args, ["moons", *argv], metrics, name=name, folder=folder, seconds=watch.seconds, threads=1
        )

    try:
        for seed in range(args.seed, args.seed + preset.seeds):
            points, labels = two_moons(count, args.noise, seed)
            model = MLP([2, 16, 16, 1], seed=seed)
            if not runs:
                size = len(model.parameters())
                print(f"moons: MLP 2-16-16-1 of {size} single numbers, {count} points, {steps} steps, pure Python")
            curve = part_moons(model, points, labels, steps, args.rate, f"seed {seed}")
            runs.append((curve, model, points, labels))
            print(f"seed {seed}: loss {curve[-1][0]:.4f}, {curve[-1][1]:.1%} right", end="")
            print(f", all of them first after {first_perfect(curve)} steps" if first_perfect(curve) is not None else "")
        _, _, points, labels = runs[0]
        neuron = MLP([2, 1], seed=args.seed)
        line = part_moons(neuron, points, labels, steps, args.rate, "one neuron")
    except (ValueError, FloatingPointError) as error:
        raise Mistake(str(error)) from None
    except KeyboardInterrupt:
        if not runs:
            raise
        folder = models_folder(__file__, args.out) / args.preset
        path = save(summary(runs, preset.grid), "moons-interrupted", folder)
        said = f"what was finished is kept: numbers of {len(runs)} of {preset.seeds} seeds in {path}"
        raise KeyboardInterrupt(said) from None
    print(f"one neuron, a straight line: {line[-1][1]:.1%} right")
    metrics = summary(runs, preset.grid) | {
        "line_accuracy": line[-1][1],
        "line_curve": [[round(loss, 5), accuracy] for loss, accuracy in line],
        "line": [round(parameter.data, 5) for parameter in neuron.parameters()],  # w_x, w_y, bias
    }
    path = save(metrics, f"moons-{args.preset}")
    print(
        f"What it showed: {metrics['parameters']} numbers in three layers get {metrics['moons_accuracy']:.1%} of the "
        f"points right, a straight line {line[-1][1]:.1%}."
    )
    print("To try next, moons that overlap: python weeks/week01-02/train.py moons --noise 0.3")
    print(f"results: {path}")
    return metrics


# --- week 2: digits ---------------------------------------------------------------------------------------------------
# Each job is a function from its own arguments to the metrics that it wrote, and a row of JOBS. Keep the work in the
# package and only options, printing and results here. NumPy is imported by the jobs that need it, after the number of
# threads is settled: its matrix products read that once, when they are loaded.


def threads_of(asked):
    """How many threads matrix products will use: those asked for, or else what the environment or the machine says."""
    threads = thread_count(asked, int(os.environ.get("OMP_NUM_THREADS") or cpu_count()))
    if asked:
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(asked))
    return threads


def mnist(argv) -> dict:
    """Train a multilayer perceptron and a small convolutional network on MNIST, and judge both on its test images."""
    p = parser(mnist.__doc__, data=DATA / "mnist")
    p.prog = "train.py mnist"
    args = p.parse_args(argv)
    threads = threads_of(args.threads)
    from autograd import data, digits

    watch, preset = Stopwatch(), digits.PRESETS[args.preset]
    parts = data.mnist(args.data)
    sizes = ", ".join(f"{len(labels)} {name}" for name, (_, labels) in parts.items())
    print(f"mnist: MLP and CNN in NumPy, {sizes} images, {preset.epochs} epochs of them, {threads} threads")
    weights, metrics = models_folder(__file__, args.out) / args.preset, {}

    def save(name, folder=None):
        return save_run(
            __file__, args, ["mnist", *argv], metrics, name=name, folder=folder, seconds=watch.seconds, threads=threads
        )

    try:
        digits.measure(parts, preset, args.seed, weights, metrics)
    except KeyboardInterrupt:
        if not any(name.endswith("_accuracies") for name in metrics):
            raise
        path = save("mnist-interrupted", weights)
        raise KeyboardInterrupt(f"what was finished is kept: weights in {weights}, numbers in {path}") from None
    path = save(f"mnist-{args.preset}")
    mlp, cnn = (metrics[f"mnist_{name}_test_accuracy"] for name in digits.NETWORKS)
    share = metrics["cnn_parameters"] / metrics["mlp_parameters"]
    print(f"What it showed: the MLP reads {mlp:.2%} of the test images, the CNN {cnn:.2%}, at {share:.0%} of its size.")
    again = command_line(__file__, ["predict", "picture.png", "--weights", str(weights)])
    print(f"To try next, a digit that you draw: {again}")
    print(f"results: {path}")
    return metrics


def predict(argv) -> dict:
    """Say which digit a PNG shows: any size, dark on light or light on dark."""
    p = argparse.ArgumentParser(description=predict.__doc__, prog="train.py predict")
    p.add_argument("picture", type=Path, help="a PNG with one digit on plain ground")
    p.add_argument("--network", choices=("mlp", "cnn"), default="cnn", help="who reads it (default: %(default)s)")
    weights = models_folder(__file__) / "default"
    p.add_argument("--weights", type=Path, default=weights, help="folder that the mnist job wrote (%(default)s)")
    args = p.parse_args(argv)
    import numpy as np
    from autograd import digits, picture, serialize

    image = picture.as_mnist(picture.read_png(args.picture))
    path = need(args.weights / f"{args.network}.npz", "make week02")
    try:
        model = serialize.load(path, digits.NETWORKS[args.network][0](np.random.default_rng(0)))
    except ValueError as error:
        raise Mistake(f"{error}, or run: make week02") from None
    answer = digits.read(model, image)
    print(f"{args.picture}: {answer['sentence']}")
    return answer


# --- the menu ---------------------------------------------------------------------------------------------------------

JOBS = {"moons": moons, "mnist": mnist, "predict": predict}


def main(argv=None) -> dict:
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("job", choices=JOBS, help="what to train or to try")
    p.add_argument("options", nargs=argparse.REMAINDER, help="options of that job")
    args = p.parse_args(argv)
    try:
        return JOBS[args.job](args.options)
    except KeyboardInterrupt as stop:
        again = command_line(__file__, [args.job, *args.options])
        said = str(stop) or f"no results were written; to start again: {again}"
        raise KeyboardInterrupt(said) from None


if __name__ == "__main__":
    sys.exit(entry(main))
