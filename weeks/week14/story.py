"""The model that ships: trained from scratch on simple stories, made ready to ship, judged.

    full      train it (hours), put it into checkpoints/shipped/story-5m, judge it
    default   judge the one that ships (a few minutes)

A stopped training goes on with the same command, and a finished one is not done again. The training text does not ship
with it. In its place the model gets stories that it wrote itself: some of them as the rows that replay joins to what it
learns later, others as the exam that shows whether it still writes stories.
"""

import math
import random
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SHIPPED = ROOT / "checkpoints" / "shipped" / "story-5m"
TASK, METHOD = "stories", "shared-replay"  # what the model that ships has learned, and how it goes on learning
PARTS = ("training", "shipped")  # folders below --work
DRAW = {"temperature": 0.5, "top_p": 0.9}  # of stories that are shown and judged; the model that ships says so too
GROWING = {"warmup": 20, "first_context": 96, "grow": 0.3, "precision": "bfloat16"}
FULL = {
    "shape": {
        "vocab_size": 2048,
        "block_size": 384,
        "n_layer": 6,
        "n_head": 8,
        "n_kv_head": 2,
        "n_embd": 256,
        "ngram": 1,  # what ships was trained before runs had rows
    },
    "train": {**GROWING, "steps": 6000, "batch_size": 12, "lr": 0.01, "weight_decay": 0.5},
    "memory": {"keep_rows": 512, "replay_rows": 2, "share": 0.5, "piece": 0},
    "own": 1000,  # stories that it writes for its memory
    "exam": 60,  # and for its exam
    "judged": 64,  # samples, and held-out stories, that the judge reads
    "chars": None,
    "cut": False,  # whether a story that finds no end within the context counts too
}
SMOKE = {
    "shape": {"vocab_size": 300, "block_size": 64, "n_layer": 1, "n_head": 2, "n_kv_head": 1, "n_embd": 32},
    "train": {"steps": 100, "batch_size": 8, "warmup": 5, "precision": "float32"},
    "memory": {"keep_rows": 8, "replay_rows": 2, "share": 0.5, "piece": 0},
    "own": 128,
    "exam": 32,
    "judged": 3,
    "chars": 20_000,
    "cut": True,  # after so few steps hardly one finds its end
}
PRESETS = {"smoke": SMOKE, "default": FULL, "full": FULL}
SAMPLES = 20  # stories on the page
UNREAD = "not read yet"
MARK = re.compile(rf"^## (\d+) · (holds|breaks|{UNREAD})(?:: (.*))?$")


def main(argv=None):
    """Train and ship where the preset asks for it; judge; return the metrics."""
    from nanogpt.vendor.shared.results import parser, save_run, thread_count

    p = parser(__doc__, data=ROOT / "data", epilog="example: python weeks/week14/story.py --preset default")
    p.add_argument("--work", type=Path, help="folder of the training (default: checkpoints/week14-story-<preset>)")
    p.add_argument("--model", type=Path, help="folder of the model that ships (default: checkpoints/shipped/story-5m)")
    p.add_argument("--judge", default="smollm2-135m", help="the model that reads the samples (default: %(default)s)")
    p.add_argument("--fresh", action="store_true", help="train anew, whatever an earlier run has trained")
    args = p.parse_args(argv)
    if args.preset == "default" and (args.work or args.fresh):
        p.error(f"{'--work' if args.work else '--fresh'} is of a training; give --preset full, or leave it out")
    setting, work = PRESETS[args.preset], args.work or ROOT / "checkpoints" / f"week14-story-{args.preset}"
    folder = args.model or (work / "shipped" if args.preset == "smoke" else SHIPPED)
    threads = thread_count(args.threads)
    print(f"the story model: {threads} threads; it lies in {folder}", flush=True)

    import torch  # after the first line, so that a user sees at once that something happens

    torch.set_num_threads(threads)
    start = time.perf_counter()
    texts = {part: read(args.data, part, setting["chars"]) for part in ("train", "val", "test")}
    if args.preset == "default":
        metrics = judged(setting, folder, texts, args.judge, page_of(args, folder))
        seconds = time.perf_counter() - start
    else:
        metrics, seconds = made(setting, texts, args, work, folder)
    path = save_run(__file__, args, argv, metrics, name=f"story-{args.preset}", seconds=seconds, threads=threads)
    print(
        f"\nheld-out stories: {metrics['story_val_bpb']:.3f} bits per byte; to {args.judge} its stories are "
        f"{metrics['story_judge_ppl_ratio']:.2f} times as surprising as people's; the longest run of characters that "
        f"one of them shares with the training text: {metrics['story_longest_copy_chars']}"
    )
    print(f"its stories: {page_of(args, folder)}")
    print(f"To try next: .venv/bin/nanogpt sample --model {'story' if folder == SHIPPED else folder}")
    print(f"results: {path}")
    return metrics


