# vendored from weeks/week13/continual/methods/ssr.py, sha256 3376c98bacbfcac28b14235e3529d4118292563f31c9803e4c88c5794945c04e; edit there, then run: make vendor
"""Self-synthesised rehearsal (SSR): rehearse rows that the model made up (Huang et al. 2024).

At the end of a task: 1) the model from before all tasks writes new rows after two examples; 2) what it wrote is read
and sifted; 3) of each cluster the rows nearest its centre stay; 4) the newest model answers them anew. Each task's rows
are made once. The examples are 1 % of the task's rows, and are forgotten as soon as the rows are written.

Four things differ from the paper. It mixes all made-up rows into an epoch; here `replay_rows` of them join each step,
so that a task costs the same however many came before. It lets a text grow to 2,048 tokens; here to the task's longest
example. It embeds with SimCSE; here the writing model itself does. And a row that repeats a training prompt is
dropped, because nothing of the user's may be kept.
"""

import math
from dataclasses import dataclass, field
from itertools import permutations

import torch

from ..answers import answer_rows
from ..kmeans import by_nearness
from ..memory import CLUSTERS
from ..pairs import Pair
from ..synthesis import few_shot, fits, parse, split_instruction
from .first import First
from .rehearsal import Rehearsal, RehearsalConfig, at_least

SHOTS, EXAMPLES = 2, 0.01  # examples in one prompt; share of the task's rows that they are taken from
SAMPLING = dict(temperature=0.9, top_p=0.6, repetition_penalty=1.2)


@dataclass(frozen=True)
class SSRConfig(RehearsalConfig):
    ratio: float = field(default=0.1, metadata={"help": "made-up rows of a task, as a share of its training rows"})
    tries: int = field(default=6, metadata={"help": "texts written for each made-up row that is wanted"})

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.ratio <= 1:
            raise ValueError(f"ratio is {self.ratio}; use a share above 0, at most 1")
        at_least(self, 1, "tries")


class SSR(Rehearsal):
    """Replay of made-up rows. Where few can be used, few are rehearsed; `report` says how many, task by task."""

    keeps = "synthetic"
    needs_text = True
    settings = SSRConfig

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(config, seed=seed)
        self.first = First()
        self.report = {}  # task -> {"written", "pieces", "parsed", "usable", "kept"}: numbers of texts and of rows

    def start(self, learner, task):
        learner.needs_text("ssr")  # told now, not after the task
        self.first.note(learner)
        return super().start(learner, task)

    def finish(self, learner, task):
        if self.config.keep_rows == 0:
            return
        wanted = max(1, round(self.config.ratio * len(task.train)))
        with self.first.back(learner):
            pairs = self.write(learner, task, wanted)
            rows = learner.text.rows(pairs)
            if pairs:
                rows = rows[by_nearness(learner.embed(rows), CLUSTERS, self.memory.generator).argsort()[:wanted]]
        self.report[task.name]["kept"] = len(rows)
        if len(rows):
            answered, _ = answer_rows(learner, rows)
            self.memory.add(task.name, answered, learner.embed)

    def write(self, learner, task, wanted):
        """Pairs that the model made up and that fill a row; the report counts what was lost on the way."""
        text, g = learner.text, self.memory.generator
        own = text.pairs(task.train)
        split = [split_instruction(task.instruction, pair.prompt) for pair in own]
        bare = [Pair(asked, pair.response) for (_, asked), pair in zip(split, own)]
        few = torch.randperm(len(own), generator=g)[: max(SHOTS, math.ceil(EXAMPLES * len(own)))].tolist()
        beginning, examples = split[few[0]][0], [bare[i] for i in few]
        orders = list(permutations(examples, min(SHOTS, len(examples))))
        turns = torch.randperm(len(orders), generator=g).tolist()
        prompts = [text.encode(few_shot(task.instruction, orders[i])) for i in turns]
        prompts = [prompt for prompt in prompts if len(prompt) < learner.context()]
        prompts = [prompts[i % len(prompts)] for i in range(self.config.tries * wanted)] if prompts else []
        seed = int(torch.randint(2**31, (1,), generator=g))
        longest = max(len(text.encode(few_shot("", [pair]))) for pair in bare)  # more would be a second example
        written = learner.generate(prompts, min(longest, text.length), **SAMPLING, seed=seed)
        parsed = [parse(text.decode(ids)) for ids in written]
        made = [Pair(beginning + pair.prompt, pair.response) for pairs, _ in parsed for pair in pairs]
        taken = {pair.prompt.strip() for pair in own}
        usable = [pair for pair in made if fits(text, pair) and pair.prompt.strip() not in taken]
        self.report[task.name] = {
            "written": len(written),
            "pieces": sum(pieces for _, pieces in parsed),
            "parsed": len(made),
            "usable": len(usable),
        }
        return usable

    def state(self):
        report = {name: dict(numbers) for name, numbers in self.report.items()}
        return {**super().state(), **self.first.state(), "report": report}

    def load(self, state):
        super().load(state)
        self.first.load(state)
        self.report = {name: dict(numbers) for name, numbers in state["report"].items()}
