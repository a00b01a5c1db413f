"""Day 14: the two networks, the loop that trains them, the jobs of train.py, and pictures that somebody drew."""

import json

import numpy as np
import pytest
from autograd import digits, nn, picture
from autograd.data import Loader
from autograd.functional import cross_entropy
from autograd.optim import SGD, cosine
from autograd.training import probabilities, train
from autograd.vendor.shared.errors import Mistake
from week0102_digits import drawing, png, write_mnist

pytestmark = pytest.mark.day(14)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, load_script):
    """What `train.py mnist --preset smoke` leaves behind, for stand-in digits: (folder, metrics)."""
    folder = tmp_path_factory.mktemp("digits")
    data = write_mnist(folder / "mnist", train=720)
    metrics = load_script("week01-02", "train").main(
        ["mnist", "--preset", "smoke", "--data", str(data), "--out", str(folder)]
    )
    return folder, metrics


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_training_walks_epochs_and_lowers_the_rate():
    """Every epoch is reported, every step uses the cosine's rate, the optimizer's own rate is back afterwards."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 2)).astype(np.float32), np.arange(40) % 2
    x[:, 0] += 3 * y
    model = nn.Linear(2, 2, rng)
    optimizer = SGD(model.parameters(), lr=0.5)
    rates, epochs = [], []
    train(
        model, optimizer, Loader(x, y, batch_size=15), 4,
        on_step=lambda loss: rates.append(optimizer.lr), on_epoch=lambda *row: epochs.append(row),
    )  # fmt: skip
    assert len(rates) == 4 * 3 and rates[0] == 0.5 and rates == sorted(rates, reverse=True) and rates[-1] < 0.02
    assert optimizer.lr == 0.5 and [number for number, _ in epochs] == [1, 2, 3, 4]
    assert epochs[-1][1] < epochs[0][1] / 1.5
    assert (probabilities(model, x).argmax(1) == y).mean() > 0.8


def test_training_is_the_loop_written_out():
    """Forget, predict, compare, go back, step, with dropout on: bit for bit the weights of five lines."""

    def network():
        rng = np.random.default_rng(0)
        return nn.Sequential(nn.Linear(4, 8, rng), nn.relu, nn.Dropout(0.5, rng), nn.Linear(8, 3, rng))

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((10, 4)).astype(np.float32), rng.integers(0, 3, 10)
    ours, other = network(), network()
    train(ours.eval(), SGD(ours.parameters(), lr=0.3), Loader(x, y, batch_size=4), 2)
    optimizer = SGD(other.parameters(), lr=0.3)
    for step in range(6):
        rows = slice(step % 3 * 4, step % 3 * 4 + 4)
        optimizer.lr = 0.3 * cosine(step, 6)
        other.zero_grad()
        cross_entropy(other(x[rows]), y[rows]).backward()
        optimizer.step()
    for name, value in ours.state().items():
        np.testing.assert_array_equal(value, other.state()[name])


def test_a_loss_that_is_no_number_stops_before_the_weights_move():
    """Training on would turn every weight into nan; the sentence names the step and what to lower."""
    model = nn.Linear(2, 2, np.random.default_rng(0))
    before = model.weight.data
    x = np.array([[np.inf, 0.0]], np.float32)
    with pytest.raises(FloatingPointError, match="the loss is nan in step 0; use a learning rate below 0.1"):
        with np.errstate(invalid="ignore"):
            train(model, SGD(model.parameters(), lr=0.1), Loader(x, np.array([0]), batch_size=1), 1)
    assert model.weight.data is before


def test_probabilities_leave_the_mode_and_split_into_batches():
    """Dropout is off while judging and on again after it; how the inputs are cut into batches does not matter."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Dropout(0.5, rng), nn.Linear(3, 4, rng))
    x = rng.standard_normal((7, 3)).astype(np.float32)
    p = probabilities(model, x)
    assert model.training and p.shape == (7, 4)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)  # float32
    np.testing.assert_allclose(probabilities(model, x, batch_size=2), p, rtol=1e-6)


# --- the jobs ---------------------------------------------------------------------------------------------------------


