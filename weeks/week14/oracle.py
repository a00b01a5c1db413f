"""Week 14: the published SmolLM2 as nanogpt reads it from GGUF, against transformers reading the same file.

    make data/smollm2-135m
    python weeks/week14/oracle.py              # some minutes

Compared: logits, greedy continuations, token ids, chat templates; seconds and peak memory of loading, each in a process
of its own, in turn. For ids, transformers gets SmolLM2's published pre-tokenizer, which makes every digit a token: from
the GGUF file alone it takes GPT-2's, which does not.
"""

import importlib
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

from nanogpt.vendor.shared.errors import Mistake, entry
from nanogpt.vendor.shared.files import need
from nanogpt.vendor.shared.results import Stopwatch, finish, parser, thread_count

WEEK = Path(__file__).resolve().parent
FILE = WEEK.parents[1] / "data" / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf"
NEW_TOKENS = 64
PROMPTS = [
    "The capital of France is",
    "Once upon a time there was a fox who",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees because",
    "Dear neighbour,\n\nthank you for",
    "1, 2, 4, 8, 16,",
    "SELECT name, price FROM",
    "The three laws of motion are:\n1.",
    "To bake bread you need",
    "Q: How far away is the moon?\nA:",
    "In 1969, two people",
    "Le chat est assis sur",
    "import numpy as np\n\nx = np.",
    "The opposite of hot is cold. The opposite of up is",
    "She opened the door, and",
    "## Results\n\n| name | value |\n|---|---|\n",
    "If all cats are animals and Tom is a cat, then",
    '{"city": "Oslo", "country":',
    "🙂 is an emoji that means",
    "A short poem about rain:\n\n",
]
PARTS = [
    "It's we'll they've I'd DON'T 's '1s the of and naïve résumé Straße ﬁne x_1 don't_panic",
    "0 7 42 1990 3.14159 1,000,000 0x1F 1e-10 ½ ¾ Ⅳ ⅻ ² ³ ٣ ٤٥ १२ ② 〇 𝟘",
    "for i in range(10): {k: v**2} != <= // /* */ #include <stdio.h> &nbsp; </p> $HOME $x",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 1️⃣ ❤️ ✈︎ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ☺",
    "日本語 中文字符 한국어 3月14日 ひらがな 、 。 「 」 ｆｕｌｌ",
    "مرحبا שלום हिन्दी ไทย Ελληνικά Кириллица e\u0301 a\u0308o\u0302\u0323 \u0301",
    "... !!! --- === ??? ((( [[ ;; ' \" ` ~ @ ^ | \\ <|im_end| <|x|> |>",
]
BLANKS = [" "] * 12 + ["", "", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n "]
BLANKS += ["\u00a0", "\u3000", "\u2028", "\u0085", "\x0b"]
LOAD = {  # what a fresh process runs; the imports before the watch are not timed
    "ours": """
from nanogpt.sources import open_model
watch = time.perf_counter()
open_model(path)""",
    "theirs": """
import torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
given = {"gguf_file": Path(path).name}
watch = time.perf_counter()
AutoModelForCausalLM.from_pretrained(Path(path).parent, dtype=torch.float32, **given)
AutoTokenizer.from_pretrained(Path(path).parent, **given)""",
}
REPORT = """
seconds = time.perf_counter() - watch
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))"""


def mixed_lines(n, seed=0):
    """`n` different lines of many scripts, numbers, blanks and signs, some empty, some long; the same for each seed."""
    draw, lines = random.Random(seed), dict.fromkeys(["", " ", "\n", "7", " 7", "  7"])
    parts = [part.split() for part in PARTS]
    while len(lines) < n:
        kind, words = draw.random(), []
        for _ in range(draw.choice([1, 2, 5, 10, 30])):
            word = draw.choice(draw.choice(parts) if kind < 0.5 else parts[int(kind * 100) % len(parts)])
            words += [word * draw.choice([1] * 30 + [3, 100]), draw.choice(BLANKS) * draw.choice([1] * 20 + [7, 60])]
        lines["".join(words)] = None
    return list(lines)[:n]


def published_pre_tokenizer():
    """SmolLM2's pre-tokenizer in Hugging Face's terms: each number alone, then GPT-2's pattern on what is between."""
    steps = importlib.import_module("tokenizers").pre_tokenizers
    return steps.Sequence([steps.Digits(individual_digits=True), steps.ByteLevel(add_prefix_space=False)])


def their_model(path):
    """(model, tokenizer) as transformers loads the file."""
    import torch

    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise Mistake("transformers, the oracle, is not installed; run: pip install transformers") from error
    transformers.utils.logging.set_verbosity_error(), transformers.utils.logging.disable_progress_bar()
    given = {"gguf_file": path.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **given).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **given)
    tokenizer.backend_tokenizer.pre_tokenizer = published_pre_tokenizer()
    return model, tokenizer


