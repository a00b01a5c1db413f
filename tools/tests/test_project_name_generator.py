"""The name generator: every name obeys the wishes, what is said about a name is true, and a model is trained once."""

import functools
import importlib
import itertools
import math
import random
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch

TOWNS = [a + b + c for a in ("Ба", "Ко", "Ми", "Ор") for b in ("ра", "ло", "ни") for c in ("во", "ск", "но", "")]


@pytest.fixture(scope="module")
def invent(repo_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / "projects")
        yield importlib.import_module("name_generator.invent")


@pytest.fixture(scope="module")
def draw(invent):
    return sys.modules[invent.invent.__module__].draw


@pytest.fixture
def towns(invent, tmp_path, monkeypatch):
    """A file of made-up towns in Cyrillic letters, and a folder of its own for what is trained."""
    monkeypatch.setattr(invent, "OUT", tmp_path / "models")
    path = tmp_path / "towns.txt"
    path.write_text("\n".join(TOWNS) + "\n", encoding="utf-8")
    return path


def known_names(invent):
    return invent.names.Names(TOWNS[:38], TOWNS[38:43], TOWNS[43:], "".join(sorted(set("".join(TOWNS)))))


def every_word(alphabet, longest):
    return ["".join(word) for n in range(longest + 1) for word in itertools.product(alphabet, repeat=n)]


@pytest.mark.parametrize(("end", "least", "most"), [("", 1, 4), ("ab", 1, 4), ("aba", 2, 4), ("b", 4, 4), ("aa", 3, 3)])
def test_possible_is_whether_a_name_can_still_obey(invent, end, least, most):
    """Against every word there is: else a mask would lead into a dead end, or forbid what could still be right."""
    words = every_word("ab", 5)
    wish = invent.Wish("", end, least, most)
    good = {word for word in words if wish.granted(word)}
    for name in words:
        assert wish.possible(name) == any(word.startswith(name) for word in good), name
    overlapping = invent.Wish("an", "na", 3, 3)
    assert overlapping.possible("an") and not invent.Wish("an", "na", 2, 2).possible("an")


@pytest.mark.parametrize("name", ["bigram", "trigram", "bigram_gradient", "mlp", "rnn", "gru", "lstm", "cnn"])
def test_every_masked_name_obeys(invent, draw, name):
    """All models of the table, fresh, so that they have no taste at all; tight wishes among the wide ones."""
    known = known_names(invent)
    model = invent.models.build(name, known.vocab_size)
    for start, end, least, most in (("Ко", "во", 4, 7), ("", "ск", 2, 3), ("Бар", "ра", 4, 4), ("М", "", 1, 1)):
        wish = invent.Wish(start, end, least, most)
        for word in draw(model, known, wish, 40, torch.Generator(), masked=True):
            assert wish.granted(word), (word, wish)


def test_free_draws_that_obey_have_the_models_own_probabilities(invent, draw):
    """Rejection is exact: each name's share among the obedient is p(name) over the sum of p of all that obey."""
    known = invent.names.Names(["ab", "ba", "aab", "b"], ["ab"], ["ab"], "ab")
    model = invent.models.build("bigram", known.vocab_size)
    model.count(model.data(known, known.train))
    wish = invent.Wish("", "b", 1, 3)
    p = {}
    for word in filter(wish.granted, every_word("ab", 3)):
        rows = invent.letter_table(model, known, word)
        p[word] = math.prod(rows[i, c].item() for i, c in enumerate([*known.encode(word), 0]))
    drawn = Counter(filter(wish.granted, draw(model, known, wish, 20_000, torch.Generator().manual_seed(0))))
    for word, probability in p.items():
        assert drawn[word] / drawn.total() == pytest.approx(probability / sum(p.values()), abs=0.012), word


def test_a_rare_wish_falls_back_to_the_mask_and_says_so(invent, towns, capsys):
    """A beginning and an ending that never meet in the file: each name is marked, and each one obeys."""
    found = invent.main(
        ["--names", str(towns), "--model", "bigram", "--start", "Оск", "--end", "Ор", "--length", "6", "--count", "3"]
    )
    out = capsys.readouterr().out
    assert len(found) == 3 and all(n.startswith("Оск") and n.endswith("Ор") and len(n) == 6 for n in found)
    assert out.count("  * ") == sum(found.values()) > 0 and "were drawn with a mask" in out


def test_the_model_is_trained_once_for_each_content_of_a_file(invent, towns, capsys):
    """The second call starts at once; other names in the same file are another model."""
    command = ["--names", str(towns), "--model", "trigram", "--count", "2"]
    invent.main(command)
    assert "learns from" in capsys.readouterr().out
    invent.main(command)
    assert "learns from" not in capsys.readouterr().out
    towns.write_text("\n".join(TOWNS + ["Новое"]), encoding="utf-8")
    invent.main(command)
    assert "learns from" in capsys.readouterr().out and len(list(invent.OUT.iterdir())) == 2


