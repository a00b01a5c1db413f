"""One training of a small model with one ingredient of its recipe switched, and what is kept of it.

ingredients.py makes a table of such cells, and claims.py asks them what papers claim. A cell is a file, so a job that
was stopped goes on where it was, and neither job trains what the other has. The folder's name is a hash of all that
decides a cell's numbers, the code included: cells of another code or text lie in a folder of their own.
"""

import hashlib
import json
import re
import time
from collections import namedtuple
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import torch
from nanogpt.config import GPTConfig
from nanogpt.feed import Feed
from nanogpt.model import GPT
from nanogpt.presets import SHAPE
from nanogpt.scores import bits_per_byte
from nanogpt.tasks import encode, rows_of
from nanogpt.train import GROWTH, TrainConfig, make_optimizer, train
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.vendor.shared.files import atomic_write, need
from nanogpt.vendor.shared.kept import code_of
from nanogpt.vendor.shared.results import commit, machine, to_json
from nanogpt.vendor.shared.text import END, documents, read_text
from safetensors.torch import load, save

MODEL = {"block_size": 128, "n_layer": 4, "n_head": 4, "n_kv_head": 1, "n_embd": 128, "ngram": 1}
TRAINING = {"batch_size": 8, "lr": 0.02, "warmup": 5}
SWITCHES = {
    "position=learned": {"position": "learned"},
    "position=sinusoidal": {"position": "sinusoidal"},
    "position=none": {"position": "none"},
    "norm=layernorm": {"norm": "layernorm"},
    "mlp=gelu": {"mlp": "gelu"},
    "mlp=swiglu": {"mlp": "swiglu"},
    "no qk_norm": {"qk_norm": False},
    "n_kv_head=2": {"n_kv_head": 2},
    "n_kv_head=4": {"n_kv_head": 4},
    "tie": {"tie": True},
    "no zero_init": {"zero_init": False},
    "softcap=15": {"softcap": 15.0},
    "value_embed": {"value_embed": True},
    "ngram=2": {"ngram": 2},
    "ngram=4": {"ngram": 4},
    "optimizer=adamw": {"optimizer": "adamw", "lr": 6e-3},
    "schedule=cosine": {"schedule": "cosine", "min_lr": 0.1},
    "schedule=constant": {"schedule": "constant"},
    "first_batch=2": {"first_batch": 2},
    "first_context=32": {"first_context": 32},
}
LOOKED_INTO = ("default", "position=none", "n_kv_head=4", "no qk_norm", "optimizer=adamw")  # weights kept: claims.py
Size = namedtuple("Size", "steps vocab_size train_chars exam_chars seeds")  # train_chars None: the whole text
SIZES = {
    "smoke": Size(3, 300, 20_000, 2_000, 1),
    "default": Size(150, 1024, None, 50_000, 3),
    "full": Size(600, 1024, None, 200_000, 3),
}
Run = namedtuple("Run", "learner optimizer losses seconds")


def changes_of(name):
    """What the row of that name changes in model and training; nothing for "default"."""
    return {} if name == "default" else SWITCHES[name]


def training(changes, steps, seed=0):
    """How to train, with the changes that are fields of TrainConfig."""
    of_training = {name: value for name, value in changes.items() if name in TrainConfig.__dataclass_fields__}
    return TrainConfig(**{**TRAINING, **of_training, "steps": steps, "seed": seed})


