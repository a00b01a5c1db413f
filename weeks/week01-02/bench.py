"""Weeks 1 and 2: our time against the peers', in turn on the same machine.

python weeks/week01-02/bench.py                 # against micrograd and PyTorch, where they are installed
"""

import gc
import importlib
import math
import os
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from autograd import digits, moons
from autograd.data import Loader, mnist
from autograd.engine import topological_order
from autograd.functional import cross_entropy
from autograd.nn import Linear, Sequential, relu
from autograd.optim import SGD, AdamW
from autograd.scalar_nn import ACTIVATIONS, MLP, Neuron
from autograd.tensor import Tensor
from autograd.vendor.shared.errors import Mistake, entry
from autograd.vendor.shared.results import Stopwatch, cpu_count, finish, parser, thread_count

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"
SIZES, RATE, MOMENTUM, DECAY = [2, 16, 16, 1], 0.3, 0.9, 1e-4  # as moons.train has them
SLICE = 5  # steps that one engine goes before the next one has its turn


# --- week 1: the same training on four ways to count slopes -----------------------------------------------------------
# Each function is a generator of losses, one a step, and trains the same network from the same first weights.


def network():
    """The network of week 1 as it is: one node for each neuron's weighted sum."""
    return MLP(SIZES)


class ProductNeuron(Neuron):
    """A neuron with a node for every product and every sum, as micrograd's: twice as many nodes as it has weights."""

    def __call__(self, inputs):
        total = sum((weight * x for weight, x in zip(self.weights, inputs)), self.bias)
        return ACTIVATIONS[self.activation](total)


def product_network():
    """The same network with as many nodes as micrograd makes: what differs from it then is the engine alone."""
    model = network()
    for neuron in (neuron for layer in model.layers for neuron in layer.neurons):
        neuron.__class__ = ProductNeuron
    return model


def count(model):
    """Nodes of the graph of one step."""
    return len(topological_order(moons.objective(model, *moons.moons())[0]))


def ours(points, labels, steps):
    return (loss for loss, _ in moons.train(network(), points, labels, steps, RATE, MOMENTUM, DECAY))


def ours_with_products(points, labels, steps):
    return (loss for loss, _ in moons.train(product_network(), points, labels, steps, RATE, MOMENTUM, DECAY))


def micrograds(points, labels, steps):
    """PyPI's micrograd, with its own network and the expressions of its demo."""
    engine, nn = importlib.import_module("micrograd.engine"), importlib.import_module("micrograd.nn")
    model = nn.MLP(SIZES[0], SIZES[1:])
    parameters = model.parameters()
    for parameter, start in zip(parameters, network().parameters()):
        parameter.data = start.data
    velocity = [0.0] * len(parameters)
    for step in range(steps):
        scores = [model(list(map(engine.Value, point))) for point in points]
        losses = [(1 + -label * score).relu() for label, score in zip(labels, scores)]
        loss = sum(losses) * (1.0 / len(losses)) + DECAY * sum(p * p for p in parameters)
        yield loss.data
        model.zero_grad()
        loss.backward()
        pace = RATE * (1.0 - 0.9 * step / steps)
        for i, parameter in enumerate(parameters):
            velocity[i] = MOMENTUM * velocity[i] + parameter.grad
            parameter.data -= pace * velocity[i]


def tensors(points, labels, steps):
    """The tensor engine of week 2, all points in one array, in the float64 of the scalars."""
    pairs = [(a, b) for a, b in zip(SIZES, SIZES[1:])]
    layers = [Linear(n_in, n_out, np.random.default_rng(0)) for n_in, n_out in pairs]
    model = Sequential(layers[0], relu, layers[1], relu, layers[2])
    for ours, theirs in zip(network().layers, layers):
        weights = [[weight.data for weight in neuron.weights] for neuron in ours.neurons]
        theirs.weight = Tensor(np.array(weights).T, requires_grad=True)  # (n_in, n_out)
        theirs.bias = Tensor(np.array([neuron.bias.data for neuron in ours.neurons]), requires_grad=True)
    x, y = np.array(points), np.array(labels, float)[:, None]  # (N, 2), (N, 1)
    optimizer = SGD(model.parameters(), RATE, MOMENTUM)
    for step in range(steps):
        loss = (1 - Tensor(y) * model(Tensor(x))).relu().mean()
        for parameter in model.parameters():
            loss = loss + DECAY * (parameter * parameter).sum()
        yield loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = RATE * (1.0 - 0.9 * step / steps)
        optimizer.step()


def race(trainings, steps):
    """Seconds of each training, which all take the same steps in turns, so that a busy moment meets all alike.

    A name that ends in `_without_gc` runs with Python's garbage collector off. Raises Mistake where two trainings part:
    they would not have done the same work.
    """
    running = {name: training(*moons.moons(), steps) for name, training in trainings.items()}
    losses, seconds = {name: [] for name in trainings}, dict.fromkeys(trainings, 0.0)
    for _ in range(0, steps + 1, SLICE):  # one more than steps: after the last loss comes the last way back
        for name, training in running.items():
            gc.collect()  # nobody pays for what another left behind
            if name.endswith("_without_gc"):
                gc.disable()
            watch = Stopwatch()
            losses[name] += islice(training, SLICE)
            seconds[name] += watch.seconds
            gc.enable()
    first, *others = losses
    for name in others:
        # Sums in another order differ in the last digit, and each step hands that on; 1e-6 is far above what grows.
        wrong = [i for i, (a, b) in enumerate(zip(losses[first], losses[name])) if not math.isclose(a, b, rel_tol=1e-6)]
        if wrong or len(losses[name]) != steps:
            raise Mistake(f"{name} and {first} part at step {(wrong or [len(losses[name])])[0]}; mend the slower one")
    return seconds


