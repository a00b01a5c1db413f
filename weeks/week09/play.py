# %% [markdown]
# # Play with BPE: merge by merge, and what a text costs
#
# Week 9 learns a vocabulary by counting pairs. Here you watch it do so, one merge at a time. Then you ask why " the" is
# one token and what a text costs in the vocabularies of real models. It needs this week's package and some data
# (`make data/shakespeare data/gpt2 data/cl100k data/smollm2-135m`), and runs in a few seconds.
#
# **Before you start.** "the" is a common word. Which token will come first in Shakespeare: "the", "the " or " the"?

# %%
from collections import Counter
from pathlib import Path

import bpe
import matplotlib.pyplot as plt
from bpe import compare, plain
from bpe.cuts import cut
from bpe.fast import Tokenizer
from bpe.page import shown
from bpe.vendor.shared.files import need

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})
DATA = Path(bpe.__file__).parents[3] / "data"
SHADES = ("#c6dbef", "#fdd0a2", "#c7e9c0", "#dadaeb")
shakespeare = need(DATA / "shakespeare/train.txt", "make data/shakespeare").read_text(encoding="utf-8")[:400_000]
unseen = need(DATA / "shakespeare/val.txt", "make data/shakespeare").read_text(encoding="utf-8")[:50_000]


def boxes(rows, title):
    """{label: tokens (bytes)} as lines of boxes, one a token; blanks are drawn as low dots."""
    figure, ax = plt.subplots(figsize=(9, 0.36 * len(rows) + 0.4), dpi=70, layout="constrained")
    for y, tokens in enumerate(rows.values()):
        left = 0
        for i, token in enumerate(tokens):
            text, colour = shown(token).replace(" ", "·"), SHADES[i % len(SHADES)]
            ax.barh(y, len(text), left=left, color=colour, edgecolor="black", linewidth=0.6)
            ax.text(left + len(text) / 2, y, text, ha="center", va="center", family="DejaVu Sans Mono", fontsize=8)
            left += len(text)
    ax.set_yticks(range(len(rows)), list(rows), fontsize=8)
    ax.set(xticks=[], title=title)
    ax.invert_yaxis()
    ax.spines[["left", "bottom"]].set_visible(False)
    plt.show()


# %% [markdown]
# ## Count the pairs, merge the best, repeat
#
# That is the whole algorithm. Each line below is one step: which two neighbours occur most often, and what they become.
# A pattern has cut the text into words first, each with the blank before it. No merge crosses from word to word.

# %%
text = "the cat and the rat sat; the fat cat ate that rat"
pieces = plain.split(text, r" ?\w+|;")
names = {byte: bytes([byte]) for byte in range(256)}
rows = {"bytes": [names[i] for ids in pieces for i in ids]}
for step, new in enumerate(range(256, 264), start=1):
    counts = plain.count_pairs(pieces)
    left, right = plain.best_pair(counts)
    names[new] = names[left] + names[right]
    print(f"{step}. {names[left]!s:7} + {names[right]!s:6} occur {counts[left, right]} times: {new} is {names[new]}")
    pieces = [plain.merge(ids, (left, right), new) for ids in pieces]
    rows[f"merge {step}"] = [names[i] for ids in pieces for i in ids]

# %%
boxes(rows, f"Eight merges: from {len(rows['bytes'])} tokens to {len(rows['merge 8'])}")

# %% [markdown]
# ## Why " the" is one token
#
# Now the same on 400,000 characters of Shakespeare, with the fast program. A token is made of two older ones, so it has
# ancestors. Here are those of " the", each with its place in the order of merges.

# %%
tokenizer = Tokenizer.train(shakespeare, 2048, special_tokens=())
for number, left, right in cut(tokenizer, " the").steps:
    print(f"merge {number - 255:2}: {left!s:6} + {right!s:5} = {left + right}")
words = Counter(tokenizer.split(shakespeare))
for word in (" the", "the", "The", " The", " them", " theatre"):
    made = tokenizer.ranks.get(word.encode())
    parts = f"merge {made - 255:,}" if made else " + ".join(repr(tokenizer.decode([i])) for i in tokenizer.encode(word))
    print(f"{word!r:11} occurs {words[word]:5,} times: {parts}")

# %% [markdown]
# " the" is frequent, so it is made early. The blank belongs to it, for the pattern leaves a blank at the beginning of
# a word. "The" begins a line, with no blank before it. For the program it is another word, with a merge of its own.
# " theatre" is not in this text at all. It is put together from parts that other words have paid for.
#
# Is that so for all words? Below they are sorted by how often they occur, the most frequent at the left.

# %%
ranked = [word for word, _ in words.most_common() if word.strip().isalpha()]
ends = [25, 50, 100, 200, 400, 800, 1600, 3200, 6400]
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
for start, end in zip([0, *ends], ends):
    costs = [min(len(tokenizer.encode(word)), 3) for word in ranked[start:end]]
    below, label = 0.0, f"{start + 1:,} to {end:,}"
    for cost, colour in (1, "#c6dbef"), (2, "#fd8d3c"), (3, "#7f2704"):
        share = costs.count(cost) / len(costs)
        ax.bar(label, share, bottom=below, color=colour, label=("1 token", "2 tokens", "3 or more")[cost - 1])
        below += share
