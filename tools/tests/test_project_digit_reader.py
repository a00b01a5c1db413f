"""The digit reader reads what its own pen drew, shows what it saw, and says what to do where it cannot."""

import importlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

SEGMENTS = {  # of a seven-segment display, as lines on paper of 280 pixels
    "a": (90, 60, 190, 60), "b": (190, 60, 190, 140), "c": (190, 140, 190, 220), "d": (90, 220, 190, 220),
    "e": (90, 140, 90, 220), "f": (90, 60, 90, 140), "g": (90, 140, 190, 140),
}  # fmt: skip
DIGITS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")


@pytest.fixture(scope="module")
def read(repo_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / "projects")
        yield importlib.import_module("digit_reader.read")


def drawn(read, digit, rng):
    """A digit on paper, each end of a stroke moved a little by chance."""
    paper = read.Paper()
    for segment in DIGITS[digit]:
        paper.line(*(np.array(SEGMENTS[segment]) + rng.integers(-9, 10, 4)))
    return paper


@pytest.fixture(scope="module")
def weights(read, tmp_path_factory):
    """A folder with a small network trained on 80 drawn digits."""
    from autograd import serialize
    from autograd.data import Loader
    from autograd.optim import AdamW
    from autograd.training import train

    rng = np.random.default_rng(0)
    labels = np.arange(80) % 10
    images = np.concatenate([read.picture.as_mnist(drawn(read, d, rng).brightness) for d in labels])
    model = read.digits.mlp(rng)
    train(model, AdamW(model.parameters(), 1e-3), Loader(images, labels, batch_size=20, rng=rng), 12)
    folder = tmp_path_factory.mktemp("weights")
    serialize.save(folder / "mlp.npz", model)
    return folder


def test_it_reads_each_digit_that_was_drawn(read, weights, tmp_path, capsys):
    """All ten, saved as PNG by the window's own paper and read back; new drawings, not those of the training."""
    rng = np.random.default_rng(1)
    for digit in range(10):
        path = tmp_path / f"{digit}.png"
        drawn(read, digit, rng).save(path)
        answer = read.main([str(path), "--network", "mlp", "--weights", str(weights)])
        assert int(answer["probabilities"].argmax()) == digit
        assert answer["sentence"] in capsys.readouterr().out


def test_the_terminal_shows_the_image_and_ten_bars(read):
    """What stands beside each digit is its own probability, and ink stands where the image has it."""
    image, p = np.zeros((28, 28), np.float32), np.full(10, 0.05)
    image[4:6, 3], p[7] = 1, 0.55
    shown = read.text(image, p).splitlines()
    assert len(shown) == 14 and shown[2].startswith("│   █")
    assert "7   55.0%  ████████████████" in shown[9]
    plain = read.text(image, p, "ascii")
    assert plain.isascii() and "7   55.0%  ################" in plain


def test_not_sure_below_nine_tenths(read, monkeypatch):
    """A guess is shown as a guess: between two equal digits the reader takes no side."""
    monkeypatch.setattr(read.digits, "probabilities", lambda model, image: np.array([[0.45, 0.45] + [0.0125] * 8]))
    monkeypatch.setattr(read, "probabilities", read.digits.probabilities)
    paper = read.Paper()
    paper.line(90, 60, 190, 220)
    assert read.look(None, paper.brightness)[2].startswith("not sure; perhaps a 0 (probability 0.45)")


class FakeTk:
    """The few calls of tkinter that the window makes, written down."""

    def __init__(self):
        self.bound, self.calls, self.text = {}, [], ""

    Canvas = Label = lambda self, *args, **options: self
    StringVar = lambda self, value: self

    def bind(self, event, act):
        self.bound[event] = act

    def set(self, text):
        self.text = text

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append((name, args, options))