@pytest.mark.parametrize("name", ["mlp", "gru"])
def test_training_keeps_the_weights_that_were_best_on_held_out_names(invent, monkeypatch, name):
    """A small file is learnt by heart within seconds; what is kept must be from before that."""
    known = known_names(invent)
    monkeypatch.setattr(invent, "FEW", 0)
    recipe = replace(invent.RECIPES[name], steps=60, batch_size=32)
    monkeypatch.setitem(invent.RECIPES, name, recipe)
    seen, judge = [], invent.evaluate

    def evaluate(model, data):
        seen.append(judge(model, data))
        return seen[-1]

    monkeypatch.setattr(invent, "evaluate", evaluate)
    model = invent.train(name, known, name)
    assert judge(model, model.data(known, known.val)) == pytest.approx(min(seen), rel=1e-6)
    assert min(seen) < math.log(known.vocab_size) - 0.5
    assert len(seen) >= 3 and (len(seen) >= 15 or min(seen) not in seen[-invent.PATIENCE + 1 :])


def test_few_names_are_neither_noise_nor_learnt_by_heart(invent, monkeypatch):
    """Of a short list too few names are held out to judge by, so training ends at a fixed loss, and goes on to it."""
    known, losses, fit = known_names(invent), [], invent.fit
    monkeypatch.setattr(invent, "fit", lambda *args: ((losses.append(loss), (s, loss))[1] for s, loss in fit(*args)))
    invent.train("mlp", known, "mlp")
    assert losses[-1] < invent.ENOUGH <= min(losses[:-1])


def test_what_is_said_about_a_name_is_true(invent):
    """Shown in training, held out, or new with the nearest real name."""
    known = invent.names.Names(["maria", "mario"], ["anna"], ["ines"])
    nearest = invent.Nearest(["maria", "mario", "anna", "ines"])
    assert invent.verdict("mario", known, nearest) == "real, and in the training names"
    assert invent.verdict("ines", known, nearest) == "real, but training never showed it"
    assert invent.verdict("hanna", known, nearest) == "new; the nearest real name is anna, 1 letter away"


def test_nearest_counts_changes_as_the_definition_does(invent):
    """Against the recursion that defines the distance, on random words; the first of equally near ones is named."""

    @functools.cache
    def far(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(far(a[1:], b) + 1, far(a, b[1:]) + 1, far(a[1:], b[1:]) + (a[0] != b[0]))

    rng = random.Random(0)
    words = ["".join(rng.choices("abc", k=rng.randint(1, 6))) for _ in range(60)]
    nearest = invent.Nearest(words)
    for name in ("abcab", "c", "aaaaaaaaa"):
        distances = nearest.distances(name).tolist()
        assert distances == [far(name, word) for word in nearest.words]
        assert nearest(name) == (nearest.words[distances.index(min(distances))], min(distances))


@pytest.mark.parametrize("name", ["trigram", "gru"])
def test_the_picture_shows_the_probabilities_that_the_loss_is_made_of(invent, name, tmp_path):
    """Mean of -log over the framed cells is the model's loss on the name; the PNG is written."""
    known = known_names(invent)
    model = invent.models.build(name, known.vocab_size).eval()
    word = "Баранск"
    p = invent.letter_table(model, known, word)
    came = [*known.encode(word), 0]
    loss = -sum(math.log(p[i, c].item()) for i, c in enumerate(came)) / len(came)
    assert loss == pytest.approx(model(*model.data(known, [word]))[1].item(), rel=1e-5)
    invent.draw_picture(model, known, word, name, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--start", "Я"], "'Я' holds 'Я', which no name of .* has; its letters are"),
        (["--length", "8-5"], "fits no name; give the smaller number first"),
        (["--length", "long"], "is no length; write 6, or 5-8"),
        (["--length", "99"], "give at most 12"),
        (["--start", "Бара", "--end", "ско", "--length", "4"], "no name of 4 to 4 letters begins with 'Бара' and ends"),
        (["--count", "0"], "give a number from 1 to 1000"),
        (["--temperature", "0"], "give one above 0"),
        (["--names", "nowhere.txt"], r"nowhere.txt does not exist; run: make data/names \(or give a file"),
    ],
)
def test_wrong_use_is_a_sentence(invent, towns, options, sentence):
    """Nothing is trained before the wishes are known to make sense."""
    with pytest.raises(invent.Mistake, match=sentence):
        invent.main(["--names", str(towns), "--model", "bigram", *options])
    assert not invent.OUT.exists()


def test_capitals_are_taken_as_the_file_has_them(invent, tmp_path):
    """--start Ma works on a file of small letters; on one with capitals the case stays."""
    small, large = (invent.names.Names([w], [w], [w], "".join(sorted(set(w)))) for w in ("maria", "Maria"))
    assert invent.spelled("Ma", small, "f") == "ma" and invent.spelled("Ma", large, "f") == "Ma"
