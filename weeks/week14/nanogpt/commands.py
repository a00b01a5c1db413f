"""What each `nanogpt` command does: a dataclass whose fields are its options, and `run`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from . import checkpoint
from .evaluate import bits_per_byte
from .infer.generate import generate, stream
from .model import GPTConfig
from .tasks import END, SEPARATOR, Domain, documents, hold_out, read_text
from .train import TrainConfig, autocast_for, pick_device
from .vendor.bpe import Tokenizer
from .vendor.learner import Learner
from .vendor.metrics import rise
from .vendor.run import Mistake
from .workspace.learn import new_course, teach
from .workspace.store import open_course

MODEL = Path("checkpoints/week14-default/replay")  # what `make week14` leaves behind
LATER = TrainConfig(steps=80, warmup=8, lr=1e-3)  # a later domain: fewer steps, and half the rate
Name = Annotated[str, arg(metavar="NAME")]
Model = Annotated[Path, arg(metavar="DIR", help="Folder of a model; the default is what `make week14` trained.")]


@dataclass
class Shape:
    """The model's size. n_head must divide n_embd, and n_kv_head must divide n_head."""

    vocab_size: int = 2048
    """Tokens in the vocabulary that is trained on your text."""
    block_size: int = 256
    """Longest context in tokens."""
    n_layer: int = 5
    n_head: int = 6
    n_kv_head: int = 2
    """Key/value heads; fewer than n_head means grouped-query attention."""
    n_embd: int = 192
    dropout: float = 0.0


@dataclass
class Train:
    """Train a model from scratch on a text file.

    examples:
      nanogpt train data/shakespeare/train.txt --out checkpoints/mine
      nanogpt train notes.txt --out checkpoints/mine --n-embd 192 --steps 300
      nanogpt train notes.txt --out checkpoints/mine --resume
    """

    text: Positional[Path]
    """UTF-8 text; documents are separated by lines holding only <|endoftext|>."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for the model."""
    exam: Path | None = None
    """Held-out text that judges the model; by default the last tenth of TEXT is held out."""
    shape: Annotated[Shape, arg(name="")] = field(default_factory=Shape)
    train: Annotated[TrainConfig, arg(name="")] = field(default_factory=TrainConfig)
    keep_rows: int = 512
    """Training rows to keep for later replay, whatever is learned afterwards; 0 keeps none."""
    save_every: int = 100
    """Steps between checkpoints."""
    resume: bool = False
    """Go on with a run that was stopped: the same command plus --resume."""
    device: Name = "auto"

    def run(self):
        device = pick_device(self.device)
        domain = read_domain(self.text, self.exam)
        if self.resume:
            course = open_course(self.out, device, seed=self.train.seed)
            if not course.progress:
                raise Mistake(f"{self.out} is complete: there is nothing to resume. To teach it more: nanogpt learn")
        else:
            if checkpoint.exists(self.out):
                raise Mistake(f"{self.out} already holds a model; give --resume to go on, or another --out")
            sizes = dict(vars(self.shape))
            try:
                GPTConfig(**sizes)  # before minutes go into a vocabulary
                text = "\n".join(documents(domain.train))
                tokenizer = Tokenizer.train(text, sizes.pop("vocab_size"), special_tokens=(END,), progress=True)
                config = GPTConfig(tokenizer.vocab_size, **sizes)
            except ValueError as error:
                raise Mistake(str(error)) from error
            course = new_course(config, tokenizer, seed=self.train.seed, keep_rows=self.keep_rows, device=device)
            course.exams[domain.name] = domain.exam
        taught(course, domain, self, device)


