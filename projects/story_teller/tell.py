"""Write a story in which your child's name stands, from the first line to the last.

    python projects/story_teller/tell.py --name Mia
    python projects/story_teller/tell.py --name Mia --friend Tom --about "a red kite"
    python projects/story_teller/tell.py --name Ben --boy --n 3 --out stories.html       three stories, to print

The model that comes with the repository writes several drafts side by side. Rules that you can check choose the best.
It knows few names: for another one it tells of Lily or Tim, and the name is put in that place afterwards.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week14"))
import torch
import torch.nn.functional as F
from nanogpt.infer.batch import generate_batch
from nanogpt.sources import open_model
from nanogpt.tasks import end_id
from nanogpt.vendor.shared.errors import Mistake, entry
from nanogpt.vendor.shared.files import atomic_write
from nanogpt.vendor.shared.progress import bar
from nanogpt.vendor.shared.results import seed_number, thread_count
from page import page
from rules import RULES, Cast, Draft, Refused, dropped, exchanged, first_name, ranked, stand_ins, subject

DRAFTS = 12
MOST = 256  # drafts: more take minutes, and rarely better ones come
READ = 16  # drafts in one forward pass: their logits take 50 MB
SHARE = 1 / 3  # of the context, which the opening may take at most


# --- the model --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def surprise(model, rows, begins):
    """Nats a token of each row of ids, from its place in `begins` on: lower is likelier."""
    found = []
    for i in range(0, len(rows), READ):
        group, starts = rows[i : i + READ], begins[i : i + READ]
        longest = max(map(len, group))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in group])  # (B, T)
        places = torch.arange(1, longest)
        lengths, first = (torch.tensor(n)[:, None] for n in (list(map(len, group)), starts))
        judged = (places >= first) & (places < lengths)  # (B, T - 1)
        logits = model(tokens[:, :-1])[0].float()  # (B, T - 1, V)
        nats = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none") * judged
        found += (nats.sum(1) / judged.sum(1)).tolist()
    return found


def guessed_sex(loaded, name):
    """ "girl" or "boy": behind which of the two words the model expects the name more."""
    end, encode = end_id(loaded.tokenizer), loaded.tokenizer.encode_ordinary
    before = [[end, *encode(f"Once upon a time, there was a little {sex} named")] for sex in ("girl", "boy")]
    rows = [row + encode(f" {name}") for row in before]
    girl, boy = surprise(loaded.model, rows, list(map(len, before)))
    return "girl" if girl <= boy else "boy"


def doubles(loaded, cast):
    """The stand-ins of `cast`; the model guesses whether the friend is a girl or a boy."""
    return stand_ins(cast, guessed_sex(loaded, cast.friend) if cast.friend else "")


def prompt(loaded, cast):
    """The ids of a story's opening; a Mistake where they leave too little of the context."""
    ids, block = (
        [end_id(loaded.tokenizer), *loaded.tokenizer.encode_ordinary(cast.opening)],
        loaded.model.config.block_size,
    )
    if len(ids) > SHARE * block:
        raise Mistake(f"the opening {cast.opening!r} takes {len(ids)} of the {block} tokens that the model sees, which "
                      "leaves too little for a story; give shorter names or a shorter --about")  # fmt: skip
    return ids


