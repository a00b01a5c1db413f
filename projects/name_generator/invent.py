"""Invent names that obey your wishes, with a network that is trained in under a minute.

    python projects/name_generator/invent.py --start Ma --end a --length 5-8 --count 10 --model gru
    python projects/name_generator/invent.py --names towns.txt --count 20       a file of your own, one name a line
    python projects/name_generator/invent.py --start Jo --new                   only names that are not in the file
    python projects/name_generator/invent.py --of Maria --picture maria.png     why this name? letter by letter

The first call with a file and a model trains it and keeps it below runs/name_generator/; the next ones start at once.
"""

import argparse
import hashlib
import math
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week03-04"))
import torch
from makemore import models, names
from makemore.fit import evaluate, fit
from makemore.measure import COUNTED, RECIPES
from makemore.vendor.shared.errors import Mistake, entry
from makemore.vendor.shared.files import atomic_write, need
from makemore.vendor.shared.progress import bar
from wishes import Nearest, Wish, invent

OUT = common.RUNS / "name_generator"
STANDARD = [common.ROOT / "data" / folder / "names.txt" for folder in ("names-makemore", "names")]
LETTERS = 1_500_000  # that a network of whole names is shown at most: long names must not take longer
CHECKS, PATIENCE = 20, 5  # how often held-out names are judged, and how many checks without a better one end it
FEW, ENOUGH = 300, 1.0  # with fewer names too few are held out to judge by: training ends at this loss, nats a letter
SHOWN = 30  # letters in the picture: of a larger alphabet the likeliest


# --- names and models -------------------------------------------------------------------------------------------------


def load(path):
    """The names of a file, in the parts of weeks 3 and 4, with the letters that the file holds."""
    path = next((p for p in STANDARD if p.exists()), STANDARD[-1]) if path is None else path
    path = need(path, "make data/names (or give a file with one name a line: --names FILE)")
    if path.is_dir():
        raise Mistake(f"{path} is a folder; give a file with one name a line")
    try:
        return path, names.load(path, None)
    except ValueError as error:
        raise Mistake(str(error)) from None


def train(name, known, title):
    """A trained model of the table, with the weights that were best on held-out names; counting models count."""
    model = models.build(name, known.vocab_size)
    parts = {part: model.data(known, getattr(known, part)) for part in ("train", "val")}
    if name in COUNTED:
        model.count(parts["train"]).choose_smoothing(parts["val"])
        return model
    recipe = RECIPES[name]
    per_name = sum(map(len, known.train)) / len(known.train) + 1
    most = LETTERS / (recipe.batch_size * per_name) if model.takes == "rows" else recipe.steps
    steps = min(recipe.steps, max(100, round(most)))
    due = {max(1, round(steps * (i / CHECKS) ** 3)) for i in range(1, CHECKS + 1)}  # dense at first: few names go fast
    best, kept, waited = math.inf, None, 0
    with torch.random.fork_rng(devices=[]), bar(total=steps, label=title, unit="step") as line:
        torch.manual_seed(0)  # of dropout
        for step, loss in fit(model, parts["train"], replace(recipe, steps=steps)):
            line.update()
            line.set_postfix_str(f"loss {loss:.3f}, held-out {best:.3f}", refresh=False)
            if len(known.train) < FEW and loss < ENOUGH:
                break  # between noise and names by heart
            if len(known.train) < FEW or step + 1 not in due:
                continue
            val = evaluate(model, parts["val"])
            waited += 1
            if val < best:
                best, kept, waited = val, {key: value.clone() for key, value in model.state_dict().items()}, 0
            if waited == PATIENCE:
                break
    if kept:
        model.load_state_dict(kept)
    return model


