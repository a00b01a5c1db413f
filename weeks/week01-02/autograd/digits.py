"""Two networks that read handwritten digits, how they are trained, and what is measured of them.

Every choice here (sizes, epochs, learning rates, how far images are moved) was made on the last 5,000 training images.
The test images are looked at once, by the finished network.
"""

from dataclasses import dataclass

import numpy as np

from . import augment, nn, serialize
from .data import PIXELS, Loader
from .optim import AdamW
from .training import probabilities, train
from .vendor.shared.errors import Mistake
from .vendor.shared.progress import bar
from .vendor.shared.results import Stopwatch

BATCH = 64
UNSURE = 0.9  # below this probability the answer comes with a warning


@dataclass(frozen=True)
class Preset:
    epochs: int
    seeds: int = 1
    images: int | None = None  # how many of the training images (None: all)


PRESETS = {"smoke": Preset(4, images=1_000), "default": Preset(6), "full": Preset(6, seeds=3)}


def mlp(rng):
    """784 pixels -> 512 -> 256 -> 10; 535,818 parameters. It knows nothing of which pixels are neighbours."""
    return nn.Sequential(
        nn.flatten, nn.Linear(PIXELS * PIXELS, 512, rng), nn.relu, nn.Linear(512, 256, rng), nn.relu,
        nn.Linear(256, 10, rng),
    )  # fmt: skip


def cnn(rng):
    """Two convolutions, each with a pool, then 512 -> 128 -> 10; 80,202 parameters.

    relu stands behind the pool: the maximum of relu is relu of the maximum, and there are four times fewer of it.
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, rng), nn.MaxPool2d(2), nn.relu,  # (N, 16, 12, 12)
        nn.Conv2d(16, 32, 5, rng), nn.MaxPool2d(2), nn.relu,  # (N, 32, 4, 4)
        nn.flatten, nn.Linear(512, 128, rng), nn.relu, nn.Linear(128, 10, rng),
    )  # fmt: skip


NETWORKS = {"mlp": (mlp, 1e-3), "cnn": (cnn, 2e-3)}  # name -> how it is built, its learning rate


def learn(name, parts, preset, seed):
    """Train one network on parts["train"]; returns it and [[epoch, training loss, validation accuracy], ...]."""
    build, lr = NETWORKS[name]
    rng = np.random.default_rng(seed)
    model = build(rng)
    images, labels = (array[: preset.images] for array in parts["train"])
    loader = Loader(images, labels, batch_size=BATCH, rng=rng, change=augment.distort)
    curve = []

    def on_epoch(epoch, loss):
        right = probabilities(model, parts["val"][0]).argmax(1) == parts["val"][1]
        curve.append([epoch, loss, float(right.mean())])
        line.write(f"{name}, seed {seed}, epoch {epoch}: loss {loss:.4f}, val accuracy {right.mean():.4f}")

    def on_step(loss):
        line.update(BATCH)
        line.set_postfix(loss=f"{loss:.3f}", refresh=False)

    total = preset.epochs * len(loader) * BATCH
    with bar(total=total, label=name, unit=" images") as line:
        try:
            train(model, AdamW(model.parameters(), lr), loader, preset.epochs, on_step, on_epoch)
        except FloatingPointError as error:
            raise Mistake(f"{name}, seed {seed}: {error}") from None
    return model, curve


def measure(parts, preset, seed, weights, metrics):
    """Train and judge both networks, for one seed after the other; saves the first seed's as weights/<name>.npz.

    Adds to `metrics` what is finished as soon as it is, so an interrupted run keeps it; all that a figure needs is
    among it, images and filters as text.
    """
    metrics |= {"seeds": preset.seeds, "images": len(parts["train"][0][: preset.images])}
    for name in NETWORKS:
        watch, found = Stopwatch(), []
        for s in range(seed, seed + preset.seeds):
            model, curve = learn(name, parts, preset, s)
            p = probabilities(model, parts["test"][0])
            found.append(float((p.argmax(1) == parts["test"][1]).mean()))
            metrics[f"{name}_test_accuracies"] = found
            print(f"{name}, seed {s}: test accuracy {found[-1]:.4f}")
            if s == seed:
                serialize.save(weights / f"{name}.npz", model)
                metrics |= {f"{name}_parameters": sum(t.size for t in model.parameters()), f"{name}_curve": curve}
                metrics |= {f"{name}_{key}": value for key, value in portrait(model, p, parts).items()}
        metrics[f"mnist_{name}_test_accuracy"] = float(np.mean(found))
        if len(found) > 1:
            metrics[f"mnist_{name}_test_accuracy_sd"] = float(np.std(found, ddof=1))
        metrics[f"{name}_seconds"] = watch.seconds


def portrait(model, p, parts):
    """How one network errs: p (N, 10) are its probabilities for the test images.

    confusion: rows as text, one a true digit, columns the answers. worst: the 25 answers that were most certain and
    wrong, [true, answer, probability, pixels as 1568 hexadecimal digits]. unsure_share, sure_accuracy: of the
    validation images, how many have no answer above UNSURE, and how often the others are right.
    """
    images, labels = parts["test"]
    answers = p.argmax(1)
    table = np.zeros((10, 10), int)
    np.add.at(table, (labels, answers), 1)
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-p[wrong].max(1), kind="stable")][:25]
    val = probabilities(model, parts["val"][0])
    sure = val.max(1) >= UNSURE
    return {
        "confusion": [" ".join(map(str, row)) for row in table],
        "worst": [[int(labels[i]), int(answers[i]), round(float(p[i].max()), 4), as_text(images[i, 0])] for i in worst],
        "filters": [as_text(f / abs(f).max() / 2 + 0.5) for f in first_filters(model)],
        "unsure_share": float(1 - sure.mean()),
        "sure_accuracy": float((val.argmax(1) == parts["val"][1])[sure].mean()) if sure.any() else 0.0,
    }


def read(model, image):
    """What a trained network makes of one image (1, 1, 28, 28): {"digit", "probability", "sentence"}."""
    p = probabilities(model, image)[0]
    first, second = np.argsort(-p)[:2].tolist()
    sentence = f"a {first} (probability {p[first]:.2f})"
    if p[first] < UNSURE:
        sentence = f"not sure; perhaps {sentence}, perhaps a {second} ({p[second]:.2f}), perhaps no digit at all"
    return {"digit": first, "probability": float(p[first]), "sentence": sentence}


def first_filters(model, most=16):
    """What the first units look for, as pictures: windows of a convolution, or a Linear's rows of the widest spread."""
    weight = next(iter(model.state().values()))
    if weight.ndim == 4:
        return weight[:most, 0]
    rows = weight.T[np.argsort(-weight.std(0), kind="stable")[:most]]
    return rows.reshape(-1, PIXELS, PIXELS)


def as_text(picture):
    """A picture of values from 0 to 1 as hexadecimal digits, two a pixel."""
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8).tobytes().hex()
