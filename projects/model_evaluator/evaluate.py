"""What is a language model worth? Bits per byte, exams with intervals, and what it writes, on one page.

    python projects/model_evaluator/evaluate.py runs/week11/models/default/model
    python projects/model_evaluator/evaluate.py MODEL OTHER_MODEL --exams grammar next-line
    python projects/model_evaluator/evaluate.py checkpoints/mine smollm2-135m --text mine.txt --training mine-train.txt

A MODEL is a folder of week 11 (config.json, model.safetensors, tokenizer.json), or what week 14's `nanogpt` opens: a
folder of its own, a published model as a folder or a .gguf file, a name. Beside them stand a table of bigrams, which is
counted in a few seconds, and what chance would get. Nothing is trained.
"""

import argparse
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week11"))
import torch
from pretrain import folder as models
from pretrain import recipe
from pretrain.evaluation import copying, generation
from pretrain.evaluation.compression import bits_per_byte
from pretrain.evaluation.subject import Bigram, Subject, optional, subject
from pretrain.evaluation.tasks import TASKS, examine
from pretrain.vendor.bpe.fast import Tokenizer
from pretrain.vendor.shared.errors import Mistake, entry
from pretrain.vendor.shared.files import atomic_write, need
from pretrain.vendor.shared.results import thread_count
from pretrain.vendor.shared.text import END, documents, read_text
from report import Sitting, page, picture, told

OUT = common.RUNS / "model_evaluator"
DATA = common.ROOT / "data"
EXAMS = ("grammar", "next-line", "last-word")
PIECES, LEARN = 1024, 500_000  # of the bigrams' vocabulary; characters that it is learned from
PASSAGE = 2_000  # characters of a document that are read


# --- who is examined --------------------------------------------------------------------------------------------------


def loaded(source):
    """Something with `model` and `tokenizer`: a folder of week 11, or what week 14's package opens."""
    path = Path(source)
    if is_ours(path):
        return models.open_model(path)
    if near := next(filter(is_ours, (path / "model", path.parent / "model")), None):  # of a run, of its shards
        raise Mistake(f"{source} holds no model; what was trained there lies in {near}, so give that")
    sources = optional("nanogpt.sources", "-e weeks/week14")
    try:
        return sources.open_model(source)
    except sources.Mistake as error:  # week 14 has a class of its own
        raise Mistake(f"{source} is no folder of week 11, and week 14 says: {error}") from None