def test_the_smoke_run_learns_and_writes_what_the_figures_need(trained):
    """Six hundred stand-in digits, four times: far above the 10 % of guessing, and every metric consistent."""
    folder, metrics = trained
    record = json.loads((folder / "mnist-smoke.json").read_text(encoding="utf-8"))
    assert record["metrics"] == json.loads(json.dumps(metrics))
    assert (metrics["mlp_parameters"], metrics["cnn_parameters"], metrics["images"]) == (535_818, 80_202, 600)
    for name in ("mlp", "cnn"):
        table = np.array([row.split() for row in metrics[f"{name}_confusion"]], int)
        accuracy = metrics[f"mnist_{name}_test_accuracy"]
        assert accuracy > 0.5 and accuracy == pytest.approx(np.trace(table) / 100) and table.sum() == 100
        assert metrics[f"{name}_test_accuracies"] == [accuracy] and f"mnist_{name}_test_accuracy_sd" not in metrics
        assert len(metrics[f"{name}_worst"]) == min(25, 100 - np.trace(table))
        certain = [p for _, _, p, _ in metrics[f"{name}_worst"]]
        assert certain == sorted(certain, reverse=True)
        for true, answer, _, pixels in metrics[f"{name}_worst"]:
            assert true != answer and len(bytes.fromhex(pixels)) == 28 * 28
        assert {len(bytes.fromhex(f)) for f in metrics[f"{name}_filters"]} == {{"mlp": 28 * 28, "cnn": 25}[name]}
        assert len(metrics[f"{name}_filters"]) == 16 and len(metrics[f"{name}_curve"]) == 4
        assert 0 <= metrics[f"{name}_unsure_share"] <= 1 and 0 <= metrics[f"{name}_sure_accuracy"] <= 1


def test_the_figures_are_drawn_from_the_results_alone(trained, load_script, tmp_path):
    """No data, no training: the results file has all that the figures show. Nothing to draw is a sentence."""
    figures = load_script("week01-02", "figures")
    figures.main(["--preset", "smoke", "--results", str(trained[0]), "--out", str(tmp_path / "f")])
    drawn = {path.name for path in (tmp_path / "f").iterdir()}
    assert {"mnist_curves.png", "mnist_confusion.png", "mnist_worst.png", "mnist_filters.png"} <= drawn
    with pytest.raises(Mistake, match="nothing to draw; run: python .*train.py moons --preset full --out"):
        figures.main(["--preset", "full", "--results", str(trained[0]), "--out", str(tmp_path / "f")])


def test_the_benchmark_trains_the_same_network_as_torch(load_script, tmp_path):
    """A ratio of times means nothing if the work differs: the losses are compared, and other weights are noticed."""
    bench = load_script("week01-02", "bench")
    folder = write_mnist(tmp_path, train=480, test=10)
    metrics = bench.against_torch(folder, 1, None)
    assert (metrics["mlp_epoch_images"], metrics["mlp_epoch_threads"]) == (400, 1)
    ratio = metrics["mlp_epoch_seconds"] / metrics["torch_epoch_seconds"]
    assert metrics["mlp_epoch_vs_torch_time_ratio"] == ratio > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "AdamW", lambda parameters, lr: SGD(parameters, lr))
        with pytest.raises(Mistake, match="torch_epoch and mlp_epoch do not train the same network"):
            bench.against_torch(folder, 1, None)


def test_three_seeds_give_mean_and_sd(tmp_path):
    """The sample's standard deviation, over networks that differ; the same seed gives the same network again."""
    from autograd.data import mnist

    parts = mnist(write_mnist(tmp_path, train=120, test=50))
    metrics = {}
    digits.measure(parts, digits.Preset(1, seeds=3), 5, tmp_path / "w", metrics)
    for name in ("mlp", "cnn"):
        found = metrics[f"{name}_test_accuracies"]
        assert len(found) == metrics["seeds"] == 3 and len(set(found)) > 1
        assert metrics[f"mnist_{name}_test_accuracy"] == pytest.approx(np.mean(found))
        assert metrics[f"mnist_{name}_test_accuracy_sd"] == pytest.approx(np.std(found, ddof=1))
    model, _ = digits.learn("mlp", parts, digits.Preset(1), 5)
    with np.load(tmp_path / "w" / "mlp.npz") as saved:
        assert all(np.array_equal(saved[name], value) for name, value in model.state().items())