def page_of(args, folder):
    """Where the page of stories goes: beside the model where one is made, or where --model or the committed results are
    asked for; else beside the results of this run, so that the checkout stays as it is."""
    from nanogpt.vendor.shared.results import results_folder

    asked = args.model or (args.out and args.out.resolve() == HERE / "results")
    return (folder if asked or args.preset != "default" else results_folder(__file__, args.out)) / "SAMPLES.md"


def made(setting, texts, args, work, folder):
    """Train, ship and judge: (the metrics, the seconds of all runs of this command)."""
    from nanogpt.workspace.runlog import begin, clocked

    refuse(folder, work)
    if Path(args.judge).resolve() != folder.resolve():  # what can be told before hours go into a training
        reader_of(args.judge, setting["shape"]["block_size"])
    of_training = {name: setting[name] for name in ("shape", "train", "chars")}
    log = begin(work, {**of_training, "seed": args.seed}, PARTS, args.fresh, keep=True)
    with clocked(work, log):
        course = trained(setting, texts, work / PARTS[0], args.seed, log)
        ship(course, setting, folder)
        metrics = judged(setting, folder, texts, args.judge, page_of(args, folder))
        if losses := log["losses"].get(TASK):
            metrics |= {"losses": losses, **amount(setting, course, texts["train"])}
    return metrics, log["elapsed"]


def read(data, part, chars):
    """The text of one part of the stories, cut at a story's end to what the preset uses."""
    from nanogpt.vendor.shared.files import need
    from nanogpt.vendor.shared.text import SEPARATOR, documents, read_text

    text = read_text(need(Path(data) / TASK / f"{part}.txt", f"make data/{TASK}"))
    return text if chars is None else SEPARATOR.join(documents(text[:chars])[:-1])


# --- train ------------------------------------------------------------------------------------------------------------


def trained(setting, texts, folder, seed, log):
    """The course that knows the stories. Stopped, it goes on from the last saved step."""
    from nanogpt import checkpoint
    from nanogpt.device import autocast_for, pick_device
    from nanogpt.presets import SHAPE
    from nanogpt.train import TrainConfig
    from nanogpt.workspace.learn import course_from
    from nanogpt.workspace.runlog import teach
    from nanogpt.workspace.store import open_course

    device = pick_device("cpu")
    config = TrainConfig(**setting["train"], seed=seed)
    autocast, _ = autocast_for(config.precision, device)
    if checkpoint.exists(folder):
        course = open_course(folder, device, seed=seed)
        if not course.progress:
            return course
    else:
        course = course_from(texts["train"], {**SHAPE, **setting["shape"]}, seed=seed, device=device)
    course.exams[TASK] = course.kind.dump(texts["val"])
    task, _ = course.kind.task(TASK, texts["train"], course.loaded, course.row_length)
    teach(log, TASK, course, task, config, autocast=autocast, folder=folder, save_every=100)
    return course


def amount(setting, course, text):
    """How much it read of the text that it was trained on: tokens, and passes over it."""
    from nanogpt.tasks import encode

    read_all = setting["train"]["steps"] * setting["train"]["batch_size"] * course.row_length
    return {"train_tokens": read_all, "epochs": read_all / len(encode(course.tokenizer, text))}


# --- ship -------------------------------------------------------------------------------------------------------------


def refuse(folder, work):
    """A Mistake where the model that ships would be put over something else: all that may make room is one that this
    script shipped, and that nobody has taught since."""
    from nanogpt import checkpoint
    from nanogpt.vendor.shared.errors import Mistake
    from nanogpt.workspace.store import course_of

    if folder.resolve() in (work.resolve(), (work / PARTS[0]).resolve()):
        raise Mistake(f"{folder} is the folder of the training; give another one to --model, or to --work")
    there = folder.exists() and (folder.is_file() or any(file.name[0] != "." for file in folder.iterdir()))
    if there and not checkpoint.exists(folder):
        raise Mistake(f"{folder} is something else than a model of ours; give an empty or a new folder to --model")
    record = course_of(folder) if there else {}
    if there and (record.get("learned"), record.get("method", {}).get("name")) != ([TASK], METHOD):
        raise Mistake(f"{folder} holds a model that this script has not shipped; give another folder to --model")


