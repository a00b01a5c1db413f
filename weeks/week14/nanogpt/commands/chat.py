"""`nanogpt chat`: a conversation, line by line."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write
from ..vendor.shared.text import read_text
from .options import BROKEN, MODEL, AnySeed, Count, Device, Model, Precision, Temperature, Threads, TopK, TopP
from .sample import drawing, write_answer

HELP = "/reset forgets, /save FILE keeps the conversation, /quit ends, Ctrl-C stops an answer."


@dataclass
class Chat:
    """Talk to a model. Its answers come word by word, and the conversation is its context.

    examples:
      nanogpt chat --model smollm2-135m
      nanogpt chat --model smollm2-135m --system "You are a pirate. Answer in one sentence."
      nanogpt chat --model smollm2-135m --load talk.json
      nanogpt chat --model checkpoints/mine --temperature 0.6

    /reset forgets the conversation, /save FILE keeps it, /quit ends; Ctrl-C stops an answer. A line that ends in a
    backslash goes on in the next one. When the context is full, the oldest messages make way, and that is said.
    """

    model: Model = MODEL
    system: str = ""
    """What the model is told before the conversation; by default what its template says."""
    load: Path | None = None
    """Go on with a conversation that /save wrote."""
    max_tokens: Count = 400
    """Longest answer."""
    temperature: Temperature = None
    top_k: TopK = None
    top_p: TopP = None
    seed: AnySeed = None
    device: Device = "auto"
    precision: Precision = "auto"
    threads: Threads = None

    def run(self):
        messages = read_conversation(self.load) if self.load else []
        from ..device import pick_device  # in here, for torch takes a second and --help does not need it
        from ..infer.conversation import Conversation
        from ..workspace.store import opened

        loaded, method = opened(self.model, pick_device(self.device), self.precision)
        talk = Conversation(loaded, self.system, messages)
        print(greeting(loaded), HELP, sep="\n")
        if messages:
            print(f"going on after {len(messages)} messages of {self.load}")
        while True:
            try:
                line = read_line()
            except (EOFError, KeyboardInterrupt):
                print()
                return
            try:
                if BROKEN.search(line):
                    raise Mistake(f"{line[:80]!r} is not UTF-8 text; type it again without what is shown as \\ud...")
                if line.startswith("/"):
                    if command(talk, line) == "quit":
                        return
                elif line.strip():
                    self.turn(talk, line, method)
            except KeyboardInterrupt:
                print("(stopped before a word was said; that turn is forgotten)")
            except BrokenPipeError:  # nobody reads any more
                raise
            except Exception as error:  # a library's too: what was said so far must not be lost with the chat
                what = "" if isinstance(error, Mistake | OSError) else f"this turn failed: {type(error).__name__}: "
                print(f"error: {what}{error}")

    def turn(self, talk, line, method):
        """Ask, answer, remember both; or neither, where no answer comes."""
        from ..vendor.continual.learner import Learner

        before, said, count = talk.messages, [], 0
        block = talk.loaded.model.config.block_size
        try:
            ids, dropped = talk.ask(line)
            if dropped:
                print(f"(the context of {block:,} tokens is full: the oldest {dropped} messages were dropped)")
            room = block - len(ids) + 1  # the token after a full context can still be foretold: it may end the answer
            n = min(self.max_tokens, room)
            asks = ids  # a text goes on as a whole; of a conversation the newest line asks, as a task's prompts did
            if method.needs_prompt:
                talk.forget()  # what other weights have read
                if talk.loaded.chat is not None:
                    asks = talk.template.encode([*talk.system(), {"role": "user", "content": line}])
            options = {"seed": self.seed, "stop": talk.stop, "context": talk.context, "said": said}
            drawn = drawing(talk.loaded, self, {"temperature": 0.7, "top_p": 0.95})
            with method.serving(Learner(talk.loaded.model), asks):
                count = write_answer(talk.loaded, ids, drawn, n, **options)
            print(flush=True)
        except BaseException as stop:
            if not said or not isinstance(stop, KeyboardInterrupt):
                talk.messages = before
                raise
            print(" [stopped]", flush=True)
        talk.messages.append({"role": "assistant", "content": "".join(said)})
        if count == room < self.max_tokens:
            print("(the context is full, so the answer ends here; /reset begins anew)")


def command(talk, line):
    """Do what a line with a slash asks for; "quit" where it ends the chat."""
    word, _, rest = line.strip().partition(" ")
    if word in ("/quit", "/exit"):
        return "quit"
    if word == "/reset":
        talk.reset()
        print("(forgotten)")
    elif word == "/save":
        path = save_conversation(talk, rest.strip())
        again = shlex.join(["nanogpt", "chat", "--model", talk.loaded.source, "--load", str(path)])
        print(f"(saved in {path}; go on later with: {again})")
    else:
        print(HELP if word == "/help" else f"error: there is no {word}. {HELP}")
    return None


def save_conversation(talk, name):
    """Write the conversation as JSON, never over a file that this chat did not write."""
    if not name:
        raise Mistake("name the file: /save talk.json")
    record = {"model": talk.loaded.source, "messages": talk.messages}
    try:
        path = Path(name).expanduser()
        if path.exists() and path != talk.saved:
            raise Mistake(f"{path} exists already; choose another name")
        atomic_write(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    except (OSError, RuntimeError) as error:  # RuntimeError: a ~name that is nobody's
        raise Mistake(f"{name} cannot be written ({error}); choose another name: /save talk.json") from error
    talk.saved = path
    return path


def read_conversation(path):
    """The messages that /save wrote; a Mistake for any other file."""
    text = read_text(path)
    try:
        messages = json.loads(text)["messages"]
        good = isinstance(messages, list) and all(
            m.keys() == {"role", "content"} and m["role"] in ("system", "user", "assistant") for m in messages
        )
        good = good and not any(BROKEN.search(m["content"]) for m in messages)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise Mistake(f"{path} is not a conversation; give a file that /save wrote")
    return messages


def greeting(loaded):
    taught = ", ".join((loaded.record or {}).get("learned", []))
    if loaded.chat:
        return loaded.source + (f", which learned {taught}" if taught else "")
    return f"{loaded.source} learned {taught or 'nothing that it told us'}. It continues text; it follows no orders."


def read_line():
    """One line from the user; a backslash at its end asks for another."""
    line = input("\n> ")
    while line.endswith("\\"):
        line = line[:-1] + "\n" + input("  ")
    return line
