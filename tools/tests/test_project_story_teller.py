"""The story teller: each rule by a story that breaks it alone, the choice, the page, and the wishes that it refuses."""

import html
import importlib
import re
import sys
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

GOOD = """Once upon a time, there was a little girl named Mia. She had a friend named Tom. One day, Mia and Tom saw a \
red kite. Mia was happy. She ran to the tree to get it.
"Can I help you?" Tom asked. Mia said, "Yes, he is my friend!" The dog lost his bone. They pulled together.
Mia held the kite. She gave it to Tom. Mia and Tom played all day, and Mia went home with a smile."""
END = "Mia and Tom played all day, and Mia went home with a smile."
BREAKS = {  # rule: the same story, changed so that it breaks this rule and no other
    "ends": lambda text: text.removesuffix("."),
    "name": lambda text: text.replace("Mia held the kite.", "They held the kite.").replace(
        END, "They played all day, and the girl went home with a smile."
    ),
    "place": lambda text: text.replace("They pulled", "Lily, Sam, Lily, Ben, Lily, Anna and Lily pulled"),
    "pronouns": lambda text: text.replace("Mia was happy.", "Mia was happy with his day."),
    "repeats": lambda text: text.replace("They pulled together.", "She gave it to Tom."),
    "wishes": lambda text: text.replace("held the kite", "held the string"),
}


@pytest.fixture(scope="module")
def tell(repo_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / "projects")
        yield importlib.import_module("story_teller.tell")


@pytest.fixture(scope="module")
def rules(tell):
    return sys.modules[tell.ranked.__module__]


@pytest.fixture(scope="module")
def worth(tell):
    return importlib.import_module("story_teller.worth")


@pytest.fixture(scope="module")
def tiny(tell):
    """An opened model of random weights, whose context holds an opening and a few words."""
    from nanogpt.model import GPT, GPTConfig
    from nanogpt.sources import Loaded
    from nanogpt.vendor.bpe.fast import Tokenizer

    tokenizer = Tokenizer.train(GOOD * 4, 400, special_tokens=("<|endoftext|>",))
    torch.manual_seed(0)
    shape = {"n_layer": 1, "n_head": 2, "n_kv_head": 1, "n_embd": 16}
    return Loaded(GPT(GPTConfig(tokenizer.vocab_size, block_size=256, **shape)).eval(), tokenizer)


@pytest.fixture
def call(tell, tiny, monkeypatch):
    """call("--name", "Mia", ...): with the tiny model."""
    monkeypatch.setattr(tell, "open_model", lambda source, fold: tiny)
    return lambda *argv: tell.main([*argv, "--threads", "1"])


def cast_of(rules):
    return rules.Cast("Mia", "girl", "Tom", "a red kite")


# --- the rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [None, *BREAKS])
def test_a_story_breaks_the_rule_that_it_should_and_no_other(rules, rule):
    assert list(BREAKS) == list(rules.RULES), "every rule has a story that breaks it"
    text = BREAKS[rule](GOOD) if rule else GOOD
    assert rule is None or text != GOOD
    assert rules.broken(cast_of(rules), rules.Draft(text, True, 1.0)) == ([rule] if rule else [])


def test_a_draft_that_the_context_cut_or_that_is_short_has_no_end(rules):
    cast = cast_of(rules)
    assert rules.broken(cast, rules.Draft(GOOD, False, 1.0)) == ["ends"]
    assert not rules.ends(cast, rules.Draft(f"{cast.opening} {END}", True, 1.0))  # four sentences
    assert not rules.ends(cast, rules.Draft("", True, 1.0))


