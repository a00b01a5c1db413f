"""Give a small model the style of a text of yours: before and after, and every strength in between.

    python projects/style_adapter/adapt.py data/recipes/train.txt
    python projects/style_adapter/adapt.py mine.txt --rank 16 --steps 400 --prompt "Take "
    python projects/style_adapter/adapt.py mine.txt --adapter runs/style_adapter/mine      # one that was made before

The base has read Shakespeare byte by byte. It is trained at the first call and kept. Your text trains an adapter beside
it, for a minute or two; the base stays as it is to the byte. The last tenth of your text is held out and judged.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week12"))
import torch
from lora import LoRAConfig, adapters, attach, load, parameters, save, using
from lora.lab import OLD, Setting, bits, bytes_of, learn
from lora.vendor.gpt.model import GPT, GPTConfig
from lora.vendor.shared.errors import Mistake, entry
from lora.vendor.shared.files import atomic_write, need
from lora.vendor.shared.progress import bar
from lora.vendor.shared.results import thread_count
from lora.vendor.shared.text import documents, read_text
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

OUT = common.RUNS / "style_adapter"
DATA = common.ROOT / "data" / OLD
SETTING = replace(Setting(), base=replace(Setting().base, steps=1200))
STYLE = "style"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
LEAST = 5_000  # bytes of a text that can be learned from
JUDGED = 8_192  # bytes


# --- the base ---------------------------------------------------------------------------------------------------------


def old_text(part):
    return bytes_of(documents(read_text(need(DATA / f"{part}.txt", f"make data/{OLD}"))))


def base_model(folder, seed):
    """The model that has read Shakespeare: from the folder, or trained now and kept there."""
    path, told = folder / f"base-{seed}.safetensors", folder / f"base-{seed}.json"
    torch.manual_seed(seed)
    model, about = GPT(GPTConfig(**SETTING.shape)), json.loads(json.dumps(asdict(SETTING)))
    try:
        if json.loads(told.read_text(encoding="utf-8")) == about:
            model.load_state_dict(from_bytes(path.read_bytes()))
            return model
    except (OSError, ValueError, RuntimeError, SafetensorError):
        pass  # none there, of other settings, or damaged: it is made again
    print("the base reads Shakespeare, once; later calls find it", flush=True)
    steps = SETTING.base.steps
    learn(model, old_text("train"), SETTING.base, seed, lambda work: bar(work, total=steps, label="base"))
    # Clones: the output layer is the embedding, and safetensors refuses a tensor that is there twice.
    atomic_write(path, to_bytes({key: tensor.clone() for key, tensor in model.state_dict().items()}))
    atomic_write(told, json.dumps(about))
    return model


# --- the style --------------------------------------------------------------------------------------------------------


def style_text(path):
    """(what is learned, what is judged) of a file: the first nine tenths, and the rest."""
    tokens = bytes_of(documents(read_text(path)))
    if len(tokens) < LEAST:
        raise Mistake(f"{path} has {len(tokens):,} bytes, too few to learn a style from; give {LEAST:,} or more")
    cut = len(tokens) * 9 // 10
    return tokens[:cut], tokens[cut:][:JUDGED]


def adapt(model, text, args):
    """Attach an adapter and teach it, in place."""
    torch.manual_seed(args.seed)
    attach(model, STYLE, LoRAConfig(rank=args.rank, alpha=2 * args.rank))
    recipe = replace(SETTING.tune, steps=args.steps, lr=args.rate, min_lr=args.rate / 10)
    learn(model, text, recipe, args.seed, lambda work: bar(work, total=args.steps, label="adapter"))


def curve(model, new, old):
    """[(strength, bits per byte of the style, of Shakespeare)]: 0 is the base, 1 the adapter, above 1 more of it."""
    rows = []
    for strength in STRENGTHS:
        with using(model, {STYLE: strength}):
            rows.append((strength, bits(model, new), bits(model, old)))
    return rows


@torch.no_grad()
def written(model, prompt, length, strength, seed, temperature=0.7):
    """A continuation of the prompt. Base and adapter draw the same random numbers, so that they alone differ."""
    g, tokens = torch.Generator().manual_seed(seed), torch.tensor([list(prompt.encode())])
    with using(model.eval(), {STYLE: strength}):
        for _ in range(length):
            logits = model(tokens[:, -model.config.block_size :])[0][0, -1]
            token = torch.multinomial((logits / temperature).softmax(-1), 1, generator=g)
            tokens = torch.cat([tokens, token[None]], dim=1)
    return bytes(tokens[0].tolist()).decode(errors="replace").replace("\0", "\n")


# --- what is shown ----------------------------------------------------------------------------------------------------


def picture(rows, name, path):
    """Bits per byte of both texts against the strength of the adapter."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    strengths, new, old = zip(*rows)
    axes.plot(strengths, new, "o-", color="#1b3a5c", label=f"held-out part of {name}")
    axes.plot(strengths, old, "s--", color="#c2571a", label="unseen Shakespeare")
    axes.axvline(1, color="#8a8a8a", linestyle=":", linewidth=1)
    best = min(rows, key=lambda row: row[1])
    axes.set(xlabel="strength of the adapter (0: the base, 1: as taught)", ylabel="bits per byte (less is better)")
    axes.set_title(f"{name}: {rows[0][1]:.2f} bits per byte before, {best[1]:.2f} at strength {best[0]:g}", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    common.save_figure(figure, path)


def told(rows, model):
    """The lines of the terminal."""
    own = sum(p.numel() for p in parameters(model, STYLE).values())
    rank = adapters(model)[STYLE].rank
    yield f"\nadapter of rank {rank}: {own:,} parameters beside {sum(p.numel() for p in model.parameters()) - own:,}"
    yield "\nstrength  bits per byte of your text  of Shakespeare"
    for strength, new, old in rows:
        mark = {0.0: "   before", 1.0: "   after"}.get(strength, "")
        yield f"{strength:8.2f}  {new:26.3f}  {old:14.3f}{mark}"


def number(kind, least, what):
    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is no {what}; give {least} or more")
        return value

    return read


def parser():
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("text", type=Path, help="the text whose style is wanted, some thousand words or more")
    p.add_argument("--adapter", type=Path, help="a folder that an earlier call wrote: nothing is taught")
    p.add_argument("--rank", type=number(int, 1, "rank"), default=8, help="(default: %(default)s)")
    p.add_argument("--steps", type=number(int, 20, "number of steps"), default=300, help="(default: %(default)s)")
    p.add_argument("--rate", type=number(float, 1e-6, "learning rate"), default=1e-2, help="(default: %(default)s)")
    p.add_argument("--strength", type=number(float, 0, "strength"), default=1.0, help="of what is written (default: 1)")
    p.add_argument("--prompt", default="And ", help="how both texts begin (default: %(default)r)")
    p.add_argument("--length", type=number(int, 1, "length"), default=300, help="bytes that are written")
    p.add_argument("--seed", type=number(int, 0, "seed"), default=0)
    p.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    p.add_argument("--out", type=Path, help=f"folder for the adapter (default: below runs/{OUT.name}/)")
    p.add_argument("--figure", type=Path, help="the picture (default: strength.png in the adapter's folder)")
    common.add_mine(p)
    return p


def main(argv=None):
    """Adapt, judge, write; returns the rows of the curve."""
    args = parser().parse_args(argv)
    torch.set_num_threads(thread_count(args.threads))
    if not args.prompt:
        raise Mistake("--prompt '' leaves nothing to go on from; give a word")
    if not args.text.is_file():
        raise Mistake(f"{args.text} is no file; give the text whose style is wanted")
    text, held = style_text(args.text)
    name = args.text.stem if args.text.stem not in ("train", "val", "test") else args.text.parent.name
    model = base_model(OUT, args.seed)
    try:
        if args.adapter:
            load(model, args.adapter, STYLE)
            folder = args.adapter
        else:
            adapt(model, text, args)
            folder = save(model, STYLE, args.out or common.free_path(OUT / name), base="shakespeare, byte by byte")
    except (ValueError, FileNotFoundError) as error:
        raise Mistake(f"{error}") from None
    rows = curve(model, held, old_text("test")[:JUDGED])
    print("\n".join(told(rows, model)))
    for strength, label in ((0.0, "before"), (args.strength, f"after, strength {args.strength:g}")):
        print(f"\n--- {label}\n{written(model, args.prompt, args.length, strength, args.seed)}")
    path = args.figure or common.free_path(folder / "strength.png")
    picture(rows, name, path)
    print(f"\nadapter: {folder} (PEFT's format)\npicture: {path}")
    return rows


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
