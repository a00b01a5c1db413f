# %% [markdown]
# # The whole course in one notebook
#
# ![Bits per byte after each text that a model learned: without replay the old texts become darker, with replay they
# stay light](figures/forgetting.png)
#
# This picture is where you will arrive. A model learns four kinds of text, one after another. On the left it learns
# them naively, and what it knew before gets worse (dark). On the right it rehearses a few old rows, and most of it
# stays.
#
# On the way there, you load a small GPT that was trained from scratch in this course. You let it write, look inside,
# break it, teach it to talk like a pirate, and measure what it forgets. Nothing is downloaded except two texts, once,
# by `make data/bible data/recipes`. It is made for two minutes of a slow processor.
#
# **Before you start.** The model knows only simple stories. You teach it ten steps of the Bible, and then ten of
# recipes. How much of its stories is left? And how many old stories a step would it take to keep them?

# %%
import copy
import math
import platform
import textwrap
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nanogpt
import torch
import torch.nn.functional as F
from nanogpt import checkpoint
from nanogpt.infer.generate import generate
from nanogpt.model import build, rotate
from nanogpt.presets import ADAPT_TEXT
from nanogpt.scores import bits_per_byte
from nanogpt.sources import ADAPTER, digest, find, open_model
from nanogpt.tasks import end_id
from nanogpt.train import TrainConfig
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.continual.metrics import forgetting_cut, rise
from nanogpt.vendor.lora import adapter
from nanogpt.vendor.shared.files import need
from nanogpt.vendor.shared.progress import Lines
from nanogpt.vendor.shared.text import SEPARATOR, documents, read_text
from nanogpt.workspace.learn import course_on, judge, learn
from nanogpt.workspace.store import open_course

began = time.perf_counter()
torch.set_num_threads(1)  # one thread adds in one order, so your numbers are these
Lines.last = math.inf  # no progress lines: they would differ from run to run
plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})
BLUE, BROWN = "#2166ac", "#b35806"
print(f"> Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} thread")

# %% [markdown]
# A line that begins with `>` belongs to one run alone: a version, a time, or a text that a model wrote.
#
# ## 1. Load the model
#
# `story` comes with the course. It is a transformer with the ingredients of week 14: rotary positions (RoPE), RMSNorm,
# grouped queries, QK-norm. Its file holds two bytes a parameter (bfloat16). When it is opened, the file's sha256 is
# compared with the one that `checkpoint.json` names, so one wrong bit would be found.

# %%
story = open_model("story")
model, config, tokenizer = story.model, story.model.config, story.tokenizer
file = checkpoint.read_index(find("story"))["files"]["model"]
print(f"{model.n_params():,} parameters in {file['bytes']:,} bytes")
print(f"{config.n_layer} layers, {config.n_head} heads, {config.n_kv_head} of them with keys and values of their own")
print(f"it reads {config.block_size} tokens at once, and knows {config.vocab_size:,} kinds of them")
print(f"> sha256 {digest(story)['weights']}")

# %% [markdown]
# ## 2. Let it write
#
# The model gives a probability to each token that may come next. One is drawn, put behind the text, and so on. The
# temperature makes likely tokens likelier (below 1). Top-p never draws from the unlikely tail. How this model writes
# best is said in its `checkpoint.json`.


# %%
def written(loaded, prompt, n=80, seed=1):
    """The prompt and up to n tokens that the model puts behind it."""
    end = end_id(loaded.tokenizer)
    ids = [end, *loaded.tokenizer.encode_ordinary(prompt)]
    new = generate(loaded.model, ids, n, **loaded.sample, seed=seed, stop={end})
    return prompt + loaded.tokenizer.decode(list(new))


def show(title, text):
    """A text that a model wrote, with its title."""
    print(f"{title}:")
    for line in filter(str.strip, text.split("\n")):
        print(textwrap.fill(line, 100, initial_indent="> ", subsequent_indent="> "))


print(story.sample)
BEGINNING = "Once upon a time, there was a little girl named Lily. One day,"
show("a story", written(story, BEGINNING, n=150))

