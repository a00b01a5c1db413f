# %% [markdown]
# # Play with attention: who looks where, and what the mask is for
#
# Week 7 builds attention. Here you see the shares of real heads, in a small GPT that learns names in seconds. You also
# take away the causal mask, and watch a model cheat. It needs this week's package and the names (`make data/names`),
# and runs in less than half a minute.
#
# **Before you start.** A GPT may look at all letters, also those that come later. Does its loss in training become
# better or worse? And the names that it would write?

# %%
import math
from pathlib import Path

import gpt
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from gpt.attention import attention_maps, attention_weights
from gpt.loop import Recipe, bigram_loss, evaluate, train
from gpt.model import GPT, Attention, GPTConfig
from gpt.text import load
from gpt.vendor.shared.files import need

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})
torch.set_num_threads(1)
DATA = Path(gpt.__file__).parents[3] / "data"
letters, learned, unseen = load(need(DATA / "names/names.txt", "make data/names"))
print(f"{len(learned.tokens):,} letters to learn from, {len(letters)} kinds; a name ends with a line break")


def show(ax, shares, text, title):
    """A map of shares (T, T): each row is a letter that looks, each column one that is looked at."""
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [letter.replace("\n", "·") for letter in text]
    ax.set_xticks(range(len(text)), names, fontsize=8)
    ax.set_yticks(range(len(text)), names, fontsize=8)
    ax.set_title(title, fontsize=9)


def show_heads(maps, text):
    """Maps (n_layer, n_head, T, T): a row of pictures for each layer."""
    size = (2.75 * maps.shape[1], 3 * maps.shape[0])
    _, table = plt.subplots(*maps.shape[:2], figsize=size, layout="constrained", squeeze=False)
    for layer, row in enumerate(table):
        for head, ax in enumerate(row):
            show(ax, maps[layer, head], text, f"layer {layer + 1}, head {head + 1}")
    plt.show()


# %% [markdown]
# ## Three ways to mask, one of them right
#
# Six letters with random queries and keys. Each row says how one letter shares its attention, and must add up to 1.
#
# - Left, no mask: every letter looks at letters that come later.
# - Middle, the mask *before* the softmax: the upper triangle is white, and each row adds up to 1.
# - Right, the mask *after* the softmax: white too, but the rows have lost what was there.

# %%
generator = torch.Generator().manual_seed(3)
q, k = (2 * torch.randn(1, 1, 6, 8, generator=generator) for _ in range(2))  # (B, H, T, D)
uncovered = (q @ k.transpose(-2, -1) / math.sqrt(8)).softmax(dim=-1)
ways = {"no mask": uncovered, "mask, then softmax": attention_weights(q, k), "softmax, then mask": uncovered.tril()}
figure, panels = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
for ax, (title, shares) in zip(panels, ways.items()):
    show(ax, shares[0, 0], "attend", title)
    print(f"{title:18} rows add up to", " ".join(f"{row:.2f}" for row in shares[0, 0].sum(dim=-1).tolist()))
plt.show()

# %% [markdown]
# ## Train with the mask, and without
#
# Two GPTs, alike in all but this: the second looks at all places. Each learns to predict the next letter.


# %%
class Unmasked(Attention):
    """Attention that also looks at what comes later; it keeps its shares (B, H, T, T) to be looked at."""

    def forward(self, x, layer=0, cache=None):
        B, T, C = x.shape
        heads = (part.view(B, T, self.n_head, self.head_dim) for part in self.qkv(x).split(C, dim=2))
        q, k, v = (part.transpose(1, 2) for part in heads)  # (B, H, T, D)
        self.shares = (q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)).softmax(dim=-1)
        return self.proj((self.shares @ v).transpose(1, 2).reshape(B, T, C))


config = GPTConfig(vocab_size=len(letters), block_size=16, n_layer=2, n_head=4, n_embd=48)
recipe = Recipe(steps=300, batch_size=32, lr=5e-3, min_lr=5e-4, warmup=20)


def trained(attention):
    """A GPT with this kind of attention, trained on names, and its loss after each step."""
    torch.manual_seed(0)
    model = GPT(config)
    for block in model.blocks:
        block.attn = attention(config)
    model.init_weights()
    losses = [loss for _, loss in train(model, learned.tokens, recipe, seed=0)]
    return model.eval(), losses


masked, masked_losses = trained(Attention)
cheat, cheat_losses = trained(Unmasked)

