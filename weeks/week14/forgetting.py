"""Forgetting that can be read: the story model learns Shakespeare, code and recipes, and is asked for a story again.

Once naively, once with replay, once with the weights of each text kept (experts). The rows that replay joins are
stories which the model wrote itself before: they ship with it, and nothing of the text that it was trained on is
needed. What is left behind: runs/week14/results/forgetting-<preset>.json, and three models in
checkpoints/week14-forgetting-<preset>/. Stopped, the same command goes on.
"""

import shlex
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LATER = ("shakespeare", "code", "recipes")
METHODS = {"naive": "naive", "replay": "shared-replay", "experts": "experts"}  # an arm's name here, and its method
PROMPT = "One day, a little girl named Lily found a key in the garden. She"
DEFAULT = {
    "learn": {"steps": 36, "batch_size": 4, "lr": 0.003, "warmup": 4},
    "train_chars": 200_000,
    "exam_chars": 10_000,
    "story_tokens": 160,
}
SMOKE = {**DEFAULT, "learn": {"steps": 2, "batch_size": 2, "warmup": 1}, "exam_chars": 1_000, "story_tokens": 20}
FULL = {**DEFAULT, "learn": {**DEFAULT["learn"], "steps": 200}, "train_chars": None, "exam_chars": 30_000}
PRESETS = {"smoke": SMOKE, "default": DEFAULT, "full": FULL}


def main(argv=None):
    """Teach all arms, print a story of each, and return the metrics."""
    from nanogpt.vendor.shared.results import parser, save_run, thread_count

    p = parser(__doc__, data=ROOT / "data", epilog="example: python weeks/week14/forgetting.py --preset default")
    p.add_argument("--model", default="story", help="a course that knows one task, stories (default: %(default)s)")
    p.add_argument("--work", type=Path, help="folder for the models (default: checkpoints/week14-forgetting-<preset>)")
    p.add_argument("--fresh", action="store_true", help="start over instead of going on with a run that was stopped")
    args = p.parse_args(argv)
    threads = thread_count(args.threads)
    work = args.work or ROOT / "checkpoints" / f"week14-forgetting-{args.preset}"
    print(f"{args.model} learns {', '.join(LATER)}; {threads} threads; models go to {work}", flush=True)

    import torch  # after the first line, so that a user sees at once that something happens

    torch.set_num_threads(threads)
    log, metrics = run(PRESETS[args.preset], args, work)
    path = save_run(
        __file__, args, argv, metrics, name=f"forgetting-{args.preset}", seconds=log["elapsed"], threads=threads
    )
    for name, story in metrics["told"].items():
        print(f"\n[{name}: {metrics[f'stories_{name}_bpb']:.2f} bits per byte of stories]\n{story}")
    print(f"\nIt took {log['elapsed']:.0f} s. The models lie in {work}.")
    ask = [".venv/bin/nanogpt", "sample", "--model", str(work / "naive"), "--prompt", PROMPT]
    print(f"To try next: {shlex.join(ask)}\nresults: {path}")
    return metrics


def run(setting, args, work):
    """All arms from the same start. A run that was stopped goes on from its last saved step."""
    from nanogpt.device import autocast_for, pick_device
    from nanogpt.workspace.learn import judge
    from nanogpt.workspace.runlog import begin, clocked
    from nanogpt.workspace.store import open_course

    device = pick_device("cpu")
    autocast, precision = autocast_for("auto", device)
    refuse_unfinished(args.model)
    domains = {name: read(args.data, name, setting) for name in LATER}
    chosen = {**setting, "seed": args.seed, "precision": precision, "model": args.model}
    log = begin(work, chosen, tuple(METHODS), args.fresh)
    matrices, told, kept = {}, {}, {}
    with clocked(work, log):
        for method, name in METHODS.items():
            folder = work / method
            begun = (folder / "checkpoint.json").exists()
            course = open_course(folder if begun else args.model, device, method=(name, {}), seed=args.seed)
            if not begun:
                course.exams |= {name: exam for name, (_, exam) in domains.items()}
                course.scores = [judge(course, course.kind.learner(course.loaded, autocast), progress="before: exam")]
                log["before"] = story(course, setting, args.seed)
            for domain in LATER:
                if domain not in course.learned:
                    learn_one(course, domain, domains[domain][0], setting, args.seed, folder, autocast, log, method)
            matrices[method] = course.scores
            told[method] = story(course, setting, args.seed)
            kept |= course.method.memory.counts() if method == "replay" else {}
    return log, summary(matrices, {"before": log["before"], **told}, log, course, kept)


