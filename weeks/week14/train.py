"""The main job: a vocabulary and a GPT from scratch on a Bible in simple English, then three more kinds of text.

The same pretrained model learns Shakespeare, recipes and Python code, once naively and once with replay;
after each domain it is examined on all four. What is left behind: runs/week14/results/<preset>.json, and models for
`nanogpt sample` and `nanogpt chat` in checkpoints/week14-<preset>/. With --arms naive experts the second one keeps the
weights of each domain instead; that leaves <preset>-naive-experts.json and models beside the others.
"""

import shlex
import statistics
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PRETRAIN, LATER = "bible", ("shakespeare", "recipes", "code")
DOMAINS = (PRETRAIN, *LATER)
METHODS = {"naive": "naive", "replay": "distilled-replay", "experts": "experts"}  # an arm's name here, and its method
ARMS = ("naive", "replay")
KEEPS = {"naive": "nothing", "replay": "{kept_pct:.1f} % of the rows", "experts": "the weights of each domain"}

PROMPTS = {
    "bible": "And the Lord said to Moses, Say to the children of Israel,",
    "shakespeare": "ROMEO:\nO, I am not he, my lord. What is",
    "recipes": "Ingredients:\n- 1 cup sugar\n- 2 eggs\n-",
    "code": "import sys\n\ndef ",
}


def presets():
    """What each preset runs with; the sizes of `default` are those of `nanogpt train` and `nanogpt learn`."""
    from nanogpt.presets import LATER, PRETRAIN, SHAPE

    settings = {
        "seeds": 1,
        "shape": SHAPE,
        "pretrain": PRETRAIN.to_dict(),
        "learn": LATER.to_dict(),
        "replay": {"keep_rows": 192, "replay_rows": 1, "share": 0.35, "strength": 8.0},
        "exam_chars": 30_000,
        "train_chars": None,
    }
    small = {"vocab_size": 300, "block_size": 32, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 32}
    smoke = {
        **settings,
        "shape": {**settings["shape"], **small},
        "pretrain": {**settings["pretrain"], "steps": 40, "lr": 5e-3, "warmup": 4},
        "learn": {**settings["learn"], "steps": 30, "lr": 5e-3, "warmup": 3},
        "replay": {**settings["replay"], "keep_rows": 64},
        "exam_chars": 4_000,
        "train_chars": 20_000,
    }
    return {"smoke": smoke, "default": settings, "full": {**settings, "seeds": 3}}


def main(argv=None):
    """Run the main job and return its metrics."""
    from nanogpt.vendor.shared.errors import Mistake
    from nanogpt.vendor.shared.files import locked
    from nanogpt.vendor.shared.results import parser, save_run, thread_count

    p = parser(__doc__, data=ROOT / "data", epilog="example: python weeks/week14/train.py --preset default --seed 1")
    p.add_argument("--work", type=Path, help="folder for the models (default: checkpoints/week14-<preset>)")
    p.add_argument("--arms", nargs=2, choices=METHODS, default=ARMS, metavar="ARM",
                   help=f"two of {', '.join(METHODS)} (default: {' '.join(ARMS)})")  # fmt: skip
    p.add_argument("--fresh", action="store_true", help="start over instead of going on with a run that was stopped")
    args = p.parse_args(argv)
    threads, arms = thread_count(args.threads), tuple(args.arms)
    if len(set(arms)) < 2:
        raise Mistake(f"--arms names {arms[0]} twice; give two that differ")
    name = args.preset if arms == ARMS else "-".join([args.preset, *arms])
    work = args.work or ROOT / "checkpoints" / f"week14-{name}"
    print(f"week14 {args.preset}: {', '.join(DOMAINS)}; {threads} threads; models go to {work}", flush=True)

    import torch  # after the first line, so that a user sees at once that something happens
    from nanogpt.workspace import runlog

    torch.set_num_threads(threads)
    setting, seeds = presets()[args.preset], range(args.seed, args.seed + presets()[args.preset]["seeds"])
    folders = {seed: work / f"seed{seed}" if len(seeds) > 1 else work for seed in seeds}
    with locked(work) if len(seeds) > 1 else nullcontext():  # one seed's folder is locked by its run
        keep = not all((runlog.read(folder) or {}).get("done") for folder in folders.values())  # stopped at a later one
        runs = [run(setting, seed, args.data, folders[seed], args.fresh, arms, keep) for seed in seeds]
    metrics, seconds = summary(runs), sum(r["main_job_seconds"] for r in runs)
    path = save_run(__file__, args, argv, metrics, seconds=seconds, threads=threads, name=name)
    print(finding(metrics, runs, folders[args.seed], arms))
    print(f"results: {path}")
    return metrics