def ship(course, setting, folder):
    """Put the model into `folder`, in bfloat16, with a memory and an exam that it wrote itself."""
    import torch
    from nanogpt.vendor.continual.learner import Learner
    from nanogpt.vendor.continual.methods import make
    from nanogpt.vendor.shared.errors import Mistake
    from nanogpt.vendor.shared.files import locked
    from nanogpt.vendor.shared.text import SEPARATOR
    from nanogpt.workspace.learn import judge
    from nanogpt.workspace.store import Course

    course.loaded.sample = DRAW
    with torch.no_grad():
        for p in course.model.parameters():
            p.copy_(p.bfloat16())  # what is judged is what ships
    n = setting["own"] + setting["exam"]
    own = stories(course.loaded, n, seed=1, cut=setting["cut"], label="write for its memory")
    memory, exam = own[setting["exam"] :], own[: setting["exam"]]
    if not memory:
        raise Mistake(
            f"only {len(own)} of {n} stories that the model wrote can be kept, and {setting['exam']} of them are its "
            "exam; give more text, so that it learns where a story ends"
        )
    ready = Course(course.loaded, make(METHOD, setting["memory"], seed=0), METHOD, learned=[TASK])
    ready.exams[TASK] = ready.kind.dump(SEPARATOR.join(exam))
    learner = Learner(ready.model)
    task, _ = ready.kind.task(TASK, SEPARATOR.join(memory), ready.loaded, ready.row_length)
    ready.method.finish(learner, task)
    ready.scores = [judge(ready, learner)]
    ready.model.bfloat16()
    with locked(folder):
        replace(folder, ready)


def replace(folder, course):
    """Save the course, then take away what the one that was there before had for itself. What is not listed stays."""
    from nanogpt import checkpoint
    from nanogpt.workspace.store import save_course

    listed = lambda: {file["name"] for file in checkpoint.read_index(folder)["files"].values()}
    before = listed() if checkpoint.exists(folder) else set()
    save_course(folder, course)
    (folder / checkpoint.PREVIOUS).unlink(missing_ok=True)  # a model that ships has nothing to go back to
    for name in before - listed():
        (folder / name).unlink(missing_ok=True)
        if name.startswith("tokenizer-"):
            (folder / name).with_suffix(".vocab").unlink(missing_ok=True)


def stories(loaded, n, *, seed, temperature=1.0, top_p=None, cut=False, label=None):
    """About n stories, each from nothing. Those that find no end within the context are left out, unless `cut`."""
    from nanogpt.infer.batch import generate_batch
    from nanogpt.tasks import end_id
    from nanogpt.vendor.shared.progress import bar

    end, block = end_id(loaded.tokenizer), loaded.model.config.block_size
    loaded.model.eval()
    with bar(total=n, label=label, unit="story", disable=label is None) as line:
        drawn = {"temperature": temperature, "top_p": top_p, "seed": seed}
        found = generate_batch(loaded.model, [[end]] * n, block, **drawn, stop={end}, ended=line.update)
    told = [loaded.tokenizer.decode(ids).strip() for ids in found if cut or len(ids) < block - 1]
    return [text for text in told if text]


# --- judge ------------------------------------------------------------------------------------------------------------


def judged(setting, folder, texts, judge, page):
    """The metrics of the model in `folder` by the `texts`; its samples go to `page`."""
    from nanogpt.scores import bits_per_byte
    from nanogpt.sources import open_model
    from nanogpt.vendor.continual.learner import Learner
    from nanogpt.vendor.pretrain.evaluation.copying import longest_copy
    from nanogpt.vendor.shared.errors import Mistake
    from nanogpt.vendor.shared.progress import bar
    from nanogpt.vendor.shared.text import documents

    loaded, count = open_model(folder), setting["judged"]
    block = loaded.model.config.block_size
    reader = reader_of(judge, block)
    learner = Learner(loaded.model)
    told = {f"story_{part}_bpb": bits_per_byte(learner, loaded.tokenizer, texts[part], progress=part)
            for part in ("val", "test")}  # fmt: skip
    ours = stories(loaded, 2 * count, seed=0, **DRAW, cut=setting["cut"], label="write")[:count]
    encode, decode = loaded.tokenizer.encode_ordinary, loaded.tokenizer.decode
    people = map(encode, documents(texts["val"]))
    held_out = [decode(ids[: block - 1]) for ids in people if setting["cut"] or len(ids) < block]
    if not ours or not held_out:
        whose = "the model" if held_out else "people"
        raise Mistake(
            f"no story of {whose} ends within the {block} tokens that {folder} reads at once, so there is nothing to "
            "judge; give a model that was trained longer, or on shorter stories"
        )
    theirs = random.Random(0).sample(held_out, min(len(held_out), len(ours)))
    ppl = [perplexity(reader, texts) for texts in (ours, theirs)]
    training = texts["train"].encode()
    copies = {who: [longest_copy(text, [training]) for text in bar(texts, "copies")]
              for who, texts in (("ours", ours), ("theirs", theirs))}  # fmt: skip
    marks = write_samples(page, ours[:SAMPLES], folder / "SAMPLES.md")
    return told | {
        "story_judge_ppl": ppl[0],
        "story_human_ppl": ppl[1],
        "story_judge_ppl_ratio": ppl[0] / ppl[1],
        "story_longest_copy_chars": max(len(copy.text) for copy in copies["ours"]),
        "story_mean_copy_chars": sum(len(copy.text) for copy in copies["ours"]) / len(ours),
        "human_longest_copy_chars": max(len(copy.text) for copy in copies["theirs"]),
        "human_mean_copy_chars": sum(len(copy.text) for copy in copies["theirs"]) / len(theirs),
        "story_coherent_of_20": None if None in marks else sum(marks),
        "story_judged": len(ours),
        "samples": len(marks),
        "story_sample_seconds": seconds_of_a_sample(folder),
        "n_params": loaded.model.n_params(),
        "bytes": sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".md"),
        "config": loaded.model.config.to_dict(),
        "drawn": DRAW,
        "judge": judge,
    }


