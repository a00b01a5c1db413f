"""Weeks 7 and 8: the GPT on three engines, and a GPT trained on Shakespeare.

python weeks/week07-08/train.py                       # both jobs: what `make week07` and `make week08` run
python weeks/week07-08/train.py engines               # numbers, NumPy arrays, torch: side by side on names
python weeks/week07-08/train.py shakespeare           # train on Shakespeare, judge on text not seen
python weeks/week07-08/train.py shakespeare --peer --data tinyshakespeare.txt   # nanoGPT's setting for a CPU
python weeks/week07-08/train.py engines --help        # the options of a job
"""

import math
import random
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from gpt import numpy_gpt, scalar_gpt, text
from gpt.attention import attention_maps
from gpt.engines import ENGINES, RATE, SIZE, SPREAD, weights_of
from gpt.generate import generate
from gpt.loop import Recipe, bigram_loss, evaluate, train
from gpt.model import GPT, GPTConfig
from gpt.names import Names
from gpt.vendor.shared.errors import Mistake, entry
from gpt.vendor.shared.files import atomic_write, need
from gpt.vendor.shared.jobs import perform
from gpt.vendor.shared.progress import bar
from gpt.vendor.shared.results import Stopwatch, fast_in_bf16, parser, results_folder, save_run, thread_count, to_json

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "data" / "shakespeare"
NAMES = HERE.parents[1] / "data" / "names" / "names.txt"


@dataclass(frozen=True)
class Preset:
    """One dial for everything that decides how long a run takes."""

    recipe: Recipe
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0
    judged: int | None = None  # validation tokens that the final score reads, from the start; None: all
    watched: int = 16_384  # validation tokens for the curve, a prefix of those
    points: int = 10  # how many times the curve is measured
    half: str = "float32"
    samples: int = 2
    sample_length: int = 300


# fmt: off
PRESETS = {
    "smoke": Preset(Recipe(steps=30, batch_size=8, warmup=5), 32, 2, 2, 32,
                    judged=4_096, watched=1_024, points=3, samples=1, sample_length=60),
    "default": Preset(Recipe(steps=1_500, batch_size=16, lr=3e-3, min_lr=3e-5), 128, 4, 4, 128, half="bf16"),
    "full": Preset(Recipe(steps=3_000, batch_size=32, lr=2e-3, min_lr=2e-5, warmup=200), 256, 6, 6, 192,
                   dropout=0.1, half="bf16", points=20),
}
# fmt: on
# nanoGPT's published setting for a CPU: 2,000 steps of 12 windows of 64 tokens; first with its recipe, then with ours
PEER = Preset(Recipe(steps=2_000, batch_size=12), 64, 4, 4, 128, points=10, samples=1)
OURS = Recipe(steps=2_000, batch_size=12, lr=3e-3, min_lr=3e-5)

PROMPT = "\n"  # a line's end: the most neutral start in a play
SENTENCE = "If music be the food of love, play on"  # for the attention map


def train_and_watch(model, train_tokens, val_tokens, preset, recipe, seed, half):
    """Train with a bar; return the curve [[step, train loss, val loss], ...] and the seconds of training alone.

    The training loss of a point is the mean since the point before, so that it is not one batch's luck.
    """
    watched = val_tokens[: preset.watched + 1]
    due = {round(recipe.steps * i / preset.points) for i in range(1, preset.points + 1)}
    curve, recent, judging = [[0, None, evaluate(model, watched, half=half)]], [], 0.0
    clock = Stopwatch()
    tokens_a_step = recipe.batch_size * preset.block_size
    with bar(total=recipe.steps, label="training", unit="step") as line:
        for step, loss in train(model, train_tokens, recipe, seed=seed, half=half):
            recent.append(loss)
            line.update()
            speed = tokens_a_step * (step + 1) / (clock.seconds - judging)
            line.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)
            if step + 1 in due:
                pause = Stopwatch()
                val = evaluate(model, watched, half=half)
                judging += pause.seconds
                curve.append([step + 1, statistics.fmean(recent), val])
                means = f"train {curve[-1][1]:.4f}, val {val:.4f}"
                line.write(f"step {step + 1:5d}: {means} on {len(watched) - 1:,} tokens")
                recent = []
    return curve, clock.seconds - judging


