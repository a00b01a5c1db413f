"""SmolLM2-135M here and through transformers and peft, in turns in one process: decoding, batches, LoRA training. And a
step of the main job with replay beside a naive one, in turns too.

python weeks/week14/bench.py
python weeks/week14/bench.py replay      # this part alone; the other one is: published

decode and batch64 are tokens a second, ours over theirs (above 1: ours is faster); lora is seconds, ours over theirs
(below 1: ours is faster). Ours computes in the precision that `--precision auto` picks; theirs in bfloat16, and once
more in float32, because on some processors that is the faster one.

batched_decode is 64 prompts of a task as the chat template writes them (60 to 120 tokens), 48 new tokens each: ours
against the better of their two dtypes, chosen by a short run, and the better of their two caches. What all prompts
begin with is read once by ours. batched_answers is twice as many prompts whose answers end where the model ends them:
ours fills a free slot with the next prompt, theirs goes on until the last of 64 has ended. There only tokens of answers
are counted, and theirs gets the prompts sorted by length, 64 at a time.

replay_vs_naive_time_ratio is of a whole domain: its steps, the first one as long as the others, and what the method
does before and after them, for there the model reads the rows that it keeps. The model is as large as that of the main
job, and has read nothing: what it read costs no time.
"""

import functools
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
TASK = HERE.parent.parent / "data" / "sms-spam" / "train.jsonl"
PAIRS, BATCH, STEPS = 5, 8, 3
BATCHED_PAIRS = 3  # of the longer runs
MODEL = "smollm2-135m"
SLOTS, NEW, PROMPTS = 64, 48, range(60, 121)  # rows side by side, new tokens, tokens of a prompt


def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def in_turns(ours, theirs):
    """Median seconds of each, timed one after the other PAIRS times, so that whatever else runs meets all."""
    sides = {"ours": ours, **theirs}
    for f in sides.values():
        f()  # the first call allocates
    times = [{name: seconds(f) for name, f in sides.items()} for _ in range(PAIRS)]
    return {name: statistics.median(pair[name] for pair in times) for name in sides}


def decoding(loaded, peers, rows, n):
    """Tokens a second of greedy decoding after 32 random tokens in each row."""
    from nanogpt.infer.batch import generate_batch

    prompts = torch.randint(100, 49_000, (rows, 32), generator=torch.Generator().manual_seed(0))  # (B, 32)
    mask = torch.ones_like(prompts)

    def theirs(model):
        return lambda: model.generate(
            prompts, attention_mask=mask, max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=2
        )

    median = in_turns(
        lambda: generate_batch(loaded.model, prompts.tolist(), n), {k: theirs(m) for k, m in peers.items()}
    )
    return {name: rows * n / s for name, s in median.items()}


def chat_prompts(loaded, count):
    """Ids of the first `count` prompts of the spam task that are neither short nor long."""
    from nanogpt.answers import prompt_ids, read_rows
    from nanogpt.vendor.shared.files import need

    template, longest = loaded.template(), loaded.model.config.block_size - NEW
    prompts = [prompt_ids(template, row, longest) for row in read_rows(need(TASK, "make data/sms-spam"))]
    return [ids for ids in prompts if len(ids) in PROMPTS][:count]


def their_batches(model, prompts, n, stop, cache):
    """New ids of each prompt from transformers: SLOTS at a time in order of length, padded on the left."""
    order, answers = sorted(range(len(prompts)), key=lambda i: len(prompts[i])), [[] for _ in prompts]
    for start in range(0, len(order), SLOTS):
        part = order[start : start + SLOTS]
        width = max(len(prompts[i]) for i in part)
        ids = torch.tensor([[0] * (width - len(prompts[i])) + prompts[i] for i in part])  # (B, T)
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in part])
        ends = {"eos_token_id": list(stop)} if stop else {}
        made = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=n,
            do_sample=False,
            pad_token_id=0,
            cache_implementation=cache,
            **ends,
        )
        for i, row in zip(part, made[:, width:].tolist(), strict=True):
            answers[i] = row[: next((at for at, token in enumerate(row) if token in stop), len(row))]
    return answers


def at_their_best(peers, prompts):
    """The (dtype, cache) with which transformers is fastest on a few prompts."""
    kinds = [(dtype, cache) for dtype in peers for cache in ("dynamic", "static")]
    took = {}
    for dtype, cache in kinds:
        run = functools.partial(their_batches, peers[dtype], prompts, 4, (), cache)
        run()  # the first call allocates
        took[dtype, cache] = seconds(run)
    return min(took, key=took.get)