def ready(name, path, known):
    """(model, its loss on held-out names): from the file of an earlier call, or trained now."""
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:8]  # other names in the same file: another model
    file = OUT / f"{path.stem}-{content}-{name}.safetensors"
    try:
        if file.exists():
            model, _ = models.load(file)
        else:
            print(f"{name} learns from {len(known.train):,} names of {path}")
            model = train(name, known, name)
            atomic_write(file, models.to_bytes(name, model, known.alphabet))
            print(f"kept in {file}")
        return model.eval(), evaluate(model, model.data(known, known.val))
    except (ValueError, FloatingPointError) as error:
        raise Mistake(f"{error} (a kept model can be deleted: {file})") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the training was not finished, so no model was kept; start again") from None


# --- wishes -----------------------------------------------------------------------------------------------------------


def spelled(text, known, path):
    """`text` in the letters of the file: Ma becomes ma where the file has no capitals."""
    for form in (text, text.lower(), text.upper()):
        if set(form) <= set(known.alphabet):
            return form
    odd = ", ".join(repr(letter) for letter in sorted(set(text) - set(known.alphabet)))
    raise Mistake(f"{text!r} holds {odd}, which no name of {path} has; its letters are {known.alphabet!r}")


def lengths(text, longest):
    """ "5-8" -> (5, 8), "6" -> (6, 6), "5-" and "-8" are open on one side."""
    try:
        low, dash, high = text.partition("-")
        least = int(low or 1)
        most = int(high or longest) if dash else least
    except ValueError:
        raise Mistake(f"--length {text} is no length; write 6, or 5-8, or 5-") from None
    if not 1 <= least <= most:
        raise Mistake(f"--length {text} fits no name; give the smaller number first, from 1 on")
    if most > 2 * longest:
        raise Mistake(f"--length {text} is too long: the longest name in the file has {longest} letters, and twice "
                      f"that is the most that the model is asked for; give at most {2 * longest}")  # fmt: skip
    return least, most


def verdict(name, known, nearest, shown=str):
    """What `name` is: shown in training, real but held out, or new."""
    if name in set(known.train):
        return "real, and in the training names"
    if name in {*known.val, *known.test}:
        return "real, but training never showed it"
    word, far = nearest(name)
    return f"new; the nearest real name is {shown(word)}, {far} letter{'s' * (far > 1)} away"


def letter_table(model, known, name):
    """p (len + 1, V): before each letter of the name and before its end, what the model expected."""
    tokens, targets = model.data(known, [name])
    with torch.no_grad():
        p = model(tokens)[0].softmax(-1)
    return p[targets >= 0] if model.takes == "rows" else p


def draw_picture(model, known, name, kind, path):
    """The model's expectation at each place of a name, with a frame around what came."""
    from matplotlib.figure import Figure

    p = letter_table(model, known, name)  # (T, V)
    came = [*known.encode(name), 0]
    likely = set(p.amax(0).topk(min(SHOWN, known.vocab_size)).indices.tolist()) | set(came)
    ids = sorted(likely - {0}) + [0]
    label = lambda i: known.alphabet[i - 1] if i else "end"
    figure = Figure(figsize=(max(5.5, 0.62 * len(came) + 3), 0.21 * len(ids) + 1.5))
    axes = figure.subplots()
    image = axes.imshow(100 * p[:, ids].T.numpy(), cmap="Purples", aspect="auto", vmin=0, vmax=100)
    for place, i in enumerate(came):
        row, share = ids.index(i), 100 * p[place, i].item()
        axes.add_patch(_frame(place, row))
        axes.text(place, row, f"{share:.0f}", ha="center", va="center", fontsize=7,
                  color="white" if share > 50 else "black")  # fmt: skip
    axes.set_xticks(range(len(came)), ["start", *(name[:place] for place in range(1, len(came)))], rotation=35,
                    ha="right", fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(ids)), [label(i) for i in ids], fontsize=7)
    axes.set_xlabel("what the model has read")
    axes.set_ylabel("next letter")
    figure.colorbar(image, label="probability (%)")
    sure = [p[place, i].item() for place, i in enumerate(came)]
    low, high = sure.index(min(sure)), sure.index(max(sure))
    after = lambda place: f"after {name[:place]!r}" if place else "at the start"
    say = lambda place: f"{label(came[place])!r} {after(place)} ({sure[place]:.0%})"
    axes.set_title(f"{kind} on {name!r}: surest of {say(high)},\nmost surprised by {say(low)}", fontsize=9)
    figure.tight_layout()
    common.save_figure(figure, path)


