"""Week 5: train shallow and deep networks that invent names, look into them, and name what is wrong with sick ones.

python weeks/week05/train.py                                # the ladder: bad start to batch norm; deep networks
python weeks/week05/train.py --data towns.txt               # on a file of your own, one name a line
python weeks/week05/train.py doctor --disease dead_relu     # plant a disease, show the diagnostics, name it
python weeks/week05/train.py doctor                         # every disease in several networks: how often right?
"""

import string
import sys
from pathlib import Path
from statistics import fmean

import torch
from deepmlp import doctor, ladder
from deepmlp.diagnostics import typical
from deepmlp.model import DeepMLP
from deepmlp.vendor.makemore import names
from deepmlp.vendor.shared.errors import Mistake, entry
from deepmlp.vendor.shared.files import need
from deepmlp.vendor.shared.progress import bar
from deepmlp.vendor.shared.results import Stopwatch, models_folder, parser, save_run, thread_count

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"
# (file, what the names of its metrics end with); the lectures measured on the first, so only it is compared to them
STANDARD = [(DATA / "names-makemore" / "names.txt", ""), (DATA / "names" / "names.txt", "_ssa")]
SICK = {"smoke": 1, "default": 6, "full": 12}  # networks a disease that the doctor sees
DEPTHS = (4, 6)


def options_of(about):
    p = parser(about, epilog=__doc__.split("\n", 2)[2])
    p.add_argument(
        "--alphabet", default=string.ascii_lowercase, help="letters of the file; '' takes what it holds (%(default)s)"
    )
    return p


def files_for(args):
    """[(names, suffix of its metrics)]: the file that was asked for, or those of the standard ones that are there."""
    wanted = [pair for pair in STANDARD if pair[0].exists()]
    if args.data is not None:
        path = need(args.data, "make data/names, and leave --data out; or give a file with one name a line")
        wanted = [(path / "names.txt" if path.is_dir() else path, "")]
    if not wanted or not wanted[0][0].exists():
        need(wanted[0][0] if wanted else STANDARD[-1][0], "make data/names, and leave --data out")
    try:
        return [(names.load(path, args.alphabet or None), suffix) for path, suffix in wanted]
    except ValueError as error:
        raise Mistake(str(error)) from None


def settle(args):
    """The number of threads: what was asked for, or what torch takes by itself."""
    torch.set_num_threads(thread_count(args.threads, torch.get_num_threads()))
    return torch.get_num_threads()


def bar_for(steps, title, rows):
    """A progress bar, and the function that moves it after each step."""
    line, watch = bar(total=steps, label=title, unit="step"), Stopwatch()

    def after(step, loss):
        line.update()
        line.set_postfix_str(f"loss {loss:.3f}, {rows * line.n / watch.seconds:,.0f} letters/s", refresh=False)

    return line, after


# --- the ladder -------------------------------------------------------------------------------------------------------


def climb(known, preset, seed, whole, title):
    """Metrics of one file, piece by piece: every rung, the trap, deep networks, or (not whole) two rungs to compare."""
    data = ladder.data_of(known)
    sizes = ", ".join(f"{len(targets):,} letters to {part}" for part, (_, targets) in data.items())
    steps = preset.recipe.steps
    print(f"{title}: {sizes}; {steps} steps of {preset.recipe.batch_size}, {preset.seeds} seeds", flush=True)
    lines = ladder.baselines(known, data)
    yield lines
    print(f"  uniform {lines['uniform_loss']:.4f}, bigram {lines['bigram_val']:.4f}")
    for name in ladder.RUNGS if whole else ladder.OTHER_FILE:
        line, after = bar_for(steps * preset.seeds, f"{title} {name}", preset.recipe.batch_size)
        with line:
            part, model = ladder.rung(name, known, data, preset, seed, after)
        yield part
        print(
            f"  {name:>11}: first loss {part[f'{name}_initial']:6.3f}, val {part[f'{name}_val']:.4f}, train "
            f"{part[f'{name}_train']:.4f}, {part[f'{name}_params']:,} numbers, {part[f'{name}_seconds']:.0f} s a seed",
            flush=True,
        )
    yield ladder.trap(model, data)  # of the last rung, batch norm
    if whole:
        yield ladder.gains() | ladder.starts(known, data, seed)
        for label in ladder.DEEP:
            for rate in ladder.DEEP_RATES:
                part = ladder.deep(label, rate, known, data, preset.deep_steps, seed)
                yield part
                name = f"deep_{label}{rate}"
                print(f"  {name:>21}: val {part[f'{name}_val']:.4f}, {part[f'{name}_verdict']}", flush=True)


