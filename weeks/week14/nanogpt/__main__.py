"""`python -m nanogpt`: the command, where its script is not on the PATH."""

from .cli import script

if __name__ == "__main__":
    script()
