"""How low does the loss on tinyshakespeare go on two cores? The recipe of the race, larger, longer, and more than once.

python weeks/week14/best.py --data ~/tinyshakespeare.txt --preset full      # the file that nanoGPT trains on

First each candidate learns nine tenths of the train split and is judged on its last tenth: so the size, the dropout and
the number of steps are chosen. Then the best one learns the whole train split, once with each of a few seeds. Only then
is the validation split read: by each model, and by all together, an ensemble whose probabilities are averaged. All are
whole runs of `nanogpt train`; the minutes are those of all of them, the choice too. A run that is over is kept until
the end, so the same command goes on after a stop.
"""

import hashlib
import json
import math
import shutil
import sys
import time
from pathlib import Path

from race import RECIPE, in_nats, split, train

SMALL = {**RECIPE, "vocab-size": 1024}
# What is tried: the options of `nanogpt train`, among them its steps. Six layers of width 192 were tried too: one model
# was as good as the first one here, and took almost five times as long, in which many small ones are better together.
CANDIDATES = {
    "small": {**SMALL, "steps": 700},
    "dropout": {**SMALL, "steps": 1200, "dropout": 0.1},
    "dropout, long context": {**SMALL, "steps": 1200, "dropout": 0.1, "block-size": 256, "batch-size": 8},
}
TINY = {"n-layer": 1, "n-head": 2, "n-kv-head": 1, "n-embd": 16, "block-size": 16, "batch-size": 4, "vocab-size": 270}
PRESETS = {
    "smoke": ({"two steps": {**TINY, "steps": 2}, "four": {**TINY, "steps": 4}}, 2),
    "default": ({"small": CANDIDATES["small"]}, 2),
    "full": (CANDIDATES, 10),
}


def main(argv=None):
    from nanogpt.vendor.shared.progress import bar
    from nanogpt.vendor.shared.results import models_folder, parser, save_run, thread_count
    from nanogpt.vendor.shared.text import read_text

    p = parser(__doc__.splitlines()[0], data=Path("tinyshakespeare.txt"), epilog=__doc__.split("\n", 2)[2])
    args = p.parse_args(argv)
    text, threads = read_text(args.data), thread_count(args.threads)
    candidates, members = PRESETS[args.preset]
    work = models_folder(__file__, args.out) / f"best-{args.preset}"
    choice, whole = work / "choice", work / "whole"
    for part in (choice, whole):
        part.mkdir(parents=True, exist_ok=True)
    learned, held_out = split(text, whole)
    split(learned, choice)
    tried = {}
    for name, options in bar(candidates.items(), "choose", total=len(candidates)):
        tried[name] = kept(options, choice, threads, args.seed)
        print(f"{name}: {tried[name]['val']:.4f} nats a character on the part held out", flush=True)
    chosen = min(tried, key=lambda name: tried[name]["val"])
    runs = []
    for seed in bar(range(args.seed, args.seed + members), f"train {chosen}", total=members):
        runs.append({"seed": seed, **kept(candidates[chosen], whole, threads, seed)})
        print(f"seed {seed}: {runs[-1]['val']:.4f} nats a character", flush=True)
    began = time.perf_counter()
    together = ensemble([whole / run.pop("folder") for run in runs], held_out)
    seconds = time.perf_counter() - began + sum(run["seconds"] for run in (*tried.values(), *runs))
    tried = {name: {key: run[key] for key in ("seconds", "val")} for name, run in tried.items()}
    metrics = {
        "best_val": together,
        "best_val_minutes": seconds / 60,
        "best_val_one_model": sum(run["val"] for run in runs) / members,
        "best_val_members": members,
        "chosen": chosen,
        "tried": tried,
        "runs": runs,
    }
    path = save_run(__file__, args, argv, metrics, name=f"best-{args.preset}", seconds=seconds, threads=threads)
    shutil.rmtree(work)
    print(
        f"{members} models together: {together:.4f} nats a character, after {metrics['best_val_minutes']:.0f} minutes"
    )
    print(f"results: {path}")
    return metrics


def kept(options, part, threads, seed):
    """What `train` gives, and the `folder` in `part` where the model lies: of a run that is over, or of a new one."""
    from nanogpt.vendor.shared.files import atomic_write

    texts = [(part / f"{name}.txt").read_text() for name in ("train", "val")]
    name = hashlib.sha256(json.dumps([options, seed, texts]).encode()).hexdigest()[:12]
    over = part / f"{name}.json"
    if not over.exists():
        run = train(options, part, threads, seed, out=part / name)
        atomic_write(over, json.dumps({**run, "folder": name}))
    return json.loads(over.read_text())


def ensemble(folders, text):
    """Nats a character of the models in `folders` together: the mean of their probabilities of each next token. They
    have learned one text, so they have one vocabulary."""
    import torch
    from nanogpt.scores import bits_per_byte
    from nanogpt.vendor.continual.learner import Learner
    from nanogpt.workspace.store import open_course

    courses = [open_course(folder) for folder in folders]

    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.models = torch.nn.ModuleList(course.model for course in courses)
            self.config = courses[0].model.config

        def forward(self, tokens, targets):
            """tokens (B, T) -> the logarithms (B, T, V) of the mean probabilities, and their mean loss in nats."""
            parts = torch.stack([model(tokens)[0].float().log_softmax(-1) for model in self.models])
            logs = parts.logsumexp(0) - math.log(len(parts))
            return logs, torch.nn.functional.nll_loss(logs.flatten(0, 1), targets.flatten(), ignore_index=-100)

    with torch.no_grad():
        bits = bits_per_byte(Learner(Mean()), courses[0].tokenizer, text, progress="judge all together")
    return in_nats(bits, text)


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
