"""The model that ships, and what is shown with it: trained, shipped, judged and made to forget, all in small."""

import json

import pytest
import torch
from nanogpt import checkpoint
from nanogpt.sources import NAMES, SHIPPED, open_model
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.vendor.shared.text import END
from nanogpt.workspace.store import open_course
from week14_tiny import run

pytestmark = pytest.mark.day(100)
ANIMALS = ("cat", "dog", "hen", "fox", "owl", "pig")
OTHER = {
    "shakespeare": "ROMEO: O, speak again, bright angel!\n",
    "code": "def f(x):\n    return x\n",
    "recipes": "- 2 cups of flour\n- 1 egg\n",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    stories = [f"A {one} met a {two}. They sang." for one in ANIMALS for two in ANIMALS]
    texts = {"stories": f"\n{END}\n".join(stories * 20), **{name: text * 80 for name, text in OTHER.items()}}
    for name, text in texts.items():
        (folder / name).mkdir()
        for part in ("train", "val", "test"):
            (folder / name / f"{part}.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def job(data, tmp_path_factory, load_script):
    """(the script, its options, the folder, the metrics) of the smoke preset, judged by the model itself."""
    out, script = tmp_path_factory.mktemp("job"), load_script("week14", "story")
    folder = out / "work" / "shipped"
    argv = ["--preset", "smoke", "--data", str(data), "--out", str(out), "--work", str(out / "work"), "--threads", "1"]
    return script, argv, folder, script.main([*argv, "--judge", str(folder)])


def test_what_ships_is_small_and_knows_no_text_of_people(job, data):
    """bfloat16 on disk, float32 in memory; rows and exam are its own stories; nothing of the training goes along."""
    _, _, folder, metrics = job
    index = checkpoint.read_index(folder)
    assert set(index["files"]) == {"model", "tokenizer", "state", "exams"}
    assert {t.dtype for t in checkpoint.load_part(folder, "model").values()} == {torch.bfloat16}
    course = open_course(folder)
    assert {p.dtype for p in course.model.parameters()} == {torch.float32}
    assert course.learned == ["stories"] and set(course.method.memory.counts()) == {"stories"}
    held_out = (data / "stories" / "val.txt").read_text()
    assert course.exams["stories"] != held_out[: len(course.exams["stories"])]
    assert metrics["bytes"] < 2.5 * metrics["n_params"] + 200_000


def test_it_is_judged_beside_people(job, data):
    script, _, folder, metrics = job
    assert metrics["story_val_bpb"] < 4, "it learned: untrained it is near 8"
    assert metrics["story_judge_ppl_ratio"] == pytest.approx(metrics["story_judge_ppl"] / metrics["story_human_ppl"])
    assert metrics["story_longest_copy_chars"] > 0 and metrics["story_coherent_of_20"] is None
    loaded, text = open_model(folder), "A cat met a dog. They sang."
    one = script.perplexity(loaded, [text])
    assert script.perplexity(loaded, [text, text]) == pytest.approx(one), "a mean over tokens, not a sum"


def test_a_stopped_training_goes_on_and_a_finished_one_is_kept(job):
    """The second run trains nothing: it ships and judges the same model again, and the page keeps its marks."""
    script, argv, folder, metrics = job
    before = checkpoint.read_index(folder)["files"]["model"]["sha256"]
    page = folder / "SAMPLES.md"
    page.write_text(page.read_text().replace("## 1 · not read yet", "## 1 · breaks: the dog has no name"))
    again = script.main([*argv, "--judge", str(folder)])
    assert "losses" in metrics and "losses" not in again
    assert checkpoint.read_index(folder)["files"]["model"]["sha256"] == before
    assert "## 1 · breaks: the dog has no name" in page.read_text()


def test_marks_belong_to_stories(job, tmp_path):
    """A mark stays with its story, whatever its number; a new story has none."""
    script, page = job[0], tmp_path / "SAMPLES.md"
    assert script.write_samples(page, ["One.\nTwo.", "Three."]) == [None, None]
    page.write_text(page.read_text().replace("2 · not read yet", "2 · breaks: a riddle").replace("1 · not", "1 · not"))
    page.write_text(page.read_text().replace("1 · not read yet", "1 · holds"))
    assert script.write_samples(page, ["Three.", "One.\nTwo.", "Four."]) == [False, True, None]
    assert "## 1 · breaks: a riddle" in page.read_text()


def test_without_the_stories_it_says_how_to_get_them(job, tmp_path):
    script, argv, *_ = job
    with pytest.raises(Mistake, match="make data/stories"):
        script.main([*argv, "--data", str(tmp_path)])


def test_forgetting_can_be_read(job, data, load_script, tmp_path):
    """All arms from one start, with the same prompt."""
    folder, script = job[2], load_script("week14", "forgetting")
    argv = ["--preset", "smoke", "--model", str(folder), "--data", str(data), "--work", str(tmp_path / "work")]
    argv += ["--out", str(tmp_path), "--threads", "1"]
    metrics = script.main(argv)
    assert list(metrics["told"]) == ["before", "naive", "replay", "experts"]
    assert all(text.startswith(script.PROMPT) for text in metrics["told"].values())
    assert metrics["matrix_naive"][0] == metrics["matrix_replay"][0]
    assert metrics["domains"] == ["stories", *OTHER] and [len(row) for row in metrics["matrix_naive"]] == [4] * 4
    assert set(metrics["kept"]) == {"stories", *OTHER}
    assert json.loads((tmp_path / "forgetting-smoke.json").read_text())["metrics"] == metrics
    paths = load_script("week14", "figures").main(
        ["--preset", "smoke", "--results", str(tmp_path), "--out", str(tmp_path / "figures")]
    )
    assert "stories.png" in [path.name for path in paths]


def test_the_shipped_model_answers_to_its_name(tmp_path, monkeypatch, capsys):
    """From any folder, and a story ends by itself."""
    monkeypatch.chdir(tmp_path)
    assert (SHIPPED / NAMES["story"][0] / "checkpoint.json").is_file()
    assert run("sample", "--model", "story", "--prompt", "Tom had a", "--max-tokens", 8, "--threads", 1) == 0
    assert capsys.readouterr().out.startswith("Tom had a ")


def test_it_goes_on_learning_and_rehearses_its_own_stories(tmp_path, capsys):
    """A course with a name is a course: its memory comes along, its exam is asked again, and itself stays as it is."""
    text = tmp_path / "ship.txt"
    text.write_text("Arr, me hearties, the ship be old and the sea be cold.\n" * 120)
    before = (SHIPPED / NAMES["story"][0] / "checkpoint.json").read_bytes()
    argv = ["learn", text, "--model", "story", "--out", tmp_path / "m", "--steps", 1, "--batch-size", 1, "--threads", 1]
    assert run(*argv) == 0
    course = open_course(tmp_path / "m")
    assert course.learned == ["stories", "ship"] and set(course.method.memory.counts()) == {"stories", "ship"}
    assert course.scores[1][0] is not None and len(course.scores[1]) == 2
    assert (SHIPPED / NAMES["story"][0] / "checkpoint.json").read_bytes() == before
