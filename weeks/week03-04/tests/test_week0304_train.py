"""Day 28: the script from end to end, what it says about bad input, and what an interruption leaves behind."""

import json
import math
import shutil

import pytest
from makemore import measure, models
from makemore.names import label, load
from makemore.vendor.shared.errors import Mistake
from week0304_made_up import WORDS, made_up

pytestmark = pytest.mark.day(28)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A names file of one's own, called towns.txt."""
    path = tmp_path_factory.mktemp("data") / "towns.txt"
    path.write_text("\n".join(WORDS) + "\n" + "\n".join(WORDS[:40]))  # forty stand twice, as real names do
    return path


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("week03-04", "train")


@pytest.fixture(scope="module")
def smoke(script, tiny, tmp_path_factory):
    """One smoke run on the tiny file: its metrics, and the folder that it wrote to."""
    out = tmp_path_factory.mktemp("out")
    return script.main(["--preset", "smoke", "--data", str(tiny), "--out", str(out), "--threads", "1"]), out


def test_a_run_writes_all_that_the_pages_read(smoke, tiny):
    """The figures and the README read these names; what main returns is what the file holds."""
    metrics, out = smoke
    written = json.loads((out / f"{label(tiny)}-smoke.json").read_text())
    assert written["metrics"] == metrics and written["preset"] == "smoke" and "--preset smoke" in written["command"]
    for name in models.MODELS:
        for key in ("val", "train", "test", "params", "seen_share", "held_out_share", "new_share", "samples"):
            assert f"{name}_{key}" in metrics
        assert metrics[f"{name}_val"] < metrics["uniform_loss"] + 0.05
        assert (out / "models" / "smoke" / f"{label(tiny)}-{name}.safetensors").exists()
    for name in ("bigram_gradient", "mlp", "rnn", "gru", "lstm", "cnn"):
        assert [step for step, _, _ in metrics[f"{name}_curve"]] == [0, 10, 20]
        assert metrics[f"{name}_val_sd"] == 0.0 and metrics[f"{name}_seconds"] > 0  # one seed
    others = {"bigram_gradient_gap", "sweep", "suggested_rate", "bigram_counts", "mlp_embedding", "bigram_k"}
    assert others <= metrics.keys()
    known = load(tiny)
    in_train = sum(word in known.train for word in known.val) / len(known.val)
    assert metrics["val_in_train_share"] == pytest.approx(in_train) and in_train > 0
    assert metrics["uniform_loss"] == math.log(27) and metrics["seeds"] == 1


def test_the_same_seed_gives_the_same_numbers(smoke, script, tiny, tmp_path):
    """Bit for bit, seconds apart; one model alone gives what it gave in the family."""
    first, _ = smoke
    again = script.main(
        ["--preset", "smoke", "--data", str(tiny), "--out", str(tmp_path), "--model", "gru", "--threads", "1"]
    )
    assert (tmp_path / f"{label(tiny)}-gru-smoke.json").exists()
    assert {k for k in again if k.endswith("_val")} == {"bigram_val", "bigram_add_one_val", "gru_val"}
    assert all(first[key] == value for key, value in again.items() if "seconds" not in key)


def test_the_figures_are_drawn_from_the_file_alone(smoke, tiny, load_script, tmp_path):
    """Every figure of the pages from a smoke run's numbers; a file that is missing names the command that writes it."""
    _, out = smoke
    figures = load_script("week03-04", "figures")
    shutil.copy(out / f"{label(tiny)}-smoke.json", tmp_path / "smoke.json")
    figures.main(["--preset", "smoke", "--results", str(tmp_path), "--out", str(tmp_path)])
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == sorted(figures.DRAWINGS)
    with pytest.raises(Mistake, match="run: python weeks/week03-04/train.py --preset full"):
        figures.main(["--preset", "full", "--results", str(tmp_path)])


def test_samples_come_from_saved_weights(smoke, script, tiny, capsys):
    """--sample trains nothing: names from the weights of a run, sorted; the same seed draws the same."""
    _, out = smoke
    options = ["--preset", "smoke", "--data", str(tiny), "--out", str(out), "--sample", "9"]
    found = script.main([*options, "--model", "trigram"])[label(tiny)]
    assert sum(map(len, found.values())) == 9 and script.main([*options, "--model", "trigram"])[label(tiny)] == found
    text = capsys.readouterr().out
    assert f"trigram, trained on {label(tiny)}" in text and "seen in training (" in text and "new (" in text
    assert script.main(options)[label(tiny)] != found  # without --model: the MLP


def test_several_seeds_are_a_mean_and_its_spread(monkeypatch):
    """Mean, standard deviation and the worst of three seeds; weights and curve are of the first."""
    monkeypatch.setitem(measure.RECIPES, "mlp", measure.Recipe(3, 8))
    known, found = made_up(), []
    real = measure.losses_of
    monkeypatch.setattr(measure, "losses_of", lambda model, parts: found.append(real(model, parts)) or found[-1])
    _, metrics = measure.train_seeds("mlp", known, measure.Preset(seeds=3, points=1), 5, "")
    vals = [losses["val"] for losses in found]
    assert len(set(vals)) == 3 and metrics["mlp_val"] == pytest.approx(sum(vals) / 3)
    assert metrics["mlp_val_max"] == max(vals)
    assert metrics["mlp_val_sd"] == pytest.approx(math.sqrt(sum((v - sum(vals) / 3) ** 2 for v in vals) / 2))
    assert metrics["mlp_curve"][-1][2] == round(vals[0], 4)


