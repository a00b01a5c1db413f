"""Time to loss on tinyshakespeare: `nanogpt train` beside nanoGPT's train.py at its CPU setting, as whole processes.

python weeks/week14/race.py --peer ~/nanoGPT --data ~/tinyshakespeare.txt     # a git clone, the file that it trains on
python weeks/week14/race.py --data ~/tinyshakespeare.txt                      # ours alone

The text is split as nanoGPT splits it: the first nine tenths to train on. The loss is in nats a character, over every
character of the last tenth, whatever the tokenizer; windows do not overlap on either side. A point of ours is a whole
run of the command: imports, the training of the vocabulary, all steps, the exam. So each point has its own schedule,
and the curve goes through runs of different length. nanoGPT's inner points are its own estimates, without the exam.
"""

import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
GOAL, BEST = 1.905, 1.4697  # what nanoGPT's CPU setting reaches, and the best that its README names, on an A100
SHAPE = {"n-layer": 4, "n-head": 4, "n-kv-head": 4, "n-embd": 128, "block-size": 128}
RECIPE = {**SHAPE, "batch-size": 12, "first-context": 32, "grow": 0.4, "lr": 0.03, "warmup": 3, "weight-decay": 0.3}
# A contestant: its options of `nanogpt train`, the steps of its runs, and how many seeds at most each of them has.
# 257 tokens are the bytes and an end; "plain" is "free" without rows for runs of tokens.
OURS = {
    "free": ({**RECIPE, "vocab-size": 1024}, (40, 200, 800), math.inf),
    "char": ({**RECIPE, "vocab-size": 257, "set": "ngram=5 ngram_rows=32768"}, (50, 250, 500), math.inf),
    "plain": ({**RECIPE, "vocab-size": 1024, "set": "ngram=1"}, (800,), 1),
}
THEIRS = """config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=100
--eval_interval=250 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000
--lr_decay_iters=2000 --dropout=0.0""".split()
EXAM = """
import sys, torch
from model import GPT, GPTConfig
saved = torch.load(sys.argv[1], weights_only=False)
model = GPT(GPTConfig(**saved["model_args"]))
model.load_state_dict(saved["model"])
model.eval()
text = open(sys.argv[2]).read()
index = {c: i for i, c in enumerate(sorted(set(text)))}
ids = torch.tensor([index[c] for c in text[int(0.9 * len(text)):]])
nats = 0.0
with torch.no_grad():
    for start in range(0, len(ids) - 1, 64):
        x, y = ids[start:start + 64][None], ids[start + 1:start + 65][None]
        nats += model(x[:, :y.shape[1]], y)[1].item() * y.shape[1]
print(nats / (len(ids) - 1))
"""


