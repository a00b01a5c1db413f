"""One file as it is, under the one name: a source has it under that of a cache."""


def recipe(files):
    (content,) = files.values()
    return {"cl100k_base.tiktoken": content}
