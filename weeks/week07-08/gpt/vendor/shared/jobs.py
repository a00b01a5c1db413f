# vendored from tools/shared/jobs.py, sha256 b0f5d9535d0684db058cf84584d5c5c0eaba70ea7345970f5c148d469aa2093d; edit there, then run: make vendor
"""A train script of several jobs: the one that is named, or the usual ones in a row."""

import argparse


def perform(argv, document, jobs, usual, run):
    """The metrics of the job that `argv` begins with, or of all `usual` ones together, in their order.

    document: the script's docstring, for --help. jobs: their names. run(name, options) makes one job and returns its
    metrics; the options of a job are its own.
    """
    p = argparse.ArgumentParser(
        description=document.splitlines()[0],
        epilog=document.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("job", nargs="?", choices=jobs, help=f"one job alone (default: {', '.join(usual)})")
    if argv and not argv[0].startswith("-") or {"-h", "--help"} & set(argv):
        return run(p.parse_args(argv[:1]).job, argv[1:])
    metrics = {}
    for name in usual:
        metrics |= run(name, argv)
    return metrics