def is_ours(folder):
    """Does config.json have the fields of our GPT? A published folder has a file of that name too."""
    try:
        return "block_size" in json.loads((folder / models.CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def name_of(source):
    """What a model is called in the report: its last folder, and the one above where that says nothing."""
    path = Path(source)
    return f"{path.parent.name}/{path.name}" if path.name == "model" and path.parent.name else path.name or str(path)


def bigram(texts):
    """The Subject that only counted pairs: the same for every model, with pieces of words of its own."""
    tokenizer = Tokenizer.train(["\n".join(texts)[:LEARN]], PIECES)
    end = tokenizer.special_tokens[END]
    ids = [i for text in texts for i in [*tokenizer.encode_ordinary(text), end]]
    table = Bigram(torch.tensor([end, *ids]), tokenizer.vocab_size).eval()
    return Subject(table, tokenizer.encode_ordinary, end, 256)


# --- the examination --------------------------------------------------------------------------------------------------


def passages(texts, size):
    """Beginnings of documents from all over a list, about `size` bytes together."""
    step, found = max(1, len(texts) * PASSAGE // (4 * size)), []
    for text in texts[::step]:
        if sum(map(len, found)) >= size:
            break
        found.append(text[:PASSAGE])
    return found


def scores(who, name, held, args):
    """{"bpb": Score, and those of the exams} of a Subject."""
    found = {"bpb": bits_per_byte(who, passages(held, args.bytes), label=f"{name}: bits per byte")}
    exams = {exam: TASKS[exam] for exam in args.exams}
    return found | examine(who, exams, DATA, most=args.items, seed=args.seed)


def writing(model, tokenizer, held, args):
    """(samples, {measure: (of the samples, of people's text)}); no measure where no sample has four words."""
    samples = recipe.write(model, tokenizer, args.samples, args.length, args.seed)
    judged = [text for text in samples if len(text.split()) >= 4]
    if not judged:
        return samples, {}
    human = generation.alike(judged, held, args.seed)
    copies = copying.memorised(judged, human, lambda: copying.read_chunks(args.training))
    return samples, {
        "distinct-2": tuple(generation.distinct(texts, 2) for texts in (judged, human)),
        "repetition-4": tuple(generation.repetition(texts, seed=args.seed).value for texts in (judged, human)),
        "longest copy, mean (bytes)": (copies["copy_bytes"], copies["human_copy_bytes"]),
        "longest copy of all (bytes)": (copies["copy_longest"], copies["human_copy_longest"]),
    }


def examined(args):
    """[Sitting] of the models, and of the bigrams last."""
    held = documents(read_text(need(args.text, "make data/fables")))
    training = [text for path in args.training for text in documents(read_text(need(path, "make data/fables")))]
    found = []
    for source in args.models:
        print(f"{name_of(source)}: opened from {source}", flush=True)
        each, name = loaded(source), name_of(source)
        size = sum(p.numel() for p in each.model.parameters())
        about = f"{size:,} parameters, {each.tokenizer.vocab_size:,} tokens, reads {each.model.config.block_size:,}"
        marks = scores(subject(each.model, each.tokenizer), name, held, args)
        found.append(Sitting(name, about, marks, *writing(each.model, each.tokenizer, held, args)))
    pairs = bigram(training)
    about = f"a table of pairs, {len(pairs.model.table):,} tokens"
    return [*found, Sitting("bigrams", about, scores(pairs, "bigrams", held, args))]


# --- the command ------------------------------------------------------------------------------------------------------


def parser():
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("models", nargs="+", metavar="MODEL", help="a folder, a file or a name; see below")
    p.add_argument("--text", type=Path, default=DATA / "fables/test.txt", help="held-out text (default: fables)")
    p.add_argument("--training", type=Path, nargs="+", default=[DATA / "fables/train.txt"],
                   help="text that copies are looked for in, and bigrams counted in (default: fables)")  # fmt: skip
    p.add_argument("--exams", nargs="+", choices=TASKS, default=EXAMS, help=f"(default: {' '.join(EXAMS)})")
    p.add_argument("--items", type=common.whole, default=60, help="questions of an exam at most (default: %(default)s)")
    p.add_argument(
        "--bytes", type=common.whole, default=20_000, help="held-out text that is read (default: %(default)s)"
    )
    p.add_argument("--samples", type=common.whole, default=8, help="texts that a model writes (default: %(default)s)")
    p.add_argument("--length", type=common.whole, default=100, help="tokens of a text at most (default: %(default)s)")
    p.add_argument("--seed", type=lambda text: common.whole(text, 0), default=0)
    p.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    p.add_argument("--page", type=Path, help=f"the HTML page (default: below runs/{OUT.name}/)")
    p.add_argument("--figure", type=Path, help="the picture as a PNG as well; it is in the page anyway")
    common.add_mine(p)
    return p


def main(argv=None):
    """Examine, print the table, write the page; the [Sitting]."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parser().parse_args(argv)
    torch.set_num_threads(thread_count(args.threads))
    torch.manual_seed(args.seed)
    try:
        found = examined(args)
    except ValueError as error:
        raise Mistake(f"{error}") from None
    print("\n".join(told(found, args.exams)))
    drawn = picture(found, args.exams)
    name = re.sub(r"[^\w.-]+", "-", "-".join(sitting.name for sitting in found[:-1]))
    path = args.page or common.free_path(OUT / f"{name}.html")
    command = " ".join(["python projects/model_evaluator/evaluate.py", *argv])
    atomic_write(path, page(found, args.exams, drawn, command, args.text))
    if args.figure:
        atomic_write(args.figure, drawn)
    print(f"\npage: {path}")
    return found


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