@pytest.mark.parametrize("network", ["mlp", "cnn"])
@pytest.mark.parametrize("invert, zoom", [(False, 1), (True, 1), (True, 7)], ids=["light", "dark", "dark and large"])
def test_predict_reads_a_drawing(trained, load_script, tmp_path, capsys, network, invert, zoom):
    """Dark on light or light on dark, of any size: the same digit, with its probability."""
    pixels = np.kron(drawing(4), np.ones((zoom, zoom), np.uint8))
    path = tmp_path / "four.png"
    path.write_bytes(png(255 - pixels if invert else pixels))
    weights = str(trained[0] / "models" / "smoke")
    said = load_script("week01-02", "train").main(["predict", str(path), "--weights", weights, "--network", network])
    assert said["digit"] == 4 and 0.1 < said["probability"] <= 1
    assert f"{path}: {said['sentence']}" in capsys.readouterr().out
    assert ("not sure" in said["sentence"]) == (said["probability"] < digits.UNSURE)


def test_an_unsure_answer_says_so():
    """A network that has learned nothing gives each digit about a tenth; the answer names two and admits it."""
    model = nn.Sequential(nn.flatten, nn.Linear(784, 10, np.random.default_rng(0), lambda rng, shape: np.zeros(shape)))
    said = digits.read(model, np.zeros((1, 1, 28, 28), np.float32))
    assert said["probability"] == pytest.approx(0.1)
    assert said["sentence"].startswith("not sure; perhaps a ") and "perhaps no digit at all" in said["sentence"]


def test_missing_data_or_weights_are_a_sentence(load_script, tmp_path):
    """Each names the make target that writes what is missing, or what must be asked for."""
    main = load_script("week01-02", "train").main
    with pytest.raises(Mistake, match="train-images-idx3-ubyte does not exist; run: make data/mnist"):
        main(["mnist", "--preset", "smoke", "--data", str(tmp_path), "--out", str(tmp_path)])
    with pytest.raises(Mistake, match="--threads 0 leaves nobody to compute; give 1 or more"):
        main(["mnist", "--threads", "0", "--data", str(tmp_path)])
    (tmp_path / "a.png").write_bytes(png(drawing(1)))
    with pytest.raises(Mistake, match="cnn.npz does not exist; run: make week02"):
        main(["predict", str(tmp_path / "a.png"), "--weights", str(tmp_path)])


def test_weights_of_the_other_network_are_a_sentence(load_script, tmp_path, trained):
    """An .npz of another network lists what does not fit."""
    (tmp_path / "a.png").write_bytes(png(drawing(1)))
    (tmp_path / "cnn.npz").write_bytes((trained[0] / "models" / "smoke" / "mlp.npz").read_bytes())
    with pytest.raises(Mistake, match=r"cnn.npz: these weights are of another network \(0.bias is missing; .*make wee"):
        load_script("week01-02", "train").main(["predict", str(tmp_path / "a.png"), "--weights", str(tmp_path)])


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, sentence",
    [
        (None, "p.png is no file; give the path of a PNG that is there"),
        (b"", "p.png is empty; save the picture again"),
        (b"GIF89a" + bytes(40), "p.png is no PNG; save the picture as PNG"),
        (png(drawing(1))[:20], "p.png is no PNG"),
        (png(drawing(1), width=20_000), "p.png is 20000 x 28 pixels, more than 5000 on a side; make it smaller"),
        (png(drawing(1), height=0), "p.png begins as a PNG but cannot be read"),
        (png(drawing(1))[:50], "p.png begins as a PNG but cannot be read"),
        (png(drawing(1))[:30] + bytes(40), "p.png begins as a PNG but cannot be read"),
        (png(np.zeros((30, 30), np.uint8)), "the picture is blank"),
        (png(np.full((1, 1), 255, np.uint8)), "the picture is blank"),
    ],
)
def test_what_is_no_picture_of_a_digit_is_a_sentence(tmp_path, content, sentence):
    """Missing, empty, another format, cut short, 20,000 pixels wide (refused before it is unpacked), blank."""
    path = tmp_path / "p.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Mistake, match=sentence):
        picture.as_mnist(picture.read_png(path))