def previous_token_head(model, characters):
    """The head that looks most at the character just before, on SENTENCE: its place, its share, its map."""
    length = min(len(SENTENCE), model.config.block_size)
    sentence = SENTENCE[:length]
    maps = attention_maps(model, torch.tensor([characters.encode(sentence)]))[:, 0]  # (n_layer, n_head, T, T)
    shares = maps.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=-1)  # (n_layer, n_head): weight on t - 1, mean over t
    layer, head = divmod(shares.argmax().item(), model.config.n_head)
    rows = [[round(x, 3) for x in row] for row in maps[layer, head].tolist()]
    return {"sentence": sentence, "layer": layer, "head": head, "share": shares[layer, head].item(), "map": rows}


def samples(model, characters, preset, seed):
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.tensor([characters.encode(PROMPT)] * preset.samples)
    ids = generate(model, prompt, preset.sample_length, temperature=0.8, top_p=0.95, generator=generator)
    return [characters.decode(row).strip("\n") for row in ids.tolist()]


def options(job, about):
    p = parser(about, data=DATA)
    p.prog = f"train.py {job}"
    return p


def read(args):
    """(Characters, train tokens, val tokens) of --data; a Mistake for what is no text."""
    try:
        characters, train_corpus, val_corpus = text.load(need(args.data, "make data/shakespeare"))
    except ValueError as error:
        raise Mistake(str(error)) from None
    return characters, train_corpus, val_corpus


def shakespeare(argv) -> dict:
    """Train, judge, show; returns the metrics that it wrote."""
    p = options("shakespeare", "Train a character-level GPT on Shakespeare, and judge it on text it has not seen.")
    p.add_argument("--peer", action="store_true", help="nanoGPT's setting for a CPU; writes nanogpt_cpu.json")
    args = p.parse_args(argv)
    name, preset = ("nanogpt_cpu", PEER) if args.peer else (args.preset, PRESETS[args.preset])
    out = results_folder(__file__, args.out)
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    clock = Stopwatch()

    characters, train_corpus, val_corpus = read(args)
    train_tokens, val_tokens = train_corpus.tokens, val_corpus.tokens[: preset.judged and preset.judged + 1]
    config = GPTConfig(len(characters), preset.block_size, preset.n_layer, preset.n_head, preset.n_embd, preset.dropout)
    half = preset.half if fast_in_bf16() else "float32"

    metrics = {}
    for label, recipe in {"": preset.recipe, **({"ours_": OURS} if args.peer else {})}.items():
        torch.manual_seed(args.seed)
        model = GPT(config)
        print(f"{config.n_layer}-layer GPT, {model.n_params():,} parameters, {len(characters)} characters; "
              f"{args.data} ({len(train_tokens):,} tokens); cpu, {threads} threads, {half}")  # fmt: skip
        curve, seconds = train_and_watch(model, train_tokens, val_tokens, preset, recipe, args.seed, half)
        val_loss = evaluate(model, val_tokens, half=half)
        tokens_seen = recipe.steps * recipe.batch_size * preset.block_size
        metrics |= {
            f"{label}val_loss": val_loss,
            f"{label}val_bpb": val_corpus.bits_per_byte(val_loss, len(val_tokens) - 1),
            f"{label}train_loss": curve[-1][1],
            f"{label}tokens_per_second": tokens_seen / seconds,
            f"{label}train_seconds": seconds,
            f"{label}recipe": {**asdict(recipe), "betas": list(recipe.betas)},
        }
        print(f"val {val_loss:.4f} nats a token over {len(val_tokens) - 1:,} tokens")

    metrics |= {
        "bigram_loss": bigram_loss(train_tokens, val_tokens, len(characters)),
        "uniform_loss": math.log(len(characters)),
        "val_tokens": len(val_tokens) - 1,
        "unseen_val_tokens": val_corpus.unseen[: len(val_tokens)].sum().item(),
        "tokens_seen": tokens_seen,
        "params": model.n_params(),
        "flops_per_token": model.flops_per_token(),
        "gflops_per_second": model.flops_per_token() * metrics["tokens_per_second"] / 1e9,
        "precision": half,
        "config": asdict(config),
    }
    written = samples(model, characters, preset, args.seed)
    for sample in written:
        print(f"--- sample (temperature 0.8, top-p 0.95)\n{sample}")
    trace = {"curve": curve, "attention": previous_token_head(model, characters), "samples": written}
    atomic_write(out / "traces" / f"{name}.json", to_json(trace) + "\n")
    metrics |= {"previous_token_share": trace["attention"]["share"]}
    command = ["shakespeare", *argv]
    path = save_run(__file__, args, command, metrics, preset=name, seconds=clock.seconds, threads=threads)
    print(
        f"What it showed: the GPT needs {metrics['val_loss']:.3f} nats for a character of plays that it never saw, a "
        f"table of pairs (bigram) {metrics['bigram_loss']:.3f}, a blind guess {metrics['uniform_loss']:.3f}."
    )
    print("To try next: read the sample above; then the GPT of week 14, with tokens and more to learn: make week14")
    print(f"results: {path}")
    return metrics


