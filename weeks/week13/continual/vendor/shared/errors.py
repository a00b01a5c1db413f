# vendored from tools/shared/errors.py, sha256 2a4f11666817e7b18e59d49971a75bb27781d574ddc50a836ab11cfd67e8882d; edit there, then run: make vendor
"""What went wrong, for whoever typed the command: one class of expected failures, and the exit status of each end."""

import os
import sys


class Mistake(Exception):
    """An expected failure, as one sentence: what was given, why it cannot be used, what to do."""


def entry(main, argv=None):
    """Run `main(argv)` as a script: status 0 done, 1 failed, 2 wrong use, 130 interrupted.

    A Mistake or an OSError prints one sentence; CHASE_DEBUG=1 shows the traceback as well.
    """
    try:
        main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt as stop:
        print(f"\ninterrupted{': ' + str(stop) if str(stop) else ''}", file=sys.stderr)
        return 130
    except (Mistake, OSError) as error:
        if os.environ.get("CHASE_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
