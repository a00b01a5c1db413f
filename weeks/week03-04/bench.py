"""Weeks 3 and 4: our recurrent cells against torch.nn's, in turn on the same machine: forward, backward, same weights.

python weeks/week03-04/bench.py --threads 1
"""

import statistics
import sys

import torch
from makemore.recurrent import GRUCell, LSTMCell, RNNCell
from makemore.vendor.shared.errors import Mistake, entry
from makemore.vendor.shared.results import Stopwatch, finish, parser, thread_count

CELLS = {  # name -> ours, torch's, hidden units; sizes as in makemore/models.py, a batch as in the runs
    "rnn": (RNNCell, torch.nn.RNN, 128),
    "gru": (GRUCell, torch.nn.GRU, 96),
    "lstm": (LSTMCell, torch.nn.LSTM, 96),
}
NAMES, LETTERS, N_EMBD = 256, 12, 32


def seconds(read, x, upstream):
    """One forward and backward pass."""
    watch = Stopwatch()
    read(x).backward(upstream)
    return watch.seconds


def compare(name, pairs):
    """Medians of `pairs` passes in turn: our fast form, our plain form, torch's; and the ratio of each pair's times."""
    ours, theirs, n_hidden = CELLS[name]
    cell, peer = ours(N_EMBD, n_hidden), theirs(N_EMBD, n_hidden, batch_first=True)
    readers = {"ours": cell, "plain": cell.plain, "torch": lambda x: peer(x)[0]}
    x = torch.randn(NAMES, LETTERS, N_EMBD, requires_grad=True)
    upstream = torch.randn(NAMES, LETTERS, n_hidden)
    taken = {key: [] for key in readers}
    for turn in range(pairs + 3):
        for key, read in readers.items():
            passed = seconds(read, x, upstream)
            if turn >= 3:  # the first ones allocate memory
                taken[key].append(passed)
    ratio = statistics.median(a / b for a, b in zip(taken["ours"], taken["torch"]))
    plain = statistics.median(a / b for a, b in zip(taken["plain"], taken["ours"]))
    return {
        f"{name}_step_seconds": statistics.median(taken["ours"]),
        f"{name}_torch_step_seconds": statistics.median(taken["torch"]),
        f"{name}_step_vs_torch_time_ratio": ratio,
        f"{name}_plain_vs_fast_time_ratio": plain,
    }


def main(argv=None) -> dict:
    p = parser(__doc__.splitlines()[0])
    p.add_argument("--pairs", type=int, default=40, help="passes of each, in turn (default: %(default)s)")
    args = p.parse_args(argv)
    threads = thread_count(args.threads)
    if args.pairs < 1:
        raise Mistake(f"--pairs {args.pairs} compares nothing; give 1 or more")
    torch.set_num_threads(threads)
    torch.manual_seed(args.seed)
    watch, metrics = Stopwatch(), {"pairs": args.pairs, "batch_names": NAMES, "letters": LETTERS}
    for name in CELLS:
        metrics |= compare(name, args.pairs)
        print(f"{name}: {metrics[f'{name}_step_vs_torch_time_ratio']:.2f} times torch's seconds (below 1: faster), "
              f"plain form {metrics[f'{name}_plain_vs_fast_time_ratio']:.2f} times the fast one's")  # fmt: skip
    return finish(__file__, args, argv, metrics, preset="bench", seconds=watch.seconds, threads=threads)


if __name__ == "__main__":
    sys.exit(entry(main))
