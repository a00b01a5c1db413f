"""Days 6 and 7: two moons, the loss that parts them, the training, the job, its figures and its benchmark.

The benchmark also trains the engines of week 2: those tests are of the days on which these are whole.
"""

import importlib.util
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from autograd.engine import Value
from autograd.moons import moons, objective, train
from autograd.scalar_nn import MLP
from autograd.vendor.shared.errors import Mistake, entry
from week0102_digits import write_mnist

WEEK = "week01-02"


# --- day 6: points and loss -------------------------------------------------------------------------------------------


@pytest.mark.day(6)
@pytest.mark.parametrize("n", [2, 4, 100])
def test_the_moons_are_those_of_scikit_learn(n):
    """Without noise: its make_moons written out in NumPy, with its labels 0 and 1 as -1 and 1; float64, 1e-12."""
    angles = np.linspace(0, np.pi, n // 2)
    upper = np.column_stack([np.cos(angles), np.sin(angles)])
    lower = np.column_stack([1 - np.cos(angles), 1 - np.sin(angles) - 0.5])
    points, labels = moons(n, noise=0)
    np.testing.assert_allclose(points, np.concatenate([upper, lower]), rtol=0, atol=1e-12)
    assert labels == [-1] * (n // 2) + [1] * (n // 2)


@pytest.mark.day(6)
def test_noise_has_its_standard_deviation_and_its_seed():
    """Of 2 x 2,000 numbers: the estimate is good to one in ninety, so 5 % is four times that. Another seed, others."""
    clean, noisy = np.array(moons(2000, 0)[0]), np.array(moons(2000, 0.3, seed=1)[0])
    assert (noisy - clean).std() == pytest.approx(0.3, rel=0.05)
    assert abs((noisy - clean).mean()) < 0.03
    assert moons(10, 0.3, seed=1) == moons(10, 0.3, seed=1) != moons(10, 0.3, seed=2)


@pytest.mark.day(6)
@pytest.mark.parametrize("n", [-2, 0, 1, 7])
def test_numbers_of_points_that_make_no_two_moons(n):
    """An odd one would give one moon a point more without a word."""
    with pytest.raises(ValueError, match=f"cannot have {n} points; give an even number, 2 or more"):
        moons(n)


@pytest.mark.day(6)
@pytest.mark.parametrize("noise", [-0.1, math.inf, math.nan])
def test_noise_that_is_no_standard_deviation(noise):
    """A negative one would work as its opposite; nan would make a network learn from nothing."""
    with pytest.raises(ValueError, match=f"noise {noise} is not a standard deviation; give a number that is 0 or more"):
        moons(10, noise)


def scores_as(*scores):
    """A model that gives these scores in turn, and has two parameters, 2 and -1."""

    class Model:
        def __init__(self):
            self.left = list(scores)
            self.own = [Value(2), Value(-1)]

        def __call__(self, point):
            return [Value(self.left.pop(0))]

        def parameters(self):
            return self.own

    return Model()


@pytest.mark.day(6)
def test_the_objective_by_hand():
    """Hinge: a margin of 1 or more costs nothing; the right side within the margin costs, and still counts as right.

    Scores 2 (fine), 0.4 (right, costs 0.6), 0.5 (wrong, 1.5), 0 (on the line: called -1, right, costs 1); decay
    0.1 x (4 + 1).
    """
    loss, accuracy = objective(scores_as(2, 0.4, 0.5, 0), [None] * 4, [1, 1, -1, -1], decay=0.1)
    assert loss.data == pytest.approx((0 + 0.6 + 1.5 + 1) / 4 + 0.5, rel=1e-15)
    assert accuracy == 0.75


@pytest.mark.day(6)
def test_decay_pulls_every_parameter_towards_zero():
    """Its gradient is 2 x decay x parameter, where the points have nothing to say."""
    model = scores_as(2)
    loss, _ = objective(model, [None], [1], decay=0.1)
    loss.backward()
    assert [p.grad for p in model.own] == pytest.approx([0.4, -0.2], rel=1e-15)


# --- day 7: training --------------------------------------------------------------------------------------------------


@pytest.mark.day(7)
def test_the_network_parts_the_moons_within_100_steps():
    """The network of the default run on 30 of its points, until all are right; one neuron has only a line, and cannot.

    The whole setting, 100 points and several seeds, is what the results of the full preset show.
    """
    points, labels = moons(30, noise=0.1, seed=0)
    reached = lambda sizes: max(accuracy for _, accuracy in train(MLP(sizes, seed=0), points, labels, steps=100))
    assert any(accuracy == 1 for _, accuracy in train(MLP([2, 16, 16, 1], seed=0), points, labels, steps=100))
    assert reached([2, 1]) < 0.95


@pytest.mark.day(7)
def test_the_update_is_torchs_sgd_with_momentum():
    """Six steps, every parameter: the same network in torch, its SGD, the rate falling in a line to a tenth.

    float64, a few hundred sums in another order, handed on from step to step: 1e-9.
    """
    points, labels = moons(12, seed=3)
    model = MLP([2, 4, 1], seed=1)
    layers = []
    for layer in model.layers:
        weights = torch.tensor([[w.data for w in neuron.weights] for neuron in layer.neurons], dtype=torch.float64)
        linear = torch.nn.Linear(*weights.shape[::-1], dtype=torch.float64)
        linear.weight.data, linear.bias.data = weights, torch.zeros(len(weights), dtype=torch.float64)
        layers += [linear, torch.nn.ReLU()]
    theirs = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(theirs.parameters(), lr=1, momentum=0.9)
    x, y = torch.tensor(points, dtype=torch.float64), torch.tensor(labels, dtype=torch.float64)

    for step, (loss, accuracy) in enumerate(train(model, points, labels, steps=6, rate=0.3)):
        scores = theirs(x)[:, 0]
        expected = torch.relu(1 - y * scores).mean() + 1e-4 * sum((p**2).sum() for p in theirs.parameters())
        assert loss == pytest.approx(expected.item(), rel=1e-9)
        assert accuracy == ((scores > 0) == (y > 0)).double().mean().item()
        optimizer.zero_grad()
        expected.backward()
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - 0.9 * step / 6)
        optimizer.step()
    for layer, linear in zip(model.layers, layers[::2], strict=True):
        for neuron, w, b in zip(layer.neurons, linear.weight.tolist(), linear.bias.tolist(), strict=True):
            assert [p.data for p in neuron.parameters()] == pytest.approx([*w, b], rel=1e-9)


@pytest.mark.day(7)
def test_a_step_is_yielded_before_its_update():
    """Who stops after the first step has the network as it was: the number shown belongs to the weights shown."""
    points, labels = moons(6)
    model = MLP([2, 3, 1])
    before = [p.data for p in model.parameters()]
    loss, _ = next(train(model, points, labels))
    assert [p.data for p in model.parameters()] == before and objective(model, points, labels)[0].data == loss


@pytest.mark.day(7)
def test_a_loss_that_is_no_number_stops():
    """Rate 1e200 blows up in a few steps; the sentence names the step and the rate, instead of a network of nan."""
    points, labels = moons(6)
    with pytest.raises(FloatingPointError, match=r"the loss is \w+ at step \d; give a learning rate below 1e\+200"):
        list(train(MLP([2, 3, 1]), points, labels, rate=1e200))


# --- day 7: the job ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory, load_script):
    """What `train.py moons --preset smoke` leaves behind: (folder, metrics)."""
    folder = tmp_path_factory.mktemp("moons")
    return folder, load_script(WEEK, "train").main(["moons", "--preset", "smoke", "--out", str(folder)])


@pytest.mark.day(7)
def test_the_smoke_run_writes_its_results(ran):
    """Eight steps on twenty points: the loss falls, and the file holds what was returned and all that figures need."""
    folder, metrics = ran
    record = json.loads((folder / "moons-smoke.json").read_text(encoding="utf-8"))
    assert record["metrics"] == json.loads(json.dumps(metrics))
    assert record["command"].startswith("python weeks/week01-02/train.py moons --preset smoke")
    assert (metrics["parameters"], metrics["points"], metrics["steps"], metrics["seeds"]) == (337, 20, 8, 1)
    curve = metrics["curve"]
    assert len(curve) == len(metrics["line_curve"]) == 9 and curve[-1][0] < curve[0][0]
    assert metrics["moons_accuracy"] == curve[-1][1] and metrics["line_accuracy"] == metrics["line_curve"][-1][1]
    grid = metrics["grid"]
    assert len(metrics["data"]) == 20 and [len(row) for row in grid["scores"]] == [9] * 9
    x, y, _ = zip(*metrics["data"])
    assert grid["xs"][0] < min(x) and max(x) < grid["xs"][-1] and grid["ys"][0] < min(y) and max(y) < grid["ys"][-1]
    w_x, w_y, bias = metrics["line"]
    hits = [(w_x * x + w_y * y + bias > 0) == (label > 0) for x, y, label in metrics["data"]]
    assert np.mean(hits) == metrics["line_accuracy"]


@pytest.mark.day(7)
def test_the_printed_lines_and_several_seeds(load_script, tmp_path, capsys, monkeypatch):
    """Two seeds: their mean, how many were perfect and when the last one was; the path of the results comes last."""
    script = load_script(WEEK, "train")
    monkeypatch.setitem(script.MOONS, "smoke", script.Moons(points=8, steps=60, seeds=2, grid=3))
    metrics = script.main(["moons", "--preset", "smoke", "--seed", "4", "--noise", "0.01", "--out", str(tmp_path)])
    said = capsys.readouterr().out.splitlines()
    assert "337 single numbers, 8 points, 60 steps" in said[0] and said[1].startswith("seed 4: loss")
    assert said[2].startswith("seed 5: loss") and said[-1] == f"results: {tmp_path / 'moons-smoke.json'}"
    assert metrics["seeds"] == metrics["perfect_seeds"] == 2 and metrics["moons_accuracy"] == 1
    assert 0 < metrics["first_perfect_mean"] <= metrics["first_perfect_step"] <= 60


@pytest.mark.day(7)
@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--steps", "0"], "0 steps at a learning rate of 0.3 train nothing; give both above 0"),
        (["--rate", "0"], "8 steps at a learning rate of 0 train nothing"),
        (["--rate", "nan"], "8 steps at a learning rate of nan train nothing"),
        (["--points", "1000000000"], "1,000,000,000 points are too many for single numbers"),
        (["--points", "7"], "two moons of equal size cannot have 7 points; give an even number, 2 or more"),
        (["--noise", "-1"], "noise -1.0 is not a standard deviation"),
        (["--rate", "1e200"], "the loss is .* at step .; give a learning rate below 1e.200"),
        (["--data", "points.csv"], "makes its own points, so it cannot read points.csv; leave --data out"),
    ],
)
def test_options_that_train_nothing_are_a_sentence(load_script, tmp_path, options, sentence):
    """Nothing is ignored quietly, and no results file is written."""
    with pytest.raises(Mistake, match=sentence):
        load_script(WEEK, "train").main(["moons", "--preset", "smoke", "--out", str(tmp_path), *options])
    assert not list(tmp_path.iterdir())


