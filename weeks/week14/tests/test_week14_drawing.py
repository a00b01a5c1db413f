"""How a model is drawn from: what it says of that comes with it, stays, and holds where the user says nothing."""

import json
from types import SimpleNamespace

import pytest
from nanogpt import checkpoint
from nanogpt.commands.sample import drawing
from nanogpt.formats import hf_folder
from nanogpt.formats.published import Published
from nanogpt.sources import SHIPPED, open_model
from nanogpt.vendor.shared.errors import Mistake
from week14_tiny import QUICK, publish, run, tiny_model

pytestmark = pytest.mark.day(100)
SAID = {"temperature": 0.3, "top_k": 5}


def edit(path, change):
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A published model that says how it is drawn from, the same imported, and a text."""
    folder = tmp_path_factory.mktemp("drawing")
    model, tokenizer = tiny_model()
    words = (None, "", "<|im_end|>", "")
    hf_folder.write(folder / "hf", Published(model.config, checkpoint.weights(model), tokenizer, *words, SAID))
    assert run("import", folder / "hf", "--out", folder / "own") == 0
    (folder / "cats.txt").write_text("The cat sat on the mat and looked at the moon.\n" * 120)
    return folder


def test_it_comes_with_a_published_model_and_stays(home):
    """Read, imported, opened as the base of an adapter, and kept by the course that this makes."""
    for place in ("hf", "own"):
        assert open_model(home / place).sample == SAID
    learned = ["learn", home / "cats.txt", "--model", home / "own", "--out", home / "taught", "--row-length", "32"]
    assert run(*learned, *QUICK, "--steps", "1", "--threads", "1") == 0
    assert open_model(home / "taught").sample == SAID


def test_transformers_reads_what_is_written(home):
    """The outside oracle: drawn, at this temperature, from so many tokens and with no other limit."""
    transformers = pytest.importorskip("transformers", reason="the outside oracle is not installed")
    theirs = transformers.GenerationConfig.from_pretrained(home / "hf")
    assert theirs.do_sample and {name: getattr(theirs, name) for name in SAID} == SAID
    assert theirs.top_p in (None, 1.0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"do_sample": False, "temperature": 0.3}, {}),  # transformers then takes the likeliest token
        ({"do_sample": None}, {}),
        ({"do_sample": True, "top_k": 0, "temperature": 0.6, "top_p": 1.0}, {"temperature": 0.6, "top_p": 1.0}),
    ],
)
def test_settings_that_do_not_draw_say_nothing(tmp_path, fields, said):
    edit(publish(tmp_path / "hf") / "generation_config.json", lambda f: f.update(fields))
    assert open_model(tmp_path / "hf").sample == said


def test_a_wrong_setting_is_told(tmp_path):
    edit(publish(tmp_path / "hf") / "generation_config.json", lambda f: f.update(do_sample=True, temperature="hot"))
    with pytest.raises(Mistake, match="generation_config.json: temperature is 'hot', which is of the wrong type"):
        open_model(tmp_path / "hf")


def test_a_folder_that_says_nothing_opens_and_one_that_says_nonsense_does_not(tmp_path):
    """Folders from before the field was there are as good as ever."""
    run("import", publish(tmp_path / "hf"), "--out", tmp_path / "own")
    index = tmp_path / "own" / "checkpoint.json"
    edit(index, lambda f: f.pop("sample"))
    assert open_model(tmp_path / "own").sample == {}
    for wrong, said in (({"heat": 1}, "sample has heat 1"), ({"top_p": "low"}, "sample has top_p 'low'")):
        edit(index, lambda f, wrong=wrong: f.update(sample=wrong))
        with pytest.raises(Mistake, match=said):
            open_model(tmp_path / "own")


def test_the_user_comes_first_then_the_model_then_the_command():
    """Option by option; the temperature 0 is one that was given."""
    loaded, otherwise = SimpleNamespace(sample=SAID), {"temperature": 0.8, "top_p": 0.9}
    none = dict.fromkeys(checkpoint.DRAWN)
    options = lambda **given: SimpleNamespace(**none | given)
    assert drawing(loaded, options(), otherwise) == {"temperature": 0.3, "top_k": 5, "top_p": 0.9}
    assert drawing(loaded, options(temperature=0.0, top_p=0.5), otherwise) == {
        "temperature": 0.0,
        "top_k": 5,
        "top_p": 0.5,
    }
    assert drawing(SimpleNamespace(sample={}), options(), otherwise) == otherwise


def test_sample_draws_as_the_model_says(home, capsys):
    """The same text as with its numbers typed, and another than with other numbers."""
    told = {}
    for name, more in {
        "none": [],
        "typed": ["--temperature", 0.3, "--top-k", 5],
        "other": ["--temperature", 5, "--top-k", 300],
    }.items():
        assert run("sample", "--model", home / "own", "--prompt", "the sky", "--max-tokens", 20, *more) == 0
        told[name] = capsys.readouterr().out
    assert told["none"] == told["typed"] != told["other"]


def test_the_shipped_model_says_it(capsys):
    """So that `make sample` needs no numbers."""
    assert checkpoint.read_index(SHIPPED / "story-5m")["sample"] == {"temperature": 0.5, "top_p": 0.9}
    assert run("info", "--model", "story") == 0
    assert "drawn from with temperature 0.5, top_p 0.9" in capsys.readouterr().out
