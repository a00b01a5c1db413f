"""Text, batches, schedule, decay groups, the score - and the script from end to end, also on bad input."""

import copy
import json
import math

import pytest
import torch
from gpt import text
from gpt.loop import Recipe, bigram_loss, evaluate, learning_rate, random_batch, train
from gpt.model import GPT, GPTConfig

TINY = GPTConfig(20, 8, 1, 2, 8)


@pytest.fixture
def folder(tmp_path):
    """Two documents to train on, two separators between, one to judge, with é, which training never shows."""
    body = "The quick brown fox jumps over the lazy dog.\nHow vexingly quick daft zebras jump!\n" * 12
    (tmp_path / "train.txt").write_text(f"{body}<|endoftext|>\n<|endoftext|>\n{body[::-1].strip()}\n", encoding="utf-8")
    (tmp_path / "val.txt").write_text("The dog jumps over the café.\n" * 12, encoding="utf-8")
    return tmp_path


@pytest.mark.day(55)
def test_text_survives_encoding_and_the_unseen_is_counted(folder):
    """No KeyError on a new character (a common complaint about character models), no silent loss either."""
    characters, train_corpus, val_corpus = text.load(folder)
    raw = (folder / "train.txt").read_text(encoding="utf-8")
    end = "<|endoftext|>\n"  # twice in a row in the file: between them lies no document
    assert characters.decode(train_corpus.tokens).replace(f"\n{end}", "") == raw.replace(end, "")
    assert (train_corpus.tokens == characters.end).sum() == 2
    assert train_corpus.tokens.max() < len(characters)
    assert val_corpus.unseen.sum() == 12
    assert characters.decode(characters.encode("café")) == "caf\ufffd"
    assert train_corpus.lengths.sum() == len(raw.encode()) - 2 * len(end) + 2  # an end counts as one byte


@pytest.mark.day(55)
def test_bits_per_byte_of_a_uniform_guess(folder):
    """ln V nats a token is log2 V bits; é adds its 2 bytes at 8 bits. By hand on a prefix; rounding only: 1e-12."""
    characters, _, val = text.load(folder)
    n, V = 100, len(characters)
    data = "The dog jumps over the café.\n" * 12
    accents, length = data[1 : n + 1].count("é"), len(data[1 : n + 1].encode())
    expected = (n * math.log2(V) + 16 * accents) / length
    assert accents == 3 and val.bits_per_byte(math.log(V), n) == pytest.approx(expected, rel=1e-12)


@pytest.mark.day(55)
def test_one_file_is_cut_90_to_10(tmp_path):
    """As nanoGPT cuts tinyshakespeare: by characters, in order. The vocabulary comes from the first part alone."""
    (tmp_path / "a.txt").write_text("ab" * 450 + "cd" * 50)
    characters, train_corpus, val_corpus = text.load(tmp_path / "a.txt")
    assert characters.alphabet == "ab"
    assert len(train_corpus.tokens) == 901 and len(val_corpus.tokens) == 101  # each with its end


@pytest.mark.day(55)
def test_batches_are_windows_and_the_next_token():
    """On the text 0, 1, 2 ... a target is its input plus one; every start must occur, the first and last among them."""
    inputs, targets = random_batch(torch.arange(12), 400, 8, torch.Generator().manual_seed(0))
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(8))
    assert set(inputs[:, 0].tolist()) == {0, 1, 2, 3}


@pytest.mark.day(55)
def test_schedule_rises_then_falls_to_min_lr():
    """Its landmarks: never 0, lr right after the warm-up, halfway in mid-cosine, min_lr at the last step."""
    recipe = Recipe(steps=1101, batch_size=1, lr=1.0, min_lr=0.1, warmup=100)
    assert learning_rate(0, recipe) == pytest.approx(1 / 101)
    assert learning_rate(100, recipe) == pytest.approx(1.0)
    assert learning_rate(600, recipe) == pytest.approx(0.55)
    assert learning_rate(1100, recipe) == pytest.approx(0.1)


