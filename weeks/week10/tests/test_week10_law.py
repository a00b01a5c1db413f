"""Days 67 and 68: the runs of a sweep, the law through them, and what it says of a run that it has not seen."""

import json
import math

import pytest
import torch
from scaling import law as laws
from scaling import sweep as sweeps
from scaling.corpus import Corpus
from scaling.law import STARTS, Law, bootstrap, fit, interval, parabola, residuals
from scaling.race import Run
from scaling.sweep import BATCH, BLOCK, SHAPES, Trial, cost, done, read_rows, sweep, trials
from scaling.vendor.bpe.fast import Tokenizer
from scaling.vendor.gpt.model import GPT
from scaling.vendor.shared.errors import Mistake

TRUE = Law(E=1.7, A=400.0, alpha=0.34, B=410.0, beta=0.28)  # of the size that Hoffmann et al. 2022 found
GRID = [(n, d) for n in (4e4, 1e5, 3e5, 1e6) for d in (3e5, 1e6, 3e6, 1e7)]


def rows_of(noise=0.0):
    generator = torch.Generator().manual_seed(0)
    return [(n, d, TRUE.loss(n, d) * (1 + noise * torch.randn(1, generator=generator).item())) for n, d in GRID]


# --- day 68: the law --------------------------------------------------------------------------------------------------


@pytest.mark.day(68)
def test_the_law_of_the_paper_says_what_the_paper_says():
    """Hoffmann et al. 2022, equation 10 and section 3.3: Chinchilla, 70 billion on 1.4 trillion tokens.

    By hand with logarithms: 1.69 + 0.0836 + 0.1632, each to a digit of its last place.
    """
    law = Law(E=1.69, A=406.4, alpha=0.34, B=410.7, beta=0.28)
    assert law.loss(70e9, 1.4e12) == pytest.approx(1.9367, abs=2e-4)
    assert law.loss(math.inf, 1.4e12) == pytest.approx(1.69 + 0.1632, abs=1e-4)


@pytest.mark.day(68)
def test_residuals_are_signed_shares():
    """A law that says 10 % too much has residuals of +0.1, in the order of the rows."""
    rows = [(1e5, 1e6, TRUE.loss(1e5, 1e6) / 1.1), (1e6, 1e7, TRUE.loss(1e6, 1e7) / 0.8)]
    assert residuals(TRUE, rows) == pytest.approx([0.1, -0.2], rel=1e-9)


@pytest.mark.day(68)
def test_a_law_is_found_again():
    """Losses made by a law, without noise: the fit predicts a run of 24 times the compute to 1e-4."""
    found = fit(rows_of())
    assert found.alpha == pytest.approx(TRUE.alpha, abs=0.01) and found.beta == pytest.approx(TRUE.beta, abs=0.01)
    assert max(map(abs, residuals(found, rows_of()))) < 1e-4
    assert found.loss(4e6, 6e7) == pytest.approx(TRUE.loss(4e6, 6e7), rel=1e-3)
    good, lost = STARTS[0], (3.0, -20.0, 0.4, -20.0, 0.3)  # from the second the search never leaves a plain of E alone
    assert fit(rows_of(), starts=[good, lost]) == fit(rows_of(), starts=[lost, good]) == fit(rows_of(), starts=[good])


@pytest.mark.day(68)
def test_one_bad_run_does_not_bend_the_law():
    """A run that went wrong, 30 % too high: Huber's loss lets it stand aside, least squares would not."""
    rows = rows_of()
    rows[5] = (*rows[5][:2], rows[5][2] * 1.3)
    others = [r for i, r in enumerate(residuals(fit(rows), rows)) if i != 5]
    assert max(map(abs, others)) < 0.005


