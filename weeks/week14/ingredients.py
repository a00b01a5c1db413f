"""What each ingredient buys: the same small model with one of them switched, at equal tokens and at equal seconds.

python weeks/week14/ingredients.py                       # every ingredient, three seeds
python weeks/week14/ingredients.py tie position=none     # these alone, by the name of their row, beside the default

An ingredient of the model is a field of its config, one of the training a field of TrainConfig: a row of SWITCHES says
which, and a further one needs nothing else. First every row takes the same steps. Its processor seconds a step then say
how many steps it can take in the seconds that the default took, and it is trained once more for so many. Processor
seconds, on one thread, for other work on the machine moves them less than the clock on the wall.
"""

import statistics
import sys
import time
from contextlib import nullcontext
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODEL = {"block_size": 128, "n_layer": 4, "n_head": 4, "n_kv_head": 1, "n_embd": 128}
TRAINING = {"batch_size": 8, "lr": 0.02, "warmup": 5}
SWITCHES = {
    "position=learned": {"position": "learned"},
    "position=sinusoidal": {"position": "sinusoidal"},
    "position=none": {"position": "none"},
    "norm=layernorm": {"norm": "layernorm"},
    "mlp=gelu": {"mlp": "gelu"},
    "mlp=swiglu": {"mlp": "swiglu"},
    "no qk_norm": {"qk_norm": False},
    "n_kv_head=2": {"n_kv_head": 2},
    "n_kv_head=4": {"n_kv_head": 4},
    "tie": {"tie": True},
    "no zero_init": {"zero_init": False},
    "softcap=15": {"softcap": 15.0},
    "value_embed": {"value_embed": True},
    "optimizer=adamw": {"optimizer": "adamw", "lr": 6e-3},
    "schedule=cosine": {"schedule": "cosine", "min_lr": 0.1},
    "schedule=constant": {"schedule": "constant"},
    "first_batch=2": {"first_batch": 2},
    "first_context=32": {"first_context": 32},
}
SIZES = {  # steps, vocabulary, characters to train on, characters of the exam, seeds
    "smoke": (3, 300, 20_000, 2_000, 1),
    "default": (150, 1024, None, 50_000, 3),
    "full": (600, 1024, None, 200_000, 3),
}


def main(argv=None):
    import torch
    from nanogpt.vendor.shared.errors import Mistake
    from nanogpt.vendor.shared.files import need
    from nanogpt.vendor.shared.progress import bar
    from nanogpt.vendor.shared.results import command_line, parser, results_folder, thread_count, write_results
    from nanogpt.vendor.shared.text import read_text

    argv = sys.argv[1:] if argv is None else argv
    p = parser(__doc__.splitlines()[0], data=ROOT / "data" / "bible", epilog=__doc__.split("\n", 2)[2])
    p.add_argument("rows", nargs="*", metavar="ROW", help=f"of: {', '.join(SWITCHES)} (default: all)")
    p.add_argument("--seeds", type=int, help="runs of each row (default: by the preset)")
    args = p.parse_args(argv)
    if unknown := [row for row in args.rows if row not in SWITCHES]:
        raise Mistake(f"there is no ingredient {unknown[0]!r}; choose from: {', '.join(SWITCHES)}")
    threads = thread_count(args.threads, otherwise=1)
    torch.set_num_threads(threads)
    steps, vocab_size, chars, exam, seeds = SIZES[args.preset]
    text = read_text(need(args.data / "train.txt", f"make data/{args.data.name}"))[:chars]
    exam = read_text(need(args.data / "val.txt", f"make data/{args.data.name}"))[:exam]
    rows, began = {"default": {}, **{row: SWITCHES[row] for row in args.rows or SWITCHES}}, time.perf_counter()
    from nanogpt.vendor.bpe.fast import Tokenizer
    from nanogpt.vendor.shared.text import END, documents

    tokenizer = Tokenizer.train("\n".join(documents(text)), vocab_size, special_tokens=(END,))
    kitchen = Kitchen(tokenizer, text, exam)
    kitchen.cook({}, 2, 0)  # the first steps of a process are slow ones
    seeds = range(args.seed, args.seed + (args.seeds or seeds))
    found = {row: [] for row in rows}
    for seed in seeds:
        for row, changes in bar(rows.items(), f"seed {seed}", total=len(rows)):
            result = kitchen.cook(changes, steps, seed)
            base = found["default"][-1] if row != "default" else result
            more = round(steps * base["step_seconds"] / result["step_seconds"])
            same = row == "default" or abs(more - steps) < 0.02 * steps
            result["equal_seconds"] = result["bpb"] if same else kitchen.cook(changes, max(1, more), seed)["bpb"]
            found[row].append(result)
    metrics = {"steps": steps, "seeds": len(seeds), "rows": {row: priced(runs) for row, runs in found.items()}}
    path = write_results(
        results_folder(__file__, args.out) / f"ingredients-{args.preset}.json",
        command=command_line(__file__, argv),
        preset=args.preset,
        seed=args.seed,
        seconds=time.perf_counter() - began,
        metrics=metrics,
        threads=threads,
    )
    print(table(metrics["rows"]))
    print(f"results: {path}")
    return metrics