@pytest.mark.day(55)
@pytest.mark.parametrize(
    "steps, warmup, lr, min_lr",
    [
        (1_500, 100, 3e-3, 3e-5),
        (2_000, 100, 1e-3, 1e-4),
        (400, 40, 3e-3, 3e-4),
        (30, 5, 1e-3, 1e-4),
        (4, 100, 1, 0),
        (1, 0, 1, 0),
    ],
)
def test_the_rates_of_the_committed_runs(steps, warmup, lr, min_lr):
    """The loop's rate is the formula that weeks 7, 8 and 12 were trained with. Only rounding differs: 1e-14 of it."""
    recipe = Recipe(steps=steps, batch_size=1, lr=lr, min_lr=min_lr, warmup=warmup)
    for step in range(steps):
        done = (step - warmup) / max(1, steps - 1 - warmup)
        fall = min_lr + 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))) * (lr - min_lr)
        expected = lr * (step + 1) / (warmup + 1) if step < warmup else fall
        assert learning_rate(step, recipe) == pytest.approx(expected, rel=1e-14, abs=1e-15 * lr)


@pytest.mark.day(55)
@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"schedule": "cosin"}, "no schedule 'cosin'; choose from cosine, linear, constant"),
        ({"lr": 5e-5}, "lr = 5e-05 cannot fall to min_lr = 0.0001; give 0 < lr and 0 <= min_lr"),
        ({"lr": 0.0, "min_lr": 0.0}, "lr = 0 cannot fall"),
        ({"lr": math.nan}, "lr = nan cannot fall"),
    ],
)
def test_a_recipe_refuses_nonsense(wrong, sentence):
    """At once, and not in the middle of a training."""
    with pytest.raises(ValueError, match=sentence):
        Recipe(steps=2, batch_size=1, **wrong)


@pytest.mark.day(55)
def test_the_schedule_of_a_recipe_is_the_one_used():
    """Another row of the table, another rate: a quarter of the way down a line is less far down the cosine."""
    expected = {"cosine": 0.5 + 0.5 * math.cos(math.pi / 4), "linear": 0.75, "constant": 1.0}
    for name, share in expected.items():
        recipe = Recipe(steps=101, batch_size=1, lr=2.0, min_lr=0.0, warmup=0, schedule=name)
        assert learning_rate(25, recipe) == pytest.approx(2 * share)


@pytest.mark.day(55)
def test_evaluate_reads_every_token_once():
    """Against a plain loop over windows; the last one is short and must weigh by its tokens. float32 sums: 1e-6."""
    model = GPT(TINY).train()
    for n in (2, 9, 10, 44):
        tokens = torch.randint(20, (n,))
        total = 0.0
        for start in range(0, n - 1, 8):
            window = tokens[start : start + 9]
            total += model(window[None, :-1], window[None, 1:])[1].item() * (len(window) - 1)
        assert evaluate(model, tokens, rows=2) == pytest.approx(total / (n - 1), abs=1e-6)
    assert model.training


@pytest.mark.day(55)
def test_bigram_baseline_by_hand():
    """Counts of a-a-b plus one: P(a|a) = 2/4, P(b|a) = 2/4 with V = 2; P(a|b) = 1/2. Exact."""
    a, b = 0, 1
    assert bigram_loss(torch.tensor([a, a, b]), torch.tensor([a, b, a]), 2) == pytest.approx(math.log(2), abs=1e-12)
    assert bigram_loss(torch.tensor([a, a, a, b]), torch.tensor([a, a]), 2) == pytest.approx(
        -math.log(3 / 5), abs=1e-12
    )


@pytest.mark.day(55)
def test_training_is_deterministic_and_learns():
    """The same seed gives the same losses, bit for bit, also when the model is judged in between; and they fall."""

    def losses(judge):
        torch.manual_seed(3)
        model, tokens = GPT(TINY), torch.arange(2000) % 20
        out = []
        for _, loss in train(model, tokens, Recipe(steps=120, batch_size=4, lr=1e-2, warmup=5), seed=3):
            out.append(loss)
            if judge:
                evaluate(model, tokens[:50])
        return out

    first = losses(False)
    assert first == losses(True)
    assert first[-1] < 0.5 * first[0]