@pytest.mark.day(7)
def test_ctrl_c_is_status_130_and_a_sentence(load_script, tmp_path, capsys, monkeypatch):
    """As every program; the sentence says that there are no results, and what to type."""
    script = load_script(WEEK, "train")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "part_moons", interrupted)
    assert entry(script.main, ["moons", "--preset", "smoke", "--out", str(tmp_path)]) == 130
    again = f"python weeks/week01-02/train.py moons --preset smoke --out {tmp_path}"
    assert f"interrupted: no results were written; to start again: {again}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.day(7)
def test_an_interruption_keeps_the_seeds_that_were_finished(load_script, tmp_path, capsys, monkeypatch):
    """Twenty seeds take minutes: who stops in the third keeps two, as what they are, in a file of their own."""
    script = load_script(WEEK, "train")
    real = script.part_moons
    preset = script.Moons(points=8, steps=3, seeds=20, grid=3)
    monkeypatch.setitem(script.MOONS, "smoke", preset)

    def stopped(*given):
        if given[-1] == "seed 6":
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(script, "part_moons", stopped)
    argv = ["moons", "--preset", "smoke", "--seed", "4", "--out", str(tmp_path)]
    assert entry(script.main, argv) == 130
    kept = tmp_path / "models/smoke/moons-interrupted.json"
    said = capsys.readouterr().err
    assert f"interrupted: what was finished is kept: numbers of 2 of 20 seeds in {kept}" in said
    assert not (tmp_path / "moons-smoke.json").exists()
    metrics = json.loads(kept.read_text(encoding="utf-8"))["metrics"]
    monkeypatch.setattr(script, "part_moons", real)
    monkeypatch.setitem(script.MOONS, "smoke", replace(preset, seeds=2))
    whole = json.loads(json.dumps(script.main(argv)))
    assert metrics["seeds"] == 2 and not any(name.startswith("line") for name in metrics)
    assert metrics == {name: value for name, value in whole.items() if not name.startswith("line")}


