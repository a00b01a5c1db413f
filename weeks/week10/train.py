"""Week 10: two optimizers in a race, a scaling law and its prediction, GPT-2's size, and several processes.

python weeks/week10/train.py                                # race, law and predict: what `make week10` runs
python weeks/week10/train.py race                           # Muon beside AdamW to the same loss
python weeks/week10/train.py law                            # many small runs, and the law through them, frozen
python weeks/week10/train.py predict                        # the run that the law predicted, made and compared
python weeks/week10/train.py plan --budget "2 cores x 1 hour"   # what the law advises for a budget
python weeks/week10/train.py gpt2 --model gpt2-124m         # 124 million parameters, stopped and resumed
python weeks/week10/train.py teams                          # two processes against one; one of them killed
python weeks/week10/train.py law --help                     # the options of a job
"""

import math
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch
from scaling import corpus as corpora
from scaling import cost, frozen, large, plan
from scaling import law as laws
from scaling import race as races
from scaling import sweep as sweeps
from scaling.vendor.gpt.loop import bigram_loss
from scaling.vendor.gpt.model import GPTConfig
from scaling.vendor.gpt.text import Characters
from scaling.vendor.gpt.text import Corpus as Text
from scaling.vendor.shared.errors import Mistake, entry
from scaling.vendor.shared.jobs import perform
from scaling.vendor.shared.results import (
    Stopwatch,
    command_line,
    models_folder,
    parser,
    results_folder,
    save_run,
    thread_count,
)

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"
NEXT = {
    "race": "other rates and lengths: the table RACES in weeks/week10/train.py",
    "law": "the run that it foretells: python weeks/week10/train.py predict {same}",
    "predict": "what a budget of yours would buy: python weeks/week10/train.py plan --budget '2 cores x 1 hour'",
    "plan": "the same with a picture: python projects/budget_planner/budget.py '2 cores x 1 hour'",
    "gpt2": "the larger one: python weeks/week10/train.py gpt2 --model gpt2-124m",
    "teams": "two machines on one: bash weeks/week10/launch/two_nodes.sh /tmp/two --way fsdp --steps 20",
}
ADAMW, MUON = 0.008, 0.016  # the best rates of the full race, for the default one


def options(job, about):
    p = parser(about, data=DATA)
    p.prog = f"train.py {job}"
    return p


def record(job, args, argv, clock, metrics):
    """Write the results file of a job, say where it lies, and return the metrics."""
    name, threads = f"{job}-{args.preset}", torch.get_num_threads()
    path = save_run(__file__, args, [job, *argv], metrics, name=name, seconds=clock.seconds, threads=threads)
    print(f"To try next, {NEXT[job].format(same=same(args))}")
    print(f"results: {path}")
    return metrics


def same(args):
    """The options, as they are typed, with which another job finds the files of this one."""
    return shlex.join(["--preset", args.preset, *(["--out", str(args.out)] if args.out else [])])


def beside(args, name):
    """A file that stands beside the results: the rows of the sweep, one by one as they come; the frozen law."""
    return results_folder(__file__, args.out) / f"{name}-{args.preset}.json"


# --- the race ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Race:
    """`steps` of AdamW, and as many for Muon times each of `shares`; one rate is taken as it is, more are tried.

    Muon's rates are tried in runs of `tuning` times the steps: near where it may reach AdamW's loss.
    """

    layers: int = 4
    width: int = 128
    block: int = 128
    rows: int = 16
    steps: int = 200
    shares: tuple = (0.4, 0.6)
    tuning: float = 0.6
    adamw: tuple = (ADAMW,)
    muon: tuple = (MUON,)
    seeds: int = 1
    judged: int = 65_536  # tokens of the validation text
    most: int | None = None  # characters of each part of the text


RACES = {
    "smoke": Race(1, 16, 16, 4, steps=12, shares=(2.0,), judged=512, most=100_000),
    "default": Race(),
    "full": Race(
        steps=400, shares=(0.35, 0.5), seeds=3, judged=262_144,
        adamw=(0.001, 0.002, 0.004, 0.008, 0.016), muon=(0.004, 0.008, 0.016, 0.032, 0.064),
    ),
}  # fmt: skip