# --- three engines ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sides:
    """Steps on names for all three engines; Shakespeare for the two that compute on arrays."""

    names: int
    recipe: Recipe
    block_size: int = 64
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    judged: int = 65_536  # validation tokens, from the start
    points: int = 20  # of each curve


SIDES = {
    "smoke": Sides(6, Recipe(steps=6, batch_size=4, warmup=2), 16, 1, 2, 16, judged=512, points=3),
    "default": Sides(300, Recipe(steps=1_000, batch_size=12, lr=3e-3, min_lr=3e-5)),
    "full": Sides(1_000, Recipe(steps=1_500, batch_size=16, lr=3e-3, min_lr=3e-5), block_size=128),
}


def watch(losses, total, points, label):
    """Run a training of `total` steps: [[seconds, mean loss since the point before], ...], `points` of them."""
    due = {math.ceil(total * i / points) for i in range(1, points + 1)}
    curve, recent, clock = [], [], Stopwatch()
    for step, loss in enumerate(bar(losses, label, total=total, unit="step"), 1):
        recent.append(loss)
        if step in due:
            curve.append([clock.seconds, statistics.fmean(recent)])
            recent = []
    return curve


def side_by_side(path, preset, seed):
    """All three engines on the same names, from the same weights: the metrics, and a few names of the scalar one."""
    names = Names(need(path, "make data/names"))
    config = scalar_gpt.Config(len(names))
    state = scalar_gpt.start(config, random.Random(seed), SPREAD)
    batches = names.batches(preset.names, SIZE, config.block_size)
    tokens = sum(len(row) - 1 for rows in batches for row in rows)
    models = {name: engine.build(config, state) for name, engine in ENGINES.items()}
    params = len(models["scalar"].parameters())
    metrics = {"names_steps": preset.names, "names_a_step": SIZE, "names_tokens": tokens, "names_params": params}
    print(f"names: a GPT of {params:,} parameters, {preset.names} steps of {SIZE} names, on three engines")
    list(
        ENGINES["torch"].train(ENGINES["torch"].build(config, state), batches[:1], RATE)
    )  # its first step imports more
    curves = {}
    for name, engine in ENGINES.items():
        curves[name] = watch(engine.train(models[name], batches, RATE), preset.names, preset.points, name)
        seconds, loss = curves[name][-1]
        metrics |= {f"names_{name}_loss": loss, f"names_{name}_seconds": seconds,
                    f"names_{name}_tokens_per_second": tokens / seconds}  # fmt: skip
        print(f"  {name:7} loss {loss:.4f}   {seconds:8.2f} s   {tokens / seconds:10,.0f} tokens/s")
    written = [scalar_gpt.sample(models["scalar"], names, random.Random(seed + i)) for i in range(10)]
    return metrics | {"names_curves": curves, "names_samples": written}