def test_the_window_reads_what_the_mouse_drew(read, weights, tmp_path, monkeypatch):
    """Press, drag, release for each stroke: then ten bars, the answer, a PNG that is never overwritten, and clear."""
    monkeypatch.setattr(read, "OUT", tmp_path)
    tk = FakeTk()
    window = read.Window(tk, tk, read.load(weights, "mlp"))
    tk.bound["s"](None)
    assert "blank" in tk.text and not list(tmp_path.iterdir())
    for segment in DIGITS[4]:
        x0, y0, x1, y1 = SEGMENTS[segment]
        tk.bound["<Button-1>"](SimpleNamespace(x=x0, y=y0))
        tk.bound["<B1-Motion>"](SimpleNamespace(x=x1, y=y1))
        tk.bound["<ButtonRelease-1>"](None)
    assert "a 4 (probability" in tk.text
    bars = [args for name, args, _ in tk.calls if name == "create_rectangle"][-10:]
    assert int(np.argmax([x1 - x0 for x0, _, x1, _ in bars])) == 4
    tk.bound["s"](None)
    tk.bound["s"](None)
    assert {path.name for path in tmp_path.iterdir()} == {"drawing.png", "drawing-2.png"}
    np.testing.assert_allclose(read.picture.read_png(tmp_path / "drawing.png"), window.paper.brightness, atol=0.01)
    tk.bound["c"](None)
    assert window.paper.blank


def test_a_figure_and_a_test_image(read, weights, tmp_path, capsys):
    """--mnist names the true digit beside the answer, and --figure writes a PNG."""
    pixels = (255 * (1 - drawn(read, 3, np.random.default_rng(2)).brightness[::10, ::10])).astype(np.uint8)
    head = lambda *sizes: bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(head(1, 28, 28) + pixels.tobytes())
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(head(1) + b"\3")
    options = ["--network", "mlp", "--weights", str(weights), "--data", str(tmp_path)]
    read.main(["--mnist", "0", "--figure", str(tmp_path / "f.png"), *options])
    assert "a 3 (probability" in (out := capsys.readouterr().out) and "MNIST calls it a 3" in out
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(read.Mistake, match="--mnist 1 does not exist; give a number from 0 to 0"):
        read.main(["--mnist", "1", *options])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no.png"], "no.png is no file; give the path of a PNG"),
        (["no.png", "--mnist", "1"], "not both"),
        (["--figure", "f.png"], "needs something to read"),
        ([], "no display here .* give a picture instead"),
    ],
)
def test_wrong_use_is_a_sentence(read, weights, monkeypatch, arguments, sentence):
    """Nobody without a display is left with a traceback."""
    tkinter = pytest.importorskip("tkinter")

    def no_display():
        raise tkinter.TclError("no display name and no $DISPLAY environment variable")

    monkeypatch.setattr(tkinter, "Tk", no_display)
    with pytest.raises(read.Mistake, match=sentence):
        read.main([*arguments, "--network", "mlp", "--weights", str(weights)])


def test_without_a_trained_network_it_says_which_command_makes_one(repo_root, tmp_path):
    """The first thing that a newcomer meets."""
    command = [sys.executable, "projects/digit_reader/read.py", "--mnist", "1", "--weights", str(tmp_path)]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path / 'cnn.npz'} does not exist; run: make week02\n")


def test_mine_is_the_learners_own_package(read, tmp_path, capsys):
    """--mine reads projects/<week>; where nothing of the learner's lies there, it says how to begin."""
    assert read.common.week("week05", [], tmp_path) == str(tmp_path / "weeks/week05")
    with pytest.raises(SystemExit, match=r"run: make start WEEK=01, or leave out --mine"):
        read.common.week("week01-02", ["--mine"], tmp_path)
    package = tmp_path / "projects/week01-02/autograd"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert read.common.week("week01-02", ["--mine"], tmp_path) == str(package.parent)

    def todo(argv):
        raise NotImplementedError("Day 9: Conv2d.forward")

    assert read.common.run(read.entry, todo, ["--mine"]) == 1
    assert "still to be written: Day 9: Conv2d.forward" in capsys.readouterr().err