def _frame(place, row):
    from matplotlib.patches import Rectangle

    return Rectangle((place - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#b35806", linewidth=1.5)


# --- the command ------------------------------------------------------------------------------------------------------


def options(argv):
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("--names", type=Path, help="a file with one name a line, in any alphabet (default: US first names)")
    p.add_argument("--model", choices=tuple(models.MODELS), default="gru", help="who invents (default: %(default)s)")
    p.add_argument("--start", default="", help="how each name begins")
    p.add_argument("--end", default="", help="how each name ends")
    p.add_argument("--length", help="letters: 6, or 5-8, or 5- (default: up to the file's longest name)")
    p.add_argument("--count", type=int, default=10, help="how many names (default: %(default)s)")
    p.add_argument("--new", action="store_true", help="leave out names that are in the file")
    p.add_argument("--mask", action="store_true", help="forbid wrong letters from the first draw on")
    p.add_argument("--temperature", type=float, default=1.0, help="below 1 the names get usual, above 1 wild")
    p.add_argument("--seed", type=int, default=0, help="another number, other names (default: %(default)s)")
    p.add_argument("--of", metavar="NAME", help="invent nothing: look at this name")
    p.add_argument("--picture", type=Path, help="write the letter probabilities of --of, or of the first name, as PNG")
    p.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    common.add_mine(p)
    args = p.parse_args(argv)
    if not 1 <= args.count <= 1000:
        raise Mistake(f"--count {args.count} cannot be invented; give a number from 1 to 1000")
    if not args.temperature > 0:
        raise Mistake(f"--temperature {args.temperature:g} cannot divide the logits; give one above 0")
    if args.threads < 1:
        raise Mistake(f"--threads {args.threads} leaves nobody to compute; give 1 or more")
    return args


def main(argv=None):
    args = options(argv)
    torch.set_num_threads(args.threads)
    path, known = load(args.names)
    least, most = lengths(args.length, known.longest) if args.length else (1, known.longest)
    wish = Wish(spelled(args.start, known, path), spelled(args.end, known, path), least, most)
    if not wish.possible(wish.start):
        raise Mistake(f"no name of {least} to {most} letters begins with {args.start!r} and ends with {args.end!r}; "
                      "give --length more room")  # fmt: skip
    of = args.of and spelled(args.of, known, path)
    model, loss = ready(args.model, path, known)
    print(f"{args.model}: {loss:.3f} nats a letter on held-out names; a blind guess {math.log(known.vocab_size):.3f}")
    shown = str.capitalize if known.alphabet == known.alphabet.lower() else str
    nearest = Nearest(names.read(path, None))
    if of:
        found = {of: False}
    else:
        generator = torch.Generator().manual_seed(args.seed)
        unwanted = {*known.train, *known.val, *known.test} if args.new else ()
        found, drawn = invent(model, known, wish, args.count, generator, args.temperature, args.mask, unwanted)
    width = max(map(len, found), default=0)
    for name, masked in found.items():
        print(f"  {shown(name):<{width}}  {'*' if masked else ' '} {verdict(name, known, nearest, shown)}")
    if len(known.train) < FEW:
        print(f"{len(known.train)} names are few: expect real names and mixtures of two; give {FEW} or more")
    if not of:
        free, masked = sum(not mask for mask in found.values()), sum(found.values())
        rest = f"; {masked} (*) were drawn with a mask" if masked else ""
        print(f"{free} of {drawn:,} freely drawn names obeyed{rest}")
        if len(found) < args.count:
            print(f"only {len(found)} different names were found; widen the wishes, or try --temperature 1.5")
    if args.picture and found:
        draw_picture(model, known, next(iter(found)), args.model, args.picture)
        print(f"picture: {args.picture}")
    return found


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