def reader_of(judge, longest):
    """The model that judges, opened; a Mistake where it cannot read as many tokens at once as a story may have."""
    from nanogpt.sources import open_model
    from nanogpt.tasks import begin_id
    from nanogpt.vendor.shared.errors import Mistake

    reader = open_model(judge)
    begin_id(reader.tokenizer)  # each story is read after it
    if (block := reader.model.config.block_size) < longest:
        raise Mistake(
            f"--judge {judge} reads {block} tokens at once and a story may have {longest}; give a judge with a longer "
            "context"
        )
    return reader


def perplexity(reader, texts):
    """exp(nats a token) of texts, each read from its beginning and by itself, under a model that was opened. What its
    vocabulary cuts into more tokens than it reads at once is judged by its beginning."""
    import torch
    from nanogpt.tasks import begin_id
    from nanogpt.vendor.shared.progress import bar

    nats, count = 0.0, 0
    reader.model.eval()
    with torch.no_grad():
        for text in bar(texts, "judge"):
            ids = [begin_id(reader.tokenizer), *reader.tokenizer.encode_ordinary(text)]
            tokens = torch.tensor([ids[: reader.model.config.block_size + 1]])  # (1, T)
            nats += reader.model(tokens[:, :-1], tokens[:, 1:])[1].item() * (tokens.shape[1] - 1)
            count += tokens.shape[1] - 1
    return math.exp(nats / count)


def seconds_of_a_sample(folder):
    """Of the whole command, from typing to the last word."""
    command = [sys.executable, "-c", "from nanogpt.cli import script; script()", "sample", "--model", str(folder)]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def write_samples(path, samples, *pages):
    """Publish the samples. Returns each one's mark, True where its thread holds; None: nobody has read it yet.

    A mark is given by hand, in the story's heading; it stays as long as the story does. Marks are read from further
    `pages` too; the page's own come first.
    """
    from nanogpt.vendor.shared.files import atomic_write

    before = {story: mark for page in (*pages, path) for story, mark in read_samples(page).items() if mark[0] != UNREAD}
    lines = [
        f"# {len(samples)} stories, not picked\n",
        f"The first {len(samples)} that `python weeks/week14/story.py` draws with seed 0, at temperature "
        f"{DRAW['temperature']} and top-p {DRAW['top_p']}, each from nothing.",
        'A reader marked each one: it "holds" where names, places and pronouns hold to the end and the events follow '
        "from each other.",
    ]
    marks = []
    for i, sample in enumerate(samples, 1):
        mark, why = before.get(lines_of(sample), (UNREAD, None))
        marks.append({"holds": True, "breaks": False}.get(mark))
        told = sample.replace("\n", "\n\n")
        lines += [f"\n## {i} · {mark}{f': {why}' if why else ''}\n", told]
    atomic_write(path, "\n".join(lines) + "\n")
    return marks


def read_samples(path):
    """{story: (mark, why)} of a page of samples; {} where there is none."""
    found, mark, lines = {}, None, []
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for line in [*text.split("\n"), f"## 0 · {UNREAD}"]:
        if heading := MARK.match(line):
            if mark:
                found[lines_of("\n".join(lines))] = mark
            mark, lines = heading.groups()[1:], []
        else:
            lines.append(line)
    return found


def lines_of(story):
    """The story without empty lines, which the page has between paragraphs."""
    return "\n".join(line for line in story.split("\n") if line)


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
