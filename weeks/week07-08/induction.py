"""Do two layers of attention learn to copy a random piece that comes again, where one layer does not? Three seeds.

python weeks/week07-08/induction.py
"""

import statistics
import sys
from dataclasses import asdict, dataclass

import torch
from gpt.attention import attention_maps
from gpt.induction import Copying, copying_accuracy, head_scores, repeated_rows, train_copier
from gpt.vendor.shared.errors import entry
from gpt.vendor.shared.files import atomic_write
from gpt.vendor.shared.progress import bar
from gpt.vendor.shared.results import Stopwatch, parser, results_folder, save_run, thread_count, to_json

SEEDS = 3
JUDGED = 256  # rows that the accuracy reads: the same for all runs, and of a seed that no training has
JUDGE_SEED = 1_000_003


@dataclass(frozen=True)
class Preset:
    task: Copying
    points: int  # how often the accuracy is measured


# fmt: off
PRESETS = {
    "smoke": Preset(Copying(12, 8, 2, 2, 16, steps=6, batch_size=4, lr=5e-3), points=2),
    "default": Preset(Copying(32, 24, 4, 2, 96, steps=1_200, batch_size=64, lr=3e-3), points=24),
    "full": Preset(Copying(64, 48, 4, 4, 64, steps=4_000, batch_size=64, lr=3e-3), points=40),
}
# fmt: on


def run(preset, n_layer, seed, judged, line):
    """Train one model; returns what the page needs of it, and the model. The curve is [[step, accuracy], ...]."""
    task, clock = preset.task, Stopwatch()
    due = {round(task.steps * i / preset.points) for i in range(1, preset.points + 1)}
    curve = []
    for step, loss, model in train_copier(task, n_layer, seed):  # noqa: B007  (the last loss is told below)
        line.update()
        if step + 1 in due:
            curve.append([step + 1, copying_accuracy(model, task, *judged)])
            line.set_postfix_str(f"{n_layer} layers, seed {seed}: accuracy {curve[-1][1]:.3f}", refresh=False)
    scores = {name: score.tolist() for name, score in head_scores(model, task, *judged).items()}
    line.write(f"{n_layer} layers, seed {seed}: accuracy {curve[-1][1]:.3f}, loss {loss:.3f}")
    return {"n_layer": n_layer, "seed": seed, "curve": curve, "heads": scores, "seconds": clock.seconds}, model


def induction_map(model, run, tokens):
    """The map (T, T) of the head with the highest induction score, on one row (T + 1,)."""
    scores = torch.tensor(run["heads"]["induction"])  # (n_layer, n_head)
    layer, head = divmod(scores.argmax().item(), scores.shape[1])
    weights = attention_maps(model, tokens[None, :-1])[layer, 0, head]
    rounded = [[round(x, 3) for x in row] for row in weights.tolist()]
    return {"layer": layer, "head": head, "score": scores.max().item(), "tokens": tokens.tolist(), "map": rounded}


def main(argv=None) -> dict:
    """Train both depths with each seed; returns the metrics that it wrote."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser(__doc__).parse_args(argv)
    preset, out = PRESETS[args.preset], results_folder(__file__, args.out)
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    clock, task = Stopwatch(), preset.task
    judged = repeated_rows(task, JUDGED, torch.Generator().manual_seed(JUDGE_SEED))
    print(f"1 and 2 layers of attention, {task.n_embd} wide, {SEEDS} seeds; pieces of {task.shortest} to "
          f"{task.longest} tokens of {task.vocab_size}, twice in {task.block_size + 1}; {threads} threads")  # fmt: skip
    runs, models = [], []
    with bar(total=2 * SEEDS * task.steps, label="copying", unit="step") as line:
        for seed in range(args.seed, args.seed + SEEDS):
            for n_layer in (1, 2):
                found, model = run(preset, n_layer, seed, judged, line)
                runs.append(found)
                models.append(model)
    metrics = {"seeds": SEEDS, "runs": runs, "task": {**asdict(task), "longest": task.longest}}
    for n_layer, word in ((1, "one"), (2, "two")):
        mine = [found for found in runs if found["n_layer"] == n_layer]
        last = [found["curve"][-1][1] for found in mine]
        metrics[f"induction_{word}_layer_acc"] = statistics.fmean(last)
        metrics[f"induction_{word}_layer_acc_sd"] = statistics.stdev(last)
        best = [max(max(row) for row in found["heads"]["induction"]) for found in mine]
        metrics[f"induction_{word}_layer_head_share"] = statistics.fmean(best)
    atomic_write(out / "traces" / f"induction-{args.preset}.json",
                 to_json(induction_map(models[1], runs[1], judged[0][0])) + "\n")  # fmt: skip
    name = f"induction-{args.preset}"
    path = save_run(__file__, args, argv, metrics, name=name, seconds=clock.seconds, threads=threads)
    print(f"What it showed: of the tokens that can be copied, two layers get {metrics['induction_two_layer_acc']:.1%} "
          f"right, one layer {metrics['induction_one_layer_acc']:.1%}.")  # fmt: skip
    print("To try next: the figure with the head's map: python weeks/week07-08/figures.py")
    print(f"results: {path}")
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
