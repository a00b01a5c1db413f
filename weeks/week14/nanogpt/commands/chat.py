"""`nanogpt chat`: a conversation, line by line."""

import json
from dataclasses import dataclass
from pathlib import Path

from ..device import pick_device
from ..infer.generate import Context
from ..sources import open_model
from ..tasks import end_id, read_text
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write
from .options import MODEL, Model, Name, Precision
from .sample import write_answer

HELP = "/reset forgets, /save FILE keeps the conversation, /quit ends, Ctrl-C stops an answer."
LEAST = 16  # tokens of room for an answer before old messages make way


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
    max_tokens: int = 400
    """Longest answer."""
    temperature: float = 0.7
    """0 always takes the likeliest token."""
    top_k: int | None = None
    top_p: float | None = 0.95
    seed: int | None = None
    device: Name = "auto"
    precision: Precision = "auto"

    def run(self):
        if self.max_tokens < 1:
            raise Mistake(f"--max-tokens is {self.max_tokens}; it must be at least 1")
        messages = read_conversation(self.load) if self.load else []
        loaded = open_model(self.model, pick_device(self.device), self.precision, fold=True)
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
            if not line.strip():
                continue
            if line.startswith("/"):
                if command(talk, line) == "quit":
                    return
                continue
            try:
                self.turn(talk, line)
            except Mistake as error:  # told, and the conversation stays as it was
                print(f"error: {error}")

    def turn(self, talk, line):
        """Ask, answer, remember both."""
        ids, dropped = talk.ask(line)
        if dropped:
            block = talk.loaded.model.config.block_size
            print(f"(the context of {block:,} tokens is full: the oldest {dropped} messages were dropped)")
        answer, full = write_answer(
            talk.loaded, ids, self, seed=self.seed, stop=talk.stop, context=talk.context, within=True
        )
        talk.messages.append({"role": "assistant", "content": answer})
        if full:
            print("(the context is full, so the answer ends here; /reset begins anew)")


class Conversation:
    """The messages so far, and what the model has already read of them."""

    def __init__(self, loaded, system="", messages=()):
        self.loaded, self.template, self.messages = loaded, loaded.template(), list(messages)
        if system:
            self.messages = [m for m in self.messages if m["role"] != "system"]
            self.messages.insert(0, {"role": "system", "content": system})
        self.stop = self.template.stop_ids | {end_id(loaded.tokenizer)}
        self.context = Context(loaded.model)
        self.saved = None

    def system(self):
        return [m for m in self.messages[:1] if m["role"] == "system"]

    def reset(self):
        self.messages, self.context = self.system(), Context(self.loaded.model)

    def ask(self, content):
        """Add what the user says; returns the ids to continue, and how many old messages had to make way."""
        system, old = self.system(), self.messages[len(self.system()) :]
        new, block, dropped = {"role": "user", "content": content}, self.loaded.model.config.block_size, 0
        room = min(LEAST, block // 4)
        while True:
            ids = self.template.encode([*system, *old, new])
            if len(ids) + room <= block:
                self.messages = [*system, *old, new]
                return ids, dropped
            if not old:
                raise Mistake(
                    f"{len(ids)} tokens do not fit the context of {block:,} with room for an answer; write less"
                )
            leaving = 2 if len(old) > 1 else 1  # a question and its answer
            old, dropped = old[leaving:], dropped + leaving


def command(talk, line):
    """Do what a line with a slash asks for; "quit" where it ends the chat."""
    word, _, rest = line.strip().partition(" ")
    if word in ("/quit", "/exit"):
        return "quit"
    if word == "/reset":
        talk.reset()
        print("(forgotten)")
    elif word == "/save":
        try:
            print(f"(saved in {save_conversation(talk, rest.strip())}; go on later with --load)")
        except (Mistake, OSError) as error:
            print(f"error: {error}")
    else:
        print(HELP if word == "/help" else f"error: there is no {word}. {HELP}")
    return None


def save_conversation(talk, name):
    """Write the conversation as JSON, never over a file that this chat did not write."""
    if not name:
        raise Mistake("name the file: /save talk.json")
    path = Path(name).expanduser()
    if path.exists() and path != talk.saved:
        raise Mistake(f"{path} exists already; choose another name")
    record = {"model": talk.loaded.source, "messages": talk.messages}
    atomic_write(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    talk.saved = path
    return path


def read_conversation(path):
    """The messages that /save wrote; a Mistake for any other file."""
    try:
        messages = json.loads(read_text(path))["messages"]
        good = all(isinstance(m["role"], str) and isinstance(m["content"], str) for m in messages)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise Mistake(f"{path} is not a conversation; give a file that /save wrote")
    return messages


def greeting(loaded):
    if loaded.chat:
        taught = (loaded.record or {}).get("taught")
        return loaded.source + (f", which learned {', '.join(taught)}" if taught else "")
    learned = ", ".join((loaded.record or {}).get("taught", [])) or "nothing that it told us"
    return f"{loaded.source} learned {learned}. It continues text; it follows no orders."


def read_line():
    """One line from the user; a backslash at its end asks for another."""
    line = input("\n> ")
    while line.endswith("\\"):
        line = line[:-1] + "\n" + input("  ")
    return line