class Kitchen:
    """One tokenizer, one text, one exam; `cook` trains the default model with some changes and judges it."""

    def __init__(self, tokenizer, text, exam):
        from nanogpt.tasks import encode

        self.tokenizer, self.exam, self.tokens = tokenizer, exam, encode(tokenizer, text)

    def cook(self, changes, steps, seed):
        import torch
        from nanogpt.config import GPTConfig
        from nanogpt.model import GPT
        from nanogpt.presets import SHAPE
        from nanogpt.scores import bits_per_byte
        from nanogpt.tasks import rows_of
        from nanogpt.train import TrainConfig, train
        from nanogpt.vendor.continual.learner import Learner

        of_training = {name: value for name, value in changes.items() if name in TrainConfig.__dataclass_fields__}
        of_model = {name: value for name, value in changes.items() if name not in of_training}
        shape = {**SHAPE, **MODEL, **of_model, "vocab_size": self.tokenizer.vocab_size}
        torch.manual_seed(seed)
        learner = Learner(GPT(GPTConfig(**shape)), autocast=nullcontext)
        config = TrainConfig(**{**TRAINING, **of_training, "steps": steps, "seed": seed})
        began = time.process_time()
        train(learner, rows_of(self.tokens, shape["block_size"], "the text"), config, label="cook")
        seconds = time.process_time() - began
        return {
            "bpb": bits_per_byte(learner, self.tokenizer, self.exam),
            "step_seconds": seconds / steps,
            "tokens_per_second": steps * config.batch_size * shape["block_size"] / seconds,
            "n_params": learner.model.n_params(),
            "cache_bytes_per_token": learner.model.cache_bytes_per_token(),
        }


def priced(runs):
    """Means over the seeds, and standard deviations of the two losses."""
    out = {name: statistics.mean(run[name] for run in runs) for name in runs[0]}
    for name in ("bpb", "equal_seconds"):
        out[f"{name}_sd"] = statistics.stdev([run[name] for run in runs]) if len(runs) > 1 else None
    return {**out, "n_params": runs[0]["n_params"], "cache_bytes_per_token": runs[0]["cache_bytes_per_token"]}


def table(rows):
    """The rows as text, the best at equal seconds first."""
    lines = [f"{'':22}{'equal tokens':>18}{'equal seconds':>18}{'tokens/s':>10}{'parameters':>12}{'cache B/token':>15}"]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["equal_seconds"]):
        losses = "".join(
            f"{row[key]:.3f}{'' if row[f'{key}_sd'] is None else ' ± {:.3f}'.format(row[f'{key}_sd'])}".rjust(18)
            for key in ("bpb", "equal_seconds")
        )
        lines.append(
            f"{name:22}{losses}{row['tokens_per_second']:10,.0f}{row['n_params']:12,}{row['cache_bytes_per_token']:15,}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