def write_drafts(loaded, casts, n, seed, *, length=None, label="drafts"):
    """[[Draft] of each cast], `n` each, all drawn as one batch. `length` or the context bounds the new tokens.

    The model writes and weighs them with the stand-ins; the texts have the names that were wished for.
    """
    model, end, block = loaded.model.eval(), end_id(loaded.tokenizer), loaded.model.config.block_size
    instead = [doubles(loaded, cast) for cast in casts]
    played = [replace(cast, name=other.get(cast.name, cast.name), friend=other.get(cast.friend, cast.friend))
              for cast, other in zip(casts, instead)]  # fmt: skip
    prompts = [ids for ids in (prompt(loaded, cast) for cast in played) for _ in range(n)]
    drawn = {"temperature": 0.8, **loaded.sample}  # as the model says that it is drawn from
    with bar(total=len(prompts), label=label, unit="draft") as line:
        new = generate_batch(model, prompts, length or block, **drawn, seed=seed, stop={end}, ended=line.update)
    ended = [len(ids) < min(length or block, block - len(before)) for ids, before in zip(new, prompts)]
    rows = [before + ids + [end] * over for before, ids, over in zip(prompts, new, ended)]
    nats = surprise(model, rows, list(map(len, prompts)))
    written = [exchanged(loaded.tokenizer.decode(ids), instead[i // n]) for i, ids in enumerate(new)]
    texts = [casts[i // n].opening + text for i, text in enumerate(written)]
    drafts = [Draft(*one) for one in zip(texts, ended, nats)]
    return [drafts[i : i + n] for i in range(0, len(drafts), n)]


# --- the command ------------------------------------------------------------------------------------------------------


def wished(args, loaded=None):
    """The Cast that was asked for; without --girl or --boy the model guesses."""
    try:
        name = first_name(args.name, "--name")
        friend = "" if args.friend is None else first_name(args.friend, "--friend")
        about = "" if args.about is None else subject(args.about)
    except Refused as error:
        raise Mistake(str(error)) from None
    if name == friend:
        raise Mistake(f"--name and --friend are both {name!r}, so no reader could tell them apart; give another friend")
    return Cast(name, args.sex or (guessed_sex(loaded, name) if loaded else "girl"), friend, about)


def told(judged, n):
    """The lines about the choice: how many drafts were dropped, for which rule, and what the chosen ones break."""
    passed = sum(not rules for _, rules in judged)
    yield f"{len(judged)} drafts: {passed} pass every rule, {len(judged) - passed} do not"
    for rule, number in dropped(judged).most_common():
        yield f"  {number:3} fail first at {rule!r}: {RULES[rule][0]}"
    for place, (_, rules) in enumerate(judged[:n], 1):
        if rules:
            yield f"story {place} is the best that there was, but it breaks: {', '.join(rules)}; try another --seed"


def parser():
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("--name", required=True, help="the child's first name")
    sex = p.add_mutually_exclusive_group()
    for option in ("--girl", "--boy"):
        word = option[2:]
        sex.add_argument(option, dest="sex", action="store_const", const=word,
                         help=f"the child is a {word} (default: the model guesses from the name)")  # fmt: skip
    p.add_argument("--friend", help="a friend's first name")
    p.add_argument("--about", help='a thing or an animal, such as "a red kite"')
    p.add_argument("--n", type=common.whole, default=1, help="how many stories (default: 1)")
    p.add_argument("--drafts", type=common.whole, default=DRAFTS,
                   help="how many are written to choose from (default: %(default)s)")  # fmt: skip
    p.add_argument("--seed", type=seed_number, default=0, help="another seed, other stories (default: 0)")
    p.add_argument("--out", type=Path, help="an HTML page to print; none is overwritten")
    p.add_argument("--model", default="story", help="what nanogpt opens (default: the one that comes with it)")
    p.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    common.add_mine(p)
    return p


def main(argv=None):
    """Write, choose, show; returns the chosen [(Draft, broken rules)]."""
    args = parser().parse_args(argv)
    if not args.n <= args.drafts <= MOST:
        raise Mistake(f"{args.drafts} drafts for --n {args.n} stories is no choice; give --drafts from --n to {MOST}")
    wished(args)  # what is wrong with a wish is told before a model is opened
    torch.set_num_threads(thread_count(args.threads))
    loaded = open_model(args.model, fold=True)
    cast = wished(args, loaded)
    if args.sex is None:
        other = "boy" if cast.sex == "girl" else "girl"
        print(f"the model takes {cast.name} for a {cast.sex}; if that is wrong, add --{other}", flush=True)
    for name, other in doubles(loaded, cast).items():
        print(f"the model does not know {name} well: it tells of {other}, and the name is put in its place", flush=True)
    (drafts,) = write_drafts(loaded, [cast], args.drafts, args.seed)
    judged = ranked(cast, drafts)
    print("\n".join(told(judged, args.n)))
    chosen = judged[: args.n]
    for draft, _ in chosen:
        print(f"\n{draft.text}")
    if args.out:
        note = (f"Written by a small language model ({loaded.model.n_params():,} parameters), seed {args.seed}; the "
                f"best of {args.drafts} drafts. Read it first: no person has.")  # fmt: skip
        path = common.free_path(args.out)
        atomic_write(path, page(cast, [draft.text for draft, _ in chosen], note))
        print(f"\npage: {path}")
    return chosen


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
