"""What does each ingredient of the GPT buy? The same small GPT with one taken out at a time, at equal tokens.

    python weeks/week07-08/ablations.py

A finished cell (one ablation with one seed) is kept, so a run that was stopped goes on where it was.
"""

import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from gpt import text
from gpt.ablations import ABLATIONS, build
from gpt.loop import Recipe, evaluate, train
from gpt.model import GPTConfig
from gpt.vendor.shared.errors import Mistake, entry
from gpt.vendor.shared.files import atomic_write, locked, need
from gpt.vendor.shared.progress import bar
from gpt.vendor.shared.results import Stopwatch, parser, results_folder, save_run, thread_count, to_json

DATA = Path(__file__).resolve().parents[2] / "data" / "shakespeare"


@dataclass(frozen=True)
class Preset:
    recipe: Recipe
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    judged: int  # validation tokens that the score reads, from the start
    seeds: int = 3


# fmt: off
PRESETS = {
    "smoke": Preset(Recipe(steps=4, batch_size=2, warmup=2), 16, 2, 2, 16, 0.1, judged=256, seeds=2),
    "default": Preset(Recipe(steps=400, batch_size=16, lr=3e-3, min_lr=3e-5, warmup=40), 64, 4, 4, 64, 0.1,
                      judged=32_768),
    "full": Preset(Recipe(steps=1_500, batch_size=16, lr=3e-3, min_lr=3e-5), 128, 4, 4, 128, 0.1, judged=131_072),
}
# fmt: on


def run_cell(name, seed, preset, vocab_size, train_tokens, val_tokens, line):
    """Train and judge one ablation with one seed. `loss` is None where training broke off: then `why` says so."""
    config = GPTConfig(vocab_size, preset.block_size, preset.n_layer, preset.n_head, preset.n_embd, preset.dropout)
    torch.manual_seed(seed)
    model = build(name, config)
    clock, why = Stopwatch(), None
    try:
        for _, loss in train(model, train_tokens, preset.recipe, seed=seed):
            line.update()
            line.set_postfix_str(f"{name}, seed {seed}: loss {loss:.3f}", refresh=False)
    except FloatingPointError as error:
        why = str(error)
    seconds = clock.seconds
    loss = None if why else evaluate(model, val_tokens)
    return {"name": name, "seed": seed, "loss": loss, "seconds": seconds, "params": model.n_params(), "why": why}


def kept_cells(path, setting):
    """The cells of a run that was stopped; none where it had another setting, for its losses would not compare."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept["cells"] if kept["setting"] == setting else []
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} does not hold cells ({error!r}); move it away, and run again") from None


def summary(cells):
    """One row an ablation, in the table's order: loss, its standard deviation over seeds, loss above the whole's, time.

    The difference is taken seed by seed, so that batches, which a seed decides, count for neither side. Of the seconds
    the least counts: what other work on the machine adds is not the model's.
    """
    by_name = {name: [cell for cell in cells if cell["name"] == name] for name in ABLATIONS}
    whole = {cell["seed"]: cell for cell in by_name["whole"]}
    rows = []
    for name, mine in by_name.items():
        losses = [cell["loss"] for cell in mine]
        row = {"name": name, "params": mine[0]["params"], "seconds": min(cell["seconds"] for cell in mine)}
        if None in losses:
            row |= {"loss": None, "loss_sd": None, "above_whole": None, "above_whole_sd": None}
        else:
            above = [cell["loss"] - whole[cell["seed"]]["loss"] for cell in mine]
            row |= {"loss": statistics.fmean(losses), "loss_sd": statistics.stdev(losses)}
            row |= {"above_whole": statistics.fmean(above), "above_whole_sd": statistics.stdev(above)}
        rows.append(row)
    return rows


def main(argv=None) -> dict:
    """Train every cell that is not there yet; returns the metrics that it wrote."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser(__doc__, data=DATA).parse_args(argv)
    preset, out = PRESETS[args.preset], results_folder(__file__, args.out)
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    clock = Stopwatch()
    try:
        characters, train_corpus, val_corpus = text.load(need(args.data, "make data/shakespeare"))
    except ValueError as error:
        raise Mistake(str(error)) from None
    train_tokens, val_tokens = train_corpus.tokens, val_corpus.tokens[: preset.judged + 1]
    setting = json.loads(to_json({**asdict(preset), "threads": threads, "tokens": len(train_tokens)}))
    path = out / "traces" / f"ablations-{args.preset}.json"
    seeds = range(args.seed, args.seed + preset.seeds)
    print(f"{len(ABLATIONS)} ablations x {preset.seeds} seeds, {preset.n_layer} layers of {preset.n_embd}, "
          f"{preset.recipe.steps} steps; {args.data} ({len(train_tokens):,} tokens); {threads} threads")  # fmt: skip
    with locked(path.parent):
        cells = kept_cells(path, setting)
        done = {(cell["name"], cell["seed"]) for cell in cells}
        todo = [(name, seed) for seed in seeds for name in ABLATIONS if (name, seed) not in done]
        with bar(total=len(todo) * preset.recipe.steps, label="ablations", unit="step") as line:
            for name, seed in todo:
                cell = run_cell(name, seed, preset, len(characters), train_tokens, val_tokens, line)
                cells.append(cell)
                atomic_write(path, to_json({"setting": setting, "cells": cells}) + "\n")
                line.write(f"{name}, seed {seed}: {cell['why'] or format(cell['loss'], '.4f')}")
    rows = summary([cell for cell in cells if cell["seed"] in seeds])
    for row in rows:
        loss = "broke off" if row["loss"] is None else f"{row['loss']:.3f} ± {row['loss_sd']:.3f}"
        print(f"{row['name']:22}{loss:18}{row['params']:10,} parameters {row['seconds']:7.1f} s")
    metrics = {"rows": rows, "seeds": preset.seeds, "setting": setting}
    metrics |= {"tokens_seen": preset.recipe.steps * preset.recipe.batch_size * preset.block_size}
    for row in rows:
        key = row["name"].replace(" ", "_").lower()
        metrics |= {f"{key}_{column}": row[column] for column in ("loss", "loss_sd", "seconds")}
    name = f"ablations-{args.preset}"
    results = save_run(__file__, args, argv, metrics, name=name, seconds=clock.seconds, threads=threads)
    judged = [row for row in rows[1:] if row["loss"] is not None]
    if judged:
        worst = max(judged, key=lambda row: row["above_whole"])
        print(f"What it showed: of the ingredients, the model missed {worst['name'][3:]} most: "
              f"{worst['above_whole']:+.3f} nats a character.")  # fmt: skip
    print("To try next: take two ingredients out at once (gpt/ablations.py), or the figures: "
          "python weeks/week07-08/figures.py")  # fmt: skip
    print(f"results: {results}")
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
