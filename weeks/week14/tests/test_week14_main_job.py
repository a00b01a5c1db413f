"""The main job in small, from text to results and figures, stopped and continued."""

import json
import math

import pytest

pytestmark = pytest.mark.day(100)

TEXTS = {
    "shakespeare": "ROMEO:\nBut soft, what light through yonder window breaks?\n\n",
    "bible": "And the Lord said to the man, Where are you?\n",
    "recipes": "Ingredients:\n- 2 cups of flour\n- 1 egg, beaten\n",
    "code": "def add(a, b):\n    return a + b  # the sum\n\n",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, text in TEXTS.items():
        (folder / name).mkdir()
        (folder / name / "train.txt").write_text("\n<|endoftext|>\n".join([text * 20] * 8))
        (folder / name / "val.txt").write_text(text * 5)
    return folder


@pytest.fixture(scope="module")
def job(data, tmp_path_factory, load_script):
    """The smoke preset, run once for all tests here."""
    out = tmp_path_factory.mktemp("job")
    script = load_script("week14", "train")
    argv = [
        "--preset",
        "smoke",
        "--data",
        str(data),
        "--out",
        str(out / "results"),
        "--work",
        str(out / "work"),
        "--threads",
        "1",
    ]
    return script, argv, out, script.main(argv)


def test_metrics_hang_together(job):
    """The figures that the README carries, and that they hang together."""
    _, _, out, metrics = job
    record = json.loads((out / "results" / "smoke.json").read_text())
    assert record["metrics"] == json.loads(json.dumps(metrics)) and record["preset"] == "smoke"
    matrix = metrics["matrix_naive"]
    assert [len(row) for row in matrix] == [4, 4, 4, 4] and matrix[0] == metrics["matrix_replay"][0]
    rise = sum(matrix[3][i] - matrix[i][i] for i in range(3)) / 3
    assert metrics["naive_forgetting_bpb"] == pytest.approx(rise, abs=1e-12)
    assert metrics["pretrain_val_bpb"] == matrix[0][0] < 6  # it learned: untrained it is near 8
    assert metrics["main_job_seconds"] > 0 and metrics["tokens_per_second"] > 0


def test_naive_forgets_and_replay_forgets_less(job):
    """The pattern that the whole week is about must show even in the smallest run."""
    _, _, _, metrics = job
    assert metrics["naive_forgetting_bpb"] > 0.5
    assert metrics["replay_forgetting_bpb"] < 0.5 * metrics["naive_forgetting_bpb"]
    assert metrics["replay_learned_bpb"] < metrics["matrix_naive"][0][1]  # and still learns what is new


def test_experts_forget_little_and_learn_as_naively(job, data, load_script, tmp_path, capsys):
    """Other arms leave another results file. Of a text that was learned no more is lost than Bayes' rule costs, and the
    new texts are learned by the same steps as in naive training."""
    script, argv, _, naive = job
    own = ["--work", str(tmp_path / "w"), "--out", str(tmp_path / "out"), "--arms", "naive", "experts"]
    metrics = script.main([*argv, *own])
    record = json.loads((tmp_path / "out" / "smoke-naive-experts.json").read_text())
    assert record["metrics"]["matrix_naive"] == naive["matrix_naive"] and "kept_pct" not in metrics
    worst = math.log2(4) / script.presets()["smoke"]["shape"]["block_size"]  # bits a token, which is a byte or more
    for i in range(4):
        best = naive["matrix_naive"][i][i]
        assert all(row[i] <= best + worst + 1e-6 for row in metrics["matrix_experts"][i:])
    assert metrics["experts_forgetting_bpb"] < 0.1 * metrics["naive_forgetting_bpb"]
    assert "once experts (keeps the weights of each domain)" in capsys.readouterr().out
    with pytest.raises(Exception, match="--arms names naive twice; give two that differ"):
        script.main([*argv, "--arms", "naive", "naive"])


def test_models_are_left_for_sample_and_chat(job, capsys):
    """The job's checkpoint is one that the command reads."""
    from nanogpt import cli

    _, _, out, _ = job
    cli.main(["sample", "--model", str(out / "work" / "replay"), "--prompt", "ROMEO", "--max-tokens", "5"])
    assert capsys.readouterr().out.startswith("ROMEO")


def test_figures_are_drawn_from_results_alone(job, load_script, tmp_path):
    """Every figure comes from the results file, with no training."""
    _, _, out, _ = job
    paths = load_script("week14", "figures").main(
        ["--preset", "smoke", "--results", str(out / "results"), "--out", str(tmp_path)]
    )
    assert len(paths) >= 2 and all(p.stat().st_size > 5_000 for p in paths)


def test_stopped_job_goes_on_to_the_same_result(job, data, tmp_path, monkeypatch, capsys):
    """Ctrl-C in the middle of the second domain, then the same command: the same matrices, to the last bit."""
    import signal

    from nanogpt import train

    script, _, _, metrics = job
    argv = [
        "--preset",
        "smoke",
        "--data",
        str(data),
        "--out",
        str(tmp_path),
        "--work",
        str(tmp_path / "w"),
        "--threads",
        "1",
    ]
    real, calls = train.step, []

    def pressed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 75:  # 40 of Shakespeare, 30 of the Bible, 5 of the recipes
            signal.raise_signal(signal.SIGINT)
        return real(*args, **kwargs)

    monkeypatch.setattr(train, "step", pressed)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 5 of 30; step 5 of 30 is saved in"):
        script.main(argv)
    again = script.main(argv)
    assert len(calls) == 40 + 2 * 3 * 30  # nothing was done twice
    assert "going on with the run that was stopped" in capsys.readouterr().out
    assert (again["matrix_naive"], again["matrix_replay"]) == (metrics["matrix_naive"], metrics["matrix_replay"])
    assert again["losses"] == metrics["losses"]


def test_a_job_of_two_seeds_goes_on_with_the_second(data, load_script, tmp_path, monkeypatch):
    """Ctrl-C in the second seed, then the same command: the first one, which is finished, is not done again. A second
    command at the same time is refused."""
    from nanogpt import train
    from nanogpt.vendor.shared.files import locked

    script = load_script("week14", "train")
    small = script.presets()["smoke"]
    small |= {"seeds": 2, "pretrain": {**small["pretrain"], "steps": 3}, "learn": {**small["learn"], "steps": 2}}
    monkeypatch.setattr(script, "presets", lambda: {"smoke": small})
    argv = ["--preset", "smoke", "--data", str(data), "--out", str(tmp_path), "--work", str(tmp_path / "w")]
    argv += ["--threads", "1"]
    real, calls, each = train.step, [], 3 + 2 * 3 * 2

    def stopped(*args, **kwargs):
        calls.append(1)
        if len(calls) == each + 5:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(train, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        script.main(argv)
    with locked(tmp_path / "w"), pytest.raises(Exception, match="another command is at work in"):
        script.main(argv)
    metrics = script.main(argv)
    assert len(metrics["main_job_seconds_each"]) == 2 and not list((tmp_path / "w").glob("*/*-kept-*"))
    assert len(calls) <= 2 * each + 2, "at most what came after the last saved step is done twice"


def test_missing_data_names_the_make_target(load_script, tmp_path):
    """Someone without the data is told how to get it."""
    script = load_script("week14", "train")
    with pytest.raises(Exception, match="make data/bible") as caught:
        script.main(
            ["--preset", "smoke", "--data", str(tmp_path), "--out", str(tmp_path), "--work", str(tmp_path / "w")]
        )
    assert type(caught.value).__name__ == "Mistake"