def refuse_unfinished(model):
    """A Mistake for a course that was stopped while it learned: no arm could begin from it, nor be compared."""
    from nanogpt.vendor.shared.errors import Mistake
    from nanogpt.workspace.store import course_of

    if begun := course_of(model).get("progress"):
        raise Mistake(
            f"{model} was stopped while it learned {begun['task']}; finish that with the command that began it, plus "
            "--resume, or give another --model"
        )


def read(data, name, setting):
    """(text to train on, held-out text) of a domain: its beginning, as many characters as the preset uses."""
    from nanogpt.vendor.shared.files import need
    from nanogpt.vendor.shared.text import SEPARATOR, documents, read_text

    def cut(part, most):
        text = read_text(need(Path(data) / name / f"{part}.txt", f"make data/{name}"))
        return text if most is None else SEPARATOR.join(documents(text[:most]))

    return cut("train", setting["train_chars"]), cut("val", setting["exam_chars"])


def learn_one(course, name, text, setting, seed, folder, autocast, log, method):
    """One domain."""
    from nanogpt.train import TrainConfig
    from nanogpt.workspace.runlog import teach

    task, _ = course.kind.task(name, text, course.loaded, course.row_length)
    config = TrainConfig(**setting["learn"], seed=seed, precision=log["setting"]["precision"])
    teach(log, f"{method}: {name}", course, task, config, autocast=autocast, folder=folder, save_every=20)


def story(course, setting, seed):
    """What the model makes of the prompt now."""
    from nanogpt.infer.generate import generate
    from nanogpt.tasks import end_id
    from nanogpt.vendor.bpe.stream import decode_stream
    from nanogpt.vendor.continual.learner import Learner

    end = end_id(course.tokenizer)
    ids = [end, *course.tokenizer.encode_ordinary(PROMPT)]
    drawn = {**course.loaded.sample, "seed": seed, "stop": {end}}
    course.model.eval()
    with course.method.serving(Learner(course.model), ids):
        tokens = generate(course.model, ids, setting["story_tokens"], **drawn)
        return PROMPT + "".join(decode_stream(course.tokenizer, tokens))


def summary(matrices, told, log, course, kept):
    """The metrics: what happened to the stories, and what each arm learned."""
    from nanogpt.vendor.continual.metrics import forgetting_cut, rise

    names, seconds = list(course.exams), log["step_seconds"]
    metrics = {"domains": names, "told": told, "stories_before_bpb": matrices["naive"][0][0]}
    for method, rows in matrices.items():
        metrics |= {
            f"matrix_{method}": rows,
            f"stories_{method}_bpb": rows[-1][0],
            f"{method}_forgetting_bpb": rise(rows),
            f"{method}_learned_bpb": sum(rows[i][i] for i in range(1, len(names))) / len(LATER),
            f"{method}_step_seconds": sum(seconds.get(f"{method}: {name}") or 0 for name in LATER) / len(LATER),
        }
    cut = forgetting_cut(metrics["replay_forgetting_bpb"], metrics["naive_forgetting_bpb"])
    both = [metrics[f"{method}_step_seconds"] for method in ("naive", "replay")]
    return metrics | {
        "forgetting_cut_pct": None if cut is None else 100 * cut,
        "replay_vs_naive_time_ratio": both[1] / both[0] if all(both) else None,
        "kept": kept,
        "seed": log["setting"]["seed"],
        "n_params": course.model.n_params(),
        "precision": log["setting"]["precision"],
    }


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
