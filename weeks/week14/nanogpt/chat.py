"""A conversation -> tokens, by the chat template that a model was published with: a small Jinja program.

Nothing that a person writes becomes a control token. The template is run on random marks in place of the contents;
special tokens are looked for in what it adds itself, and the contents are put back as ordinary text. For contents
without special tokens the ids are those of transformers' `apply_chat_template`.
Left out: tools, documents, contents that are not text.
"""

import re
import secrets
from functools import cached_property

from . import jinja
from .vendor.bpe.fast import ENDOFTEXT
from .vendor.shared.errors import Mistake

ROLES = ("system", "user", "assistant")


def ordinary(tokenizer, text):
    """Ids of a text in which nothing is a control token; a Mistake where the vocabulary lacks one of its bytes."""
    try:
        return tokenizer.encode_ordinary(text)
    except ValueError as error:
        raise Mistake(str(error)) from error


class Template:
    """Encodes messages such as [{"role": "user", "content": "Hello"}].

    `source` is Jinja, compiled where it is first used; None, for a model that was never taught a template, joins the
    contents by line breaks. `bos` and `eos` are texts of special tokens of `tokenizer`, "" for none.

    `stop_ids` are the ids that end a reply: the special token that the template puts after what an assistant says, eos,
    <|endoftext|>. `end_of_reply`, to be learned after a reply, is the first of these that the vocabulary has, or None.
    """

    def __init__(self, source, tokenizer, bos="", eos=""):
        self.source, self.tokenizer, self.eos = source, tokenizer, eos
        if source is None:
            bos = bos or (ENDOFTEXT if ENDOFTEXT in tokenizer.special_tokens else "")
        self.bos = bos
        longest_first = sorted(tokenizer.special_tokens, key=len, reverse=True)
        self._special = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None

    @cached_property
    def _ends(self):
        ends = [*self._after_reply(), self.eos, ENDOFTEXT]
        return [self.tokenizer.special_tokens[text] for text in ends if text in self.tokenizer.special_tokens]

    @property
    def stop_ids(self):
        return frozenset(self._ends)

    @property
    def end_of_reply(self):
        return self._ends[0] if self._ends else None

    def encode(self, messages, reply=True):
        """The ids of a conversation; with `reply`, up to where the assistant begins to speak.

        Raises Mistake for what is not a list of messages, for a conversation that the template refuses, and where it
        leaves a message out, or changes one beyond its outer blanks: then a mark cannot stand for the content.
        """
        _check(messages)
        cores = [message["content"].strip() for message in messages]
        parts, text = self._parts(messages, cores, reply)
        lost = [i for i, core in enumerate(cores) if core and str(i) not in parts[1::2]]
        parts[1::2] = [cores[int(i)] for i in parts[1::2]]
        if "".join(parts) != text:
            raise Mistake("the chat template changes what a message says; use one that prints each content as it is")
        if lost:
            role = messages[lost[0]]["role"]
            raise Mistake(f"the chat template leaves out message {lost[0] + 1} ({role}); put its words elsewhere")
        ids, plain = [], ""
        for i, part in enumerate(parts):
            if i % 2 or not self._special:
                plain += part
                continue
            text, *found = self._special.split(part)
            plain += text
            for token, text in zip(found[::2], found[1::2]):
                ids += [*ordinary(self.tokenizer, plain), self.tokenizer.special_tokens[token]]
                plain = text
        return ids + ordinary(self.tokenizer, plain)

    def _parts(self, messages, cores, reply):
        """What the template wrote: its text, the number of the content that follows, its text, a number, ..., text; and
        the same with the contents in their places.

        A mark keeps the blanks around its content, so that a template that looks at them, or trims, does as it would.
        """
        mark = secrets.token_hex(16)
        marked = [
            {**message, "content": message["content"].replace(core, f"{mark}{i};") if core else message["content"]}
            for i, (message, core) in enumerate(zip(messages, cores))
        ]
        marked, text = self._render([marked, messages], reply)
        return re.split(rf"{mark}(\d+);", marked), text

    def _render(self, conversations, reply):
        if self.source is None:
            return [self.bos + "".join(message["content"] + "\n" for message in messages) for messages in conversations]
        words = {"bos_token": self.bos, "eos_token": self.eos, "tools": None, "documents": None}
        words["add_generation_prompt"] = reply
        try:
            return jinja.render(self.source, words, [{"messages": messages} for messages in conversations])
        except ValueError as error:  # a template is a program from outside, and may fail in any way
            raise Mistake(
                f"the chat template fails or refuses this conversation ({error}); change its messages, or "
                "get a whole copy of the model's files"
            ) from error

    def _after_reply(self):
        """The special tokens that follow an assistant's last words, as texts."""
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            *_, last, rest = ["", *self._parts(messages, ["a", "b"], reply=False)[0]]
        except Mistake:
            return []  # it says so again, to whoever asks for this conversation
        return self._special.findall(rest)[:1] if self._special and last == "1" else []


def _check(messages):
    if not isinstance(messages, list) or not messages:
        raise Mistake('there are no messages; give a list such as [{"role": "user", "content": "Hello"}]')
    for i, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise Mistake(f"message {i} is {str(message)[:60]!r}; give a dict with role and content, and nothing else")
        if message["role"] not in ROLES:
            raise Mistake(f"message {i} has the role {message['role']!r}; give one of {', '.join(ROLES)}")
        if not isinstance(message["content"], str):
            raise Mistake(f"the content of message {i} is no text but {type(message['content']).__name__}; give a str")