@pytest.mark.day(55)
def test_steps_equal_adamw_written_out():
    """Schedule, clipping, decay and AdamW together, against the paper's formulas (Loshchilov and Hutter 2019).

    The clip of 0.05 binds at every step. Same gradients, float64 weights: 1e-9.
    """
    recipe = Recipe(steps=4, batch_size=4, lr=1e-2, min_lr=1e-3, warmup=1, clip=0.05)
    torch.manual_seed(0)
    model, tokens = GPT(TINY).double(), torch.randint(20, (300,))
    by_hand = copy.deepcopy(model)
    for _ in train(model, tokens, recipe, seed=5):
        pass
    state = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in by_hand.parameters()}
    generator = torch.Generator().manual_seed(5)
    for step in range(recipe.steps):
        loss = by_hand(*random_batch(tokens, 4, 8, generator))[1]
        gradients = torch.autograd.grad(loss, list(state))
        norm = math.sqrt(sum((g**2).sum().item() for g in gradients))
        assert norm > recipe.clip
        lr = learning_rate(step, recipe)
        with torch.no_grad():
            for (p, (m, v)), g in zip(state.items(), gradients):
                g = g * recipe.clip / (norm + 1e-6)  # torch adds 1e-6 against a norm of 0
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.99).add_(0.01 * g**2)
                p.mul_(1 - lr * (0.1 if p.dim() == 2 else 0.0))
                p.sub_(lr * (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8))
    for ours, expected in zip(model.parameters(), by_hand.parameters()):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)


@pytest.mark.day(55)
def test_dropout_is_on_for_training_and_off_for_judging():
    """With dropout on, a score is worse than the model and never the same twice; without it, training differs."""
    torch.manual_seed(0)
    model, tokens = GPT(GPTConfig(20, 8, 1, 2, 8, dropout=0.5)), torch.randint(20, (300,))
    assert evaluate(model.train(), tokens) == evaluate(model, tokens)
    steps = train(model.eval(), tokens, Recipe(steps=2, batch_size=2), seed=0)
    next(steps)
    assert model.training
    model.eval()  # as a caller may, to draw a sample
    next(steps)
    assert model.training


@pytest.mark.day(55)
def test_a_loss_that_is_not_finite_stops_before_the_weights():
    """A NaN must name its step and leave the weights as the last good step made them."""
    model = GPT(TINY)
    with torch.no_grad():
        model.norm.weight[0] = float("inf")
    kept = model.wte.weight.clone()
    with pytest.raises(FloatingPointError, match=r"at step 0, where the learning rate was .*; lower it"):
        next(train(model, torch.arange(50) % 20, Recipe(steps=5, batch_size=2), seed=0))
    assert torch.equal(model.wte.weight, kept)


@pytest.mark.day(56)
def test_smoke_run_writes_its_results(load_script, folder, tmp_path, capsys):
    """The script from end to end: the files that README and figures read, twice alike, better than a uniform guess."""
    script = load_script("week07-08", "train")
    runs = [
        script.main(["shakespeare", *f"--preset smoke --data {folder} --out {tmp_path / d} --threads 1".split()])
        for d in "ab"
    ]
    written = json.loads((tmp_path / "a" / "smoke.json").read_text())
    assert written["metrics"] == runs[0] and written["preset"] == "smoke"
    for name in ("val_loss", "val_bpb", "bigram_loss", "uniform_loss", "train_loss", "params", "unseen_val_tokens"):
        assert runs[0][name] == runs[1][name]
    assert runs[0]["val_loss"] < runs[0]["uniform_loss"]
    assert runs[0]["unseen_val_tokens"] == 12 and runs[0]["tokens_per_second"] > 0
    trace = json.loads((tmp_path / "a" / "traces" / "smoke.json").read_text())
    assert [row[0] for row in trace["curve"]] == [0, 10, 20, 30]
    assert len(trace["attention"]["map"]) == len(trace["attention"]["sentence"])
    out = capsys.readouterr().out
    assert "sample" in out and "smoke.json" in out


