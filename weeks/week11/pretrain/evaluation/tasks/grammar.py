"""Minimal pairs: two sentences that differ in a word or two, and only one is English.

Linzen et al. 2016 asked networks this way whether they had learned grammar; BLiMP (Warstadt et al. 2020) made a test of
67 paradigms. Ours has ten, of simple words, six pairs each, made by rule. The whole sentence is judged, with nothing
before it: a likelihood ratio, so how rare the words are does not matter. acc is the score; both sentences are of about
the same length. Left out: what even grown readers dispute (islands, scope).
"""

from ..choice import Item

SINGULAR = ("dog", "king", "farmer", "girl", "bird", "soldier")
PLURAL = ("dogs", "kings", "farmers", "girls", "birds", "soldiers")
NEAR = ("trees", "gates", "houses", "hills", "boxes", "rivers")  # a plural between a singular subject and its verb
ACTS = ("runs", "sleeps", "waits", "sings", "falls", "works")
ACT = ("run", "sleep", "wait", "sing", "fall", "work")
DONE = (
    ("eaten", "ate"),
    ("seen", "saw"),
    ("taken", "took"),
    ("broken", "broke"),
    ("written", "wrote"),
    ("drunk", "drank"),
)
THINGS = ("the apple", "the fox", "the bread", "the cup", "the letter", "the milk")
SOUNDS = ("egg", "old man", "apple", "island", "angry wolf", "open door")  # begin with a vowel
COMPARED = (
    ("taller", "tall"),
    ("older", "old"),
    ("stronger", "strong"),
    ("faster", "fast"),
    ("wiser", "wise"),
    ("kinder", "kind"),
)


def agreement():
    """The verb agrees with the subject."""
    for noun, good, bad in zip(SINGULAR, ACTS, ACT):
        yield f"The {noun} {good} every day.", f"The {noun} {bad} every day."


def attraction():
    """... also across a noun of the other number that stands nearer to the verb."""
    for noun, near in zip(SINGULAR, NEAR):
        yield f"The {noun} behind the {near} is very old.", f"The {noun} behind the {near} are very old."


def determiner():
    """`this` goes with one, `these` with many."""
    for noun in PLURAL:
        yield f"He had never met these {noun} before.", f"He had never met this {noun} before."


def article():
    """`an` before a vowel."""
    for noun in SOUNDS:
        yield f"There was once an {noun} in the village.", f"There was once a {noun} in the village."


def pronoun():
    """The case of a pronoun: subject before the verb, object after it."""
    cases = (("He", "Him"), ("She", "Her"), ("They", "Them"), ("I", "Me"), ("We", "Us"), ("He", "His"))
    for (good, bad), thing in zip(cases, THINGS):
        yield f"{good} found {thing} in the garden.", f"{bad} found {thing} in the garden."


def reflexive():
    """A reflexive agrees with its subject."""
    whose = (("The king", "himself", "herself"), ("The queen", "herself", "himself"), ("The boys", "themselves", "himself"),
             ("My mother", "herself", "himself"), ("The man", "himself", "themselves"), ("I", "myself", "himself"))  # fmt: skip
    for who, good, bad in whose:
        yield f"{who} looked at {good} in the mirror.", f"{who} looked at {bad} in the mirror."


def participle():
    """`has` takes the participle, not the past tense."""
    for noun, (good, bad), thing in zip(SINGULAR, DONE, THINGS):
        yield f"The {noun} has {good} {thing}.", f"The {noun} has {bad} {thing}."


def infinitive():
    """`will`, `can` and `must` take the bare verb."""
    for noun, good, bad in zip(PLURAL, ACT, ACTS):
        yield f"The {noun} will {good} again tomorrow.", f"The {noun} will {bad} again tomorrow."


def comparative():
    """`than` asks for the comparative."""
    for noun, (good, bad) in zip(SINGULAR, COMPARED):
        yield f"The {noun} is {good} than his brother.", f"The {noun} is {bad} than his brother."


def order():
    """An adjective stands before its noun."""
    for noun, word in zip(SINGULAR, ("little", "brave", "poor", "clever", "white", "tired")):
        yield f"Once there was a {word} {noun} who lived alone.", f"Once there was a {noun} {word} who lived alone."


PARADIGMS = (
    agreement, attraction, determiner, article, pronoun, reflexive, participle, infinitive, comparative, order
)  # fmt: skip


def items(folder=None):
    """60 items, the good sentence first and second in turn; no file is read."""
    pairs = [pair for paradigm in PARADIGMS for pair in paradigm()]
    return [Item("", pair[:: -1 if i % 2 else 1], i % 2) for i, pair in enumerate(pairs)]
