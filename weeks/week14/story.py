"""The model that ships: trained from scratch on simple stories, made ready to ship, judged.

    full      train it (hours), put it into checkpoints/shipped/story-5m, judge it
    default   judge the one that ships (a few minutes)

A stopped training goes on with the same command. The training text does not ship with it. In its place the model gets
stories that it wrote itself: some of them as the rows that replay joins to what it learns later, others as the exam
that shows whether it still writes stories.
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
TASK = "stories"
DRAW = {"temperature": 0.5, "top_p": 0.9}  # of stories that are shown and judged; the model that ships says so too
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
    "train": {"steps": 4400, "batch_size": 6, "lr": 0.01, "warmup": 20, "first_context": 96, "grow": 0.3},
    "memory": {"keep_rows": 512, "replay_rows": 2, "share": 0.5},
    "own": 1000,  # stories that it writes for its memory
    "exam": 60,  # and for its exam
    "judged": 64,  # samples, and held-out stories, that the judge reads
    "chars": None,
}
SMOKE = {
    "shape": {"vocab_size": 300, "block_size": 64, "n_layer": 1, "n_head": 2, "n_kv_head": 1, "n_embd": 32},
    "train": {"steps": 100, "batch_size": 8, "warmup": 5},
    "memory": {"keep_rows": 8, "replay_rows": 2, "share": 0.5},
    "own": 128,
    "exam": 32,
    "judged": 3,
    "chars": 20_000,
}
PRESETS = {"smoke": SMOKE, "default": FULL, "full": FULL}
SAMPLES = 20  # stories on the page
MARK = re.compile(r"^## (\d+) · (holds|breaks|not read yet)(?:: (.*))?$")


def main(argv=None):
    """Train and ship where the preset asks for it; judge; return the metrics."""
    from nanogpt.vendor.shared.results import parser, save_run, thread_count

    p = parser(__doc__, data=ROOT / "data", epilog="example: python weeks/week14/story.py --preset default")
    p.add_argument("--work", type=Path, help="folder of the training (default: checkpoints/week14-story-<preset>)")
    p.add_argument("--model", type=Path, help="folder of the model that ships (default: checkpoints/shipped/story-5m)")
    p.add_argument("--judge", default="smollm2-135m", help="the model that reads the samples (default: %(default)s)")
    args = p.parse_args(argv)
    setting, work = PRESETS[args.preset], args.work or ROOT / "checkpoints" / f"week14-story-{args.preset}"
    folder = args.model or (work / "shipped" if args.preset == "smoke" else SHIPPED)
    threads = thread_count(args.threads)
    print(f"the story model: {threads} threads; it lies in {folder}", flush=True)

    import torch  # after the first line, so that a user sees at once that something happens

    torch.set_num_threads(threads)
    start, losses = time.perf_counter(), None
    parts = {part: read(args.data, part, setting["chars"]) for part in ("train", "val", "test")}
    if args.preset != "default":
        course, losses = trained(setting, parts, work / "training", args.seed)
        ship(course, setting, folder)
    metrics = judged(setting, folder, parts, args.judge)
    if losses:
        metrics |= {"losses": losses, **amount(setting, course, parts["train"])}
    path = save_run(
        __file__, args, argv, metrics, name=f"story-{args.preset}", seconds=time.perf_counter() - start, threads=threads
    )
    print(
        f"\nheld-out stories: {metrics['story_val_bpb']:.3f} bits per byte; to {args.judge} its stories are "
        f"{metrics['story_judge_ppl_ratio']:.2f} times as surprising as people's; the longest run of characters that "
        f"one of them shares with the training text: {metrics['story_longest_copy_chars']}"
    )
    print(f"To try next: .venv/bin/nanogpt sample --model {'story' if folder == SHIPPED else folder}")
    print(f"results: {path}")
    return metrics


def read(data, part, chars):
    """The text of one part of the stories, cut at a story's end to what the preset uses."""
    from nanogpt.vendor.shared.files import need
    from nanogpt.vendor.shared.text import SEPARATOR, documents, read_text

    text = read_text(need(Path(data) / TASK / f"{part}.txt", f"make data/{TASK}"))
    return text if chars is None else SEPARATOR.join(documents(text[:chars])[:-1])


# --- train ------------------------------------------------------------------------------------------------------------


def trained(setting, parts, work, seed):
    """(the course that knows the stories, its training losses). Stopped, it goes on from the last saved step."""
    from nanogpt import checkpoint
    from nanogpt.device import autocast_for, pick_device
    from nanogpt.presets import SHAPE
    from nanogpt.train import TrainConfig
    from nanogpt.workspace.learn import course_from, learn
    from nanogpt.workspace.store import open_course

    device = pick_device("cpu")
    autocast, precision = autocast_for("float32", device)
    if checkpoint.exists(work):
        course = open_course(work, device, seed=seed)
        if not course.progress:
            return course, None
    else:
        course = course_from(parts["train"], {**SHAPE, **setting["shape"]}, seed=seed, device=device)
    course.exams[TASK] = course.kind.dump(parts["val"])
    task, _ = course.kind.task(TASK, parts["train"], course.loaded, course.row_length)
    config = TrainConfig(**setting["train"], seed=seed, precision=precision)
    losses, _ = learn(course, task, config, autocast=autocast, folder=work, save_every=100, again="the same command")
    return course, losses


def amount(setting, course, text):
    """How much it read of the text that it was trained on: tokens, and passes over it."""
    from nanogpt.tasks import encode

    read_all = setting["train"]["steps"] * setting["train"]["batch_size"] * course.row_length
    return {"train_tokens": read_all, "epochs": read_all / len(encode(course.tokenizer, text))}


# --- ship -------------------------------------------------------------------------------------------------------------


