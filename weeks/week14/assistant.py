"""SmolLM2-135M learns four tasks, one after another: naively, and with a few kept rows of the earlier ones.

News topics (Reuters R8), kinds of questions (TREC-6), spam (SMS), sarcasm (headlines). A LoRA adapter is trained on
the responses; after each task the model answers the test rows of all four, and an answer counts if it is exactly the
wanted one. What is left behind: runs/week14/results/assistant.json, and two models for `nanogpt chat` in
checkpoints/week14-assistant-<preset>/. Stopped, the same command goes on.
"""

import math
import shlex
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TASKS = ("reuters-r8", "trec-6", "sms-spam", "sarcasm")
METHODS = ("naive", "replay")
PRESETS = {
    "smoke": {"rows": 8, "test": 4, "batch_size": 4, "epochs": 1, "keep_rows": 4, "replay_rows": 2, "row_length": 128},
    "default": {
        "rows": 200,
        "test": 100,
        "batch_size": 8,
        "epochs": 1,
        "keep_rows": 60,
        "replay_rows": 4,
        "row_length": 128,
    },
}
PRESETS["full"] = {**PRESETS["default"], "epochs": 2, "row_length": 192}
RATE = {"lr": 1e-3, "warmup": 3, "weight_decay": 0.0}


def main(argv=None):
    """Run both methods and return the metrics."""
    from nanogpt.vendor.shared.results import parser, save_run, thread_count

    p = parser(__doc__, data=ROOT / "data", epilog="example: python weeks/week14/assistant.py --preset default")
    p.add_argument("--model", default="smollm2-135m", help="model with a chat template (default: %(default)s)")
    p.add_argument("--work", type=Path, help="folder for the models (default: checkpoints/week14-assistant-<preset>)")
    p.add_argument("--fresh", action="store_true", help="start over instead of going on with a run that was stopped")
    args = p.parse_args(argv)
    threads = thread_count(args.threads)
    work = args.work or ROOT / "checkpoints" / f"week14-assistant-{args.preset}"
    print(f"{args.model} learns {', '.join(TASKS)}; {threads} threads; models go to {work}", flush=True)

    import torch  # after the first line, so that a user sees at once that something happens

    torch.set_num_threads(threads)
    log, metrics = run(PRESETS[args.preset], args, work)
    name = "assistant" if args.preset == "default" else f"assistant-{args.preset}"
    path = save_run(__file__, args, argv, metrics, name=name, seconds=log["elapsed"], threads=threads)
    before, naive, replay = (100 * metrics[f"assistant_{name}_acc"] for name in ("base", *METHODS))
    print(
        f"\nWhat it showed: after all four tasks {replay:.0f} % of the answers are right with replay, {naive:.0f} % "
        f"without, {before:.0f} % before any training. It took {log['elapsed']:.0f} s."
    )
    print(f"Where it lies: the models in {work} (naive, replay).")
    print(f"To try next: {shlex.join(['.venv/bin/nanogpt', 'chat', '--model', str(work / 'replay')])}")
    print(f"results: {path}")
    return metrics