def race(argv):
    args = options("race", "Muon beside AdamW on Shakespeare, until the same validation loss.").parse_args(argv)
    clock, preset = Stopwatch(), RACES[args.preset]
    torch.set_num_threads(threads := thread_count(args.threads))
    train, val = ([f"{each}\n" for each in corpora.texts(args.data, part, ("shakespeare",), preset.most)]
                  for part in ("train.txt", "val.txt"))  # fmt: skip
    characters = Characters("".join(train))
    train, val = (Text(part, characters).tokens for part in (train, val))
    config = GPTConfig(len(characters), preset.block, preset.layers, max(1, preset.width // 32), preset.width)
    course = races.Course(config, train, val[: preset.judged], preset.rows)
    book = races.Book(models_folder(__file__, args.out) / f"race-{args.preset}.json")
    size = cost.parameters(config)
    print(f"two optimizers, a GPT of {size:,} parameters, Shakespeare by characters, {threads} threads")

    def tuned(start, rates, steps):
        return races.tune(start, rates, steps, course, book, threads) if len(rates) > 1 else [[rates[0], 0.0]]

    best = lambda rows: min((row for row in rows if row[1] is not None), key=lambda row: row[1])[0]
    adamw = races.Setting("adamw", 0.0)
    rates = {"adamw": tuned(adamw, preset.adamw, preset.steps)}
    adamw = adamw._replace(lr=best(rates["adamw"]))
    muon = races.Setting("muon", 0.0, rest=adamw.lr)
    rates["muon"] = tuned(muon, preset.muon, round(preset.tuning * preset.steps))
    muon = muon._replace(lr=best(rates["muon"]))
    for name, rows in rates.items():
        if len(rows) > 1:
            print(f"{name}: " + ", ".join(f"{lr:g} gives {'nan' if x is None else f'{x:.3f}'}" for lr, x in rows))

    found = []
    for seed in range(args.seed + 1, args.seed + 1 + preset.seeds):  # seed 0 chose the rates, two runs at a time
        jobs = [(adamw, preset.steps, seed), *((muon, round(s * preset.steps), seed) for s in preset.shares)]
        runs = dict(book.runs(jobs, course))
        if any(run is None for run in runs.values()):
            raise Mistake(f"a run of seed {seed} lost its footing at {adamw} or {muon}; give lower rates in RACES")
        ours, theirs = [runs[job] for job in jobs[1:]], runs[jobs[0]]
        steps = races.crossing(ours, theirs.loss)
        if math.isinf(steps):
            raise Mistake(
                f"Muon did not reach {theirs.loss:.3f} in {ours[-1].steps} steps; add a longer share in RACES"
            )
        pace = races.seconds_at(ours, 1) / races.seconds_at([theirs], 1)
        found.append({"seed": seed, "target": theirs.loss, "muon_steps": steps, "steps_ratio": steps / theirs.steps,
                      "step_seconds_ratio": pace, "time_ratio": pace * steps / theirs.steps,
                      "adamw": theirs._asdict(), "muon": [run._asdict() for run in ours]})  # fmt: skip
        print(f"seed {seed}: AdamW {theirs.loss:.3f} after {theirs.steps} steps and {theirs.seconds:.0f} s; "
              f"Muon after {steps:.0f} steps, {found[-1]['time_ratio']:.2f} of the time")  # fmt: skip
    metrics = {
        "params": size, "uniform_loss": math.log(len(characters)),
        "bigram_loss": bigram_loss(train, course.val, len(characters)), "rates": rates,
        "adamw_lr": adamw.lr, "muon_lr": muon.lr, "adamw_steps": preset.steps, "seeds": preset.seeds,
        "adamw_loss": mean(row["target"] for row in found), "muon_steps": mean(row["muon_steps"] for row in found),
        "adamw_seconds": (seconds := mean(row["adamw"]["seconds"] for row in found)),
        "muon_seconds": seconds * mean(row["time_ratio"] for row in found),
        "muon_vs_adamw_steps_ratio": mean(row["steps_ratio"] for row in found),
        "muon_vs_adamw_time_ratio": mean(row["time_ratio"] for row in found),
        "muon_step_overhead_pct": 100 * (mean(row["step_seconds_ratio"] for row in found) - 1), "races": found,
    }  # fmt: skip
    print(f"What it showed: Muon needed {metrics['muon_vs_adamw_steps_ratio']:.2f} of AdamW's steps and "
          f"{metrics['muon_vs_adamw_time_ratio']:.2f} of its time.")  # fmt: skip
    return record("race", args, argv, clock, metrics)


# --- the law ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sweep:
    """Runs of some sizes at each budget of compute; the run predicted costs `ahead` times the largest."""

    budgets: tuple
    sizes: int
    judged: int  # tokens of the validation text
    fewest: int = sweeps.FEWEST  # tokens of a run
    laws: int = 100  # of resampled runs, for the intervals
    ahead: float = 4.0
    sets: tuple = corpora.SETS
    most: int | None = None  # characters of each set

    def corpus(self, args):
        return corpora.load(args.data, models_folder(__file__, args.out), sets=self.sets, most=self.most)


SWEEPS = {
    "smoke": Sweep((1e9, 2e9, 4e9), 2, judged=2_048, fewest=4096, laws=5, sets=("shakespeare",), most=200_000),
    "default": Sweep((1e11, 10**11.4, 10**11.8), 2, judged=131_072, ahead=2.0),
    "full": Sweep(tuple(5e10 * 10 ** (k * 0.4) for k in range(6)), 5, judged=524_288, laws=300),
}


def law(argv):
    args = options("law", "A sweep of small runs, and the law through them.").parse_args(argv)
    clock, preset = Stopwatch(), SWEEPS[args.preset]
    torch.set_num_threads(threads := thread_count(args.threads))
    corpus = preset.corpus(args)
    vocab_size = corpus.tokenizer.vocab_size
    wanted = sweeps.trials(preset.budgets, vocab_size, preset.sizes, preset.fewest)
    print(f"{len(wanted)} runs from {wanted[0].name} to {wanted[-1].name} operations, on {len(corpus.train):,} tokens; "
          f"{threads} at a time")  # fmt: skip
    rows = sweeps.sweep(wanted, corpus, beside(args, "sweep"), args.seed, preset.judged, workers=threads)
    points = [(row["params"], row["tokens"], row["loss"]) for row in rows]
    fit, many = laws.fit(points), laws.bootstrap(points, preset.laws)
    spread = lambda number: list(laws.interval([number(each) for each in many]))
    budget = preset.ahead * max(preset.budgets)
    trial = sweeps.advised(fit, budget, vocab_size)
    n, d = trial.params(vocab_size), trial.tokens(vocab_size)
    exponent = lambda each: each.beta / (each.alpha + each.beta)
    iso = laws.valleys([(row["budget"], row["params"], row["loss"]) for row in rows])
    by_n, by_d = ([(row[key], row["loss"]) for row in rows] for key in ("params", "tokens"))
    best_n = laws.best_by(by_n)
    metrics = {
        "scaling_runs": len(rows), "rows": rows, "vocab_size": vocab_size,
        "params_decades": math.log10(max(n for n, *_ in points) / min(n for n, *_ in points)),
        "flops_decades": math.log10(max(row["flops"] for row in rows) / min(row["flops"] for row in rows)),
        **{f"law_{key}": value for key, value in fit._asdict().items()},
        **{f"law_{key}_interval": spread(lambda each, key=key: getattr(each, key)) for key in fit._fields},
        "law_a": exponent(fit), "law_a_interval": spread(exponent), "laws": [list(each) for each in many],
        "worst_residual_pct": 100 * max(map(abs, laws.residuals(fit, points))),
        "valleys": [list(row) for row in iso], "held_out": {
            "layers": trial.layers, "width": trial.width, "budget": budget, "params": n, "tokens": d,
            "loss": fit.loss(n, d), "interval": spread(lambda each: each.loss(n, d)),
        },
        "kaplan_n": list(laws.power(list(best_n), list(best_n.values()))),
        **({"isoflop_a": laws.power(*zip(*[row[:2] for row in iso]))[1],
            "isoflop_loss_exponent": laws.power(*zip(*[row[::2] for row in iso]))[1]} if len(iso) > 1 else {}),
    }  # fmt: skip
    print(f"L(N, D) = {fit.E:.2f} + {fit.A:.3g} / N^{fit.alpha:.3f} + {fit.B:.3g} / D^{fit.beta:.3f}; off by at most "
          f"{metrics['worst_residual_pct']:.1f} % on its own runs")  # fmt: skip
    place = beside(args, "frozen")
    frozen.write(place, frozen.Frozen(fit, many, vocab_size, max(preset.budgets), len(rows)))
    low, high = metrics["held_out"]["interval"]
    print(f"What it says, frozen in {place}: {n:,} parameters and {d:,} tokens, {preset.ahead:g} times the largest "
          f"budget, will end at {fit.loss(n, d):.3f} ({low:.3f} to {high:.3f}).")  # fmt: skip
    return record("law", args, argv, clock, metrics)


def predict(argv):
    args = options("predict", "The run that the law predicted: made, judged, compared.").parse_args(argv)
    clock, preset = Stopwatch(), SWEEPS[args.preset]
    torch.set_num_threads(thread_count(args.threads))
    said = frozen.read(beside(args, "frozen"), f"python weeks/week10/train.py law {same(args)}")
    trial = sweeps.advised(said.law, preset.ahead * said.flops, said.vocab_size)
    n, d = trial.params(said.vocab_size), trial.tokens(said.vocab_size)
    foretold, interval = said.law.loss(n, d), laws.interval([each.loss(n, d) for each in said.laws])
    print(f"{n:,} parameters, {d:,} tokens, {preset.ahead:g} times the largest compute of the sweep; "
          f"predicted: {foretold:.3f}")  # fmt: skip
    row = sweeps.run(trial, preset.corpus(args), args.seed, preset.judged)
    wrong = 100 * (foretold / row["loss"] - 1)
    print(f"What it showed: {row['loss']:.3f} was measured, {foretold:.3f} was predicted: {wrong:+.2f} %.")
    metrics = {"run": row, "foretold": foretold, "interval": list(interval), "scaling_prediction_error_pct": wrong,
               "inside_interval": interval[0] <= row["loss"] <= interval[1]}  # fmt: skip
    return record("predict", args, argv, clock, metrics)


def advice(argv):
    p = options("plan", "What a law advises for a budget of cores and time, each line with its formula.")
    p.add_argument("--budget", default="2 cores x 1 hour", help="cores and time (default: %(default)s)")
    p.add_argument(
        "--law", type=Path, default=WEEK / "results" / "frozen-full.json", help="a frozen law (default: ours)"
    )
    p.add_argument("--rate", type=float, help="operations a second of all cores (default: measured here)")
    args = p.parse_args(argv)
    clock, budget, said = Stopwatch(), plan.parse_budget(args.budget), frozen.read(args.law)
    threads = thread_count(args.threads, budget.cores)
    rate = plan.speed(said.law, budget, said.vocab_size, args.rate, threads)
    total = rate * budget.seconds
    advised = plan.advise(said.law, said.laws, total, sweeps.rate, said.vocab_size)
    how = "as you say" if args.rate else f"measured here and now on {threads} threads"
    print(f"{args.budget}: {rate / 1e9:.0f} billion operations a second, {how}")
    for what, value, interval, formula in advised.table():
        print(f"  {what:14} {value:>22}  {interval:>26}  {formula}")
    if warning := plan.beyond(total, said.flops):
        print(warning)
    return record("plan", args, argv, clock, {"operations_per_second": rate, "operations": total, **advised._asdict()})


# --- GPT-2's size -----------------------------------------------------------------------------------------------------

SIZES = {"smoke": ("tiny", 4), "default": ("gpt2-50m", 20), "full": ("gpt2-124m", 100)}  # model, steps
USED = 0.4  # share of its peak that a card is assumed to reach; nothing was measured there


def gpt2(argv):
    p = options("gpt2", "A model of GPT-2's size on real text, stopped in the middle and resumed.")
    p.add_argument("--model", choices=large.PRESETS, help="(default: the preset's: gpt2-50m; full: gpt2-124m)")
    p.add_argument("--steps", type=int, help="(default: the preset's)")
    p.add_argument("--batch", type=int, default=1, help="windows a step (default: %(default)s)")
    p.add_argument("--compile", action="store_true", help="compile the blocks first; needs a C++ compiler, and minutes")
    args = p.parse_args(argv)
    clock, threads = Stopwatch(), thread_count(args.threads)
    torch.set_num_threads(threads)
    asked = zip((args.model, args.steps), SIZES[args.preset])
    name, steps = (usual if given is None else given for given, usual in asked)  # 0 steps are refused below
    config, keep = large.preset(name), models_folder(__file__, args.out)
    ids = large.tokens(args.data, keep)
    print(f"{name}: {cost.parameters(config):,} parameters, {steps} steps of {args.batch} x {config.block_size} of "
          f"{len(ids):,} tokens, {threads} threads; checkpoints in {keep / name}")  # fmt: skip
    found = large.run(name, ids, keep / name, steps=steps, batch=args.batch, seed=args.seed, compile=args.compile)
    losses = [row[1] for row in found["curve"]]
    here = cost.Machine(f"{threads} cores", found["matmul_flops_per_second"])
    uses = {here: found["mfu"], cost.H100: USED, cost.MACHINES["8xh100"]: USED}
    metrics = {
        **found, "params": cost.parameters(config), "first_loss": losses[0],
        "last_loss": mean(losses[-10:]), "matmul_gflops": found["matmul_flops_per_second"] / 1e9,
        "costs": [cost_row(model, machine, used) for model in ("gpt2-50m", "gpt2-124m")
                  for machine, used in uses.items()],
        **({"mfu_124m": found["mfu"], "steps_124m": steps} if name == "gpt2-124m" else {}),
    }  # fmt: skip
    print(f"What it showed: the loss fell from {losses[0]:.2f} to {metrics['last_loss']:.2f} in {steps} steps, at "
          f"{found['tokens_per_second']:.0f} tokens a second: {found['mfu']:.0%} of the matmul rate here.")  # fmt: skip
    return record("gpt2", args, argv, clock, metrics)


def cost_row(name, machine, used, each=20):
    """[model, machine, tokens, operations, GB of a card, hours] of `each` tokens a parameter, 8 windows a step."""
    config = large.preset(name)
    tokens = each * cost.parameters(config)
    flops, held = cost.flops(config, tokens), sum(cost.memory(config, max(1, 8 // machine.cards)).values())
    hours = cost.seconds(flops, machine.cards * machine.peak, used) / 3600
    return [name, machine.name, tokens, flops, held / 1e9, hours]


# --- several processes ------------------------------------------------------------------------------------------------


def teams(argv):
    from scaling.distributed.proof import prove  # torch.distributed, which the other jobs do not need

    args = options("teams", "Two processes against one, and one of the two killed.").parse_args(argv)
    clock = Stopwatch()
    torch.set_num_threads(1)  # as each of the processes has
    print(
        "a tiny GPT, 20 steps: alone, in two processes by DDP and by FSDP, resumed as the other, killed and restarted"
    )
    with tempfile.TemporaryDirectory() as folder:
        metrics = prove(folder)
    print(f"What it showed: against one process, the weights of two differ by {metrics['ddp_max_diff']:.1e} (DDP) and "
          f"{metrics['fsdp_max_diff']:.1e} (FSDP); kills survived: {metrics['worker_kills_survived']}.")  # fmt: skip
    return record("teams", args, argv, clock, metrics)


JOBS = {"race": race, "law": law, "predict": predict, "plan": advice, "gpt2": gpt2, "teams": teams}
KEPT = ("race", "law", "gpt2")  # go on where they were stopped
ROUND = ("race", "law", "predict")  # without a job: in this order


def main(argv=None) -> dict:
    argv = sys.argv[1:] if argv is None else list(argv)
    return perform(argv, __doc__, JOBS, ROUND, run)


def run(name, argv):
    """One job; what goes wrong with numbers is told in a sentence, and finished runs wait for the same command."""
    try:
        return JOBS[name](argv)
    except (FloatingPointError, ValueError) as error:
        raise Mistake(f"{name}: {error}") from None
    except KeyboardInterrupt as stop:
        kept = "what is finished is kept; to go on" if name in KEPT else "nothing of it is kept; to begin again"
        said = str(stop) or f"{kept}: {command_line(__file__, [name, *argv])}"
        raise KeyboardInterrupt(said) from None


if __name__ == "__main__":
    sys.exit(entry(main))