def arrays_beside_torch(args, preset):
    """NumPy and torch on Shakespeare, from the same weights: by how much each beats the table of pairs."""
    characters, train_corpus, val_corpus = read(args)
    train_tokens, val_tokens = train_corpus.tokens, val_corpus.tokens[: preset.judged + 1]
    torch.manual_seed(args.seed)
    config = GPTConfig(len(characters), preset.block_size, preset.n_layer, preset.n_head, preset.n_embd)
    model, recipe = GPT(config), preset.recipe
    arrays = numpy_gpt.GPT(config, weights_of(model))
    table = bigram_loss(train_tokens, val_tokens, len(characters))
    tokens = recipe.steps * recipe.batch_size * preset.block_size
    print(f"Shakespeare: a GPT of {model.n_params():,} parameters, {recipe.steps} steps; bigram table {table:.4f}")
    metrics = {"text_params": model.n_params(), "text_tokens": tokens, "text_bigram_loss": table}
    runs = {
        "numpy": (numpy_gpt.train(arrays, train_tokens.numpy(), recipe, seed=args.seed),
                  lambda: numpy_gpt.evaluate(arrays, val_tokens.numpy())),
        "torch": (train(model, train_tokens, recipe, seed=args.seed), lambda: evaluate(model, val_tokens)),
    }  # fmt: skip
    curves = {}
    for name, (training, judge) in runs.items():
        curves[name] = watch((loss for _, loss in training), recipe.steps, preset.points, name)
        seconds, loss = curves[name][-1][0], judge()
        metrics |= {f"text_{name}_val_loss": loss, f"text_{name}_below_bigram": table - loss,
                    f"text_{name}_seconds": seconds, f"text_{name}_tokens_per_second": tokens / seconds}  # fmt: skip
        print(f"  {name:7} val {loss:.4f}    {seconds:8.2f} s   {tokens / seconds:10,.0f} tokens/s")
    return metrics | {"text_curves": curves}


def engines(argv) -> dict:
    p = options("engines", "The GPT on numbers, on NumPy arrays and in torch, side by side.")
    p.add_argument("--names", type=Path, default=NAMES, help="file of names, one a line (default: %(default)s)")
    args = p.parse_args(argv)
    clock, preset, threads = Stopwatch(), SIDES[args.preset], thread_count(args.threads)
    torch.set_num_threads(threads)
    need(args.data, "make data/shakespeare")  # before minutes are spent on names
    metrics = side_by_side(args.names, preset, args.seed)
    metrics |= arrays_beside_torch(args, preset)
    name, command = f"engines-{args.preset}", ["engines", *argv]
    path = save_run(__file__, args, command, metrics, name=name, seconds=clock.seconds, threads=threads)
    print(f"names that the scalar engine wrote: {', '.join(metrics['names_samples'])}")
    print(
        f"What it showed: three engines, one loss ({metrics['names_scalar_loss']:.3f} on names); numbers took "
        f"{metrics['names_scalar_seconds'] / metrics['names_torch_seconds']:.0f} times as long as torch, arrays "
        f"{metrics['names_numpy_seconds'] / metrics['names_torch_seconds']:.1f} times, and on Shakespeare "
        f"{metrics['text_numpy_seconds'] / metrics['text_torch_seconds']:.1f} times."
    )
    print("To try next: read weeks/week07-08/gpt/scalar_gpt.py, one file from the number to the name")
    print(f"results: {path}")
    return metrics


JOBS = {"engines": engines, "shakespeare": shakespeare}


def main(argv=None) -> dict:
    argv = sys.argv[1:] if argv is None else list(argv)
    return perform(argv, __doc__, JOBS, tuple(JOBS), run)


def run(name, argv):
    """One job; what goes wrong with numbers is told in a sentence."""
    try:
        return JOBS[name](argv)
    except (FloatingPointError, ValueError) as error:
        raise Mistake(f"{name}: {error}") from None


if __name__ == "__main__":
    sys.exit(entry(main))