@pytest.mark.day(68)
def test_the_best_size_is_the_bottom_of_the_valley():
    """Equation 4 of Hoffmann et al. against trying a thousand sizes of equal product."""
    product = 1e12
    n, d = TRUE.best(product)
    sizes = [10 ** (4 + 4 * i / 1000) for i in range(1001)]
    tried = min(sizes, key=lambda size: TRUE.loss(size, product / size))
    assert n * d == pytest.approx(product, rel=1e-12) and n == pytest.approx(tried, rel=0.01)


@pytest.mark.day(68)
def test_a_parabola_finds_the_bottom_in_log_size():
    """Exact for losses that are a parabola; None where the bottom was not enclosed."""
    sizes = [1e4, 3e4, 1e5, 3e5]
    size, loss = parabola(sizes, [2 + (math.log(n) - math.log(5e4)) ** 2 / 10 for n in sizes])
    assert size == pytest.approx(5e4, rel=1e-6) and loss == pytest.approx(2, rel=1e-9)
    assert parabola(sizes, [4.0, 3.0, 2.2, 1.6]) is None
    assert parabola(sizes, [2.0, 2.5, 2.5, 2.0]) is None


@pytest.mark.day(68)
def test_bootstrap_and_its_interval():
    """Laws of resampled rows scatter around the fit; the same seed gives the same laws."""
    rows = rows_of(noise=0.003)
    found = bootstrap(rows, count=4, seed=1)
    assert found == bootstrap(rows, count=4, seed=1) and len(set(found)) == 4
    low, high = interval([each.loss(2e6, 2e7) for each in found])
    assert low < high and low < TRUE.loss(2e6, 2e7) * 1.02 and high > TRUE.loss(2e6, 2e7) * 0.98
    spread = max(each.alpha for each in found) - min(each.alpha for each in found)
    assert spread > 1e-4  # other rows, not the same in another order: that alone gives 1e-6
    assert bootstrap(rows, count=1, seed=2)[0] not in found
    assert bootstrap([list(row) for row in rows], count=1, seed=1)[0] == found[0]  # as a JSON file gives them


@pytest.mark.day(68)
def test_the_bootstrap_spreads_as_theory_says():
    """Noise of 0.3 %: the spread of both exponents is that of linear theory, sigma^2 (J^T J)^-1, to a factor of 3.

    Huber's loss takes about 1.3 times that, and 20 draws know a spread to a sixth. A search that stops where it began
    gives a twentieth.
    """
    rows = rows_of(noise=0.003)
    n, d, _ = torch.tensor(rows, dtype=torch.float64).T.log()

    def log_loss(x):
        return torch.logsumexp(torch.stack([x[0].expand_as(n), x[1] - x[2] * n, x[3] - x[4] * d]), dim=0)

    at = torch.tensor([math.log(TRUE.E), math.log(TRUE.A), TRUE.alpha, math.log(TRUE.B), TRUE.beta]).double()
    jacobian = torch.autograd.functional.jacobian(log_loss, at)  # (runs, 5)
    theory = 0.003 * torch.linalg.inv(jacobian.T @ jacobian).diag().sqrt()
    found = torch.tensor([[each.alpha, each.beta] for each in bootstrap(rows, count=20)]).std(dim=0)
    assert (found / theory[[2, 4]] > 1 / 3).all() and (found / theory[[2, 4]] < 3).all(), (found, theory)


@pytest.mark.day(68)
def test_an_interval_holds_the_middle():
    """Of 0 ... 10 the middle 80 % are 1 ... 9; between two values it goes along a line, whatever their order."""
    assert interval(list(range(11)), share=0.8) == pytest.approx((1.0, 9.0))
    assert interval([4.0, 0.0, 2.0], share=0.5) == pytest.approx((1.0, 3.0))