@pytest.mark.day(56)
def test_bad_input_is_told_in_a_sentence(load_script, folder, tmp_path, capsys):
    """Missing, empty, binary, too short: status 1, one line that says what to do, and no results file."""
    script = load_script("week07-08", "train")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"\x80\x81\xff" * 100)
    (tmp_path / "short.txt").write_text("to be or not")
    for name, sentence in [
        ("missing", "does not exist; run: make data/shakespeare"),
        ("empty.txt", "is empty; give a file with text in it"),
        ("binary.txt", "is not UTF-8: byte 0 is 0x80; convert it first"),
        ("short.txt", "too few for one window of block_size = 32"),
    ]:
        options = f"--preset smoke --data {tmp_path / name} --out {tmp_path / 'out'} --threads 1".split()
        assert script.entry(script.main, ["shakespeare", *options]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and sentence in error and "Traceback" not in error
    assert script.entry(script.main, ["shakespeare", "--data", str(folder), "--threads", "0"]) == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.txt").write_text("ada\nbo\nabba\ndad\nadda\n", encoding="utf-8")
    return tmp_path / "names.txt"


@pytest.mark.day(56)
def test_engines_side_by_side(load_script, folder, names, tmp_path, capsys):
    """One loss on three engines, a curve each, and both halves of the figure; losses in float32 are within 1e-4."""
    script = load_script("week07-08", "train")
    options = f"--preset smoke --data {folder} --names {names} --out {tmp_path / 'out'} --threads 1".split()
    metrics = script.main(["engines", *options])
    written = json.loads((tmp_path / "out" / "engines-smoke.json").read_text())
    assert written["metrics"] == metrics and written["command"].startswith("python weeks/week07-08/train.py engines")
    for name in ("scalar", "numpy", "torch"):
        assert metrics[f"names_{name}_loss"] == pytest.approx(metrics["names_scalar_loss"], rel=1e-4)
        assert metrics[f"names_{name}_tokens_per_second"] * metrics[f"names_{name}_seconds"] == pytest.approx(
            metrics["names_tokens"], rel=1e-9
        )
        seconds = [row[0] for row in metrics["names_curves"][name]]
        assert len(seconds) == 3 and seconds == sorted(seconds)
    assert metrics["text_numpy_below_bigram"] == metrics["text_bigram_loss"] - metrics["text_numpy_val_loss"]
    assert metrics["text_numpy_val_loss"] == pytest.approx(metrics["text_torch_val_loss"], abs=0.2)  # other batches
    assert set("".join(metrics["names_samples"])) <= set("abdo") and len(metrics["names_samples"]) == 10
    assert "What it showed: three engines, one loss" in capsys.readouterr().out


@pytest.mark.day(56)
def test_engines_refuse_in_a_sentence(load_script, folder, names, tmp_path, capsys):
    script = load_script("week07-08", "train")
    for data, letters, sentence in [
        (folder / "none", names, "none does not exist; run: make data/shakespeare"),
        (folder, tmp_path / "none.txt", "none.txt does not exist; run: make data/names"),
    ]:
        options = f"--preset smoke --data {data} --names {letters} --out {tmp_path / 'out'} --threads 1".split()
        assert script.entry(script.main, ["engines", *options]) == 1
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.day(56)
def test_the_week_runs_both_jobs(load_script, monkeypatch):
    """`make week07` names no job: engines, then Shakespeare. Wrong numbers become a Mistake with the job's name."""
    script = load_script("week07-08", "train")
    monkeypatch.setattr(script, "JOBS", {name: lambda argv, name=name: {name: argv} for name in script.JOBS})
    assert script.main(["--seed", "1"]) == {"engines": ["--seed", "1"], "shakespeare": ["--seed", "1"]}
    assert script.main(["shakespeare"]) == {"shakespeare": []}

    def wrong(argv):
        raise FloatingPointError("the loss became nan")

    monkeypatch.setitem(script.JOBS, "engines", wrong)
    with pytest.raises(script.Mistake, match="engines: the loss became nan"):
        script.main(["engines"])