def finding(metrics, runs, work, arms):
    """The last lines: what was done, what it showed, where the models are, what to type next."""
    cut = metrics.get("forgetting_cut_pct")
    compared = "" if cut is None else f": {abs(cut):.1f} % {'less' if cut >= 0 else 'more'}"
    sample = shlex.join([".venv/bin/nanogpt", "sample", "--model", str(work / arms[1]), "--prompt", PROMPTS[PRETRAIN]])
    ways = ", ".join(f"once {arm} (keeps {KEEPS[arm].format(**runs[0])})" for arm in arms)
    worse = [f"{arm} by {metrics[f'{arm}_forgetting_bpb']:.3f}" for arm in arms]
    return (
        f"\nWhat it did: a model of {runs[0]['n_params']:,} numbers learned {PRETRAIN}, then {', '.join(LATER)}, one "
        f"after another: {ways}. It took {sum(r['main_job_seconds'] for r in runs):.0f} s.\n"
        f"What it showed: on what it knew before, the model got worse in bits per byte: {', '.join(worse)}{compared}.\n"
        f"Where it lies: the models in {work} (pretrained, {', '.join(arms)}); `make week14` draws the figures.\n"
        f"To try next: {sample}   (or: chat, eval, learn)"
    )


def run(setting, seed, data, work, fresh, arms=ARMS, keep=False):
    """One seed of the whole job. A run that was stopped goes on from its last saved step; with `keep` a finished one
    is not done again."""
    from nanogpt.device import autocast_for, pick_device
    from nanogpt.workspace.runlog import begin, clocked
    from nanogpt.workspace.store import open_course

    device = pick_device("cpu")
    autocast, precision = autocast_for("auto", device)
    domains = {name: read(data, name, setting) for name in DOMAINS}
    log = begin(work, {**setting, "seed": seed, "precision": precision}, ("pretrained", *arms), fresh, keep)
    log.setdefault("rows", {})
    with clocked(work, log):
        course = pretrained(setting, seed, domains, work, autocast, device, log)
        print_samples(f"after {PRETRAIN}", course, [PRETRAIN], seed)
        matrices, samples = {}, {}
        for method in arms:
            print(f"\n-- three more domains, {method} --", flush=True)
            folder = work / method
            begun = folder if (folder / "checkpoint.json").exists() else work / "pretrained"
            course = open_course(begun, device, method=(METHODS[method], setting.get(method, {})), seed=seed)
            for name in LATER:
                if name not in course.learned:
                    learn_one(course, domains[name], setting["learn"], seed, folder, autocast, log, f"{method} {name}")
            matrices[method] = course.scores
            samples[method] = print_samples(f"after all four, {method}", course, DOMAINS, seed)
            print(table(method, course))
    return measured(setting, seed, course, matrices, log, samples, precision)


def pretrained(setting, seed, domains, work, autocast, device, log):
    """The vocabulary and the model that knows the first domain only."""
    from nanogpt.workspace.learn import course_from
    from nanogpt.workspace.store import open_course

    folder = work / "pretrained"
    if (folder / "checkpoint.json").exists():
        course = open_course(folder, device, seed=seed)
    else:
        chosen = {"method": METHODS["replay"], "method_config": setting["replay"]}
        course = course_from(domains[PRETRAIN].train, setting["shape"], **chosen, seed=seed, device=device)
        course.exams = {name: domain.exam for name, domain in domains.items()}
    model = course.model
    sizes = f"{model.n_params():,} parameters, {course.tokenizer.vocab_size} tokens"
    print(f"GPT with {sizes}, {log['setting']['precision']}", flush=True)
    if PRETRAIN not in course.learned:
        learn_one(course, domains[PRETRAIN], setting["pretrain"], seed, folder, autocast, log, f"train {PRETRAIN}")
    print(f"{PRETRAIN}: {course.scores[0][0]:.3f} bits per byte on held-out text", flush=True)
    return course


def learn_one(course, domain, settings, seed, folder, autocast, log, label):
    """Teach one domain."""
    from nanogpt.train import TrainConfig
    from nanogpt.workspace.runlog import teach

    config = TrainConfig(**{**settings, "seed": seed, "precision": log["setting"]["precision"]})
    task, _ = course.kind.task(domain.name, domain.train, course.loaded, course.row_length)
    teach(log, label, course, task, config, autocast=autocast, folder=folder, save_every=100)
    log["rows"][domain.name] = len(task.train)


class Domain(NamedTuple):
    """A kind of text: what to train on, and the held-out text that judges it."""

    name: str
    train: str
    exam: str