@pytest.mark.day(68)
@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (GRID[:4], "4 runs cannot fix the 5 numbers of a law"),
        ([*GRID[:5], (1e5, 0.0)], "is no run: parameters, tokens and loss must be finite and above 0"),
    ],
)
def test_rows_that_no_law_can_have(rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit([(*row, 3.0) for row in rows])


@pytest.mark.day(68)
def test_runs_that_are_all_alike_cannot_be_resampled():
    """Six rows of two runs: drawn again and again, five different ones would never come."""
    with pytest.raises(ValueError, match="2 different runs cannot fix the 5 numbers of a law"):
        bootstrap([(1e4, 1e6, 4.0), (1e5, 1e6, 3.0)] * 3, count=2)


@pytest.mark.day(68)
def test_a_law_of_nan_is_refused():
    with pytest.raises(ValueError, match="is no run"):
        fit([(*row, 3.0) for row in GRID[:5]] + [(1e5, 1e6, math.nan)])
    assert laws.HUBER < 0.01


# --- day 67: the sweep ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus():
    text = "the cat sat on the mat. a dog ate the cat's hat. " * 200
    tokenizer = Tokenizer.train([text], 270)
    ids = torch.tensor(tokenizer.encode_ordinary(text))
    return Corpus(tokenizer, ids[:-500], ids[-500:], 1000)


@pytest.mark.day(67)
def test_trials_span_the_decades_that_they_should():
    """20 runs, 2 decades of compute, sizes over more than 1.5 decades, and none that sees next to nothing."""
    wanted = trials([5e10 * 10 ** (k * 0.4) for k in range(6)], 257, 5, 700_000)
    assert len(wanted) >= 20 and len(set(wanted)) == len(wanted)
    budgets, sizes = [trial.budget for trial in wanted], [trial.params(257) for trial in wanted]
    assert max(budgets) / min(budgets) >= 99 and max(sizes) / min(sizes) > 10**1.5
    assert min(trial.tokens(257) for trial in wanted) >= 700_000
    last = [(trial.layers, trial.width) for trial in wanted if trial.budget == max(budgets)]
    place = SHAPES.index(last[-1])  # the largest that sees enough, and the four below it
    assert last == list(SHAPES[place - 4 : place + 1])
    assert Trial(*SHAPES[place + 1], max(budgets)).tokens(257) < 700_000


@pytest.mark.day(67)
def test_a_budget_is_what_it_pays_for():
    """Steps times the operations of a step is the budget, to half a step; the cost is the model's own count."""
    trial = Trial(2, 32, 3e11)
    config = trial.config(512)
    assert cost(config) == GPT(config).flops_per_token()
    spent = trial.steps(512) * cost(config) * BLOCK * BATCH
    assert abs(spent - trial.budget) <= cost(config) * BLOCK * BATCH / 2
    assert Trial(2, 32, 1.0).steps(512) == 1


@pytest.mark.day(67)
def test_a_sweep_goes_on_where_it_was_stopped(tmp_path, corpus, monkeypatch):
    """Each finished run is a row at once; the second call makes only what is missing."""
    wanted, path, made = [Trial(1, 16, 1e9), Trial(1, 32, 2e9)], tmp_path / "sweep.json", []
    real = sweeps.run

    def stopped(trial, *rest):
        if made:
            raise KeyboardInterrupt
        made.append(trial)
        return real(trial, *rest)

    monkeypatch.setattr(sweeps, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep(wanted[::-1], corpus, path, judged=256)  # cheapest first, whatever the order
    first = read_rows(path)
    assert len(first) == 1 and done(first, wanted[0]) and not done(first, wanted[1])
    monkeypatch.setattr(sweeps, "run", real)
    rows = sweep(wanted[::-1], corpus, path, judged=256)
    assert len(rows) == 2 and rows[0] == first[0] and rows == read_rows(path)
    assert all(0 < row["loss"] < 7 and row["tokens"] % (BLOCK * BATCH) == 0 for row in rows)
    with pytest.raises(Mistake, match="holds runs of text .*; give --out another folder, or move the file away"):
        sweep(wanted, corpus._replace(train=corpus.train[1:]), path, judged=256)


@pytest.mark.day(67)
def test_a_row_says_what_was_spent_and_what_was_judged(corpus, monkeypatch):
    """The run learns from one text and is judged on the other; its row has the cost of the steps that were taken."""
    asked = {}

    def train(config, tokens, val, setting, steps, **options):
        asked.update(config=config, tokens=tokens, val=val, setting=setting, steps=steps, **options)
        return Run(steps, 2.5, 1.23456, [])

    monkeypatch.setattr(sweeps, "train", train)
    trial = Trial(1, 16, 1e9)
    row = sweeps.run(trial, corpus, seed=3, judged=256)
    steps, vocab_size = trial.steps(corpus.tokenizer.vocab_size), corpus.tokenizer.vocab_size
    assert asked["tokens"] is corpus.train and torch.equal(asked["val"], corpus.val[:256])
    assert asked["steps"] == steps and asked["seed"] == 3 and asked["batch_size"] == BATCH
    assert row["tokens"] == steps * BLOCK * BATCH and row["flops"] == cost(trial.config(vocab_size)) * row["tokens"]
    assert row["budget"] == 1e9 != row["flops"]
    assert row["params"] == GPT(trial.config(vocab_size)).n_params() and row["loss"] == 2.5
    assert asked["setting"].lr == row["lr"] and asked["setting"].rest == pytest.approx(sweeps.REST * row["lr"])
    assert sweeps.run(trial, corpus, lr=0.5)["lr"] == 0.5


@pytest.mark.day(67)
@pytest.mark.parametrize("damage", [{"loss": "low"}, {"loss": -1.0}, {"flops": None}, {"tokens": 0}])
def test_a_broken_row_is_named(tmp_path, damage):
    row = {
        "layers": 1,
        "width": 16,
        "budget": 9.0,
        "params": 9,
        "tokens": 9,
        "flops": 9.0,
        "loss": 9.0,
        "lr": 0.1,
        "seconds": 1.0,
    }
    (tmp_path / "s.json").write_text(json.dumps({"runs": [row, row | damage]}))
    with pytest.raises(Mistake, match=f"run 2: {next(iter(damage))} missing or not a number above 0; delete this row"):
        read_rows(tmp_path / "s.json")


@pytest.mark.day(67)
def test_a_file_that_is_no_sweep(tmp_path):
    (tmp_path / "s.json").write_text("[1, 2")
    with pytest.raises(Mistake, match="is no file of a sweep .*; move it away to start anew"):
        read_rows(tmp_path / "s.json")
    assert read_rows(tmp_path / "none.json") == []


@pytest.mark.day(67)
def test_the_runs_of_another_seed_are_not_taken(tmp_path, corpus):
    """Their rows look alike, and the law of seed 1 would be that of seed 0 under another name."""
    wanted, path = [Trial(1, 16, 1e9)], tmp_path / "sweep.json"
    rows = sweep(wanted, corpus, path, judged=256)
    with pytest.raises(Mistake, match=r"sweep.json holds runs of seed 0, and this sweep is of seed 1; give --out"):
        sweep(wanted, corpus, path, seed=1, judged=256)
    assert read_rows(path) == rows


@pytest.mark.day(67)
def test_two_workers_make_the_rows_of_one(tmp_path, corpus):
    """Each run depends on its seed alone, not on the process that makes it; one thread each, so no sum is reordered."""
    wanted, threads = [Trial(1, 16, 1e9), Trial(1, 32, 1e9)], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = sweep(wanted, corpus, tmp_path / "alone.json", judged=256)
    finally:
        torch.set_num_threads(threads)
    both = sweep(wanted, corpus, tmp_path / "both.json", judged=256, workers=2)
    kept = [{key: row[key] for key in row if key != "seconds"} for row in sorted(both, key=lambda row: row["width"])]
    assert kept == [{key: row[key] for key in row if key != "seconds"} for row in alone]
    assert read_rows(tmp_path / "both.json") == both