def main(argv=None):
    from nanogpt.vendor.shared.errors import Mistake
    from nanogpt.vendor.shared.progress import bar
    from nanogpt.vendor.shared.results import finish, parser, thread_count
    from nanogpt.vendor.shared.text import read_text

    p = parser(__doc__.splitlines()[0], data=Path("tinyshakespeare.txt"), epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--peer", type=Path, help="your checkout of karpathy/nanoGPT; nothing of it is needed otherwise")
    p.add_argument("--seeds", type=int, default=1, help="runs of each contestant, in turns (default: %(default)s)")
    args = p.parse_args(argv)
    if args.seeds < 1:
        p.error(f"argument --seeds: {args.seeds} trains nothing; give a whole number from 1")
    if args.peer and not (args.peer / "train.py").is_file():
        raise Mistake(f"{args.peer} has no train.py; give a checkout: git clone https://github.com/karpathy/nanoGPT")
    text, threads = read_text(args.data), thread_count(args.threads)
    began, runs = time.perf_counter(), []
    plan = [(name, steps) for name, (_, points, _) in OURS.items() for steps in points]
    if args.preset == "smoke":
        plan = [(name, 2) for name in OURS]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        split(text, folder)
        for turn, seed in enumerate(range(args.seed, args.seed + args.seeds)):
            if args.peer:
                runs.append(
                    {"name": "nanogpt_peer", "seed": seed, **theirs(args.peer, args.data, folder, threads, seed)}
                )
                print(told(runs[-1]), flush=True)
            for name, steps in bar([one for one in plan if turn < OURS[one[0]][2]], f"seed {seed}"):
                run = train({**OURS[name][0], "steps": steps}, folder, threads, seed)
                runs.append({"name": name, "seed": seed, "steps": steps, **run})
                print(told(runs[-1]), flush=True)
    metrics = summary(runs)
    return finish(
        __file__, args, argv, metrics, name=f"race-{args.preset}", seconds=time.perf_counter() - began, threads=threads
    )


def split(text, folder):
    """Write folder/train.txt, the first nine tenths of a text, and folder/val.txt, the last; return both."""
    cut = int(0.9 * len(text))
    (folder / "train.txt").write_text(text[:cut])
    (folder / "val.txt").write_text(text[cut:])
    return text[:cut], text[cut:]


def told(run):
    return f"{run['name']}: {run['val']:.4f} nats a character after {run['seconds']:.1f} s in all"


def timed(command, threads, **options):
    """(seconds, what it printed) of a whole process."""
    surroundings = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    command = [str(word) for word in command]
    done = subprocess.run(
        command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if done.returncode:
        from nanogpt.vendor.shared.errors import Mistake

        raise Mistake(f"{' '.join(command)} failed: {done.stdout.strip()[-500:]}")
    return time.perf_counter() - began, done.stdout


def train(options, folder, threads, seed, out=None):
    """One whole run of `nanogpt train` on folder/train.txt, judged on folder/val.txt -> its seconds and its loss."""
    out = out or folder / "model"
    shutil.rmtree(out, ignore_errors=True)
    chosen = [word for name, value in options.items() for word in (f"--{name}", *str(value).split())]
    command = [
        sys.executable, "-c", "from nanogpt.cli import script; script()", "train", folder / "train.txt",
        "--exam", folder / "val.txt", "--out", out, *chosen,
        "--seed", seed, "--threads", threads, "--save-every", 1_000_000, "--method", "naive",
    ]  # fmt: skip
    seconds, said = timed(command, threads)
    from nanogpt.workspace.store import open_course

    ((bits,),) = open_course(out).scores
    return {"seconds": seconds, "val": in_nats(bits, (folder / "val.txt").read_text())}


def in_nats(bits, text):
    """Bits per byte of a text -> nats a character."""
    return bits * math.log(2) * len(text.encode()) / len(text)


def theirs(checkout, data, folder, threads, seed):
    """nanoGPT's whole run; then, untimed, its loss on the whole split by its own model."""
    home = folder / "nanoGPT"
    shutil.copytree(checkout, home, ignore=shutil.ignore_patterns(".git", "out*"), dirs_exist_ok=True)
    data_folder = home / "data" / "shakespeare_char"
    shutil.copy(data, data_folder / "input.txt")
    timed([sys.executable, data_folder / "prepare.py"], threads, cwd=home)
    script = home / "train.py"
    script.write_text(script.read_text().replace("1337", str(1337 + seed)))  # its seed has no option
    seconds, said = timed([sys.executable, script, *THEIRS, "--out_dir=out-race"], threads, cwd=home)
    (home / "exam.py").write_text(EXAM)
    _, value = timed([sys.executable, "exam.py", "out-race/ckpt.pt", data], threads, cwd=home)
    found = re.findall(r"step (\d+): train loss [\d.]+, val loss ([\d.]+)", said)
    return {
        "seconds": seconds,
        "val": float(value.split()[-1]),
        "estimates": [[int(step), float(loss)] for step, loss in found],
    }


def summary(runs):
    """Per contestant its curve (means over seeds), and the ratios where the peer ran."""
    mean = lambda values: sum(values) / len(values)
    metrics = {"goal": GOAL, "best": BEST, "seeds": len({run["seed"] for run in runs}), "runs": runs}
    peers = [run for run in runs if run["name"] == "nanogpt_peer"]
    if peers:
        metrics |= {"peer_seconds": mean([r["seconds"] for r in peers]), "peer_val": mean([r["val"] for r in peers])}
    for name in OURS:
        steps = sorted({run["steps"] for run in runs if run["name"] == name})
        curve = []
        for count in steps:
            same = [run for run in runs if run["name"] == name and run["steps"] == count]
            curve.append([count, mean([r["seconds"] for r in same]), mean([r["val"] for r in same])])
        metrics[f"{name}_curve"] = curve
        if peers:
            prefix = "" if name == "free" else f"{name}_"
            reached = [seconds for _, seconds, val in curve if val <= GOAL]
            within = [val for _, seconds, val in curve if seconds <= metrics["peer_seconds"]]
            metrics[f"{prefix}time_to_1905_ratio"] = min(reached) / metrics["peer_seconds"] if reached else None
            metrics[f"{prefix}equal_time_val"] = min(within) if within else None
    return metrics


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