def climb_all(argv) -> dict:
    args = options_of(__doc__.splitlines()[0]).parse_args(argv)
    threads, watch, preset = settle(args), Stopwatch(), ladder.PRESETS[args.preset]
    found = files_for(args)
    metrics = {"seeds": preset.seeds, "steps": preset.recipe.steps, "batch_size": preset.recipe.batch_size}
    print(f"ladder: MLPs of three letters, about 12,000 numbers; cpu, {threads} threads")
    try:
        for place, (known, suffix) in enumerate(found):
            title = args.data.name if args.data else ("ours (ssa)" if suffix else "makemore's file")
            for part in climb(known, preset, args.seed, place == 0, title):
                metrics |= {f"{key}{suffix}": value for key, value in part.items()}
    except (ValueError, FloatingPointError) as error:
        raise Mistake(str(error)) from None
    except KeyboardInterrupt:
        finished = any("_curve" in name for name in metrics)  # a rung, not the baselines alone
        stopped(args, argv, metrics if finished else {}, args.preset, watch, threads)
    suffix = found[0][1]
    start, naive, bn = (metrics[f"{name}{suffix}"] for name in ("naive_initial", "naive_val", "bn_val"))
    return write(
        args, argv, metrics, args.preset, watch, threads,
        f"What it showed: the naive start costs {start:.1f} nats a letter at first; after {metrics['steps']} steps it "
        f"is at {naive:.3f}, batch norm at {bn:.3f} (held-out names).",
        "To try next, a sick network and what the doctor says: python weeks/week05/train.py doctor --disease dead_relu",
    )  # fmt: skip


def save(args, argv, metrics, name, watch, threads, folder=None):
    """Write `metrics` to a file in `folder` (None: the results folder); returns its path."""
    name = f"{names.label(args.data)}-{name}" if args.data else name  # a file of one's own: beside the standard results
    return save_run(__file__, args, argv, metrics, name=name, folder=folder, seconds=watch.seconds, threads=threads)


def write(args, argv, metrics, name, watch, threads, *last_lines):
    """Write the results file, and say in the last lines what was shown and what to try next."""
    path = save(args, argv, metrics, name, watch, threads)
    print(*last_lines, f"results: {path}", sep="\n")
    return metrics


def stopped(args, argv, metrics, name, watch, threads):
    """After Ctrl-C: keep the numbers of what was finished, if anything was, and say where; never returns."""
    if not metrics:
        raise KeyboardInterrupt
    folder = models_folder(__file__, args.out)
    path = save(args, argv, metrics, f"{name}-interrupted", watch, threads, folder)
    raise KeyboardInterrupt(f"what was finished is kept: numbers in {path}") from None


# --- the doctor -------------------------------------------------------------------------------------------------------


