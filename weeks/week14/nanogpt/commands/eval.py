"""`nanogpt eval`: judge a model on text, or on rows."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ..answers import AnswerLearner, read_rows
from ..device import autocast_for, pick_device
from ..scores import answer_all, bits_per_byte, exact_match
from ..sources import open_model
from ..tasks import read_text
from ..vendor.continual.learner import Learner
from ..vendor.shared.errors import Mistake
from .learn import ROW_LENGTH
from .options import MODEL, Device, Model, Precision, Threads


@dataclass
class Eval:
    """Judge a model: bits per byte of text (lower is better), or the share of exact answers to .jsonl rows.

    examples:
      nanogpt eval data/shakespeare/test.txt data/bible/test.txt
      nanogpt eval my.txt --model smollm2-135m
      nanogpt eval data/sms-spam/test.jsonl --model checkpoints/helper
    """

    files: Positional[tuple[Path, ...]]
    """UTF-8 text files, or JSONL files of prompt/response rows."""
    model: Model = MODEL
    device: Device = "auto"
    threads: Threads = None
    precision: Precision = "auto"
    row_length: int = ROW_LENGTH
    """Tokens of a prompt and its response; longer prompts are cut, as in training."""

    def run(self):
        if not self.files:
            raise Mistake("no file given; name at least one: nanogpt eval FILE")
        contents = [read_rows(path) if path.suffix == ".jsonl" else read_text(path) for path in self.files]
        device = pick_device(self.device)
        loaded = open_model(self.model, device, self.precision, fold=True)
        autocast, _ = autocast_for(self.precision, device)
        if any(path.suffix == ".jsonl" for path in self.files) and loaded.chat is None:
            raise Mistake(f"{self.model} has no chat template, so it cannot answer rows; judge it on text files")
        for path, content in zip(self.files, contents, strict=True):
            if path.suffix == ".jsonl":
                learner, template = AnswerLearner(loaded.model, autocast=autocast), loaded.template()
                answers = answer_all(learner, template, content, length=self.row_length, progress=path.name)
                right = 100 * exact_match(answers, content)
                print(f"{right:.1f} % of {len(content)} answers right  {path}", flush=True)
            else:
                learner = Learner(loaded.model, autocast=autocast)
                score = bits_per_byte(learner, loaded.tokenizer, content, progress=path.name)
                print(f"{score:.4f} bits per byte  {path}", flush=True)