@pytest.mark.day(7)
def test_an_unknown_job_is_wrong_use(load_script, capsys):
    """Status 2, and the jobs that there are."""
    with pytest.raises(SystemExit) as stop:
        load_script(WEEK, "train").main(["mars"])
    assert stop.value.code == 2 and "moons" in capsys.readouterr().err


# --- day 7: figures and benchmark -------------------------------------------------------------------------------------


@pytest.mark.day(7)
def test_figures_of_the_moons(ran, load_script, tmp_path):
    """Drawn from the results file alone; digits, which have no results here, are passed over; both graphs are there."""
    load_script(WEEK, "figures").main(["--preset", "smoke", "--results", str(ran[0]), "--out", str(tmp_path)])
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(drawn) == {"moons_boundary.png", "moons_curve.png", "graph.svg", "counterexample.svg"}
    assert all(content.startswith((b"\x89PNG", b"<svg")) for content in drawn.values())
    assert b"grad 4" in drawn["counterexample.svg"]


@pytest.mark.day(7)
def test_titles_are_read_from_the_results(load_script, tmp_path, monkeypatch):
    """A title states the finding, so other results must give another title."""
    figures, titles = load_script(WEEK, "figures"), []
    keep = lambda figure, path: titles.append(" ".join([figure.get_suptitle(), figure.axes[0].get_title()]))
    monkeypatch.setattr(figures, "save", lambda figure, path: (keep(figure, path), figures.plt.close(figure)))
    made_up = {
        "curve": [[1.0, 0.5], [0.3, 0.8], [0.1, 1.0]], "line_curve": [[1.0, 0.5], [0.6, 0.7], [0.5, 0.75]],
        "line_accuracy": 0.75, "points": 4, "parameters": 337, "line": [1, -1, 0.1],
        "data": [[0, 1, -1], [1, 0.5, -1], [0, 0, 1], [1, -0.5, 1]],
        "grid": {"xs": [-1, 0, 1], "ys": [-1, 0, 1], "scores": [[2, 2, 2], [0, 0.5, 0], [-2, -2, -2]]},
    }  # fmt: skip
    figures.draw_boundary(made_up, tmp_path / "b.png")
    figures.draw_moons_curve(made_up, tmp_path / "c.png")
    figures.draw_moons_curve(made_up | {"curve": [[1.0, 0.5], [0.9, 0.6]]}, tmp_path / "c.png")
    assert "75% right" in titles[0] and "100% right" in titles[0]
    assert "every point by step 2; one neuron ends at 75%" in titles[1] and "60% of the points" in titles[2]


