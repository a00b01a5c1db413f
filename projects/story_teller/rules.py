"""Which draft of a story is the best? Rules that a reader can check with a pencil; no model, no torch.

A rule is a row of RULES: its name, what it asks, and a function of (cast, draft) that says whether the draft passes.
The model's own opinion only decides between drafts that pass equally many rules.
Left out: whether the story makes sense; the friend's pronouns (nobody says whether the friend is a girl or a boy);
pronouns inside quotation marks, where somebody else may be meant.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

LONGEST = 24  # characters of a name: a longer one leaves the model little to go on with
LONGEST_ABOUT = 60
SHORTEST = 6  # sentences of a story, the opening's included
REPEATED = 4  # words of a sentence that must not come twice; "Yes!" may
PRONOUNS = {"girl": ("she", "her", "hers", "herself"), "boy": ("he", "him", "his", "himself")}
# Capital letters inside a sentence that are no person's name of their own.
NO_NAMES = set(
    "I Mom Mommy Mum Mummy Mama Mother Dad Daddy Papa Father Grandma Grandpa Granny Mr Mrs Miss Ms Dr Once The A An He "
    "She It They We You Her His Yes No Oh Hi Hello Ok OK Okay Wow Thank Thanks Look But And Let Can What Why How Where "
    "Who Come Please Christmas Halloween Easter Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
)
# Names that the model likes: known also where they only begin sentences.
KNOWN = set(
    "Amy Anna Ben Bella Billy Bob Buddy Daisy Emma Fin Jack Jane Jen Jill Jimmy Joe John Leo Lila Lily Lucy Mark Mary "
    "Max Mia Molly Nemo Sally Sam Sara Sarah Sophie Spot Sue Susie Tim Timmy Tom Tommy".split()
)
# Children's names that stand 1,000 times or more in data/stories/train.txt; any other gets a stand-in.
FAMILIAR = set("Amy Anna Ben Bob Jack Lily Lucy Max Mia Sally Sam Sara Sue Tim Tom".split())
STAND_INS = {"girl": ("Lily", "Mia", "Sue"), "boy": ("Tim", "Ben", "Tom")}
# Whoever else "he" and "she" may speak of.
BEINGS = set(
    "mom mommy mum mummy mama mother dad daddy papa father grandma grandpa granny sister brother aunt uncle "
    "cousin baby friend friends boy boys girl girls kid kids child children man men woman women lady people "
    "teacher doctor farmer king queen prince princess witch wizard fairy giant monster dragon robot doll toy "
    "teddy dog puppy cat kitten bird duck owl fish frog bear bunny rabbit fox wolf lion tiger monkey elephant "
    "mouse squirrel turtle horse cow pig sheep goat bee bug butterfly ant spider snake animal animals neighbor "
    "someone somebody everyone mr mrs miss".split()
)


class Refused(ValueError):
    """A wish that cannot be used, as one sentence."""


@dataclass(frozen=True)
class Cast:
    """Whom and what a story is about. `sex` is "girl" or "boy"; friend and about may be empty."""

    name: str
    sex: str
    friend: str = ""
    about: str = ""

    @property
    def opening(self):
        """How every draft begins: the model has read thousands of stories that begin so."""
        pronoun = PRONOUNS[self.sex][0].capitalize()
        parts = [f"Once upon a time, there was a little {self.sex} named {self.name}."]
        if self.friend:
            parts.append(f"{pronoun} had a friend named {self.friend}.")
        if self.about:
            who = f"{self.name} and {self.friend}" if self.friend else self.name
            parts.append(f"One day, {who} saw {self.about}.")
        return " ".join(parts)


@dataclass(frozen=True)
class Draft:
    """One draft: its text with the opening; whether the model ended it; nats a token of what it wrote."""

    text: str
    ended: bool
    nats: float


# --- what was typed ---------------------------------------------------------------------------------------------------


def first_name(text, option):
    """`text` as a name with a capital letter; Refused says what to give instead."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise Refused(f"{option} {text!r} holds no name; give a first name, such as {option} Mia")
    if len(name) > LONGEST:
        raise Refused(f"{option} {name!r} has {len(name)} characters, more than the model can keep in mind; give a "
                      f"short form of {LONGEST} at most")  # fmt: skip
    latin(name, option, "-' ’", "Mia")
    if not name[0].isalpha() or not name[-1].isalpha():
        raise Refused(
            f"{option} {name!r} does not begin and end with a letter; give a first name, such as {option} Mia"
        )
    return name[0].upper() + name[1:]


def subject(text):
    """`text` as what a story is about, ready to stand behind "saw"; Refused says what to give instead."""
    about = " ".join(unicodedata.normalize("NFC", text).split()).rstrip(".!? ")
    if not about:
        raise Refused(f'--about {text!r} holds no word; give a thing or an animal, such as --about "a red kite"')
    if len(about) > LONGEST_ABOUT:
        raise Refused(f"--about {about!r} has {len(about)} characters, too many for one sentence; give "
                      f"{LONGEST_ABOUT} at most")  # fmt: skip
    latin(about, "--about", "-' ’,", "a red kite")
    return about