def tokens_read(changes, steps):
    """Tokens that a model with these changes reads in so many steps: the first ones may have fewer rows, and shorter
    ones, of which more fit into a row of full length."""
    block, feed = {**MODEL, **changes}["block_size"], Feed(range(1), training(changes, steps))
    contexts = [feed.context(i, block) for i in range(steps)]
    return sum(feed.size(i) * (block // context) * context for i, context in enumerate(contexts))


class Kitchen:
    """One text, one tokenizer, one exam. `folder` None: nothing is kept."""

    def __init__(self, data, size, folder):
        self.size = size
        self.text = read_text(need(data / "train.txt", f"make data/{data.name}"))[: size.train_chars]
        self.exam = read_text(need(data / "val.txt", f"make data/{data.name}"))[: size.exam_chars]
        texts = hashlib.sha256(f"{len(self.text)} {self.text}{self.exam}".encode()).hexdigest()
        self.settings = {"model": MODEL, "training": TRAINING, "vocab_size": size.vocab_size, "texts": texts}
        self.settings |= {"code": code_of(__file__), "threads": torch.get_num_threads()}
        mark = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:12]
        self.folder = folder and Path(folder) / mark

    @cached_property
    def tokenizer(self):
        return Tokenizer.train("\n".join(documents(self.text)), self.size.vocab_size, special_tokens=(END,))

    @cached_property
    def tokens(self):
        """The text as ids. The first steps of a process are slow ones, so they are taken here, before any is timed."""
        tokens = encode(self.tokenizer, self.text)
        self._run(self.model({}, 0), tokens, {}, 2, 0)
        return tokens

    def model(self, changes, seed):
        """The small model before training, with the changes that are fields of its config."""
        of_model = {name: value for name, value in changes.items() if name not in TrainConfig.__dataclass_fields__}
        torch.manual_seed(seed)
        return GPT(GPTConfig(**{**SHAPE, **MODEL, **of_model, "vocab_size": self.size.vocab_size}))

    def train(self, changes, steps, seed, model=None):
        """Train the model of these changes, or `model`, with the changes that are fields of TrainConfig -> Run."""
        tokens = self.tokens
        return self._run(model or self.model(changes, seed), tokens, changes, steps, seed)

    def _run(self, model, tokens, changes, steps, seed):
        """`seconds` are those of the processor: other work on the machine moves the clock on the wall more."""
        config = training(changes, steps, seed)
        learner = Learner(model, autocast=nullcontext)
        optimizer = make_optimizer(learner.parameters(), config)
        began = time.process_time()
        rows = rows_of(tokens, model.config.block_size, "the text")
        losses = train(learner, rows, config, optimizer=optimizer, label="cook")
        return Run(learner, optimizer, losses, time.process_time() - began)

    def steps(self, name, more):
        """Steps of a row: the preset's, and further ones until it has read as many tokens as with all rows at first."""
        changes, steps = {**changes_of(name), **more}, self.size.steps
        wanted = tokens_read({part: value for part, value in changes.items() if part not in GROWTH}, steps)
        while tokens_read(changes, steps) < wanted:
            steps += 1
        return steps

    def judge(self, learner):
        """Bits per byte of the exam."""
        return bits_per_byte(learner, self.tokenizer, self.exam)

    def cell(self, name, seed, steps=None, **more):
        """What training of the row `name` gave, from its file or now; `more` are further changes (lr=0.01)."""
        path = self._path(name, seed, steps, more)
        return read_cell(path) if path and path.exists() else self._cook(name, seed, steps, more)[0]

    def trained(self, name, seed):
        """The trained model of a row of LOOKED_INTO, as a Learner: from its file or trained now, its cell with it."""
        path = self._path(name, seed, None, {})
        weights = path and path.with_suffix(".safetensors")
        if not weights or not weights.exists():
            return self._cook(name, seed, None, {})[1]
        model = self.model(changes_of(name), seed)
        model.load_state_dict(load(weights.read_bytes()))
        return Learner(model.eval(), autocast=nullcontext)

    def _path(self, name, seed, steps, more):
        taken = steps or self.steps(name, more)
        words = "-".join([name, *(f"{key}={value}" for key, value in more.items()), f"{taken}"])
        return self.folder and self.folder / f"{re.sub('[^a-zA-Z0-9_.=-]', '+', words)}-s{seed}.json"

    def _cook(self, name, seed, steps, more):
        path, taken = self._path(name, seed, steps, more), steps or self.steps(name, more)
        changes = {**changes_of(name), **more}
        run = self.train(changes, taken, seed)
        model, judged = run.learner.model, self.judge(run.learner)
        cell = {
            "bpb": judged,
            "step_seconds": run.seconds / taken,
            "tokens_per_second": tokens_read(changes, taken) / run.seconds,
            "n_params": model.n_params(),
            "cache_bytes_per_token": model.cache_bytes_per_token(),
        }
        if path:
            if name in LOOKED_INTO and not steps and not more:  # before the cell: where there is one, there are weights
                atomic_write(path.with_suffix(".safetensors"), save(model.state_dict()))
            here = {"machine": machine(self.settings["threads"]), "commit": commit(Path(__file__).parent)}
            atomic_write(path, to_json({"cell": cell, "settings": self.settings, **here}) + "\n")
        return cell, run.learner


def read_cell(path):
    """The numbers of a cell's file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["cell"]
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} does not hold a cell ({error!r}); move it away, and run again") from None