@pytest.mark.parametrize(
    ("sentence", "agrees"),
    [
        ("Mia was glad. Then he ran.", False),  # the child alone was spoken of before
        ("Mia was glad. Dad came. Then he ran.", True),
        ("Mia and Tom were glad. Then he ran.", True),
        ('Mia said, "He is here." She ran.', True),  # spoken: of somebody else
        ('Mia said, "I am here." Then he ran.', False),
        ("Mia met a boy named Zed. Then he ran.", True),
        ("The sun was hot. He ran.", False),
        ("Mia saw the kite. He flew.", True),  # the story is about it
        ("Mia thanked him.", False),
        ("Mia looked at the others. The rest was theirs.", True),  # no pronoun inside another word
    ],
)
def test_pronouns_are_judged_where_the_child_alone_is_spoken_of(rules, sentence, agrees):
    text = f"Once upon a time, there was a little girl. Mia was alone. {sentence}"
    assert rules.pronouns_agree(cast_of(rules), rules.Draft(text, True, 1.0)) is agrees


def test_a_boy_has_the_other_pronouns(rules):
    cast = rules.Cast("Ben", "boy")
    assert cast.opening == "Once upon a time, there was a little boy named Ben."
    assert not rules.pronouns_agree(cast, rules.Draft("Ben was glad. She ran.", True, 1.0))
    assert rules.pronouns_agree(cast, rules.Draft("Ben was glad. He ran.", True, 1.0))


def test_names_are_whole_words_and_strangers_are_names(rules):
    """Mia's is Mia, Miami is not; a name is known by its capital inside a sentence, or because the model likes it."""
    assert rules.count("Mia", "Mia's kite. Miami, Mia! mia") == 2
    text = 'One day, Zed ran. Zed met Mia. Lily sang. "Look, Mom!" said Mrs. Orr. Then I saw The Tree, on Sunday.'
    assert rules.strangers(rules.Cast("Mia", "girl"), text) == {"Zed": 2, "Lily": 1, "Orr": 1, "Tree": 1}
    assert rules.strangers(rules.Cast("Zed", "boy", "Lily", "the old Orr Tree"), text) == {"Mia": 1}


def test_mr_ends_no_sentence_and_a_quotation_mark_belongs_to_its_sentence(rules):
    assert rules.sentences('Mr. Fox ran. "Stop!" he said.\nWhy?') == ["Mr Fox ran.", '"Stop!"', "he said.", "Why?"]
    assert rules.sentences("") == []


def test_fewest_broken_rules_win_and_likelihood_decides_between_equals(rules):
    cast, draft = cast_of(rules), rules.Draft(GOOD, True, 1.5)
    bad = replace(draft, text=BREAKS["pronouns"](GOOD), nats=0.1)
    worse = replace(bad, ended=False, nats=0.05)
    likelier = replace(draft, nats=1.2)
    judged = rules.ranked(cast, [worse, bad, draft, likelier])
    assert judged == [(likelier, []), (draft, []), (bad, ["pronouns"]), (worse, ["ends", "pronouns"])]
    assert rules.dropped(judged) == {"pronouns": 1, "ends": 1}  # each draft counts once, at the first rule


# --- a name that the model does not know ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "friend_sex", "instead"),
    [
        (("Mia", "girl", "Tom"), "boy", {}),
        (("Aaliyah", "girl"), "", {"Aaliyah": "Lily"}),
        (("Emma", "girl"), "", {"Emma": "Lily"}),  # KNOWN, but rare in the stories
        (("Kofi", "boy", "Mia"), "girl", {"Kofi": "Tim"}),
        (("Aaliyah", "girl", "Yuki"), "girl", {"Aaliyah": "Lily", "Yuki": "Mia"}),
        (("Aaliyah", "girl", "Lily", "Mia the cat"), "girl", {"Aaliyah": "Sue"}),  # no wished name stands in
        (("Lily-Mia", "girl"), "", {"Lily-Mia": "Sue"}),
    ],
)
def test_an_unknown_name_gets_a_stand_in_that_nobody_wished_for(rules, wish, friend_sex, instead):
    assert rules.stand_ins(rules.Cast(*wish), friend_sex) == instead


