"""The model that ships, and what is shown with it: trained, shipped, judged and made to forget, all in small."""

import json
import shutil
import signal
from argparse import Namespace

import pytest
import torch
from nanogpt import checkpoint, train
from nanogpt.sources import NAMES, SHIPPED, open_model
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.vendor.shared.text import END
from nanogpt.workspace.store import open_course
from week14_tiny import run, tiny_model

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
    rest = "They sang and they danced until the sun went down. Then each went home, and slept until the next day. " * 2
    stories = [f"A {one} met a {two}. {rest}" for one in ANIMALS for two in ANIMALS]  # longer than the context
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


@pytest.fixture
def quick(job, monkeypatch):
    """The script, without the process of its own that a sample is timed in."""
    monkeypatch.setattr(job[0], "seconds_of_a_sample", lambda folder: 1.0)
    return job[0]


def with_work(argv, work):
    """The options of another run, judged by the model that it makes."""
    return [*argv, "--work", str(work), "--out", str(work.parent), "--judge", str(work / "shipped")]


def steps_taken(monkeypatch, stop_at=None):
    """A list that grows with each step; Ctrl-C is pressed in the one of that number."""
    real, calls = train.step, []

    def step(*args, **options):
        calls.append(1)
        if len(calls) == stop_at:
            signal.raise_signal(signal.SIGINT)
        return real(*args, **options)

    monkeypatch.setattr(train, "step", step)
    return calls


def sha256(folder):
    return checkpoint.read_index(folder)["files"]["model"]["sha256"]


def test_a_stopped_training_goes_on_to_the_same_model(job, quick, monkeypatch, tmp_path, capsys):
    _, argv, folder, metrics = job
    argv, calls = with_work(argv, tmp_path / "w"), steps_taken(monkeypatch, stop_at=30)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 30 of 100; step 30 of 100 is saved in"):
        quick.main(argv)
    assert not (tmp_path / "w" / "shipped").exists()
    again = quick.main(argv)
    assert len(calls) == 100 and "going on with the run that was stopped" in capsys.readouterr().out
    assert sha256(tmp_path / "w" / "shipped") == sha256(folder) and again["losses"] == metrics["losses"]


def test_a_finished_training_is_kept(job, quick, monkeypatch):
    """The second run trains nothing: it ships and judges the same model again, and the page keeps its marks. The
    results hold what the training was like, and the seconds of both runs."""
    script, argv, folder, metrics = job
    before, calls, page = sha256(folder), steps_taken(monkeypatch), folder / "SAMPLES.md"
    page.write_text(page.read_text().replace("## 1 · not read yet", "## 1 · breaks: the dog has no name"))
    seconds = json.loads((folder.parents[1] / "story-smoke.json").read_text())["seconds"]
    again = script.main([*argv, "--judge", str(folder)])
    assert not calls and sha256(folder) == before and not (folder / "previous.json").exists()
    assert (again["losses"], again["train_tokens"]) == (metrics["losses"], metrics["train_tokens"])
    assert json.loads((folder.parents[1] / "story-smoke.json").read_text())["seconds"] > seconds
    assert "## 1 · breaks: the dog has no name" in page.read_text()


def test_another_seed_is_another_training(job, quick, monkeypatch, tmp_path, capsys):
    """Seed 0's model is not shipped as seed 5's, and stays."""
    _, argv, folder, _ = job
    shutil.copytree(folder.parent, tmp_path / "w")
    steps_taken(monkeypatch, stop_at=1)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 1 of 100"):
        quick.main([*with_work(argv, tmp_path / "w"), "--seed", "5"])
    assert "has other settings; it was moved, and lies in" in capsys.readouterr().out
    assert sha256(tmp_path / "w" / "training-kept-1") == sha256(folder.parent / "training")
    assert sha256(tmp_path / "w" / "shipped-kept-1") == sha256(folder)
    assert sha256(tmp_path / "w" / "training") != sha256(folder.parent / "training")


def taught(folder):
    """As `nanogpt learn` leaves it."""
    index = checkpoint.read_index(folder)
    index["record"]["learned"] = ["stories", "mine"]
    (folder / "checkpoint.json").write_text(json.dumps(index))


def test_nothing_else_makes_room_for_the_model(job, monkeypatch, tmp_path):
    """Before any training: a folder of somebody's files, a model that somebody taught, and the training's own."""
    script, argv, folder, _ = job
    calls = steps_taken(monkeypatch)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.tex").write_text("years")
    shutil.copytree(folder, tmp_path / "course")
    taught(tmp_path / "course")
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*")}
    for name, why in {
        "thesis": "thesis is something else than a model of ours; give an empty or a new folder to --model",
        "thesis/text.tex": "text.tex is something else than a model of ours",
        "course": "course holds a model that this script has not shipped; give another folder to --model",
        "w/training": "w/training is the folder of the training; give another one",
    }.items():
        with pytest.raises(Mistake, match=why):
            script.main([*with_work(argv, tmp_path / "w"), "--model", str(tmp_path / name)])
    assert {path: path.read_bytes() for path in tmp_path.glob("*/*")} == before and not calls