def test_a_drawing_becomes_an_image_as_mnist_has_it():
    """The longer side fills 20 pixels, the centre of mass is in the middle to half a pixel, ink is 1 on 0."""
    for size, top, left in ((28, 2, 1), (90, 60, 3), (300, 10, 280)):
        image = picture.as_mnist(drawing(7, size, top, left) / 255.0)[0, 0]
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert image.dtype == np.float32 and (image.min(), image.max()) == (0, 1)
        assert max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 == 20
        for axis in (0, 1):
            mass = image.sum(1 - axis)
            assert abs((mass * np.arange(28)).sum() / mass.sum() - 13.5) <= 0.5 + 1e-6


def test_light_and_dark_are_the_same_picture():
    """The paper is what the edge shows; ink is what differs from it."""
    light = picture.as_mnist(drawing(5, 40) / 255.0)
    np.testing.assert_allclose(picture.as_mnist(1 - drawing(5, 40) / 255.0), light, atol=1e-6)
    np.testing.assert_allclose(picture.as_mnist(0.4 + 0.2 * drawing(5, 40) / 255.0), light, atol=1e-6)  # faint


@pytest.mark.parametrize(
    "kind", ["grey", "colour", "transparent black ink", "transparent white ink", "grey, transparent"]
)
def test_every_kind_of_png(tmp_path, kind):
    """Drawing programs write all of them; transparent paper must not swallow the ink."""
    ink = drawing(2, 40)
    pixels = {
        "grey": ink,
        "colour": np.stack([ink, ink // 2, ink], -1),
        "transparent black ink": np.stack([0 * ink, 0 * ink, 0 * ink, ink], -1),
        "transparent white ink": np.stack([ink | 255, ink | 255, ink | 255, ink], -1),
        "grey, transparent": np.stack([0 * ink, ink], -1),
    }[kind]
    (tmp_path / "p.png").write_bytes(png(pixels))
    image = picture.as_mnist(picture.read_png(tmp_path / "p.png"))
    np.testing.assert_allclose(image, picture.as_mnist(ink / 255.0), atol=1e-5)


def test_averaging_keeps_the_mean_and_is_exact_for_whole_factors():
    """Shrinking 6 to 3 averages pairs, stretching 2 to 4 repeats; each row of the matrix sums to 1."""
    np.testing.assert_allclose(picture.averaging(6, 3), np.kron(np.eye(3), [[0.5, 0.5]]), atol=1e-12)
    np.testing.assert_allclose(picture.averaging(2, 4), np.kron(np.eye(2), [[1.0], [1.0]]), atol=1e-12)
    np.testing.assert_allclose(picture.averaging(7, 5).sum(1), 1, rtol=1e-12)
    x = np.random.default_rng(0).random(7)
    assert (picture.averaging(7, 5) @ x).mean() == pytest.approx(x.mean())


def test_an_interrupted_run_keeps_what_was_finished(load_script, tmp_path, monkeypatch, capsys):
    """Both networks take minutes: who stops in the second one keeps the numbers and the weights of the first."""
    script = load_script("week01-02", "train")
    learn = digits.learn

    def stop_at_cnn(name, *rest):
        if name == "cnn":
            raise KeyboardInterrupt
        return learn(name, *rest)

    monkeypatch.setattr(digits, "learn", stop_at_cnn)
    arguments = ["mnist", "--preset", "smoke", "--data", str(write_mnist(tmp_path / "data")), "--out", str(tmp_path)]
    assert script.entry(script.main, arguments) == 130
    kept = tmp_path / "models/smoke/mnist-interrupted.json"
    metrics = json.loads(kept.read_text())["metrics"]
    assert "mnist_mlp_test_accuracy" in metrics and not any("cnn" in name for name in metrics)
    assert (tmp_path / "models/smoke/mlp.npz").is_file() and not (tmp_path / "mnist-smoke.json").exists()
    assert f"what was finished is kept: weights in {kept.parent}, numbers in {kept}" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["train", "bench"])
@pytest.mark.parametrize("threads", ["0", "-1"])
def test_no_threads_compute_nothing(load_script, script, threads, tmp_path):
    """Refused before anything is measured, by the benchmark and by moons as by every other script."""
    arguments = [*(["moons"] if script == "train" else []), "--threads", threads, "--out", str(tmp_path)]
    with pytest.raises(Mistake, match=f"--threads {threads} leaves nobody to compute; give 1 or more"):
        load_script("week01-02", script).main(arguments)
    assert list(tmp_path.iterdir()) == []
