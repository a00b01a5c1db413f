"""`nanogpt eval` and `nanogpt info`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ..answers import AnswerLearner, read_rows
from ..device import autocast_for, pick_device
from ..evaluate import answer_all, bits_per_byte, exact_match
from ..models import open_model
from ..tasks import read_text
from ..vendor.continual.learner import Learner
from ..vendor.shared.errors import Mistake
from ..workspace.store import is_course, open_course
from .options import MODEL, Model, Name, Precision
from .teaching import ROW_LENGTH, matrix_table


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
    device: Name = "auto"
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


@dataclass
class Info:
    """What a model is, what it was taught, and what it forgot.

    examples:
      nanogpt info
      nanogpt info --model smollm2-135m
    """

    model: Model = MODEL

    def run(self):
        course = open_course(self.model) if is_course(self.model) else None
        loaded = course.loaded if course else open_model(self.model)
        net, config = loaded.model, loaded.model.config
        print(f"{self.model}: {net.n_params():,} parameters")
        print("  " + ", ".join(f"{name} {value}" for name, value in config.to_dict().items()))
        print(f"  {net.cache_bytes_per_token():,} bytes of keys and values for each token of context")
        print(f"  {net.flops_per_token() / 1e6:.1f} MFLOP to train all of it on a token, at the full context")
        if loaded.base:
            learned = sum(p.numel() for p in net.parameters() if p.requires_grad)
            print(f"  {learned:,} of the parameters are an adapter on {loaded.base['model']}")
        if loaded.chat:
            print("  it has a chat template")
        if not course:
            return
        print(f"  {len(course.replay.memory)} rows kept for replay: {course.replay.memory.counts() or 'none'}")
        if course.progress:
            begun = course.progress
            print(f"  stopped at step {begun['step']} of learning {begun['domain']}: go on with --resume")
        if course.rows:
            print(matrix_table(course))