@dataclass
class Learn:
    """Teach a model one more kind of text, and show what that did to what it knew.

    examples:
      nanogpt learn data/bible/train.txt --name bible --out checkpoints/two
      nanogpt learn recipes.txt --model checkpoints/two --out checkpoints/two
      nanogpt learn recipes.txt --method naive --out checkpoints/forgetful
    """

    text: Positional[Path]
    """UTF-8 text of the new domain."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for the taught model; it may be the same as --model."""
    model: Model = MODEL
    name: Annotated[str, arg(metavar="NAME")] = ""
    """What to call the domain; by default the name of the file, or of its folder if the file is train.txt."""
    exam: Path | None = None
    """Held-out text that judges the domain; by default the last tenth of TEXT is held out."""
    method: Annotated[str, arg(metavar="{replay,naive}")] = "replay"
    """replay joins kept rows of earlier domains to each batch; naive trains on the new text alone."""
    replay_rows: int = 8
    """Old rows in each batch when the method is replay."""
    train: Annotated[TrainConfig, arg(name="")] = field(default_factory=lambda: LATER)
    save_every: int = 100
    """Steps between checkpoints."""
    resume: bool = False
    """Go on with a run that was stopped: the same command plus --resume."""
    device: Name = "auto"

    def run(self):
        if self.method not in ("replay", "naive"):
            raise Mistake(f"--method {self.method} is not known; choose replay or naive")
        if self.replay_rows < 0:
            raise Mistake(f"--replay-rows is {self.replay_rows}; it must not be negative")
        device = pick_device(self.device)
        domain = read_domain(self.text, self.exam, self.name)
        replay_rows = self.replay_rows if self.method == "replay" else 0
        course = open_course(
            self.out if self.resume else self.model, device, replay_rows=replay_rows, seed=self.train.seed
        )
        if self.resume and not course.progress:
            raise Mistake(f"{self.out} is complete: there is nothing to resume")
        if not self.resume:
            if course.progress:
                raise Mistake(
                    f"{self.model} was stopped while it learned {course.progress['domain']}; "
                    "finish that with --resume, or give another --model"
                )
            if domain.name in course.taught:
                raise Mistake(f"{self.model} already learned {domain.name!r}; give this text another --name")
            if self.out.resolve() != self.model.resolve() and checkpoint.exists(self.out):
                raise Mistake(f"{self.out} already holds a model; give another --out")
            if replay_rows and not len(course.replay.memory):
                print(
                    "note: this model kept no rows of what it learned, so there is nothing to replay", file=sys.stderr
                )
            course.exams[domain.name] = domain.exam
        taught(course, domain, self, device)


@dataclass
class Sample:
    """Let a model continue a prompt.

    examples:
      nanogpt sample --prompt "To be, or not to be"
      nanogpt sample --model checkpoints/mine --n 3 --temperature 0.7 --top-p 0.9
    """

    model: Model = MODEL
    prompt: str = ""
    """Text to continue; empty begins a new document."""
    n: int = 1
    """How many samples."""
    max_tokens: int = 200
    temperature: float = 0.8
    """0 always takes the likeliest token."""
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    device: Name = "auto"

    def run(self):
        if self.n < 1 or self.max_tokens < 1:
            raise Mistake(f"--n is {self.n} and --max-tokens {self.max_tokens}; both must be at least 1")
        model, tokenizer, _ = checkpoint.load(self.model, pick_device(self.device))
        ids = prompt_ids(model, tokenizer, self.prompt)
        for i in range(self.n):
            sys.stdout.write(self.prompt)
            write_answer(model, tokenizer, ids, self, seed=self.seed + i)


@dataclass
class Chat:
    """Write a line, and the model goes on from there; the conversation is its context.

    examples:
      nanogpt chat
      nanogpt chat --model checkpoints/mine --temperature 0.6

    /reset forgets the conversation, /quit ends it; Ctrl-C stops an answer.
    """

    model: Model = MODEL
    max_tokens: int = 120
    temperature: float = 0.7
    top_k: int | None = None
    top_p: float | None = 0.95
    seed: int | None = None
    device: Name = "auto"

    def run(self):
        model, tokenizer, record = checkpoint.load(self.model, pick_device(self.device))
        print(
            f"{self.model} learned {', '.join(record['taught']) or 'nothing'}. It continues text; it follows no orders."
        )
        print("/reset forgets, /quit ends, Ctrl-C stops an answer.")
        context = ""
        while True:
            try:
                line = input("\n> ")
            except (EOFError, KeyboardInterrupt):
                print()
                return
            if line.strip() in ("/quit", "/exit"):
                return
            if line.strip() == "/reset":
                context = ""
                continue
            context += line + "\n"
            ids = prompt_ids(model, tokenizer, context)
            context += write_answer(model, tokenizer, ids, self, seed=self.seed) + "\n"


