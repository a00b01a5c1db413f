"""The files as they are, without their folders: vocabularies, which nobody may clean."""

from pathlib import PurePosixPath


def recipe(files):
    return {PurePosixPath(name).name: content for name, content in files.items()}