def test_familiar_names_are_those_that_stand_a_thousand_times_in_the_stories(rules, repo_root):
    text = repo_root / "data/stories/train.txt"
    if not text.exists():
        pytest.skip("data/stories is not there; run: make data/stories")
    times = Counter(re.findall(r"[^\W\d_]+", text.read_text(encoding="utf-8")))
    often = {name for name in rules.KNOWN if times[name] >= 1000}
    assert often - {"Spot"} == rules.FAMILIAR, "Spot is a dog"
    assert {name for names in rules.STAND_INS.values() for name in names} < rules.FAMILIAR


def test_only_whole_words_are_exchanged_and_all_at_once(rules):
    text = 'Lily met Tim. "Lily\'s kite!" Lilypad, Timmy, lily.'
    told = rules.exchanged(text, {"Tim-Bo": "Lily", "Kofi": "Tim"})
    assert told == 'Tim-Bo met Kofi. "Tim-Bo\'s kite!" Lilypad, Timmy, lily.'


def test_the_model_tells_of_the_stand_in_and_the_reader_of_the_child(tell, tiny, rules, monkeypatch):
    cast = rules.Cast("Aaliyah", "girl")
    said, read = tiny.tokenizer.encode_ordinary(" Lily ran. It was Lily's kite."), []
    monkeypatch.setattr(tell, "generate_batch", lambda model, prompts, n, **_: read.extend(prompts) or [said])
    ((draft,),) = tell.write_drafts(tiny, [cast], 1, 0)
    assert tiny.tokenizer.decode(read[0][1:]) == rules.Cast("Lily", "girl").opening
    assert draft.text == f"{cast.opening} Aaliyah ran. It was Aaliyah's kite."


def test_the_output_says_who_stood_in(call, capsys):
    call("--name", "Aaliyah", "--girl", "--drafts", "1")
    line = "the model does not know Aaliyah well: it tells of Lily, and the name is put in its place"
    assert line in capsys.readouterr().out.splitlines()
    call("--name", "Mia", "--girl", "--drafts", "1")
    assert "does not know" not in capsys.readouterr().out


# --- the model --------------------------------------------------------------------------------------------------------


def test_nats_a_token_are_those_of_the_model_alone(tell, tiny, monkeypatch):
    """Batched and padded, against one row at a time through the model's own loss: 1e-5, for sums in another order."""
    rows, begins = [[1, 5, 9, 200, 7], [3, 4], [8, 8, 8, 8, 8, 8, 8]], [2, 1, 6]
    monkeypatch.setattr(tell, "READ", 2)
    found = tell.surprise(tiny.model, rows, begins)
    for row, begin, nats in zip(rows, begins, found, strict=True):
        x, y = torch.tensor([row[:-1]]), torch.tensor([row[1:]])
        y[:, : begin - 1] = -100
        with torch.no_grad():
            assert nats == pytest.approx(tiny.model(x, y)[1].item(), abs=1e-5)


def test_drafts_begin_with_the_opening_and_know_whether_they_ended(tell, tiny, rules, monkeypatch):
    """Three rows by hand: one that ends, one that ends at once, one that the length cuts."""
    cast = rules.Cast("Mia", "girl")
    word = tiny.tokenizer.encode_ordinary(" Mia ran.")
    said = [word, [], word[:1] * 20]
    monkeypatch.setattr(tell, "generate_batch", lambda model, prompts, n, **_: said)
    ((one, none, cut),) = tell.write_drafts(tiny, [cast], 3, 0, length=20)
    assert (one.text, one.ended) == (f"{cast.opening} Mia ran.", True)
    assert (none.text, none.ended) == (cast.opening, True)
    assert cut.text.startswith(cast.opening) and not cut.ended
    assert all(0 < draft.nats < 20 for draft in (one, none, cut))


