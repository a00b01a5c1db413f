"""Read a handwritten digit: from a PNG, from a window that you draw in, or from MNIST's test images.

    python projects/digit_reader/read.py                                a window to draw in
    python projects/digit_reader/read.py picture.png                    a picture of one digit
    python projects/digit_reader/read.py --mnist 17                     test image number 17
    python projects/digit_reader/read.py picture.png --figure out.png   the answer as a figure too

It needs the networks that `make week02` trains.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week01-02"))
import numpy as np
from autograd import data, digits, picture, serialize
from autograd.training import probabilities
from autograd.vendor.shared.errors import Mistake, entry
from autograd.vendor.shared.files import need

WEIGHTS = common.RUNS / "week01-02" / "models" / "default"
OUT = common.RUNS / "digit_reader"
SIDE, PEN = 280, 11  # pixels of the paper's side, and of the pen's radius


# --- reading ----------------------------------------------------------------------------------------------------------


def load(folder, network):
    """A trained network of weeks 1 and 2."""
    path = need(Path(folder) / f"{network}.npz", "make week02")
    try:
        return serialize.load(path, digits.NETWORKS[network][0](np.random.default_rng(0)))
    except ValueError as error:
        raise Mistake(f"{error}, or run: make week02") from None


def look(model, ink):
    """(H, W) brightness -> (image as the network sees it (28, 28), ten probabilities, the answer in words)."""
    image = picture.as_mnist(ink)
    return image[0, 0], probabilities(model, image)[0], digits.read(model, image)["sentence"]


def from_mnist(number, folder):
    """(28, 28) brightness and the true digit of one test image."""
    folder = Path(folder)
    images = data.read_images(folder / "t10k-images-idx3-ubyte")
    if not 0 <= number < len(images):
        raise Mistake(f"--mnist {number} does not exist; give a number from 0 to {len(images) - 1}")
    return images[number, 0].astype(float), int(data.read_labels(folder / "t10k-labels-idx1-ubyte")[number])


# --- showing ----------------------------------------------------------------------------------------------------------


def text(image, p, encoding="utf-8"):
    """The image in grey letters, two rows of pixels a line, and beside it a bar for each digit."""
    shades, full, line = " ░▒▓█", "█", "│"
    try:
        (shades + line).encode(encoding or "ascii")
    except UnicodeEncodeError:
        shades, full, line = " .+#@", "#", "|"
    pairs = image.reshape(14, 2, 28).mean(1)  # a letter is about twice as high as wide
    left = ["".join(shades[round(float(v) * (len(shades) - 1))] for v in row) for row in pairs]
    bars = [f"{d}  {p[d]:6.1%}  {full * round(30 * float(p[d]))}" for d in range(10)]
    right = ["as the network sees it, and what it thinks", "", *bars, "", ""]
    return "\n".join(f"{line}{a}{line}  {b}".rstrip() for a, b in zip(left, right))


def figure(ink, image, p, sentence, path):
    """The picture, the 28 x 28 pixels that are read, and the ten probabilities."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9, 3.2))
    paper, seen, bars = drawn.subplots(1, 3, width_ratios=(1, 1, 1.6))
    paper.imshow(ink, cmap="gray", vmin=0, vmax=1)
    paper.set_title(f"the picture, {ink.shape[1]} x {ink.shape[0]} pixels", fontsize=9)
    seen.imshow(image, cmap="gray", vmin=0, vmax=1)
    seen.set_title("as the network sees it, 28 x 28", fontsize=9)
    for axes in (paper, seen):
        axes.set_xticks([])
        axes.set_yticks([])
    best = int(p.argmax())
    bars.barh(range(10), p, color=["#b35806" if d == best else "#998ec3" for d in range(10)])
    bars.axvline(digits.UNSURE, color="black", linestyle="--", linewidth=1, label=f"sure from {digits.UNSURE:g}")
    bars.axvline(0.1, color="grey", linestyle=":", linewidth=1, label="a blind guess: 0.1")
    bars.set_yticks(range(10))
    bars.invert_yaxis()
    bars.set_xlim(0, 1.02)
    bars.set_xlabel("probability")
    bars.set_ylabel("digit")
    bars.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)  # never on a bar
    drawn.suptitle(f"The network's answer: {sentence}", fontsize=10)
    drawn.tight_layout()
    common.save_figure(drawn, path)


# --- drawing ----------------------------------------------------------------------------------------------------------


class Paper:
    """White paper (SIDE, SIDE) and a round black pen; it knows nothing of windows."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.brightness = np.ones((SIDE, SIDE))

    @property
    def blank(self):
        return bool((self.brightness == 1).all())

    def line(self, x0, y0, x1, y1):
        """Draw from one point to another: black wherever the pen's middle comes nearer than PEN."""
        rows, columns = (
            slice(max(0, min(ends) - PEN - 1), max(0, min(SIDE, max(ends) + PEN + 2))) for ends in ((y0, y1), (x0, x1))
        )  # no other pixel can be reached
        y, x = np.ogrid[rows, columns]
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        far = np.hypot(y - y0 - along * dy, x - x0 - along * dx)
        piece = self.brightness[rows, columns]
        np.minimum(piece, np.clip(far - PEN, 0, 1), out=piece)

    def save(self, path):
        from matplotlib.image import imsave

        path.parent.mkdir(parents=True, exist_ok=True)
        imsave(path, self.brightness, cmap="gray", vmin=0, vmax=1)