@dataclass
class Eval:
    """Bits per byte of text files: lower is better, and comparable between any two models.

    examples:
      nanogpt eval data/shakespeare/test.txt data/bible/test.txt
      nanogpt eval my.txt --model checkpoints/mine
    """

    texts: Positional[tuple[Path, ...]]
    """UTF-8 text files."""
    model: Model = MODEL
    device: Name = "auto"
    precision: str = "auto"
    """float32, bfloat16, or auto."""

    def run(self):
        if not self.texts:
            raise Mistake("no text given; name at least one file: nanogpt eval FILE")
        texts = [read_text(path) for path in self.texts]
        device = pick_device(self.device)
        model, tokenizer, _ = checkpoint.load(self.model, device)
        learner = Learner(model, autocast=autocast_for(self.precision, device)[0])
        for path, text in zip(self.texts, texts, strict=True):
            print(
                f"{bits_per_byte(learner, tokenizer, text, progress=path.name):.4f} bits per byte  {path}", flush=True
            )


@dataclass
class Info:
    """What a model is, what it was taught, and what it forgot.

    examples:
      nanogpt info
      nanogpt info --model checkpoints/mine
    """

    model: Model = MODEL

    def run(self):
        course = open_course(self.model)
        net, config = course.model, course.model.config
        print(
            f"{self.model}: {net.n_params():,} parameters, {net.flops_per_token() / 1e6:.1f} MFLOP to train on a token"
        )
        print("  " + ", ".join(f"{name} {value}" for name, value in config.to_dict().items()))
        print(f"  {net.cache_bytes_per_token():,} bytes of keys and values for each token of context")
        print(f"  {len(course.replay.memory)} rows kept for replay: {course.replay.memory.counts() or 'none'}")
        if course.progress:
            begun = course.progress
            print(f"  stopped at step {begun['step']} of learning {begun['domain']}: go on with --resume")
        if course.rows:
            print(matrix_table(course))


def read_domain(text, exam, name=""):
    """The Domain in a file: its name from the path where none is given, its exam from a file or held out."""
    train = read_text(text)
    name = name or (text.parent.name if text.stem == "train" else text.stem)
    train, judged = (train, read_text(exam)) if exam else hold_out(train)
    if not train.strip() or not judged.strip():
        raise Mistake(f"{text} is too short to hold some of it out; give more text, or a held-out file with --exam")
    return Domain(name, SEPARATOR.join(documents(train)), judged)


def taught(course, domain, options, device):
    """Say what runs on what, teach, commit and print the matrix; Ctrl-C says how to go on."""
    autocast, precision = autocast_for(options.train.precision, device)
    model, folder = course.model, options.out
    task = domain.task(course.tokenizer, model.config.block_size, progress=True)
    what = f"{len(task.train):,} rows of {model.config.block_size} tokens"
    print(f"{model.n_params():,} parameters on {device} in {precision}; {what}", file=sys.stderr)
    try:
        teach(course, task, options.train, autocast=autocast, folder=folder, save_every=options.save_every)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{stop}; saved in {folder}. Go on with the same command plus --resume") from None
    print(matrix_table(course))
    print(f"saved in {folder}; try: nanogpt sample --model {folder}")


def prompt_ids(model, tokenizer, text):
    """Tokens of a prompt, after <|endoftext|> where they fit; what the context cannot hold is cut, and said."""
    try:
        ids = [tokenizer.special_tokens[END], *tokenizer.encode_ordinary(text)]
    except ValueError as error:
        raise Mistake(str(error)) from error
    block = model.config.block_size
    if len(ids) > block:
        print(f"note: {len(ids)} tokens do not fit the context of {block}; using the last {block}", file=sys.stderr)
    return ids[-block:]


def write_answer(model, tokenizer, ids, options, *, seed):
    """Print the continuation as it comes, and return what was printed; Ctrl-C ends it early."""
    pieces = []
    try:
        tokens = generate(
            model,
            ids,
            options.max_tokens,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=seed,
            stop={tokenizer.special_tokens[END]},
        )
        for piece in stream(tokenizer, tokens):
            pieces.append(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.write(" [stopped]")
    except ValueError as error:
        raise Mistake(str(error)) from error
    print(flush=True)
    return "".join(pieces)


def matrix_table(course):
    """The matrix of bits per byte as text: a row a domain learned, a column an exam."""
    names = list(course.exams)
    width = max(10, *(len(name) + 1 for name in names))
    lines = ["bits per byte after learning".ljust(30) + "".join(name.rjust(width) for name in names)]
    for name, row in zip(course.taught, course.rows, strict=True):
        cells = "".join(f"{value:{width}.3f}" for value in row)
        lines.append(f"  {name}".ljust(30) + cells)
    if len(course.taught) > 1:
        lines.append(f"old domains rose by {rise(course.matrix().rows):.3f} bits per byte on average")
    return "\n".join(lines)