def test_the_same_seed_tells_the_same_story(call, capsys):
    first = call("--name", "mia", "--drafts", "3")
    said = capsys.readouterr().out
    assert re.search(r"the model takes Mia for a (girl|boy); if that is wrong, add --(girl|boy)", said)
    assert "3 drafts: 0 pass every rule, 3 do not" in said and "story 1 is the best that there was" in said
    assert first[0][0].text in said and " named Mia." in first[0][0].text
    assert call("--name", "Mia", "--drafts", "3") == first != call("--name", "Mia", "--drafts", "3", "--seed", "1")


def test_girl_or_boy_is_the_likelier_word_before_the_name(tell, tiny, monkeypatch):
    for nats, sex in (((1.0, 2.0), "girl"), ((2.0, 1.0), "boy")):
        monkeypatch.setattr(tell, "surprise", lambda model, rows, begins, nats=nats: nats)
        assert tell.guessed_sex(tiny, "Mia") == sex


def test_a_name_of_many_tokens_stands_whole_in_the_story(call):
    """The tiny vocabulary knows no such name: it is spelled, and its letters are the ones that were given."""
    for name in ("Maximiliane", "José", "Anne-Marie", "O'Neil", "Nguyễn"):
        ((draft, _),) = call("--name", name, "--girl", "--drafts", "1")
        assert draft.text.startswith(f"Once upon a time, there was a little girl named {name}.")


def test_an_opening_that_leaves_no_room_is_refused(tell, tiny):
    with pytest.raises(tell.Mistake, match=r"takes \d+ of the 256 tokens .* give shorter names or a shorter --about"):
        tell.prompt(tiny, SimpleNamespace(opening="Xyqu " * 40))


# --- wishes and the page ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--name", ""], "--name '' holds no name; give a first name, such as --name Mia"),
        (["--name", "  "], "--name '  ' holds no name"),
        (["--name", "R2D2"], "--name 'R2D2' holds '2', and the model has read only English; write it in Latin letters"),
        (["--name", "x" * 60], "has 60 characters, more than the model can keep in mind; give a short form of 24"),
        (["--name", "Мия"], "--name 'Мия' holds 'М', .* write it in Latin letters, without digits"),
        (["--name", "美亚"], "write it in Latin letters"),
        (["--name", "Mia<b>"], "holds '<'"),
        (["--name", "Mia."], "holds '.'"),
        (["--name", "Mia-"], "'Mia-' does not begin and end with a letter"),
        (["--name", "Mia", "--friend", "7"], "--friend '7' holds '7'"),
        (["--name", "Mia", "--friend", "mia"], "--name and --friend are both 'Mia', .* give another friend"),
        (["--name", "Mia", "--about", " . "], "--about ' . ' holds no word; give a thing or an animal"),
        (["--name", "Mia", "--about", "a " * 40], r"has 79 characters, too many .* give 60 at most"),
        (["--name", "Mia", "--about", "3 kites"], "--about '3 kites' holds '3'"),
        (["--name", "Mia", "--n", "5", "--drafts", "4"], "4 drafts for --n 5 stories is no choice; give --drafts"),
        (["--name", "Mia", "--drafts", "257"], "257 drafts .* to 256"),
    ],
)
def test_what_cannot_be_used_is_told_before_a_model_is_opened(tell, monkeypatch, argv, sentence):
    monkeypatch.setattr(tell, "open_model", lambda *_, **__: pytest.fail("the model was opened"))
    with pytest.raises(tell.Mistake, match=sentence):
        tell.main(argv)