# %% [markdown]
# Left: without the mask the training loss falls to almost nothing. It looks like a far better model.
#
# Right: the loss at each of the 16 places, on names that neither has seen. At the last place nothing comes later, so
# there is nothing to look up. There the model without a mask is worse than the other. And whoever writes a name always
# stands at the last place: the next letter is not there yet.


# %%
@torch.no_grad()
def loss_by_place(model):
    """Mean loss in nats at each place of a window, on unseen names: (T,)."""
    windows = unseen.tokens[: 400 * 17].view(-1, 17)  # 16 letters and what follows the last
    logits, _ = model(windows[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="none").view(-1, 16).mean(0)


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
pairs = bigram_loss(learned.tokens, unseen.tokens, len(letters))
for label, model, losses, color, style in (
    ("with the mask", masked, masked_losses, "#2166ac", "-"), ("without", cheat, cheat_losses, "#b35806", "--")
):  # fmt: skip
    places = loss_by_place(model)
    left.plot(losses, style, color=color, label=label)
    right.plot(range(1, 17), places, "o" + style, color=color, label=label)
    print(f"{label:14} loss at places 1 to 15: {places[:15].mean():.2f}, at the last place: {places[15]:.2f}")
for ax in (left, right):
    ax.axhline(pairs, color="grey", linewidth=1, linestyle=":", label=f"counting pairs: {pairs:.2f}")
left.set(xlabel="step", ylabel="nats a letter", title="In training, the cheat wins")
right.set(xlabel="place in the window", title="Where it cannot look ahead, it loses")
left.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## How it cheats
#
# These are the four heads of its first layer. Some have become a dark line beside the diagonal: each letter looks at
# the *next* one, which is the answer. Nothing about names has to be learned for that.

# %%
text = "\nchristopher\nada"
tokens = torch.tensor([letters.encode(text)])
with torch.no_grad():
    cheat(tokens)
show_heads(cheat.blocks[0].attn.shares, text)  # one text, so (1, n_head, T, T)

# %% [markdown]
# ## Where honest heads look
#
# All heads of the model with the mask, on two names. Nobody told them what to look for. Find a head of each kind:
#
# - one that looks for the last vowel (i, o and e in christopher);
# - one that looks back to where the name began (the dot is a line break);
# - one that spreads its attention over all letters before, and so takes a mean of them.

# %%
show_heads(attention_maps(masked, tokens)[:, 0], text)

# %% [markdown]
# ## Does a head matter?
#
# Switch one off, and measure. A head writes into the residual stream through its own columns of `proj`. Set these to 0,
# and the rest of the model works on without it. Compare the bars with the maps above. In the run shown here, the head
# that costs most is the one that looks for vowels. Some heads with a clear pattern cost nothing at all.


# %%
@torch.no_grad()
def loss_without(layer, heads):
    """The loss on unseen names with these heads of a layer switched off; afterwards they are on again."""
    weight = masked.blocks[layer].attn.proj.weight  # (C, H * D)
    kept = weight.clone()
    for head in heads:
        weight[:, head * config.head_dim : (head + 1) * config.head_dim] = 0.0
    loss = evaluate(masked, unseen.tokens[:4000])
    weight.copy_(kept)
    return loss


whole = evaluate(masked, unseen.tokens[:4000])
figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
for layer, color in enumerate(("#2166ac", "#b35806")):
    losses = [loss_without(layer, [head]) - whole for head in range(config.n_head)]
    bars = ax.bar([f"{layer + 1}.{head + 1}" for head in range(config.n_head)], losses, color=color)
    ax.bar_label(bars, fmt="%.2f", fontsize=8)
    print(f"without all heads of layer {layer + 1}: {loss_without(layer, range(config.n_head)):.1f} nats a letter")
ax.set(xlabel="layer.head that is off", ylabel="added loss (nats a letter)")
ax.set_title(f"Most heads can go, one or two cannot (loss of the whole model: {whole:.2f})")
plt.show()

# %% [markdown]
# ## Your turn
#
# 1. Put your own name into `mine`, 16 letters at most, and see which letter of it gets most attention.
# 2. Set `n_head=1` in `config` and run everything again: one wide head instead of four narrow ones. Does the loss with
#    the mask suffer? Expect about 2.45.
# 3. Set `steps=0`. What do the maps of an untrained model look like, and why?

# %%
mine = "\nkarpathy\n"
show_heads(attention_maps(masked, torch.tensor([letters.encode(mine)]))[:1, 0], mine)
