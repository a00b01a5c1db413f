# vendored from weeks/week09/bpe/stream.py, sha256 f0a537f0954dd4969852552453e8904af75429997a51228f472dbfbee4fed75e; edit there, then run: make vendor
"""Ids -> text while they come: what a chat prints, token by token."""

import codecs


def decode_stream(tokenizer, ids):
    """Yield the text of `ids` in pieces, each as soon as it is known; joined, they are `tokenizer.decode(ids)`.

    A token may hold a part of a character: its bytes wait until the character is whole. Bytes that can be no UTF-8
    become U+FFFD, and so does half a character at the end. Raises ValueError for an id that the vocabulary lacks.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for i in ids:
        piece = decoder.decode(tokenizer.token_bytes(i))
        if piece:
            yield piece
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest
