"""What can be learned, and how it is judged: a kind of task is a class here and a row of KINDS."""

from functools import partial

from .answers import AnswerLearner, asked_ids, hold_out_rows, make_task, parse_rows, read_rows, write_rows
from .chat import ordinary
from .infer.batch import generate_batch
from .presets import ROW_LENGTH
from .scores import answer_all, bits_per_byte, exact_match
from .tasks import about, encode, rows_of
from .vendor.continual.learner import Learner
from .vendor.continual.pairs import Format
from .vendor.continual.task import Task
from .vendor.shared.errors import Mistake
from .vendor.shared.text import SEPARATOR, documents, hold_out, read_text


class Text:
    """Windows of plain text, judged by bits per byte."""

    higher_is_better, title = False, "bits per byte after learning"
    read, hold_out = staticmethod(read_text), staticmethod(hold_out)

    def dump(self, text):
        return SEPARATOR.join(documents(text))

    def parse(self, text, name):
        return text

    def task(self, name, text, loaded, length):
        """(Task, note): all of the text as rows of `length` tokens."""
        with about(name):
            tokens = encode(loaded.tokenizer, text, progress=f"encode {name}")
        return Task(name, rows_of(tokens, length, name)), ""

    def check(self, name, text, loaded, length):
        """A Mistake where the text cannot be judged: its vocabulary may lack a byte."""
        with about(name):
            encode(loaded.tokenizer, text)

    def learner(self, loaded, autocast, length=ROW_LENGTH):
        return Learner(loaded.model, autocast=autocast, generate=generate_batch)

    def score(self, learner, loaded, text, length, progress=None):
        return bits_per_byte(learner, loaded.tokenizer, text, progress=progress)

    def shown(self, score):
        return f"{score:.3f}"

    def told(self, score, content):
        return f"{score:.4f} bits per byte"

    def change(self, difference):
        way = "rose" if difference >= 0 else "fell"
        return f"old domains {way} by {abs(difference):.3f} bits per byte on average"


class Answers:
    """Rows of prompt and response for a model with a chat template, judged by the share of exact answers."""

    higher_is_better, title = True, "% of answers right after"
    read, hold_out = staticmethod(read_rows), staticmethod(hold_out_rows)
    dump, parse = staticmethod(write_rows), staticmethod(parse_rows)

    def task(self, name, rows, loaded, length):
        """(Task, note): a training row for each, the prompts cut to fit `length` tokens."""
        task, cut = make_task(name, rows, loaded.template(), length)
        return task, f"{cut} prompts were cut to fit rows of {length} tokens" if cut else ""

    def check(self, name, rows, loaded, length):
        """A Mistake for a row that cannot be judged; by its prompt, for held-out rows have other numbers than a file's
        lines."""
        template, block = loaded.template(), loaded.model.config.block_size
        for row in rows:
            with about(f"{name}, prompt {row.prompt[:40]!r}"):
                asked_ids(template, row, length, block)

    def learner(self, loaded, autocast, length=ROW_LENGTH):
        if loaded.chat is None:
            raise Mistake(
                f"{loaded.source} has no chat template, so it cannot tell a prompt from a response; "
                "give it plain text, or take a model that has one, such as --model smollm2-135m"
            )
        template, tokenizer = loaded.template(), loaded.tokenizer
        ask = lambda prompt: template.encode([{"role": "user", "content": prompt}])
        text = Format(partial(ordinary, tokenizer), tokenizer.decode, ask, template.end_of_reply, length)
        return AnswerLearner(loaded.model, autocast=autocast, text=text)

    def score(self, learner, loaded, rows, length, progress=None):
        return exact_match(answer_all(learner, loaded.template(), rows, length=length, progress=progress), rows)

    def shown(self, score):
        return f"{100 * score:.1f}"

    def told(self, score, content):
        return f"{100 * score:.1f} % of {len(content)} answers right"

    def change(self, difference):
        return f"old tasks changed by {100 * difference:+.1f} points on average"


KINDS = {"text": Text(), "answers": Answers()}


def kind_of(path):
    """The name of the kind that a file holds."""
    return "answers" if path.suffix.lower() == ".jsonl" else "text"