def test_a_model_that_shipped_before_goes_after_the_new_one_is_saved(job, monkeypatch, tmp_path):
    """And nothing goes that was not its own."""
    script, _, folder, _ = job
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    before, course = sha256(tmp_path / "m"), open_course(tmp_path / "m")
    with torch.no_grad():
        course.model.embed.weight.add_(1)
    with monkeypatch.context() as broken:
        broken.setattr("nanogpt.checkpoint.tensors_to_bytes", lambda tensors: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            script.replace(tmp_path / "m", course)
    assert sha256(tmp_path / "m") == before and open_model(tmp_path / "m")
    script.replace(tmp_path / "m", course)
    assert sha256(tmp_path / "m") != before and (tmp_path / "m" / "notes.txt").read_text() == "mine"
    listed = {file["name"] for file in checkpoint.read_index(tmp_path / "m")["files"].values()}
    files = {path.name for path in (tmp_path / "m").glob("*.*") if path.suffix != ".vocab" and path.name[0] != "."}
    assert files == listed | {"checkpoint.json", "notes.txt", "SAMPLES.md"}
    assert {path.name for path in (tmp_path / "m").glob("*.vocab")} == {path.name for path in folder.glob("*.vocab")}


def test_a_judge_of_short_context_is_refused_before_the_training(job, tmp_path):
    script, argv, *_ = job
    checkpoint.save(tmp_path / "short", *tiny_model(block_size=16), {})
    with pytest.raises(
        Mistake, match="short reads 16 tokens at once and a story may have 64; give a judge with a long"
    ):
        script.main([*with_work(argv, tmp_path / "w"), "--judge", str(tmp_path / "short")])
    assert not (tmp_path / "w").exists()
    script.perplexity(open_model(tmp_path / "short"), ["A vocabulary may need more tokens than that. " * 3])


def test_where_no_story_ends_it_says_so(job, data, monkeypatch, tmp_path):
    """In smoke stories may be cut, for a hundred steps teach nobody where to end."""
    script, argv, folder, _ = job
    setting, texts = (
        {**script.SMOKE, "cut": False},
        {part: script.read(data, part, 20_000) for part in ("train", "val")},
    )
    texts["test"] = texts["val"]
    with pytest.raises(Mistake, match="no story of people ends within the 64 tokens that .* reads at once"):
        script.judged(setting, folder, texts, str(folder), tmp_path / "SAMPLES.md")
    monkeypatch.setattr(script, "stories", lambda *_, **__: ["A cat."])
    with pytest.raises(Mistake, match="only 1 of 160 stories that the model wrote can be kept, and 32 of them are its"):
        script.ship(open_course(folder), setting, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_run_of_a_user_leaves_the_shipped_page_alone(job, quick, monkeypatch, tmp_path):
    """Its own page has the marks of the committed one, and keeps those that the user gives there."""
    _, argv, folder, _ = job
    shutil.copytree(folder, tmp_path / "m")
    monkeypatch.setattr(quick, "SHIPPED", tmp_path / "m")
    monkeypatch.setitem(quick.PRESETS, "default", quick.SMOKE)
    (tmp_path / "m" / "SAMPLES.md").unlink()
    argv = ["--data", argv[3], "--out", str(tmp_path / "out"), "--judge", str(folder), "--threads", "1"]
    before = {path: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    quick.main(argv)
    assert {path: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    page = tmp_path / "out" / "SAMPLES.md"
    (tmp_path / "m" / "SAMPLES.md").write_text(page.read_text().replace("not read yet", "holds"))
    page.write_text(page.read_text().replace("1 · not read yet", "1 · breaks: a riddle"))
    assert quick.main(argv)["story_coherent_of_20"] == 2, "of 3"
    with pytest.raises(SystemExit):
        quick.main([*argv, "--work", str(tmp_path / "w")])


def test_where_the_page_goes(job, tmp_path):
    """Beside the model only where that was asked for."""
    script, own = job[0], job[0].ROOT / "runs" / "week14" / "results"
    page = lambda preset, out=None, model=None: script.page_of(Namespace(**locals()), model or script.SHIPPED).parent
    assert (page("default"), page("default", tmp_path)) == (own, tmp_path)
    assert page("full") == page("default", script.HERE / "results") == script.SHIPPED
    assert page("default", None, tmp_path / "m") == page("smoke", tmp_path, tmp_path / "m") == tmp_path / "m"


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


def test_a_course_that_was_stopped_is_no_beginning(job, data, load_script, tmp_path):
    shutil.copytree(job[2], tmp_path / "m")
    index = checkpoint.read_index(tmp_path / "m")
    index["record"]["progress"] = {"task": "pirates", "step": 3}
    (tmp_path / "m" / "checkpoint.json").write_text(json.dumps(index))
    argv = ["--preset", "smoke", "--model", str(tmp_path / "m"), "--data", str(data), "--work", str(tmp_path / "w")]
    with pytest.raises(Mistake, match="m was stopped while it learned pirates; finish that with .* or give another"):
        load_script("week14", "forgetting").main(argv)
    assert not (tmp_path / "w").exists()


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