def compare(path, lines):
    """Our reading of the file against theirs, as metrics."""
    import torch
    from nanogpt.infer.generate import generate
    from nanogpt.sources import open_model

    ours, (theirs, their_tokenizer) = open_model(path), their_model(path)
    theirs.generation_config.eos_token_id = None  # greedy to the end, past the end of a reply
    encode, template = ours.tokenizer.encode_ordinary, ours.template()
    largest = difference = same_text = same_chat = 0
    for prompt in PROMPTS:
        ids = torch.tensor([encode(prompt)])  # (1, T)
        with torch.no_grad():
            expected = theirs(ids).logits  # (1, T, V)
            difference = max(difference, (ours.model(ids)[0] - expected).abs().max().item())
            continued = theirs.generate(ids, do_sample=False, max_new_tokens=NEW_TOKENS)[0, ids.shape[1] :]
        largest = max(largest, expected.abs().max().item())
        same_text += list(generate(ours.model, ids[0].tolist(), NEW_TOKENS, temperature=0)) == continued.tolist()
        messages = [{"role": "user", "content": prompt}]
        chat = their_tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        same_chat += template.encode(messages) == chat
    return {
        "prompts": len(PROMPTS),
        "max_abs_logit_difference": difference,
        "max_abs_logit": largest,
        "greedy_tokens": NEW_TOKENS,
        "identical_continuations": same_text,
        "identical_chats": same_chat,
        "lines": len(lines),
        "lines_tokens": sum(len(encode(line)) for line in lines),
        "identical_lines": sum(encode(line) == their_tokenizer.encode(line) for line in lines),
    }


def loading(path, pairs):
    """Median seconds and megabytes of loading model and tokenizer, in fresh processes, in turn."""
    runs = {who: [] for who in LOAD}
    for _ in range(pairs):
        for who, body in LOAD.items():
            program = f"import json, resource, sys, time\npath = sys.argv[1]{body}\n{REPORT}"
            done = subprocess.run([sys.executable, "-c", program, path], cwd=WEEK, capture_output=True, text=True)
            if done.returncode:
                raise Mistake(f"loading by {who} failed: {done.stderr.strip().splitlines()[-1]}; correct that first")
            runs[who].append(json.loads(done.stdout.splitlines()[-1]))
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss: bytes there, kilobytes on Linux
    seconds = {who: statistics.median(s for s, _ in taken) for who, taken in runs.items()}
    peaks = {who: statistics.median(peak for _, peak in taken) / unit for who, taken in runs.items()}
    return {
        "pairs": pairs,
        **{f"load_{who}_seconds": value for who, value in seconds.items()},
        "load_ours_vs_transformers_time_ratio": seconds["ours"] / seconds["theirs"],
        **{f"load_{who}_peak_mib": value for who, value in peaks.items()},
    }


def main(argv=None):
    """Compare, measure, write oracle.json and return the metrics."""
    p = parser(__doc__.splitlines()[0], data=FILE, epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--pairs", type=int, default=3, help="how often both load (default: %(default)s)")
    args = p.parse_args(argv)
    path, watch, threads = need(args.data, "make data/smollm2-135m").resolve(), Stopwatch(), thread_count(args.threads)

    import torch

    torch.set_num_threads(threads)
    print(f"{path.name}: loading it {args.pairs} times by nanogpt and by transformers, in turn ...", flush=True)
    metrics = loading(path, args.pairs)
    print(f"comparing {len(PROMPTS)} prompts and 1000 lines on {threads} threads ...", flush=True)
    metrics |= compare(path, mixed_lines(1000))
    for name, value in metrics.items():
        print(f"{name:>38}  {value:.4g}")
    return finish(__file__, args, argv, metrics, preset="oracle", seconds=watch.seconds, threads=threads)


if __name__ == "__main__":
    sys.exit(entry(main))