def batched(ours, theirs):
    """Metrics of two ways to the same answers, in turns: tokens a second, their ratio with its spread."""
    sides = {"ours": ours, "hf_best": theirs}
    made = {name: f() for name, f in sides.items()}  # the first call allocates, and tells how many tokens there are
    tokens = {name: sum(map(len, answers)) for name, answers in made.items()}
    pairs = [{name: tokens[name] / seconds(f) for name, f in sides.items()} for _ in range(BATCHED_PAIRS)]
    ratios = [pair["ours"] / pair["hf_best"] for pair in pairs]
    same = sum(a == b for a, b in zip(made["ours"], made["hf_best"], strict=True))
    return {
        "tokens_per_second": statistics.median(pair["ours"] for pair in pairs),
        "hf_best_tokens_per_second": statistics.median(pair["hf_best"] for pair in pairs),
        "vs_hf_best_ratio": statistics.median(ratios),
        "vs_hf_best_ratios": [min(ratios), max(ratios)],
        "same_answers": same / len(made["ours"]),
    }


def generation(loaded, peers):
    """Metrics of batched generation, each row to its NEW tokens ("decode") and to the end of its answer ("answers")."""
    from nanogpt.infer.batch import generate_batch

    prompts = chat_prompts(loaded, 2 * SLOTS)
    dtype, cache = at_their_best(peers, prompts[:16])
    print(f"transformers is at its best in {dtype} with its {cache} cache", flush=True)
    metrics = {"batched_hf_best": f"{dtype}, {cache} cache", "batched_pairs": BATCHED_PAIRS}
    for label, count, stop in (("decode", SLOTS, ()), ("answers", 2 * SLOTS, loaded.template().stop_ids)):
        rows = prompts[:count]
        found = batched(
            functools.partial(generate_batch, loaded.model, rows, NEW, batch=SLOTS, stop=stop),
            functools.partial(their_batches, peers[dtype], rows, NEW, stop, cache),
        )
        metrics |= {f"batched_{label}_{name}": value for name, value in found.items()}
        print(f"batched_{label}: {found['vs_hf_best_ratio']:.2f} times theirs", flush=True)
    return metrics


def lora_rows(loaded):
    """The first rows of the spam task as (ours, their input ids, their labels), the same tokens in the same batches."""
    from nanogpt.answers import make_task, read_rows
    from nanogpt.vendor.shared.files import need

    rows = read_rows(need(TASK, "make data/sms-spam"))[: BATCH * STEPS]
    task, _ = make_task("spam", rows, loaded.template(), 256)
    batches = []
    for batch in task.train.split(BATCH):
        length = int(batch.judged.any(dim=0).nonzero().max()) + 1
        batch = batch.map(lambda t, length=length: t[:, :length])  # (B, T+1), cut to the longest as a collator would
        batches.append((batch, batch.ids, batch.ids.masked_fill(~batch.judged, -100)))
    return batches


def training(loaded, peers, batches):
    """Seconds of STEPS optimizer steps of LoRA (rank 8, all linear layers) on the same rows."""
    from nanogpt.answers import AnswerLearner
    from nanogpt.device import autocast_for
    from nanogpt.vendor.continual.loop import step
    from nanogpt.vendor.continual.strategy import Strategy
    from nanogpt.vendor.lora import adapter
    from peft import LoraConfig, get_peft_model

    adapter.attach(loaded.model, "bench", adapter.LoRAConfig(rank=8, alpha=16))
    learner = AnswerLearner(loaded.model.train(), autocast=autocast_for("auto", torch.device("cpu"))[0])
    optimizer = torch.optim.AdamW(learner.parameters().values(), lr=1e-4)

    def ours():
        for batch, _, _ in batches:
            step(learner, Strategy(), optimizer, batch)

    def theirs(model, half):
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config).train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-4)

        def run():
            for _, ids, labels in batches:
                with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
                    loss = model(input_ids=ids, labels=labels).loss
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()

        return run

    return in_turns(ours, {name: theirs(model, name == "bfloat16") for name, model in peers.items()})


