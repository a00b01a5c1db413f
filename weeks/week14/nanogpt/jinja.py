"""Chat templates are programs from outside: this file runs them, in a process of its own that may be stopped.

As a script it reads a line of JSON {"source", "seconds", "words", "conversations"} after the other and answers each by
one: {"texts"} or {"error"}. Whatever a template does (loop for ever, build gigabytes), the process ends, and `render`
says so. It names what transformers offers to a template. On Windows memory is bounded by the seconds alone.
"""

import atexit
import datetime
import faulthandler
import json
import signal
import subprocess
import sys
import threading
from functools import lru_cache

SECONDS, MEMORY, LENGTH = 10, 2**30, 2**24  # at most: seconds and bytes of a rendering, characters of a text
_lock, _processes = threading.Lock(), []


def render(source, words, conversations):
    """The text of each conversation; a ValueError is what the template says against it."""
    request = {"source": source, "seconds": SECONDS, "words": words, "conversations": conversations}
    with _lock:
        if not _processes:
            command = [sys.executable, "-P", __file__]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            _processes.append(subprocess.Popen(command, text=True, encoding="ascii", **pipes))
        try:
            _processes[0].stdin.write(json.dumps(request) + "\n")
            _processes[0].stdin.flush()
            line = _processes[0].stdout.readline()
        except BaseException:  # such as Ctrl-C: the answer to come belongs to no one
            stop()
            raise
        if not line:
            stop()
            raise ValueError(f"it takes more than {SECONDS} seconds")
    answer = json.loads(line)
    if "texts" not in answer:
        raise ValueError(answer["error"])
    return answer["texts"]


@atexit.register
def stop():
    while _processes:
        process = _processes.pop()
        process.kill()
        process.communicate()


def serve():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asked
    for line in sys.stdin:
        request = json.loads(line)
        limit(request["seconds"])
        try:
            print(json.dumps(answer(**request)), flush=True)
        except Exception as error:  # whatever a program from outside raises
            said = f"it takes more than {MEMORY:,} bytes of memory" if isinstance(error, MemoryError) else str(error)
            print(json.dumps({"error": said or type(error).__name__}), flush=True)
        limit(0)


def limit(seconds):
    """End this process once it has computed for so long; 0 takes the limit off. What waits for a busy processor is not
    at fault, so its own time is counted, where the system can."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)  # nobody handles SIGPROF, so it ends the process
    elif seconds:
        faulthandler.dump_traceback_later(seconds, exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


def answer(source, seconds, words, conversations):
    now = datetime.datetime.now()  # the same in all of them
    words = {**words, "strftime_now": now.strftime}
    texts = []
    for conversation in conversations:
        pieces, length = [], 0
        for piece in compiled(source).generate(**words, **conversation):
            pieces.append(piece)
            length += len(piece)
            if length > LENGTH:
                raise ValueError(f"it writes more than {LENGTH:,} characters")
        texts.append("".join(pieces))
    return {"texts": texts}


@lru_cache(maxsize=8)
def compiled(source):
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks what an assistant says, for training: its text stands as it is."""

        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(["name:endgeneration"], drop_needle=True), lineno=line)

    def refuse(message):
        raise TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"], environment.filters["tojson"] = refuse, tojson
    return environment.from_string(source)


if __name__ == "__main__":
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass
    serve()
