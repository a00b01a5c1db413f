"""What went wrong, for whoever typed the command: one class of expected failures, and the exit status of each end."""

import os
import sys


class Mistake(Exception):
    """An expected failure, as one sentence: what was given, why it cannot be used, what to do."""


def entry(main, argv=None):
    """Run `main(argv)` as a script: status 0 done, 1 failed, 2 wrong use, 130 interrupted, 141 nobody reads the output.

    A Mistake or an OSError prints one sentence; CHASE_DEBUG=1 shows the traceback as well.
    """
    try:
        try:
            main(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()  # here, where a failure can still be told; at its end Python could only complain
    except KeyboardInterrupt as stop:
        print(f"\ninterrupted{': ' + str(stop) if str(stop) else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as in `| head -1`: whoever read the output has seen enough
        _drop_output()
        return 141
    except (Mistake, OSError) as error:
        if os.environ.get("CHASE_DEBUG"):
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # the output itself has failed, as on a full disk
            _drop_output()
        return 1
    return 0


def sentence(error, way_out="free what is in the way, or give another path"):
    """What to print; an OSError speaks of numbers and of no way out."""
    if isinstance(error, Mistake) or not error.strerror:
        return str(error)
    about = f"{os.fsdecode(error.filename)!r}: " if isinstance(error.filename, str | bytes) else ""
    return f"{about}{error.strerror.lower()}; {way_out}"


def _drop_output():
    """What is still to be printed goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