def latin(text, option, marks, example):
    """Refuse what is neither a Latin letter nor one of the `marks`: the model has read English only."""
    odd = [c for c in text if c not in marks and not (c.isalpha() and unicodedata.name(c, "").startswith("LATIN"))]
    if odd:
        raise Refused(f"{option} {text!r} holds {odd[0]!r}, and the model has read only English; write it in Latin "
                      f"letters, without digits, such as {option} {example!r}")  # fmt: skip


# --- reading a story --------------------------------------------------------------------------------------------------


def sentences(text):
    """The sentences of a text; a closing quotation mark belongs to the sentence before it."""
    return [s.strip() for s in re.findall(r"[^.!?]+(?:[.!?]+[\"”’']*|$)", untitled(text)) if s.strip()]


def untitled(text):
    """Mr. and Mrs. without the full stop that ends no sentence."""
    return re.sub(r"\b(Mr|Mrs|Ms|Dr)\.", r"\1", text)


def narration(text):
    """The text without what is spoken: of a quotation only the mark that ends its sentence is left."""
    spoken = lambda match: match[0][-2] if match[0][-2] in ".!?" else ""
    return re.sub(r"[\"“][^\"“”\n]*[\"”]", spoken, text)


def words(text):
    return re.findall(r"[^\W\d_]+", text)


def count(name, text):
    """How often a name stands in a text as a whole word; Mia's counts, Miami does not."""
    return len(re.findall(rf"(?<!\w){re.escape(name)}(?!\w)", text))


def strangers(cast, text):
    """Counter of the names in a text that nobody wished for."""
    wished = set(words(f"{cast.name} {cast.friend} {cast.about}"))
    inside = set(re.findall(r"(?<=[a-z,;] )([A-Z][a-z]+)", untitled(text))) - NO_NAMES
    found = (inside | KNOWN) - wished
    return Counter(word for word in words(text) if word in found)


# --- a name that the model does not know ------------------------------------------------------------------------------


def stand_ins(cast, friend_sex):
    """{wished name: the name that the model tells of instead}, of the names that are not in FAMILIAR."""
    found, taken = {}, set(words(f"{cast.name} {cast.friend} {cast.about}"))
    for name, sex in ((cast.name, cast.sex), (cast.friend, friend_sex)):
        if name and name not in FAMILIAR:
            found[name] = next(other for other in STAND_INS[sex] if other not in taken)
            taken.add(found[name])
    return found


def exchanged(text, instead):
    """`text` with each wished name where its stand-in stood as a whole word; `instead` as of stand_ins."""
    wished = {other: name for name, other in instead.items()}
    return re.sub(r"[^\W\d_]+", lambda match: wished.get(match[0], match[0]), text)


# --- the rules --------------------------------------------------------------------------------------------------------


def ends(cast, draft):
    return draft.ended and len(sentences(draft.text)) >= SHORTEST and draft.text.rstrip()[-1:] in tuple(".!?\"”'")


def keeps_name(cast, draft):
    said = sentences(draft.text)
    thirds = [said[i * len(said) // 3 : (i + 1) * len(said) // 3] for i in range(3)]
    return all(count(cast.name, " ".join(third)) for third in thirds)


def keeps_place(cast, draft):
    return strangers(cast, draft.text).total() < count(cast.name, draft.text)


def pronouns_agree(cast, draft):
    """No wrong pronoun where the child alone was spoken of, in this sentence or in the last one that named anybody."""
    wrong, alone = set(PRONOUNS["boy" if cast.sex == "girl" else "girl"]), False
    names, beings = {*strangers(cast, draft.text), *words(cast.friend)}, BEINGS.union(words(cast.about.lower())[-1:])
    for sentence in sentences(narration(draft.text)):
        said = words(sentence)
        other = any(word in names or word.lower() in beings for word in said)
        if other or count(cast.name, sentence):
            alone = not other
        if alone and wrong & {word.lower() for word in said}:
            return False
    return True


def repeats_nothing(cast, draft):
    said = [tuple(words(sentence.lower())) for sentence in sentences(draft.text)]
    long = [sentence for sentence in said if len(sentence) >= REPEATED]
    return len(set(long)) == len(long)


def fulfils(cast, draft):
    rest = draft.text[len(cast.opening) :]
    thing = words(cast.about)[-1:]
    return (not cast.friend or count(cast.friend, rest) > 0) and all(word.lower() in rest.lower() for word in thing)


RULES = {
    "ends": (f"it ends by itself, with a whole sentence, after {SHORTEST} sentences or more", ends),
    "name": ("the child's name stands in its first, second and last third", keeps_name),
    "place": ("names that nobody wished for stand less often than the child's", keeps_place),
    "pronouns": ("he and she agree with the child, where the child alone is spoken of", pronouns_agree),
    "repeats": (f"no sentence of {REPEATED} words or more stands in it twice", repeats_nothing),
    "wishes": ("the friend, and the last word of --about, come again after the opening", fulfils),
}


def broken(cast, draft):
    """The names of the rules that a draft breaks, in the table's order."""
    return [name for name, (_, passes) in RULES.items() if not passes(cast, draft)]


def ranked(cast, drafts):
    """[(draft, broken rules)], the best first: fewest rules broken, then fewest nats a token."""
    judged = [(draft, broken(cast, draft)) for draft in drafts]
    return sorted(judged, key=lambda pair: (len(pair[1]), pair[0].nats))


def dropped(judged):
    """Counter of drafts by the first rule that each breaks; those that break none are not in it."""
    return Counter(rules[0] for _, rules in judged if rules)
