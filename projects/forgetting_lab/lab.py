"""What does a small model forget of your texts, and what helps? Methods side by side, on one page.

    python projects/forgetting_lab/lab.py                                     # fables, recipes, code
    python projects/forgetting_lab/lab.py first.txt second.txt third.txt      # texts of yours, in the order of learning
    python projects/forgetting_lab/lab.py --methods replay replay:keep_rows=20 ewc:strength=1000 lwf
    python projects/forgetting_lab/lab.py --quick                             # seconds: only to see that it works

A byte-level GPT learns one text after the other, once with each method, always from the same first weights and the same
rows. After each text it is judged on all of them: the last tenth of a text is held out. Naive training and joint
training stand beside every method, for what was lost and what was saved is measured between them.
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week13"))
import torch
from continual import Learner, Task, learn_sequence, make, windows
from continual.schedules import rewarm
from continual.text import bits_per_byte, read_bytes, spread, unigram_bits
from continual.tiers.domains import byte_gpt
from continual.tiers.table import parse
from continual.vendor.shared.errors import Mistake, entry
from continual.vendor.shared.files import atomic_write, need
from continual.vendor.shared.progress import bar
from continual.vendor.shared.results import thread_count
from report import Run, page, picture, told

OUT = common.RUNS / "forgetting_lab"
DATA = common.ROOT / "data"
TEXTS = ("fables", "recipes", "code")
BOUNDS = ("naive", "joint")
METHODS = ("replay", "ewc")
KEPT = dict(keep_rows=200, replay_rows=8)  # of every method that keeps rows, unless its name says otherwise
SETTINGS = dict(n_layer=2, n_head=4, n_embd=96, length=64, batch_size=16, steps=200, lr=3e-3, train_rows=4000,
                valid_rows=100)  # fmt: skip
QUICK = dict(n_layer=1, n_head=2, n_embd=32, length=32, steps=15, train_rows=200, valid_rows=20)
LEAST = 20  # windows of a text that can be learned from


# --- texts as tasks ---------------------------------------------------------------------------------------------------


def name_of(path):
    """What a text is called: its file, or the folder of a set that make has written."""
    return path.parent.name if path.stem == "train" and path.parent.name else path.stem


def tasks_of(paths, settings):
    """[Task] of text files, in their order; the last tenth of each is held out."""
    found = []
    for path in map(Path, paths):
        name = name_of(path)
        tokens = read_bytes(need(path, f"make data/{name}") if DATA in path.parents else path)
        if any(name == task.name for task in found):
            raise Mistake(f"two texts are called {name!r}, and a task has its text's name; rename one of the files")
        if len(tokens) < LEAST * settings["length"] + 1:
            raise Mistake(
                f"{path} has {len(tokens)} bytes, and {LEAST * settings['length'] + 1} are the least that can be "
                "learned from and judged; give a longer text"
            )
        rows = windows(tokens, settings["length"])
        cut = len(rows) - len(rows) // 10
        train, valid = spread(rows[:cut], settings["train_rows"]), spread(rows[cut:], settings["valid_rows"])
        found.append(Task(name, train, valid))
    if len(found) < 2:
        raise Mistake(f"{len(found)} text has nothing to forget; name two or more")
    return found


# --- runs -------------------------------------------------------------------------------------------------------------


def built(spec, tasks, seed):
    """(method, its name) of what was typed, such as replay:keep_rows=20."""
    name, config = parse(spec)
    known = type(make(name).config).__dataclass_fields__
    config = {key: value for key, value in KEPT.items() if key in known} | config
    return make(name, config, seed=seed, tasks=tasks if name == "joint" else ()), name


def learned(spec, tasks, settings, seed):
    """The Run of one method over all tasks."""
    method, name = built(spec, tasks, seed)
    learner, steps, begun = Learner(byte_gpt(settings, seed)), settings["steps"], perf_counter()
    # Joint training sees as many rows a step as replay: else the bound would have seen less than what it bounds.
    batch = settings["batch_size"] + KEPT["replay_rows"] * (name == "joint")
    with bar(total=steps * len(tasks), label=spec, unit="step") as line:
        matrix = learn_sequence(
            learner, method, tasks, evaluate=bits_per_byte, higher_is_better=False, steps=steps, batch_size=batch,
            seed=seed, schedules=rewarm, on_step=lambda step, info: line.update(),
            make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=settings["lr"], betas=(0.9, 0.95)),
        )  # fmt: skip
    return Run(spec, matrix, method.keeps, method.needs_task, perf_counter() - begun)


# --- the command ------------------------------------------------------------------------------------------------------


def parser():
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("texts", nargs="*", type=Path, default=[DATA / name / "train.txt" for name in TEXTS],
                   metavar="TEXT", help=f"files, in the order of learning (default: {', '.join(TEXTS)})")  # fmt: skip
    p.add_argument("--methods", nargs="+", default=METHODS, metavar="M",
                   help=f"beside naive and joint, e.g. replay:keep_rows=20 (default: {' '.join(METHODS)})")  # fmt: skip
    p.add_argument("--steps", type=common.whole, default=SETTINGS["steps"], help="of each text (default: %(default)s)")
    p.add_argument("--quick", action="store_true", help="a tiny model and few steps: the numbers mean nothing")
    p.add_argument("--seed", type=lambda text: common.whole(text, 0), default=0)
    p.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    p.add_argument("--page", type=Path, help=f"the HTML page (default: below runs/{OUT.name}/)")
    p.add_argument("--figure", type=Path, help="the picture as a PNG as well; it is in the page anyway")
    common.add_mine(p)
    return p


def main(argv=None):
    """Learn with every method, print the table, write the page; the [Run]."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parser().parse_args(argv)
    torch.set_num_threads(thread_count(args.threads))
    settings = SETTINGS | dict(steps=args.steps) | (QUICK if args.quick else {})
    specs = list(dict.fromkeys(["naive", *args.methods, "joint"]))
    try:
        tasks = tasks_of(args.texts, settings)
        for spec in specs:  # what a method lacks is told before anything is trained
            built(spec, tasks, args.seed)[0].start(Learner(byte_gpt(settings, args.seed)), tasks[0])
        runs = [learned(spec, tasks, settings, args.seed) for spec in specs]
    except (ValueError, FloatingPointError) as error:
        raise Mistake(f"{error}") from None
    floors = [unigram_bits(task) for task in tasks]
    print("\n".join(told(runs, floors)))
    drawn = picture(runs, floors)
    path = args.page or common.free_path(OUT / f"{'-'.join(task.name for task in tasks)}.html")
    command = " ".join(["python projects/forgetting_lab/lab.py", *argv])
    atomic_write(path, page(runs, floors, drawn, command, args.quick))
    if args.figure:
        atomic_write(args.figure, drawn)
    print(f"\npage: {path}")
    return runs


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