class Window:
    """A canvas to draw on; each time the mouse is released, the network reads what is there."""

    def __init__(self, tk, root, model):
        self.model, self.paper, self.last = model, Paper(), None
        root.title("digit reader: draw one digit")
        self.canvas = tk.Canvas(root, width=SIDE, height=SIDE, background="white")
        self.bars = tk.Canvas(root, width=SIDE, height=SIDE, background="#eeeeee")
        self.said = tk.StringVar(value="draw a digit; c clears, s saves, q quits")
        self.canvas.grid(row=0, column=0)
        self.bars.grid(row=0, column=1)
        tk.Label(root, textvariable=self.said).grid(row=1, column=0, columnspan=2)
        self.canvas.bind("<Button-1>", self.down)
        self.canvas.bind("<B1-Motion>", self.move)
        self.canvas.bind("<ButtonRelease-1>", self.up)
        for key, act in (("c", self.clear), ("s", self.save), ("q", lambda event: root.destroy())):
            root.bind(key, act)

    def down(self, event):
        self.last = event.x, event.y
        self.move(event)

    def move(self, event):
        here = event.x, event.y
        self.paper.line(*self.last, *here)
        self.canvas.create_line(*self.last, *here, width=2 * PEN, capstyle="round")
        self.canvas.create_oval(here[0] - PEN, here[1] - PEN, here[0] + PEN, here[1] + PEN, fill="black")
        self.last = here

    def up(self, event=None):
        """Read the paper and draw the ten bars."""
        self.bars.delete("all")
        try:
            _, p, sentence = look(self.model, self.paper.brightness)
        except Mistake as blank:  # a stroke outside of the paper
            self.said.set(str(blank))
            return
        best, height = int(p.argmax()), SIDE / 10
        for d, share in enumerate(p):
            top = d * height
            color = "#b35806" if d == best else "#998ec3"
            self.bars.create_text(14, top + height / 2, text=str(d))
            self.bars.create_rectangle(28, top + 4, 28 + 240 * float(share), top + height - 4, fill=color)
        self.said.set(sentence)

    def clear(self, event=None):
        self.paper.clear()
        self.canvas.delete("all")
        self.bars.delete("all")
        self.said.set("draw a digit; c clears, s saves, q quits")

    def save(self, event=None):
        if self.paper.blank:
            self.said.set("the paper is blank; draw a digit first")
            return
        path = common.free_path(OUT / "drawing.png")
        self.paper.save(path)
        self.said.set(f"saved as {path}")


def draw(model):
    """Open the window; a Mistake where there is none to open."""
    else_give = "give a picture instead: python projects/digit_reader/read.py picture.png (or --mnist 17)"
    try:
        import tkinter
    except ImportError:
        raise Mistake(f"this Python has no tkinter, which draws the window; {else_give}") from None
    try:
        root = tkinter.Tk()
    except tkinter.TclError:
        raise Mistake(f"there is no display here to draw on; {else_give}") from None
    Window(tkinter, root, model)
    print("a window is open: draw one digit in it; c clears, s saves a PNG, q quits")
    root.mainloop()


def main(argv=None):
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("picture", nargs="?", type=Path, help="a PNG with one digit on plain ground (default: a window)")
    p.add_argument("--mnist", type=int, metavar="N", help="read test image N of MNIST instead")
    p.add_argument("--network", choices=tuple(digits.NETWORKS), default="cnn", help="who reads (default: %(default)s)")
    p.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of its .npz (default: what make week02 left)")
    p.add_argument("--data", type=Path, default=common.ROOT / "data" / "mnist", help="folder of MNIST's four files")
    p.add_argument("--figure", type=Path, help="write the answer as a PNG too")
    common.add_mine(p)
    args = p.parse_args(argv)
    if args.picture and args.mnist is not None:
        raise Mistake(f"give {args.picture} or --mnist {args.mnist}, not both")
    model = load(args.weights, args.network)
    true = None
    if args.mnist is not None:
        ink, true = from_mnist(args.mnist, args.data)
    elif args.picture:
        ink = picture.read_png(args.picture)
    elif args.figure:
        raise Mistake("--figure needs something to read; give a picture, or --mnist 17")
    else:
        return draw(model)
    image, probable, sentence = look(model, ink)
    print(text(image, probable, sys.stdout.encoding))
    print(sentence if true is None else f"{sentence}; MNIST calls it a {true}")
    if args.figure:
        figure(ink, image, probable, sentence, args.figure)
        print(f"figure: {args.figure}")
    return {"sentence": sentence, "probabilities": probable}


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