# %% [markdown]
# ## 3. Look inside
#
# First the text as the model reads it: as tokens. Each bar says how many bits a token cost, which is how much it
# surprised the model. A bit is one answer to a question of yes or no. The dotted line is the cost of a guess among all
# tokens. Bits per byte is the sum of the bars, divided by the bytes of the text. It is the unit of this whole
# notebook.

# %%
sentence = "Tom had a big red ball. He gave the ball to his sister. She was so happy that she ate the park."
ids = [end_id(tokenizer), *tokenizer.encode_ordinary(sentence)]
pieces = [tokenizer.decode([i]) for i in ids[1:]]
with torch.no_grad():
    logits, _ = model(torch.tensor([ids]))
bits = F.cross_entropy(logits[0, :-1], torch.tensor(ids[1:]), reduction="none") / math.log(2)  # (T,)
_, ax = plt.subplots(figsize=(9, 2.6), layout="constrained")
ax.bar(range(len(bits)), bits, color=BLUE)
ax.set_xticks(range(len(bits)), [piece.strip() for piece in pieces], rotation=60, fontsize=8)
ax.axhline(math.log2(config.vocab_size), color="grey", linewidth=1, linestyle=":", label="all tokens equally likely")
ax.set(ylabel="bits", title="What surprises the model: what could have been something else")
ax.legend(frameon=False, fontsize=8)
plt.show()
print("|".join(pieces))
print(f"{bits.sum():.1f} bits for {len(sentence)} bytes: {bits.sum() / len(sentence):.2f} bits per byte")

# %% [markdown]
# Next its probabilities for what comes next, and then two of its heads. The function below repeats the steps of
# `Attention.forward`, for the class itself never holds the map: torch computes it in pieces. It also computes what the
# layer gives out, and compares that with the layer itself. So what you see is what the model does.