def read(data, name, setting):
    """The Domain in data/<name>/train.txt and val.txt, cut to what the preset uses, at document ends."""
    from nanogpt.vendor.shared.files import need
    from nanogpt.vendor.shared.text import SEPARATOR, documents, read_text

    def cut(path, most):
        text, parts = read_text(need(path, f"make data/{name}")), []
        for part in documents(text):
            if most is not None and parts and sum(map(len, parts)) + len(part) > most:
                break
            parts.append(part if most is None else part[:most])
        return SEPARATOR.join(parts)

    folder = Path(data) / name
    return Domain(
        name, cut(folder / "train.txt", setting["train_chars"]), cut(folder / "val.txt", setting["exam_chars"])
    )


def print_samples(title, course, names, seed):
    """One sample a domain, printed and returned."""
    from nanogpt.infer.generate import generate
    from nanogpt.vendor.bpe.stream import decode_stream
    from nanogpt.vendor.continual.learner import Learner
    from nanogpt.vendor.shared.text import END

    end, samples = course.tokenizer.special_tokens[END], {}
    for name in names:
        ids = [end, *course.tokenizer.encode_ordinary(PROMPTS[name])]
        ids = ids[-course.model.config.block_size :]
        with course.method.serving(Learner(course.model), ids):
            tokens = generate(course.model, ids, 80, temperature=0.7, top_p=0.95, seed=seed, stop={end})
            samples[name] = PROMPTS[name] + "".join(decode_stream(course.tokenizer, tokens))
        print(f"\n[{title}: {name}]\n{samples[name]}", flush=True)
    return samples


def table(method, course):
    """The matrix and what it says, as text."""
    from nanogpt.vendor.continual.metrics import acc, rise

    lines = [
        f"\n{method}: bits per byte (lower is better)",
        " " * 20 + "".join(name.rjust(13) for name in course.exams),
    ]
    for name, row in zip(course.learned, course.scores, strict=True):
        lines.append(f"  after {name}".ljust(20) + "".join(f"{value:13.3f}" for value in row))
    lines.append(
        f"  old domains rose by {rise(course.scores):.3f} bits per byte; average at the end {acc(course.scores):.3f}"
    )
    return "\n".join(lines)


def measured(setting, seed, course, matrices, log, samples, precision):
    """The metrics of one seed."""
    from nanogpt.vendor.continual.metrics import acc, forgetting_cut, rise

    (first, before), (second, after) = ((arm, rise(rows)) for arm, rows in matrices.items())
    cut = forgetting_cut(after, before)
    rows, pretrain = sum(log["rows"].values()), setting["pretrain"]
    tokens, step = pretrain["batch_size"] * setting["shape"]["block_size"], log["step_seconds"].get(f"train {PRETRAIN}")
    said = "there was nothing to cut" if cut is None else f"{second} cuts it by {100 * cut:.1f} %"
    print(f"\nforgetting: {first} {before:.3f}, {second} {after:.3f} bits per byte; {said}")
    learned = {arm: statistics.mean(rows[i][i] for i in range(1, len(DOMAINS))) for arm, rows in matrices.items()}
    replay = {"keep_rows": setting["replay"]["keep_rows"], "kept_pct": 100 * setting["replay"]["keep_rows"] / rows}
    return {
        "seed": seed,
        "forgetting_cut_pct": None if cut is None else 100 * cut,
        "main_job_seconds": log["elapsed"],
        "pretrain_val_bpb": matrices[first][0][0],
        "tokens_per_second": step and tokens * pretrain["accumulate"] / step,
        **{f"{arm}_forgetting_bpb": rise(rows) for arm, rows in matrices.items()},
        **{f"{arm}_mean_bpb": acc(rows) for arm, rows in matrices.items()},
        **{f"{arm}_learned_bpb": value for arm, value in learned.items()},
        "n_params": course.model.n_params(),
        **(replay if "replay" in matrices else {}),
        "precision": precision,
        "domains": list(DOMAINS),
        **{f"matrix_{arm}": rows for arm, rows in matrices.items()},
        "vocab_size": course.tokenizer.vocab_size,
        "losses": log["losses"],
        "block_tokens": tokens,
        "samples": samples,
    }


def summary(runs):
    """One seed as it is; of several the mean and standard deviation, and each seed's own numbers."""
    if len(runs) == 1:
        return runs[0]
    out = {"seeds": len(runs), "domains": runs[0]["domains"]}
    for name, value in runs[0].items():
        if isinstance(value, float):
            values = [r[name] for r in runs]
            out |= {name: statistics.mean(values), f"{name}_sd": statistics.stdev(values), f"{name}_each": values}
    for name in (name for name in runs[0] if name.startswith("matrix_")):
        out[name] = [
            [statistics.mean(cell) for cell in zip(*rows, strict=True)]
            for rows in zip(*(r[name] for r in runs), strict=True)
        ]
    return out


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
