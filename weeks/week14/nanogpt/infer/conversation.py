"""A conversation: what was said, what of it the model has read, and what makes way when the context is full."""

from ..tasks import end_id
from ..vendor.shared.errors import Mistake
from .generate import Context

LEAST = 16  # tokens of room for an answer before old messages make way


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
        self.messages = self.system()
        self.forget()

    def forget(self):
        """Let the model read all that was said anew: its weights are no longer those that read it."""
        self.context = Context(self.loaded.model)

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