def run(setting, args, work):
    """Both methods from the same start. A run that was stopped goes on from its last saved step."""
    from nanogpt.answers import read_rows
    from nanogpt.device import autocast_for, pick_device, pick_precision
    from nanogpt.presets import Lora
    from nanogpt.sources import open_model
    from nanogpt.vendor.shared.files import need
    from nanogpt.workspace.learn import course_on, judge
    from nanogpt.workspace.runlog import begin, clocked
    from nanogpt.workspace.store import open_course

    device = pick_device("cpu")
    precision = pick_precision("auto", device)
    autocast, _ = autocast_for(precision, device)
    files = {name: [need(args.data / name / f"{part}.jsonl", f"make data/{name}") for part in ("train", "test")]
             for name in TASKS}  # fmt: skip
    rows = {name: read_rows(train)[: setting["rows"]] for name, (train, _) in files.items()}
    exams = {name: read_rows(test)[: setting["test"]] for name, (_, test) in files.items()}
    log = begin(
        work, {**setting, **RATE, "seed": args.seed, "precision": precision, "model": args.model}, METHODS, args.fresh
    )
    matrices = {}
    with clocked(work, log):
        for method in METHODS:
            print(f"\n-- {method} --", flush=True)
            folder = work / method
            if (folder / "checkpoint.json").exists():
                course = open_course(folder, device, precision=precision, seed=args.seed)
            else:
                loaded = open_model(args.model, device, precision)
                config = {name: setting[name] for name in ("keep_rows", "replay_rows")} if method == "replay" else {}
                chosen = {"method": method, "method_config": config, "row_length": setting["row_length"]}
                course = course_on(loaded, Lora().config(), tasks="answers", **chosen, seed=args.seed)
                course.exams = as_exams(exams)
            if "baseline" not in log:  # the adapter is still zero: this is the model as it was published
                log["baseline"] = judge(course, course.kind.learner(course.loaded, autocast), progress="before: exam")
                print(line("before", log["baseline"]), flush=True)
            for name in TASKS:
                if name not in course.learned:
                    learn_one(course, name, rows[name], setting, args.seed, folder, autocast, log, method)
            matrices[method] = course.scores
    return log, summary(setting, course, exams, matrices, log, precision)


def as_exams(exams):
    from nanogpt.answers import write_rows

    return {name: write_rows(rows) for name, rows in exams.items()}


def learn_one(course, name, rows, setting, seed, folder, autocast, log, method):
    """Teach one task, and print the scores after it."""
    from nanogpt.answers import make_task
    from nanogpt.train import TrainConfig
    from nanogpt.workspace.runlog import teach

    steps = math.ceil(setting["epochs"] * len(rows) / setting["batch_size"])
    precision = log["setting"]["precision"]
    config = TrainConfig(steps=steps, batch_size=setting["batch_size"], seed=seed, precision=precision, **RATE)
    task, cut = make_task(name, rows, course.loaded.template(), course.row_length)
    if cut:
        print(f"{name}: {cut} of {len(rows)} prompts are cut to fit {course.row_length} tokens", flush=True)
    teach(log, f"{method}: {name}", course, task, config, autocast=autocast, folder=folder, save_every=10)
    print(line(f"after {name}", course.scores[-1]), flush=True)


def line(label, scores):
    return label.ljust(20) + "".join(f"{name} {100 * score:.0f} %".rjust(18) for name, score in zip(TASKS, scores))


def summary(setting, course, exams, matrices, log, precision):
    """The metrics: what is left of each task at the end, and what each lost since it was learned."""
    from nanogpt.vendor.continual.metrics import acc, bwt, learning_accuracy

    majority = [max(Counter(row.response for row in rows).values()) / len(rows) for rows in exams.values()]
    metrics = {}
    for method, rows in matrices.items():
        metrics |= {f"assistant_{method}_acc": acc(rows), f"assistant_bwt_{method}": bwt(rows)}
        metrics |= {f"assistant_{method}_learned": learning_accuracy(rows), f"matrix_{method}": rows}
        print(f"{method}: {100 * acc(rows):.1f} % right at the end, {100 * bwt(rows):+.1f} points on old tasks")
    seconds = {label: each and each * len(log["losses"][label]) for label, each in log["step_seconds"].items()}
    trained = sum(p.numel() for p in course.model.parameters() if p.requires_grad)
    return metrics | {
        "tasks": list(TASKS),
        "baseline": log["baseline"],
        "assistant_base_acc": sum(log["baseline"]) / len(TASKS),
        "majority": majority,
        "assistant_majority_acc": sum(majority) / len(TASKS),
        "train_rows": setting["rows"],
        "test_rows": setting["test"],
        "keep_rows": setting["keep_rows"],
        "replay_rows": setting["replay_rows"],
        "batch_size": setting["batch_size"],
        "epochs": setting["epochs"],
        "row_length": setting["row_length"],
        "n_trained": trained,
        "precision": precision,
        "seconds_of_training": seconds,
        "losses": log["losses"],
    }


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