# %%
@torch.no_grad()
def attention_map(layer, ids):
    """(H, T, T): how each head of a layer spreads its attention; and how far its output is from the layer's own."""
    attn, seen, T = model.blocks[layer].attn, {}, len(ids)
    hook = attn.register_forward_hook(lambda module, given, out: seen.update(x=given[0], rope=given[2], out=out))
    model(torch.tensor([ids]))
    hook.remove()
    qk = torch.cat([attn.q(seen["x"]), attn.k(seen["x"])], dim=-1).view(1, T, -1, config.head_dim).transpose(1, 2)
    qk = rotate(F.rms_norm(qk, (config.head_dim,), eps=config.norm_eps), *seen["rope"])
    q, k = qk.split([config.n_head, config.n_kv_head], dim=1)  # (1, H, T, D), (1, G, T, D)
    v = attn.v(seen["x"]).view(1, T, -1, config.head_dim).transpose(1, 2)  # (1, G, T, D)
    k, v = (part.repeat_interleave(config.n_head // config.n_kv_head, dim=1) for part in (k, v))
    scores = q @ k.mT / math.sqrt(config.head_dim)  # (1, H, T, T)
    shares = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf).softmax(dim=-1)
    out = attn.proj((shares @ v).transpose(1, 2).reshape(1, T, -1))
    return shares[0], (out - seen["out"]).abs().max().item()


text = "Sam went to the park with Tom and Sue. Tom had a kite. He gave the kite to Sue. Then Tom"
ids = [end_id(tokenizer), *tokenizer.encode_ordinary(text)]
found = [attention_map(layer, ids) for layer in range(config.n_layer)]
maps, error = torch.cat([shares for shares, _ in found]), max(off for _, off in found)  # (L * H, T, T)
same = torch.tensor([i == ids[-1] for i in ids[:-1]])
before, earlier = maps.diagonal(-1, 1, 2).mean(dim=1), maps[:, -1, :-1][:, same].sum(dim=1)  # (L * H,)
looks = {"the token before": before, "the same word, earlier": earlier}
figure, (left, *panels) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
with torch.no_grad():
    likely = model(torch.tensor([ids]))[0][0, -1].softmax(dim=0).topk(8)
left.barh([tokenizer.decode([i]) for i in likely.indices.tolist()][::-1], likely.values.flip(0), color=BLUE)
left.set(xlabel="probability", title="What may follow the text")
words = [tokenizer.decode([i]).strip() for i in ids[1:]]
for ax, (name, strength) in zip(panels, looks.items()):
    layer, head = divmod(int(strength.argmax()), config.n_head)
    ax.imshow(maps[int(strength.argmax())][1:, 1:], cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(range(len(words)), words, rotation=90, fontsize=7)
    ax.set_yticks(range(len(words)), words, fontsize=7)
    ax.set_title(f"looks for {name}:\nlayer {layer + 1}, head {head + 1}", fontsize=9)
    print(f"the head that looks most for {name}: {strength.max():.0%} of its attention")
plt.show()

# %% [markdown]
# What does a token cost? Writing one multiplies with nearly every weight, twice a weight: once to multiply, once to
# add. Training takes three times that. And for each token of context, the keys and values of all layers are kept.
# Grouped queries share them between heads.

# %%
flops, kept = model.flops_per_token(), model.cache_bytes_per_token()
print(f"to train on a token: {flops / 1e6:.1f} MFLOP; to read one: {flops / 3e6:.1f} MFLOP")
print(f"keys and values of a token: {kept:,} bytes; of a full context: {kept * config.block_size:,}")
print(f"without grouped queries it would be {kept * config.n_head // config.n_kv_head:,} bytes a token")

# %% [markdown]
# ## 4. Break it
#
# Take one ingredient away and measure. The exam is made of stories that ship with the model. The model wrote them
# itself, because the stories that it was trained on are not ours to ship. So this exam shows what a change breaks. It
# does not say how well the model knows stories of people.
#
# The weights stay as they were trained, with the ingredient. A model that is trained without it learns to do without:
# `make ingredients` measures that, and the differences are far smaller.


# %%
class Unmasked(torch.nn.Module):
    """The model with a mask that hides nothing: each token also attends to those after it."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, tokens, targets):
        logits = self.model.logits(self.model.hidden(tokens, mask=torch.ones(2 * tokens.shape[1:], dtype=torch.bool)))
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def measured(model, text):
    """Bits per byte of a text under a model."""
    return bits_per_byte(Learner(model), tokenizer, text)


shipped = open_course("story")
stories = SEPARATOR.join(documents(shipped.exams["stories"])[:10])
weights, deaf = checkpoint.weights(model), copy.deepcopy(model)
for block in deaf.blocks:
    block.attn.proj.weight.data.zero_()
broken = {
    "no positions": build(replace(config, position="none"), weights),
    "no QK-norm": build(replace(config, qk_norm=False), weights),
    "no mask": Unmasked(model),
    "no attention": deaf,
}
whole, costs = measured(model, stories), {name: measured(other, stories) for name, other in broken.items()}
_, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
bars = ax.bar(["the whole model", *costs], [whole, *costs.values()], color=[BLUE] + [BROWN] * len(costs))
ax.bar_label(bars, fmt="%.2f", fontsize=8)
ax.set(ylabel="bits per byte", title="Each missing ingredient breaks a model that was trained with it")
plt.show()
for name, cost in {"the whole model": whole, **costs}.items():
    print(f"{name:16} {cost:6.2f} bits per byte")

# %% [markdown]
# ## 5. LoRA: a small correction beside frozen weights
#
# Here are some lines of a pirate. The model's own weights stay as they are. Beside each matrix a product of two thin
# ones is trained, of rank 8. The last lines are held out: they judge.

# %%
PIRATE = """\
Arr, me name be Captain Sam, and I be the boldest pirate on the big blue sea.
Once upon a time I had a ship, and she be called the Jolly Duck.
Ahoy, me little mateys! Come aboard, and hear what happened to me treasure.
One day I be walking on the sand, and what do I see? A map, says I, a map!
Arr, it be an old map with a big red cross, and me heart went boom.
Ye must dig under the tall tree, says me parrot, for the gold be there.
So we took our shovels, me hearties, and we did dig all the day long.
Blow me down! There be no gold in the hole, only a small wet crab.
Ahoy, little crab, says I, have ye seen me gold? Nay, says the crab, it be gone.
Then me parrot laughed and laughed, and I did shout: what be so funny, ye old bird?
The map be upside down, Captain, says he, and all me hearties laughed with him.
So we turned the map, and we sailed to the other end of the island, arr.
There be a cave, dark and cold, and me knees did shake like jelly.
Who be there? says a voice in the dark. It be me, Captain Sam, says I.
Out came a little mouse with a big hat. Ahoy, says the mouse, this be me cave.
Ye may have the gold, says the mouse, if ye give me some of yer cheese.
So I gave the mouse me best cheese, and he gave me a chest so heavy.
Arr, we danced on the sand, and the parrot did sing a song of the sea.
Come with us, little matey, says I, for a ship be better with a friend.
Aye, says the mouse, and he jumped aboard the Jolly Duck with his big hat.
"""
HELD_OUT = """\
Now the mouse be me best matey, and he sleeps in me left boot, arr.
And when the moon be high, we sit on the deck and eat cheese, me hearties.
The parrot be telling the tale of the map, and we all laugh till we cry.
Ahoy, says the mouse, the best treasure be a friend, and I says aye, it be so.
"""

pirate = course_on(open_model("story"), adapter.LoRAConfig(rank=8), tasks="text", row_length=64, method="naive")
pirate.exams = {"pirate": HELD_OUT, "stories": stories}
learner = Learner(pirate.model)
before = judge(pirate, learner)
task, _ = pirate.kind.task("pirate", PIRATE, pirate.loaded, pirate.row_length)
recipe = replace(ADAPT_TEXT, steps=30, lr=5e-3, precision="float32")  # AdamW, as `nanogpt learn` takes it for LoRA
learn(pirate, task, recipe, autocast=nullcontext)
after = pirate.scores[-1]
trained = sum(p.numel() for p in adapter.parameters(pirate.model, ADAPTER).values())
print(f"{trained:,} parameters are trained, {trained / model.n_params():.1%} of the model's {model.n_params():,}")
for name, old, new in zip(pirate.exams, before, after):
    print(f"bits per byte of the {name:8} before {old:.2f}, after {new:.2f}")
with adapter.using(pirate.model, "__base__"):
    unharmed = measured(pirate.model, stories)
print(f"with the adapter switched off, the stories are at {unharmed:.2f} again")
QUESTION = "One day, the captain"
show("before", written(story, QUESTION, n=50))
show("after", written(pirate.loaded, QUESTION, n=50))

# %% [markdown]
# The same words, and another voice. The stories got worse too: while the adapter is on, the model speaks like a pirate
# everywhere. Switched off, it is the old model, byte for byte. That is the easy way to forget nothing. But then each
# text needs an adapter of its own, and somebody has to know which one to switch on.
#
# ## 6. Learn one text after another
#
# So now the weights themselves learn: first a piece of the Bible, then recipes. Both arms take the same ten steps with
# the same new rows. *Naive* does nothing else. *Replay* adds old rows to each step, as many as there are new ones, so
# that a step costs twice as much. They come from the memory that ships with the model, and later from the Bible too.
# Its stories were written by the model itself.


# %%
DATA = Path(nanogpt.__file__).parents[3] / "data"


def part(name, which, characters):
    """The beginning of a text in data/."""
    return read_text(need(DATA / name / f"{which}.txt", f"make data/{name}"))[:characters]


exams = {"stories": stories, "bible": part("bible", "val", 4000), "recipes": part("recipes", "val", 4000)}


def taught(**method):
    """The shipped course after it has learned the Bible and then recipes. Nothing is written to disk."""
    course = open_course("story", **method)
    course.exams, course.scores = dict(exams), []
    course.scores = [judge(course, Learner(course.model))]
    for name in ("bible", "recipes"):
        task, _ = course.kind.task(name, part(name, "train", 40_000), course.loaded, course.row_length)
        settings = TrainConfig(steps=10, batch_size=2, lr=0.02, warmup=2, precision="float32")
        learn(course, task, settings, autocast=nullcontext)
    return course


courses = {"naive": taught(method=("naive", {})), "replay": taught()}
print("memory of the shipped model:", shipped.method.memory.counts())
print("memory of replay at the end:", courses["replay"].method.memory.counts())

# %% [markdown]
# This is the matrix of week 13. A row is a moment: after which text? A column is an exam. Read down a column, from the
# moment when its text was learned: each rise is forgetting. Below it, the same beginning of a story is continued
# before and after.

# %%
figure, (*panels, last) = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
lost = {}
for ax, (name, course) in zip(panels, courses.items()):
    table = torch.tensor(course.scores)
    ax.imshow(table, cmap="Oranges", vmin=1, vmax=5)
    ax.set_xticks(range(3), list(exams))
    ax.set_yticks(range(3), [f"after {text}" for text in course.learned])
    for i, row in enumerate(course.scores):
        for j, score in enumerate(row):
            ax.text(j, i, f"{score:.2f}", ha="center", va="center", color="white" if score > 3.5 else "black")
        print(f"{name:7} after {course.learned[i]:8}", *(f"{score:7.2f}" for score in row))
    ax.set_title(f"{name}: bits per byte")
    lost[name] = rise(course.scores)
bars = last.bar(list(lost), list(lost.values()), color=[BROWN, BLUE])
last.bar_label(bars, fmt="%.2f")
last.set(ylabel="bits per byte", title="How far the old texts rose")
plt.show()
cut = forgetting_cut(lost["replay"], lost["naive"])
print(f"old texts rose by {lost['naive']:.2f} bits per byte naively, by {lost['replay']:.2f} with replay")
newest = {name: course.scores[-1][-1] for name, course in courses.items()}
print(f"the newest text, recipes, is at {newest['naive']:.2f} naively, at {newest['replay']:.2f} with replay")
for name, loaded in {"before": story, **{name: course.loaded for name, course in courses.items()}}.items():
    show(name, written(loaded, BEGINNING, n=60))

# %% [markdown]
# ## 7. What it cannot do
#
# The model has about five million parameters and has read nothing but simple stories. Ask it for something that
# stories do not teach, and it answers with what would *look* right there. Here it is asked to add. We let it choose
# between the words for numbers, so any of them would be a well-formed answer. It writes fluently and it does not
# count: nothing in its training rewarded a right sum more than a likely word.

# %%
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
firsts = torch.tensor([tokenizer.encode_ordinary(f" {word}")[0] for word in NUMBERS])
right, answers = 0, []
for a in range(2, 6):
    for b in range(2, 6):
        sum_of = f"Tom had {NUMBERS[a - 2]} apples. Mom gave him {NUMBERS[b - 2]} more apples. Now Tom had"
        with torch.no_grad():
            logits, _ = model(torch.tensor([[end_id(tokenizer), *tokenizer.encode_ordinary(sum_of)]]))
        answers.append(NUMBERS[int(logits[0, -1, firsts].argmax())])
        right += answers[-1] == NUMBERS[a + b - 2]
print(f"{right} of {len(answers)} sums are right; it used {len(set(answers))} different answers")
show("the last sum, in its own words", written(story, sum_of, n=30))

# %% [markdown]
# Other limits, which follow from how it is built: it sees no more than its context, so a name that was told before
# that is gone. It never takes a word back. And what it writes is likely, not true.
#
# ## 8. Does all of this hold?
#
# The last cell asserts the claims of this notebook, with room for other processors.

# %%
assert 5_000_000 < model.n_params() < 6_000_000
assert error < 1e-4, "the map is not what the model computes"  # float32, sums of some hundred numbers of size 1
assert all(cost > whole + 0.02 for cost in costs.values()), "an ingredient that nobody misses"
assert after[0] < before[0] - 0.3, "the adapter has learned nothing"
assert abs(unharmed - whole) < 1e-6, "the frozen weights have changed"  # the same weights, the same text
assert lost["naive"] > 0.3, "nothing was forgotten, so nothing can be shown"
assert cut > 0.3, "replay saves less than a third of what is lost without it"
assert right < len(answers), "it can add after all: find another limit"
print("all of it holds")
print(f"> {time.perf_counter() - began:.0f} seconds")