ax.tick_params("x", rotation=30)
ax.set(xlabel="words by frequency", ylabel="share of the words")
ax.set_title("Frequent words are one token, rare ones are put together from parts")
handles, labels = ax.get_legend_handles_labels()
figure.legend(handles[:3], labels[:3], loc="outside right upper", frameon=False)
plt.show()

# %% [markdown]
# ## One sentence, more and more merges
#
# The same vocabulary after 0, 64, 256 and 1,792 merges. Early merges are the same in all of them: a larger vocabulary
# is a smaller one, continued.

# %%
history = cut(tokenizer, "To be, or not to be, that is the question")
cuts = {"bytes": 0}
for merges in (64, 256, 1792):
    cuts[f"{merges:,} merges"] = sum(number < 256 + merges for number, _, _ in history.steps)
boxes({label: history.tokens(step) for label, step in cuts.items()}, "The borders that are left")

sizes = (0, 16, 64, 256, 512, 1024, 1792)
values = {}
for merges in sizes:
    shorter = Tokenizer({token: i for token, i in tokenizer.ranks.items() if i < 256 + merges})
    values[merges] = compare.bytes_per_token(shorter, unseen)
    print(f"{merges:5,} merges: {values[merges]:.2f} bytes a token")
figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
ax.plot(sizes, list(values.values()), "o-", color="#2166ac")
ax.set(xlabel="merges", ylabel="bytes a token, unseen text", title="The first merges gain most", ylim=(0.9, None))
plt.show()

# %% [markdown]
# ## What a text costs
#
# A model pays for each token: in time, in memory, and in its context. Ours has read nothing but Shakespeare. The other
# three were learned from the web. Compare the rows:
#
# - **English** costs least everywhere, for all four vocabularies were learned from it above all.
# - **Japanese** has three bytes a character. For ours each of them is a token.
# - **Python**: GPT-2 spends a token on almost every blank of the indentation. cl100k has learned runs of blanks.
# - **digits**: cl100k takes up to three at a time, SmolLM2 always one. That is a choice, made in the pattern.

# %%
vocabularies = {"ours": tokenizer}
for name, (reader, place) in compare.PUBLISHED.items():
    vocabularies[name] = reader(need(DATA / place, f"make data/{place.split('/')[0]}"))
texts = {
    "English": "A language model does not read letters. It reads the tokens of its vocabulary.",
    "German": "Ein Sprachmodell liest keine Buchstaben. Es liest die Tokens seines Vokabulars.",
    "Japanese": "言語モデルは文字を読みません。語彙のトークンを読みます。",
    "Python": "def mean(numbers):\n    if not numbers:\n        return 0.0\n    return sum(numbers) / len(numbers)\n",
    "digits": "3.14159265358979 2.71828182845904 1.41421356237309 1.61803398874989",
}


def bill(texts):
    """Print how many tokens each text costs in each vocabulary; returns the numbers, a list for each vocabulary."""
    counts = {name: [len(t.encode_ordinary(text)) for text in texts.values()] for name, t in vocabularies.items()}
    print(f"{'tokens':10}{'bytes':>8}" + "".join(f"{name:>9}" for name in counts))
    for i, (label, text) in enumerate(texts.items()):
        print(f"{label:10}{len(text.encode()):8}" + "".join(f"{row[i]:9}" for row in counts.values()))
    return counts


counts = bill(texts)
figure, ax = plt.subplots(figsize=(9, 3), layout="constrained")
for n, ((name, row), colour) in enumerate(zip(counts.items(), ("#1b7837", "#2166ac", "#b35806", "#542788"))):
    heights = [count / len(text) for count, text in zip(row, texts.values())]
    label = f"{name}, {vocabularies[name].vocab_size:,} ids"
    bars = ax.bar([i + 0.2 * n for i in range(5)], heights, 0.19, color=colour, label=label)
    ax.bar_label(bars, fmt="%.2f", fontsize=7)
ax.set_xticks([i + 0.3 for i in range(5)], list(texts))
ax.set(ylabel="tokens a character", title="What a character costs: less is cheaper")
ax.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## Small changes, other tokens
#
# A model sees ids, not letters. For it these lines have little in common.

# %%
variants = ("the question", " the question", "The question", "THE QUESTION", "the  question", "the qestion")
boxes({f"{text!r} ": cut(vocabularies["gpt2"], text).tokens() for text in variants}, "GPT-2's tokens")
for text in variants[:4]:
    print(f"{text!r:16} {vocabularies['gpt2'].encode(text)}")

# %% [markdown]
# ## Your turn
#
# 1. Put a sentence of your own language into `mine`. How many times as much does it cost as its English translation?
# 2. Train on `unseen` instead of `shakespeare`, an eighth of the text. Which merge makes " the" now? Expect 13.
# 3. In the first cell of merges, write `plain.split(text)`, without a pattern. On which side of a word is the blank?

# %%
mine = {"mine": "Type a sentence of your own here.", "a number": "1234567890", "a word": "antidisestablishmentarianism"}
bill(mine)
boxes({name: cut(t, mine["a word"]).tokens() for name, t in vocabularies.items()}, "One long word")