@pytest.fixture
def bench(load_script, monkeypatch):
    """bench.py on 10 points instead of 100: what it does is looked at here, not how long it takes."""
    script = load_script(WEEK, "bench")
    monkeypatch.setattr(script.moons, "moons", lambda: moons(10))
    return script


@pytest.mark.day(14)
def test_the_benchmark_runs_the_same_steps_on_every_engine(bench, tmp_path):
    """Two steps on each; a ratio is that of its raw figures, which stand beside it."""
    data = write_mnist(tmp_path / "mnist", train=240, test=10)
    options = ["--steps", "2", "--images", "128", "--data", str(data), "--out", str(tmp_path)]
    metrics = bench.main(options)
    assert json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["metrics"] == metrics
    assert metrics["moons_steps"] == 2 and metrics["mlp_epoch_images"] == 128
    assert metrics["scalar_vs_tensor_time_ratio"] == metrics["moons_seconds"] / metrics["tensor_moons_seconds"]
    # ten points through 33 neurons: a dot each and, but for the last, a relu; products make two nodes a weight instead
    assert metrics["products_nodes"] - metrics["moons_nodes"] == 10 * (2 * (32 + 256 + 16) - 33)
    if importlib.util.find_spec("micrograd"):
        assert metrics["moons_vs_micrograd_time_ratio"] == metrics["moons_seconds"] / metrics["micrograd_seconds"]


@pytest.mark.day(7)
def test_the_benchmark_trains_the_same_network_as_micrograd(bench):
    """Four steps give micrograd's losses, to the rounding of sums in another order: a ratio of equal work."""
    pytest.importorskip("micrograd", reason="the peer is not installed; to compare: pip install micrograd")
    points, labels = moons(6)
    ours, theirs = (list(training(points, labels, 4)) for training in (bench.ours, bench.micrograds))
    assert ours == pytest.approx(theirs, rel=1e-9) and ours[-1] < ours[0]


@pytest.mark.day(7)
@pytest.mark.parametrize("option", ["--steps", "--images"])
def test_a_benchmark_of_nothing_is_refused(bench, option, tmp_path):
    """No steps, no ratio."""
    with pytest.raises(Mistake, match=f"{option} 0 measures nothing; give 1 or more"):
        bench.main([option, "0", "--out", str(tmp_path)])


@pytest.mark.day(7)
def test_a_race_of_unequal_work_is_a_sentence(bench):
    """Other losses or fewer steps: then a ratio of times means nothing."""
    slower = lambda points, labels, steps: (loss * 1.001 for loss in bench.ours(points, labels, steps))
    with pytest.raises(Mistake, match="second and first part at step 0; mend the slower one"):
        bench.race({"first": bench.ours, "second": slower}, 3)
    with pytest.raises(Mistake, match="second and first part at step 2"):
        bench.race({"first": bench.ours, "second": lambda x, y, steps: bench.ours(x, y, 2)}, 3)


@pytest.mark.day(12)
def test_without_micrograd_it_says_so(bench, monkeypatch, capsys):
    """A missing peer is no error: everything else is measured, and the ratio to it is left out."""
    monkeypatch.setitem(sys.modules, "micrograd.engine", None)
    metrics = bench.against_micrograd(1)
    assert "micrograd is not installed, so it is not compared; to compare: pip install" in capsys.readouterr().out
    assert "moons_vs_micrograd_time_ratio" not in metrics and metrics["scalar_vs_tensor_time_ratio"] > 0