@pytest.mark.parametrize(
    "content, options, sentence",
    [
        (None, [], "towns.txt does not exist; run: make data/names"),
        (b"", [], "towns.txt holds 0 names; give ten or more"),
        (b"\xff\xfe" * 20, [], "towns.txt is not UTF-8 (byte 0); save it as UTF-8 text"),
        ("ana\n" * 9 + "Ben\n", [], "line 10: 'Ben' holds 'B'"),
        ("ana\n" * 9 + "mañana\n", [], "or give the alphabet that the file needs (--alphabet; '' takes any)"),
        ("ana\n" * 9 + "a.b\n", ["--alphabet", ""], "line 10: 'a.b' holds '.'"),
        ("ana\n" * 12, ["--alphabet", "an."], "holds a letter twice, or '.', the border"),
        ("al\nbo\n" * 10, [], "a context of 3 letters does not fit names of at most 2; give a number from 1 to 2"),
        ("ana\n" * 12, ["--threads", "0"], "--threads 0 leaves nobody to compute; give 1 or more"),
        ("ana\n" * 12, ["--sample", "0"], "--sample 0 cannot be drawn at once; give a number from 1 to 10,000"),
        ("ana\n" * 12, ["--sample", "99999999999"], "cannot be drawn at once; give a number from 1 to 10,000"),
        ("ana\n" * 12, ["--sample", "5"], "-mlp.safetensors does not exist; run: python weeks/week03-04/train.py"),
    ],
)
def test_bad_input_is_a_sentence(script, tmp_path, capsys, content, options, sentence):
    """Status 1, one line that says what to do, no traceback, and no results file."""
    path = tmp_path / "towns.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    argv = ["--preset", "smoke", "--data", str(path), "--out", str(tmp_path / "out"), *options]
    assert script.entry(script.main, argv) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and sentence in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_weights_of_another_alphabet_are_refused(smoke, script, tiny, tmp_path, capsys):
    """Its letter 3 would be another letter here: the names would be nonsense, and nobody would be told."""
    _, out = smoke
    path = tmp_path / "towns.txt"
    path.write_text("åsa\nbo\nida\n" * 9)
    weights = out / "models" / "smoke"
    shutil.copy(weights / f"{label(tiny)}-mlp.safetensors", weights / f"{label(path)}-mlp.safetensors")
    argv = ["--preset", "smoke", "--data", str(path), "--out", str(out), "--sample", "3", "--alphabet", ""]
    assert script.entry(script.main, argv) == 1
    error = capsys.readouterr().err
    assert "knows the letters 'abcdefghijklmnopqrstuvwxyz', the file 'abdioså'; train on it" in error


def test_any_alphabet_can_be_learnt(script, tmp_path):
    """Greek names of one letter and more, with the letters that the file holds."""
    path = tmp_path / "greek.txt"
    path.write_text("άννα\nω\nζωή\nελένη\nσοφία\nα\n" * 6)
    argv = ["--preset", "smoke", "--data", str(path), "--out", str(tmp_path), "--alphabet", "", "--threads", "1"]
    metrics = script.main([*argv, "--model", "rnn"])
    assert metrics["alphabet"] == "".join(sorted(set("άνναωζωήελένησοφία"))) and metrics["rnn_val"] > 0


def test_two_files_of_one_name_stay_two(tmp_path):
    """a/towns.txt and b/towns.txt: the second run must not take the place of the first one's results and weights."""
    (tmp_path / "a").mkdir()
    labels = {label(tmp_path / folder / "towns.txt") for folder in ("a", "b", "a/../b", ".")}
    assert len(labels) == 3 and all(name.startswith("towns-") for name in labels)


def test_an_interruption_keeps_what_was_finished(script, tiny, tmp_path, monkeypatch, capsys):
    """Ctrl-C in the third model: weights and numbers of two are there, the results file is not touched, status 130."""
    real = measure.measure

    def stopped(*args):
        for i, found in enumerate(real(*args)):
            if i == 2:
                raise KeyboardInterrupt
            yield found

    argv = ["--preset", "smoke", "--data", str(tiny), "--out", str(tmp_path)]
    monkeypatch.setattr(script, "measure", stopped)
    assert script.entry(script.main, argv) == 130
    folder = tmp_path / "models" / "smoke"
    assert "interrupted: what was finished is kept" in capsys.readouterr().err
    assert sorted(p.stem for p in folder.glob("*.safetensors")) == [f"{label(tiny)}-bigram", f"{label(tiny)}-trigram"]
    assert "trigram_val" in json.loads((folder / f"{label(tiny)}-smoke-interrupted.json").read_text())["metrics"]
    assert not list(tmp_path.glob("*.json"))

    def at_once(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "measure", at_once)
    assert script.entry(script.main, argv) == 130
    assert "no model was finished, so nothing was written" in capsys.readouterr().err


def test_without_data_the_two_standard_files_are_looked_for(script, tmp_path, monkeypatch, tiny):
    """Makemore's file gives the names without an ending, ours those that end in _ssa; neither there: what to run."""
    lectures, ours = tmp_path / "a" / "names.txt", tmp_path / "b" / "names.txt"
    monkeypatch.setattr(script, "STANDARD", {"makemore": (lectures, ""), "ssa": (ours, "_ssa")})
    argv = ["--preset", "smoke", "--out", str(tmp_path), "--model", "trigram"]
    with pytest.raises(script.Mistake, match="names.txt does not exist; run: make data/names"):
        script.main(argv)
    for path, suffixes in ((ours, ["_ssa"]), (lectures, ["", "_ssa"])):
        path.parent.mkdir()
        shutil.copy(tiny, path)
        metrics = script.main(argv)
        assert [key for key in metrics if key.startswith("trigram_val")] == [f"trigram_val{s}" for s in suffixes]
    assert (tmp_path / "trigram-smoke.json").exists()