def table(report):
    """The rows of a report as lines of text."""
    head = list(report.rows[0])
    show = lambda value: f"{value:.3g}" if isinstance(value, float) else str(value)
    lines = [head, *([show(row[key]) for key in head] for row in report.rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("    " + "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths)) for line in lines)


def visit(disease, depth, seed, known, data):
    """(chart, diagnosis) of one network with a disease planted, or a healthy one for None."""
    config, recipe = doctor.patient(disease, depth, seed, known.vocab_size)
    chart = doctor.examine(DeepMLP(config, seed), data["train"], recipe, seed)
    return config, chart, doctor.diagnose(chart)


def see_doctor(argv) -> dict:
    p = options_of("Plant diseases in networks of names, and let the doctor name them from the diagnostics alone.")
    p.prog = "train.py doctor"
    p.add_argument("--disease", help=f"one of {', '.join(filter(None, doctor.ADVICE))}, or healthy (default: all)")
    p.add_argument("--depth", type=int, default=6, help="hidden layers of the one network (default: %(default)s)")
    args = p.parse_args(argv)
    threads, watch = settle(args), Stopwatch()
    (known, _), *_ = files_for(args)
    metrics = {}
    try:
        data = ladder.data_of(known)
        if args.disease:
            planted = None if args.disease == "healthy" else args.disease
            config, chart, found = visit(planted, args.depth, args.seed, known, data)
            return show(args.disease, config, chart, found)
        for part in round_of(args, known, data):
            metrics |= part
        return write(
            args, ["doctor", *argv], metrics, f"doctor-{args.preset}", watch, threads,
            f"What it showed: {metrics['doctor_right']} of {metrics['doctor_seen']} networks got the right name from "
            "the diagnostics alone.",
            "To try next, one network in full: python weeks/week05/train.py doctor --disease dead_relu",
        )  # fmt: skip
    except (ValueError, FloatingPointError) as error:
        raise Mistake(str(error)) from None
    except KeyboardInterrupt:
        stopped(args, ["doctor", *argv], metrics, f"doctor-{args.preset}", watch, threads)


def show(disease, config, chart, found):
    print(f"planted: {disease}; {config}")
    for moment, given in (("before the first step", chart.before), ("after the last", chart.after)):
        for report in given.values():
            print(f"{report.name}, {moment}: {report.verdict}\n{table(report)}")
    print(f"{chart.updates.name}, at the end of warm-up: {chart.updates.verdict}\n{table(chart.updates)}")
    print(f"loss: {chart.first_loss:.3f} -> {chart.last_loss:.3f}")
    print(f"diagnosis: {found.disease or 'healthy'}: {found.evidence}\nwhat to do: {found.advice}")
    return {"planted": disease, "diagnosis": found.disease or "healthy"}


def round_of(args, known, data):
    """The metrics so far, after each disease: planted -> {named: how often}, over several seeds and depths."""
    told, losses, drifts, updates = {}, {}, {}, {}
    for disease in doctor.ADVICE:
        name, answers, charts = disease or "healthy", {}, []
        for seed in range(args.seed, args.seed + SICK[args.preset]):
            for depth in DEPTHS:
                _, chart, found = visit(disease, depth, seed, known, data)
                answers[found.disease or "healthy"] = answers.get(found.disease or "healthy", 0) + 1
                charts.append(chart)
        told[name], losses[name] = answers, fmean(chart.last_loss for chart in charts)
        for table_of, values in (
            (drifts, [doctor.drift(chart)[0] for chart in charts]),
            (updates, [10 ** typical(chart.updates.rows) for chart in charts]),
        ):
            table_of[name] = {"least": min(values), "most": max(values)}
        print(f"{name:>10}: {answers}, mean loss after {doctor.STEPS} steps {losses[name]:.3f}", flush=True)
        yield {
            "doctor_seen": sum(sum(answers.values()) for answers in told.values()),
            "doctor_right": sum(answers.get(name, 0) for name, answers in told.items()),
            "doctor_told": told, "doctor_losses": losses, "doctor_drifts": drifts, "doctor_updates": updates,
        }  # fmt: skip


# --- the menu ---------------------------------------------------------------------------------------------------------


def main(argv=None) -> dict:
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return see_doctor(argv[1:]) if argv[:1] == ["doctor"] else climb_all(argv)
    except KeyboardInterrupt as stop:
        said = str(stop) or "no results were written"
        raise KeyboardInterrupt(f"{said}; start again with the same command") from None


if __name__ == "__main__":
    sys.exit(entry(main))