def ship(course, setting, folder):
    """Put the model into `folder`, in bfloat16, with a memory and an exam that it wrote itself."""
    import torch
    from nanogpt.vendor.continual.learner import Learner
    from nanogpt.vendor.continual.methods import make
    from nanogpt.vendor.shared.text import SEPARATOR
    from nanogpt.workspace.learn import judge
    from nanogpt.workspace.store import Course, save_course

    course.loaded.sample = DRAW
    with torch.no_grad():
        for p in course.model.parameters():
            p.copy_(p.bfloat16())  # what is judged is what ships
    own = stories(course.loaded, setting["own"] + setting["exam"], seed=1, label="write for its memory")
    memory, exam = own[setting["exam"] :], own[: setting["exam"]]
    name = "shared-replay"
    ready = Course(course.loaded, make(name, setting["memory"], seed=0), name, learned=[TASK])
    ready.exams[TASK] = ready.kind.dump(SEPARATOR.join(exam))
    learner = Learner(ready.model)
    task, _ = ready.kind.task(TASK, SEPARATOR.join(memory), ready.loaded, ready.row_length)
    ready.method.finish(learner, task)
    ready.scores = [judge(ready, learner)]
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.suffix != ".md":  # of the model that was there before
            file.unlink()
    ready.model.bfloat16()
    save_course(folder, ready)


def stories(loaded, n, *, seed, temperature=1.0, top_p=None, label=None):
    """About n stories (those that find no end within the context are left out), each from nothing."""
    from nanogpt.infer.batch import generate_batch
    from nanogpt.tasks import end_id
    from nanogpt.vendor.shared.progress import bar

    end, block = end_id(loaded.tokenizer), loaded.model.config.block_size
    loaded.model.eval()
    with bar(total=n, label=label, unit="story", disable=label is None) as line:
        drawn = {"temperature": temperature, "top_p": top_p, "seed": seed}
        found = generate_batch(loaded.model, [[end]] * n, block, **drawn, stop={end}, ended=line.update)
    return [loaded.tokenizer.decode(ids).strip() for ids in found if ids and len(ids) < block - 1]


# --- judge ------------------------------------------------------------------------------------------------------------


def judged(setting, folder, parts, judge):
    """The metrics of the model in `folder` by the texts of `parts`, and its page of samples."""
    from nanogpt.scores import bits_per_byte
    from nanogpt.sources import open_model
    from nanogpt.vendor.continual.learner import Learner
    from nanogpt.vendor.pretrain.evaluation.copying import longest_copy
    from nanogpt.vendor.shared.progress import bar
    from nanogpt.vendor.shared.text import documents

    loaded, count = open_model(folder), setting["judged"]
    learner = Learner(loaded.model)
    told = {f"story_{part}_bpb": bits_per_byte(learner, loaded.tokenizer, parts[part], progress=part)
            for part in ("val", "test")}  # fmt: skip
    ours = stories(loaded, 2 * count, seed=0, **DRAW, label="write")[:count]
    fits = lambda text: len(loaded.tokenizer.encode_ordinary(text)) < loaded.model.config.block_size
    held_out = [text for text in documents(parts["val"]) if fits(text)]
    theirs = random.Random(0).sample(held_out, min(len(held_out), len(ours)))
    reader = open_model(judge)
    ppl = [perplexity(reader, texts) for texts in (ours, theirs)]
    training = parts["train"].encode()
    copies = {who: [longest_copy(text, [training]) for text in bar(texts, "copies")]
              for who, texts in (("ours", ours), ("theirs", theirs))}  # fmt: skip
    marks = write_samples(folder / "SAMPLES.md", ours[:SAMPLES])
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


def perplexity(reader, texts):
    """exp(nats a token) of texts, each read from its beginning and by itself, under a model that was opened."""
    import torch
    from nanogpt.tasks import begin_id
    from nanogpt.vendor.shared.progress import bar

    nats, count = 0.0, 0
    reader.model.eval()
    with torch.no_grad():
        for text in bar(texts, "judge"):
            tokens = torch.tensor([[begin_id(reader.tokenizer), *reader.tokenizer.encode_ordinary(text)]])  # (1, T)
            nats += reader.model(tokens[:, :-1], tokens[:, 1:])[1].item() * (tokens.shape[1] - 1)
            count += tokens.shape[1] - 1
    return math.exp(nats / count)


def seconds_of_a_sample(folder):
    """Of the whole command, from typing to the last word."""
    command = [sys.executable, "-c", "from nanogpt.cli import script; script()", "sample", "--model", str(folder)]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def write_samples(path, samples):
    """Publish the samples. Returns each one's mark, True where its thread holds; None: nobody has read it yet.

    A mark is given by hand, in the story's heading; it stays as long as the story does.
    """
    before = read_samples(path)
    lines = [
        f"# {len(samples)} stories, not picked\n",
        f"The first {len(samples)} that `python weeks/week14/story.py` draws with seed 0, at temperature "
        f"{DRAW['temperature']} and top-p {DRAW['top_p']}, each from nothing.",
        'A reader marked each one: it "holds" where names, places and pronouns hold to the end and the events follow '
        "from each other.",
    ]
    marks = []
    for i, sample in enumerate(samples, 1):
        mark, why = before.get(lines_of(sample), ("not read yet", None))
        marks.append({"holds": True, "breaks": False}.get(mark))
        told = sample.replace("\n", "\n\n")
        lines += [f"\n## {i} · {mark}{f': {why}' if why else ''}\n", told]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return marks


def read_samples(path):
    """{story: (mark, why)} of a page of samples; {} where there is none."""
    found, mark, lines = {}, None, []
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for line in [*text.split("\n"), "## 0 · not read yet"]:
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
