"""Minimal pairs: two sentences that differ in a word or two, and only one is English.

Linzen et al. 2016 asked networks this way whether they had learned grammar; BLiMP (Warstadt et al. 2020) made a test of
67 paradigms. Ours has ten, of simple words, six pairs each, made by rule. The whole sentence is judged, with nothing
before it, so a rare noun costs both sentences the same. Where a rule has two sides, such as one and many, three pairs
ask for each: a model that only prefers the commoner form gets half. acc is the score to read.
Left out: what even grown readers dispute (islands, scope).
"""

from ..choice import Item

ONE = ("dog", "king", "farmer", "girl", "bird", "soldier")
MANY = ("dogs", "kings", "farmers", "girls", "birds", "soldiers")
ACTS = ("runs", "sleeps", "waits", "sings", "falls", "works")  # what one does
ACT = ("run", "sleep", "wait", "sing", "fall", "work")  # what many do
THINGS = ("the apple", "the fox", "the bread", "the cup", "the letter", "the milk")
DONE = ("eaten", "seen", "taken", "broken", "written", "drunk")
DID = ("ate", "saw", "took", "broke", "wrote", "drank")
HALF = 3


def sides(first, second):
    """The first HALF of one list of pairs, the rest of the other."""
    return [*list(first)[:HALF], *list(second)[HALF:]]


def agreement():
    """The verb agrees with the subject."""
    one = ((f"The {noun} {s} every day.", f"The {noun} {bare} every day.") for noun, s, bare in zip(ONE, ACTS, ACT))
    many = ((f"The {noun} {bare} every day.", f"The {noun} {s} every day.") for noun, s, bare in zip(MANY, ACTS, ACT))
    return sides(one, many)


def attraction():
    """... also across a noun of the other number that stands nearer to the verb."""
    text = "The {} behind the {} {} very old."
    one = ((text.format(noun, "trees", "is"), text.format(noun, "trees", "are")) for noun in ONE)
    many = ((text.format(noun, "tree", "are"), text.format(noun, "tree", "is")) for noun in MANY)
    return sides(one, many)


def determiner():
    """`this` goes with one, `these` with many."""
    text = "He had never met {} {} before."
    one = ((text.format("this", noun), text.format("these", noun)) for noun in ONE)
    many = ((text.format("these", noun), text.format("this", noun)) for noun in MANY)
    return sides(one, many)


def article():
    """`an` before a vowel, `a` before a consonant."""
    text = "There was once {} {} in the village."
    vowel = ((text.format("an", noun), text.format("a", noun)) for noun in ("old man", "angry wolf", "empty house"))
    other = ((text.format("a", noun), text.format("an", noun)) for noun in ONE)
    return sides(vowel, other)


def pronoun():
    """The case of a pronoun: subject before the verb, object after it."""
    subject = ((f"{good} found {thing}.", f"{bad} found {thing}.") for good, bad, thing in
               zip(("He", "She", "They"), ("Him", "Her", "Them"), THINGS))  # fmt: skip
    object_ = ((f"The {noun} saw {good} at once.", f"The {noun} saw {bad} at once.") for noun, good, bad in
               zip(ONE, 2 * ("him", "them", "me"), 2 * ("he", "they", "I")))  # fmt: skip
    return sides(subject, object_)


def reflexive():
    """A reflexive agrees with its subject."""
    rows = (
        ("The king", "himself", "herself"),
        ("The queen", "herself", "himself"),
        ("The boys", "themselves", "himself"),
        ("My mother", "herself", "himself"),
        ("The man", "himself", "themselves"),
        ("I", "myself", "himself"),
    )
    return [
        (f"{who} looked at {good} in the mirror.", f"{who} looked at {bad} in the mirror.") for who, good, bad in rows
    ]


def participle():
    """`has` takes the participle; the past stands alone."""
    has = ((f"The {noun} has {done} {thing}.", f"The {noun} has {did} {thing}.") for noun, done, did, thing in
           zip(ONE, DONE, DID, THINGS))  # fmt: skip
    past = ((f"Then the {noun} {did} {thing}.", f"Then the {noun} {done} {thing}.") for noun, done, did, thing in
            zip(ONE, DONE, DID, THINGS))  # fmt: skip
    return sides(has, past)


def infinitive():
    """`will` takes the bare verb, whoever acts."""
    pairs = zip(sides(ONE, MANY), ACT, ACTS)
    return [(f"The {noun} will {bare} again.", f"The {noun} will {s} again.") for noun, bare, s in pairs]


def comparative():
    """`than` asks for the comparative, `as ... as` for the plain form."""
    words = ("tall", "old", "strong", "young", "rich", "kind")
    than = (
        (f"The {noun} is {w}er than the other.", f"The {noun} is {w} than the other.") for noun, w in zip(ONE, words)
    )
    like = (
        (f"The {noun} is as {w} as the other.", f"The {noun} is as {w}er as the other.") for noun, w in zip(ONE, words)
    )
    return sides(than, like)


def order():
    """An adjective stands before its noun."""
    pairs = zip(ONE, ("little", "brave", "poor", "clever", "white", "tired"))
    return [(f"Once there was a {w} {noun} who lived alone.", f"Once there was a {noun} {w} who lived alone.")
            for noun, w in pairs]  # fmt: skip


PARADIGMS = (
    agreement, attraction, determiner, article, pronoun, reflexive, participle, infinitive, comparative, order
)  # fmt: skip


def items(folder=None):
    """60 items, the good sentence first and second in turn; no file is read."""
    pairs = [pair for paradigm in PARADIGMS for pair in paradigm()]
    return [Item("", pair[:: -1 if i % 2 else 1], i % 2) for i, pair in enumerate(pairs)]