def replaying(seed):
    """Metrics of the main job's steps, naive ones and those of each other arm, BATCHED_PAIRS domains long."""
    from nanogpt.device import autocast_for, keep_memory
    from nanogpt.feed import Feed
    from nanogpt.model import GPT, GPTConfig
    from nanogpt.train import TrainConfig, make_optimizer
    from nanogpt.vendor.continual.learner import Learner
    from nanogpt.vendor.continual.loop import step
    from nanogpt.vendor.continual.methods import make
    from nanogpt.vendor.continual.rows import windows
    from nanogpt.vendor.continual.task import Task
    from train import METHODS, presets

    keep_memory()
    setting, (autocast, precision) = presets()["default"], autocast_for("auto", torch.device("cpu"))
    shape, config = setting["shape"], TrainConfig(**{**setting["learn"], "seed": seed, "precision": precision})
    length, generator = shape["block_size"], torch.Generator().manual_seed(seed)
    tasks = [
        Task(f"text {i}", windows(torch.randint(shape["vocab_size"], (500 * length + 1,), generator=generator), length))
        for i in range(BATCHED_PAIRS + 1)
    ]
    sides = {}
    for arm in METHODS:
        learner = Learner(GPT(GPTConfig(**shape)).train(), autocast=autocast)
        sides[arm] = learner, make(METHODS[arm], setting.get(arm, {}), seed=seed)
        sides[arm][1].start(learner, tasks[0])
        sides[arm][1].finish(learner, tasks[0])  # its rows are those that are kept
    pairs, ratios = [], []  # seconds of a step; of a whole domain, an arm over the naive one
    for task in tasks[1:]:
        runs, spent, around = {}, {arm: [] for arm in sides}, {}
        for arm, (learner, strategy) in sides.items():
            start = time.perf_counter()
            rows = strategy.start(learner, task)
            around[arm] = time.perf_counter() - start
            runs[arm] = learner, strategy, make_optimizer(learner.parameters(), config), Feed(rows, config)
        for i in range(config.steps):
            for arm, (learner, strategy, optimizer, feed) in runs.items():
                spent[arm].append(seconds(functools.partial(step, learner, strategy, optimizer, feed.at(i))))
        for arm, (learner, strategy) in sides.items():
            around[arm] += seconds(functools.partial(strategy.finish, learner, task))
        pairs.append({arm: sum(times[1:]) / (config.steps - 1) for arm, times in spent.items()})
        whole = {arm: around[arm] + config.steps * each for arm, each in pairs[-1].items()}
        ratios.append({arm: seconds / whole["naive"] for arm, seconds in whole.items() if arm != "naive"})
    found = {f"{arm}_step_seconds": statistics.median(pair[arm] for pair in pairs) for arm in sides}
    for arm in ratios[0]:
        each = [ratio[arm] for ratio in ratios]
        found |= {f"{arm}_vs_naive_time_ratio": statistics.median(each)}
        found |= {f"{arm}_vs_naive_time_ratios": [min(each), max(each)]}
        print(f"{arm}: {statistics.median(each):.2f} times a naive domain", flush=True)
    return found


def published(seed):
    """Metrics of SmolLM2-135M, ours beside transformers and peft."""
    from nanogpt.commands.export import Export
    from nanogpt.device import pick_precision
    from nanogpt.sources import open_model
    from nanogpt.train import tokens_in
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    precision = pick_precision("auto", torch.device("cpu"))
    print(f"{MODEL}: ours in {precision}, transformers in bfloat16 and float32", flush=True)
    loaded = open_model(MODEL, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        Export(Path(folder) / MODEL, model=MODEL).run()
        peers = {
            kind: AutoModelForCausalLM.from_pretrained(Path(folder) / MODEL, dtype=getattr(torch, kind)).eval()
            for kind in ("bfloat16", "float32")
        }
    for peer in peers.values():
        peer.generation_config.eos_token_id = None  # an end is given where one is wanted
    metrics = {"pairs": PAIRS, "precision": precision}
    for label, rows, n in (("decode", 1, 32), ("batch64", 64, 8)):
        rate = decoding(loaded, peers, rows, n)
        metrics |= {f"{label}_tokens_per_second": rate["ours"]}
        metrics |= {f"{label}_hf_{kind}_tokens_per_second": rate[kind] for kind in peers}
        metrics |= {f"{label}_vs_hf_ratio": rate["ours"] / rate["bfloat16"]}
        metrics |= {f"{label}_vs_hf_float32_ratio": rate["ours"] / rate["float32"]}
        print(f"{label}: " + ", ".join(f"{k} {v:.1f} tok/s" for k, v in rate.items()), flush=True)
    metrics |= generation(loaded, peers)
    lora = lora_rows(loaded)
    median = training(loaded, peers, lora)
    tokens = sum(tokens_in(batch) + len(batch) for batch, _, _ in lora)
    metrics |= {"lora_seconds": median["ours"], "lora_tokens_per_second": tokens / median["ours"]}
    for kind in peers:
        metrics |= {f"lora_peft_{kind}_seconds": median[kind]}
        metrics |= {f"lora_peft_{kind}_tokens_per_second": tokens / median[kind]}
    metrics |= {"lora_vs_peft_time_ratio": median["ours"] / median["bfloat16"]}
    metrics |= {"lora_vs_peft_float32_time_ratio": median["ours"] / median["float32"], "lora_tokens": tokens}
    print("lora: " + ", ".join(f"{k} {v:.2f} s" for k, v in median.items()), flush=True)
    return metrics


PARTS = {"replay": ("bench-replay", replaying), "published": ("bench", published)}


def main(argv=None):
    from nanogpt.sources import find
    from nanogpt.vendor.shared.results import Stopwatch, finish, parser, thread_count

    p, found = parser(__doc__), {}
    p.add_argument("part", nargs="?", choices=PARTS, help="one part alone (default: both)")
    args = p.parse_args(argv)
    parts = [args.part] if args.part else list(PARTS)
    if "published" in parts:
        find(MODEL)  # told at once if it is not here
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    for name, measure in map(PARTS.get, parts):
        watch, metrics = Stopwatch(), measure(args.seed)
        found |= finish(__file__, args, argv, metrics, name=name, seconds=watch.seconds, threads=threads)
    return found


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
