"""Bytes a token: how much text each token of a vocabulary stands for, on texts of several kinds."""

from pathlib import Path

from . import vocabularies
from .fast import Tokenizer
from .gguf_tokens import smollm2

PUBLISHED = {  # name -> (reader, place below data/)
    "gpt2": (vocabularies.gpt2, "gpt2"),
    "cl100k": (vocabularies.cl100k, "cl100k/cl100k_base.tiktoken"),
    "smollm2": (smollm2, "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"),
}
COLOURS = ("#2166ac", "#b35806", "#542788", "#1b7837", "#888888")


def bytes_per_token(tokenizer: Tokenizer, text: str) -> float:
    """The higher, the longer the text that fits a model's context. Special tokens count as text."""
    return len(text.encode("utf-8")) / len(tokenizer.encode_ordinary(text))


def compare(tokenizers: dict, texts: dict) -> dict:
    """{text's name: {tokenizer's name: bytes a token}}"""
    return {name: {of: bytes_per_token(t, text) for of, t in tokenizers.items()} for name, text in texts.items()}


def table(values: dict, sizes: dict) -> str:
    """What `compare` found as lines of text, with the number of ids above each column and a star at each row's best."""
    names, width = list(sizes), max(map(len, ("bytes a token", *values))) + 2
    columns = {name: max(len(name), 10) + 2 for name in names}
    lines = ["bytes a token".ljust(width) + "".join(f"{name:>{columns[name]}} " for name in names)]
    lines.append("ids".ljust(width) + "".join(f"{sizes[name]:>{columns[name]},} " for name in names))
    for text, row in values.items():
        best = max(row.values())
        cells = (f"{row[name]:>{columns[name]}.2f}{'*' if row[name] == best else ' '}" for name in names)
        lines.append(text.ljust(width) + "".join(cells))
    return "\n".join(line.rstrip() for line in lines)


def draw(values: dict, sizes: dict, path) -> Path:
    """The same as bars: a group a text, a bar a vocabulary. Starts at 0, for heights are what is compared."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    path, width = Path(path), 0.8 / len(sizes)
    figure, axes = plt.subplots(figsize=(max(6, 1.4 * len(values) + 1.5), 4.2))
    for n, name in enumerate(sizes):
        places = [i + (n - (len(sizes) - 1) / 2) * width for i in range(len(values))]
        heights = [row[name] for row in values.values()]
        bars = axes.bar(places, heights, width, color=COLOURS[n % len(COLOURS)], label=f"{name}, {sizes[name]:,} ids")
        axes.bar_label(bars, fmt="%.2f", fontsize=7, rotation=90, padding=3)
    axes.axhline(1, color="grey", linewidth=1, linestyle=":", label="bytes, no merges")
    axes.set_xticks(range(len(values)), list(values), rotation=20, ha="right")
    axes.set_ylabel("bytes a token")
    axes.set_ylim(0, 1.45 * max(max(row.values()) for row in values.values()))
    axes.set_title("How much text a token stands for (higher: fewer tokens)", fontsize=10)
    axes.legend(fontsize=8, ncols=2, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)
    return path
