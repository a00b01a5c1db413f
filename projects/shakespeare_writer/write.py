"""Write on in Shakespeare's manner, with a GPT that is trained here once, and see where it looked.

    python projects/shakespeare_writer/write.py "ROMEO:"
    python projects/shakespeare_writer/write.py "To be, or not to " --length 300 --temperature 0.7 --stop "\\n\\n"
    python projects/shakespeare_writer/write.py "ROMEO:" --picture romeo.png     where did it look?

The first call trains the model and keeps it below runs/shakespeare_writer/; the next ones start at once.
"""

import argparse
import hashlib
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week07-08"))
import torch
from gpt import loop, text
from gpt.attention import attention_maps
from gpt.model import GPT, GPTConfig
from gpt.stops import write
from gpt.vendor.shared.errors import Mistake, entry
from gpt.vendor.shared.files import atomic_write, need
from gpt.vendor.shared.progress import bar
from safetensors import SafetensorError
from safetensors.torch import load, save

OUT = common.RUNS / "shakespeare_writer"
DATA = common.ROOT / "data/shakespeare"
BLOCK, BATCH = 128, 16
JUDGED = 20_000  # tokens of held-out text that the printed loss is of
SHOWN = 40  # characters in the picture: more could not be read


def train(characters, tokens, steps):
    """A GPT of half a million parameters; the recipe is that of the week, shorter."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(len(characters), BLOCK, 4, 4, 96))
    recipe = loop.Recipe(steps, BATCH, lr=3e-3, min_lr=3e-5, warmup=min(100, steps // 4))
    with bar(total=steps, label="training", unit="step") as line:
        for _, loss in loop.train(model, tokens, recipe, seed=0):
            line.update()
            line.set_postfix_str(f"loss {loss:.3f}", refresh=False)
    return model


def ready(characters, tokens, steps, data):
    """The model of an earlier call, or one that is trained now. Other text, or other steps: another model."""
    content = hashlib.sha256((data / "train.txt").read_bytes()).hexdigest()[:8]
    file = OUT / f"{content}-{steps}.safetensors"
    if not file.exists():
        print(f"a GPT learns from {len(tokens):,} characters of {data}, {steps} steps")
        try:
            model = train(characters, tokens, steps)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the training was not finished, so no model was kept; start again") from None
        atomic_write(file, save({name: p.detach() for name, p in model.named_parameters()}))  # the tied head once
        print(f"kept in {file}")
        return model
    model = GPT(GPTConfig(len(characters), BLOCK, 4, 4, 96))
    try:
        weights = load(file.read_bytes())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise Mistake(f"{file} holds no model of this program ({error}); delete it, and a new one is trained") from None
    return model


def surest(maps):
    """(layer, head) whose rows have the largest single shares on average; maps (n_layer, 1, n_head, T, T).

    The first rows are left out: with one or two places to look at, every head is sure.
    """
    score = maps[:, 0, :, 4:].amax(dim=-1).mean(dim=-1)  # (n_layer, n_head)
    return divmod(score.argmax().item(), score.shape[1])


def draw_picture(model, characters, written, path):
    """The map of the head that is surest of where to look, over the last characters of the text."""
    from matplotlib.figure import Figure

    shown = written[-SHOWN:]
    maps = attention_maps(model.eval(), torch.tensor([characters.encode(shown)]))
    layer, head = surest(maps)
    shares = maps[layer, 0, head]  # (T, T)
    back = shares.diagonal(-1).mean().item()
    figure = Figure(figsize=(8, 7))
    axes = figure.subplots()
    image = axes.imshow(100 * shares.numpy(), cmap="Purples", vmin=0, vmax=100)
    labels = [c.replace("\n", "\u21b5") for c in shown]
    axes.set_xticks(range(len(shown)), labels, fontsize=7)
    axes.set_yticks(range(len(shown)), labels, fontsize=7)
    axes.set_xlabel("character that is looked at")
    axes.set_ylabel("character that looks")
    axes.set_title(
        f"The surest of its heads (layer {layer + 1}, head {head + 1}) gives {back:.0%} to the character before",
        fontsize=9,
    )
    figure.colorbar(image, shrink=0.8, label="share of attention (%); a row sums to 100")
    common.save_figure(figure, path)


def options(argv):
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("prompt", nargs="?", default="ROMEO:", help="how the text begins (default: %(default)s)")
    p.add_argument("--length", type=common.whole, default=400, help="characters at most (default: %(default)s)")
    p.add_argument("--temperature", type=float, default=0.8, help="0: the likeliest, above 1: wild (default: 0.8)")
    p.add_argument("--top-p", type=float, default=0.95, help="mass of the likeliest that stay (default: 0.95)")
    p.add_argument("--stop", action="append", default=[], help="end before this text; may be given several times")
    p.add_argument("--seed", type=int, default=0, help="another number, another text (default: %(default)s)")
    p.add_argument("--steps", type=common.whole, default=800, help="of the training (default: %(default)s)")
    p.add_argument("--data", type=Path, default=DATA, help="folder with train.txt and val.txt")
    p.add_argument("--picture", type=Path, help="draw the attention of what was written, as PNG")
    p.add_argument("--threads", type=common.whole, default=1, help="CPU threads (default: %(default)s)")
    common.add_mine(p)
    args = p.parse_args(argv)
    if not args.prompt or not all(args.stop):
        raise Mistake("an empty prompt or stop string says nothing; give one character or more")
    return args


def main(argv=None):
    args = options(argv)
    torch.set_num_threads(args.threads)
    characters, training, held_out = text.load(need(args.data, "make data/shakespeare"))
    model = ready(characters, training.tokens, args.steps, args.data)
    judged = held_out.tokens[:JUDGED]
    print(f"{loop.evaluate(model, judged):.3f} nats a character on held-out text; "
          f"a blind guess {math.log(len(characters)):.3f}\n")  # fmt: skip
    unknown = "".join(sorted({c for c in args.prompt if c not in characters.ids}))
    if unknown:
        print(f"(training never showed {unknown!r}; the model reads each as one unseen character)\n")
    written = args.prompt
    print(args.prompt, end="", flush=True)
    stops = [text.SEPARATOR, *(stop.replace("\\n", "\n") for stop in args.stop)]  # the first: where a work ends
    generator = torch.Generator().manual_seed(args.seed)
    try:
        for piece in write(model, characters, args.prompt, args.length, stops=stops, temperature=args.temperature,
                           top_p=args.top_p, generator=generator):  # fmt: skip
            written += piece
            print(piece, end="", flush=True)
    except ValueError as error:
        raise Mistake(str(error)) from None
    print()
    if args.picture:
        draw_picture(model, characters, written, args.picture)
        print(f"picture: {args.picture}")
    return written


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