def test_the_page_is_one_escaped_file_and_none_is_overwritten(tell, rules, tiny, monkeypatch, tmp_path, capsys):
    """A sheet a story, a paragraph a line; what the model wrote is text and never markup."""
    drafts = [rules.Draft(GOOD, True, 1.0), rules.Draft(f"{GOOD} <script>x</script> & so", True, 2.0)]
    monkeypatch.setattr(tell, "open_model", lambda *_, **__: tiny)
    monkeypatch.setattr(tell, "write_drafts", lambda *_: [drafts])
    out = tmp_path / "new" / "stories.html"
    wish = ["--name", "Mia", "--girl", "--friend", "Tom", "--about", "a red kite.", "--threads", "1"]
    tell.main([*wish, "--n", "2", "--drafts", "2", "--out", str(out)])
    page = out.read_text(encoding="utf-8")
    assert page.count("<h1>A story for Mia</h1>") == 2 and page.count("<p>") == 6
    assert "&lt;script&gt;x&lt;/script&gt; &amp; so" in page and "<script" not in page
    assert "http" not in page and "src=" not in page and "@media print" in page
    assert " ".join(GOOD.split()) in " ".join(html.unescape(re.sub("<[^>]+>", " ", page)).split())
    tell.main([*wish, "--n", "1", "--drafts", "2", "--out", str(out)])
    assert out.read_text(encoding="utf-8") == page and (tmp_path / "new" / "stories-2.html").exists()
    assert "stories-2.html" in capsys.readouterr().out


# --- what the choice is worth -----------------------------------------------------------------------------------------


def test_forty_different_names_half_of_girls_are_accepted(worth, rules):
    told = worth.casts(20)
    assert len({cast.name for cast in told}) == 40
    assert [sum(cast.sex == sex for cast in told) for sex in ("girl", "boy")] == [20, 20]
    for cast in told:
        assert rules.first_name(cast.name, "--name") == cast.name != cast.friend
        assert rules.subject(cast.about) == cast.about


def test_shares_before_and_after_are_counted_by_hand(worth, rules):
    """Two children with two drafts: one good and one without the name, and twice one with a wrong pronoun."""
    cast = cast_of(rules)
    good, nameless, wrong = (rules.Draft(text, True, nats) for text, nats in
                             ((GOOD, 2.0), (BREAKS["name"](GOOD), 1.0), (BREAKS["pronouns"](GOOD), 3.0)))  # fmt: skip
    found = worth.metrics([cast, cast], [[nameless, good], [wrong, wrong]])
    assert (found["names"], found["drafts_per_name"]) == (2, 2)
    assert (found["names_kept_before"], found["names_kept_after"]) == (0.75, 1.0)
    assert (found["before"]["pronouns"], found["after"]["pronouns"]) == (0.5, 0.5)
    assert (found["before"]["all"], found["after"]["all"]) == (0.25, 0.5)
    assert (found["nats_per_token_before"], found["nats_per_token_after"]) == (2.25, 2.5)


def test_smoke_writes_a_results_file(worth, tiny, tmp_path, monkeypatch, capsys):
    import json

    monkeypatch.setattr(worth, "open_model", lambda *_, **__: tiny)
    found = worth.main(["--preset", "smoke", "--out", str(tmp_path), "--threads", "1"])
    record = json.loads((tmp_path / "teller-smoke.json").read_text())
    assert record["metrics"] == found and record["preset"] == "smoke" and found["names"] == 4
    assert record["command"].startswith("python projects/story_teller/worth.py --preset smoke")
    assert "names kept to the end: " in capsys.readouterr().out


def test_the_model_that_ships_goes_on_with_a_story(tell, repo_root, rules):
    folder = repo_root / "checkpoints/shipped/story-5m"
    if not (folder / "checkpoint.json").exists():
        pytest.skip("checkpoints/shipped/story-5m is absent; run: git checkout -- checkpoints/shipped")
    loaded = tell.open_model(folder, fold=True)
    cast = rules.Cast("Mia", "girl", "Tom", "a red kite")
    ((draft, _),) = tell.write_drafts(loaded, [cast], 2, 0, length=8)
    assert draft.text.startswith(cast.opening) and len(draft.text) > len(cast.opening)
    assert draft.nats < 5.0, "far below a blind guess, ln 2048 = 7.6 nats a token"
    assert tell.guessed_sex(loaded, "Lily") == "girl" and tell.guessed_sex(loaded, "Tim") == "boy"