def against_micrograd(steps):
    """The scalar engine against PyPI's micrograd and against the tensor engine: the same steps on the moons.

    Each scalar training runs twice, with Python's garbage collector and without: much of the difference is its work.
    """
    trainings = {"moons": ours, "products": ours_with_products}
    try:
        importlib.import_module("micrograd.engine")
        trainings["micrograd"] = micrograds
    except ImportError:
        print("micrograd is not installed, so it is not compared; to compare: pip install micrograd")
    trainings |= {f"{name}_without_gc": training for name, training in trainings.items()}
    seconds = race(trainings | {"tensor_moons": tensors}, steps)
    metrics = {"moons_steps": steps, "moons_turns": math.ceil((steps + 1) / SLICE)}
    metrics |= {f"{name}_nodes": count(model()) for name, model in (("moons", network), ("products", product_network))}
    metrics |= {f"{name}_seconds": taken for name, taken in seconds.items()}
    if "micrograd" in seconds:
        for name in ("moons", "products"):
            for end in ("", "_without_gc"):
                metrics[f"{name}_vs_micrograd{end}_time_ratio"] = seconds[name + end] / seconds["micrograd" + end]
    metrics["scalar_vs_tensor_time_ratio"] = seconds["moons"] / seconds["tensor_moons"]
    print(f"the same training on arrays is {metrics['scalar_vs_tensor_time_ratio']:.0f} times faster")
    return metrics


# --- week 2: one epoch of the MLP against PyTorch ---------------------------------------------------------------------
# Each function is a generator of losses, one a step: the same network from the same first weights, the same batches of
# 64 in the same order, AdamW, float32, as many threads. Images are not moved here: that is NumPy's work on both sides.


def our_epoch(state, batches):
    """The MLP of the digits, as the mnist job trains it."""
    model = digits.mlp(np.random.default_rng(0))
    model.load_state(state)
    optimizer = AdamW(model.parameters(), lr=1e-3)
    for images, labels in batches:
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        yield loss.item()


def torchs_epoch(state, batches, fused):
    """The same in PyTorch. fused: its optimizer in one pass over each parameter instead of one pass an operation."""
    torch = importlib.import_module("torch")
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256), torch.nn.ReLU(),
        torch.nn.Linear(256, 10),
    )  # fmt: skip
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), state.values()):
            parameter.copy_(torch.from_numpy(array.T.copy()))  # torch keeps weights as (n_out, n_in)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused)
    for images, labels in batches:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        yield loss.item()


def against_torch(folder, threads, images):
    """One epoch of the MLP over the training images, in turns of 20 steps. Raises Mistake where the losses part."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        print("torch is not installed, so it is not compared; to compare: pip install torch")
        return {}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    parts = [array[:images] for array in mnist(folder)["train"]]
    loader = Loader(*parts, batch_size=64, rng=np.random.default_rng(0))
    state = digits.mlp(np.random.default_rng(0)).state()
    batches = list(loader)
    start = lambda: {
        "mlp_epoch": our_epoch(state, batches),
        "torch_epoch": torchs_epoch(state, batches, fused=False),
        "torch_fused_epoch": torchs_epoch(state, batches, fused=True),
    }
    for training in start().values():
        next(training)  # a step that nobody is timed for: torch imports a part of itself in its optimizer's first one
    running = start()
    losses, seconds = {name: [] for name in running}, dict.fromkeys(running, 0.0)
    try:
        for _ in range(0, len(batches) + 1, 20):
            for name, training in running.items():
                watch = Stopwatch()
                losses[name] += islice(training, 20)
                seconds[name] += watch.seconds
    finally:
        torch.set_num_threads(before)
    for name, found in losses.items():
        # rounding of 1e-7 grows from step to step: the first ten losses are compared closely, the epoch by its mean
        near = np.allclose(found[:10], losses["mlp_epoch"][:10], rtol=1e-3)
        if not near or abs(np.mean(found) - np.mean(losses["mlp_epoch"])) > 0.05 * np.mean(found):
            raise Mistake(f"{name} and mlp_epoch do not train the same network; compare their first losses")
    return {
        "mlp_epoch_images": len(parts[1]),
        "mlp_epoch_threads": threads,
        **{f"{name}_seconds": taken for name, taken in seconds.items()},
        "mlp_epoch_vs_torch_time_ratio": seconds["mlp_epoch"] / seconds["torch_epoch"],
        "mlp_epoch_vs_torch_fused_time_ratio": seconds["mlp_epoch"] / seconds["torch_fused_epoch"],
    }


def main(argv=None) -> dict:
    p = parser(__doc__.splitlines()[0], data=DATA / "mnist", epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--steps", type=int, default=100, help="steps on the moons (default: %(default)s)")
    p.add_argument("--images", type=int, help="images of the epoch against PyTorch (default: all 55,000)")
    args = p.parse_args(argv)
    for name in ("steps", "images"):
        if (asked := getattr(args, name)) is not None and asked < 1:
            raise Mistake(f"--{name} {asked} measures nothing; give 1 or more")
    threads = thread_count(args.threads, int(os.environ.get("OMP_NUM_THREADS") or cpu_count()))
    if args.threads and os.environ.get("OMP_NUM_THREADS") != str(threads):
        # NumPy's matrix products read their threads once, when they are loaded, and they are: so begin anew.
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        os.execv(sys.executable, [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv)])
    watch = Stopwatch()
    metrics = against_micrograd(args.steps)
    metrics |= against_torch(args.data, threads, args.images)
    for name, value in metrics.items():
        print(f"{name:>42}  {value:.4g}")
    return finish(__file__, args, argv, metrics, preset="bench", seconds=watch.seconds, threads=threads)


if __name__ == "__main__":
    sys.exit(entry(main))
