"""tools/papers.py: the rule at each of its borders, what a page must have, and that every claim of ours was measured.

tools/shared/claims.py: what an interrupted run had finished is kept, and only for the same code.
"""

import ast
import json
from math import inf

import pytest

CLAIM = {
    "name": "bn-lr", "page": "some2015_page", "week": "week05", "text": "more (section 3)", "predicted": [2.0, 10.0],
    "neutral": 1, "quantity": "a ratio",
}  # fmt: skip
PAGE = """# A page
**Title:** T **Authors:** A **Year:** 2015 **Link:** L **Week:** 5
## In one paragraph
## Claims
| <!--p:bn-lr-->x<!--/p--> | <!--m:bn-lr--><!--/m--> | <!--v:bn-lr-->holds<!--/v--> |
## What differs in scale
## What would show it wrong
## What surprised
## Where it lives in our code
`weeks/week05/claims.py :: bn_lr`
"""


@pytest.fixture
def papers(load_tool):
    return load_tool("papers")


@pytest.fixture
def claims(load_tool):
    return load_tool("shared.claims")


def toml(**changes):
    rows = (CLAIM | changes).items()
    return "[[claim]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows)


@pytest.fixture
def tree(tmp_path):
    """A repository with one page, one claim, and its result: 3.0 with a spread of 0.5 over three seeds."""
    results = tmp_path / "weeks/week05/results"
    results.mkdir(parents=True)
    (tmp_path / "papers").mkdir()
    metrics = {"bn_lr": 3.0, "bn_lr_sd": 0.5, "bn_lr_seeds": 3}
    (results / "claims.json").write_text(json.dumps({"metrics": metrics}))
    (tmp_path / "weeks/week05/claims.py").write_text("def bn_lr(seed, run):\n    return 3\n")
    (tmp_path / "papers/claims.toml").write_text(toml())
    (tmp_path / "papers/some2015_page.md").write_text(PAGE)
    (tmp_path / "papers/README.md").write_text("# papers\n<!--verdicts-->\n<!--/verdicts-->\n")
    return tmp_path


@pytest.mark.parametrize(
    ("mean", "sd", "said"),
    [
        (2.0, 0.0, "holds at our scale"),  # the band's own ends belong to it
        (10.0, 0.0, "holds at our scale"),
        (3.0, 1.0, "holds at our scale"),
        (3.0, 1.01, "partly"),  # one sd reaches below
        (9.5, 0.6, "partly"),  # one sd reaches above
        (1.99, 0.0, "partly"),  # the direction, not the size
        (10.01, 0.0, "partly"),
        (1.0, 0.0, "not reproduced"),  # no effect
        (0.9, 5.0, "not reproduced"),  # the other direction
    ],
)
def test_the_rule(papers, mean, sd, said):
    """The verdict is decided by numbers alone, so each border has to be where the page says that it is."""
    assert papers.verdict(CLAIM, papers.Measured(mean, sd, 3)) == said


def test_the_rule_below_the_neutral_value(papers):
    """A claim may also say that something becomes smaller."""
    claim = CLAIM | {"predicted": [-inf, 0.5]}
    assert papers.verdict(claim, papers.Measured(0.4, 0.2, 3)) == "partly"
    assert papers.verdict(claim, papers.Measured(-9.0, 0.2, 3)) == "holds at our scale"
    assert papers.verdict(claim, papers.Measured(0.6, 0.0, 3)) == "partly"
    assert papers.verdict(claim, papers.Measured(1.2, 0.0, 3)) == "not reproduced"


def test_the_rule_of_no_effect(papers):
    """Where the band is around the neutral value, there is no direction: outside of it nothing is right in part."""
    claim = CLAIM | {"predicted": [0.9, 1.1]}
    assert papers.verdict(claim, papers.Measured(1.0, 0.05, 3)) == "holds at our scale"
    assert papers.verdict(claim, papers.Measured(1.0, 0.2, 3)) == "partly"
    assert papers.verdict(claim, papers.Measured(1.2, 0.0, 3)) == "not reproduced"


def test_no_verdict_without_three_seeds_or_compute(papers):
    """Two seeds are no measurement; a contested explanation is never said to hold; what cannot be run is said so."""
    assert papers.verdict(CLAIM, None) == papers.verdict(CLAIM, papers.Measured(3.0, 0.0, 2)) == "not measured"
    contested = CLAIM | {"disputed_by": "Somebody 2018"}
    assert papers.verdict(contested, papers.Measured(3.0, 0.0, 3)) == "disputed"
    assert papers.verdict(CLAIM | {"out_of_reach": "eight GPUs"}, None) == "out of reach here"


def test_sync_fills_the_page_and_the_table(papers, tree):
    """Bands, numbers and verdicts are typed nowhere."""
    assert any("does not show what the results say" in said for said in papers.problems(tree))
    papers.main(["sync", "--root", str(tree)])
    page, table = ((tree / f"papers/{name}.md").read_text() for name in ("some2015_page", "README"))
    assert "<!--p:bn-lr-->2 to 10<!--/p--> | <!--m:bn-lr-->3 ± 0.5<!--/m-->" in page
    assert "<!--v:bn-lr-->holds at our scale<!--/v-->" in page
    assert "| 2 to 10 | 3 ± 0.5 | 3 | holds at our scale |" in table
    assert "Pages: 1. Claims: 1. Holds at our scale: 1." in table
    assert papers.problems(tree) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("papers/some2015_page.md", "## What surprised\n", "", "has no '## What surprised'"),
        ("papers/some2015_page.md", "**Year:**", "", "has no '**Year:**'"),
        ("papers/some2015_page.md", "v:bn-lr", "v:other", "shows 'other', which"),
        ("papers/some2015_page.md", "<!--m:bn-lr-->3 ± 0.5<!--/m-->", "", "lacks a marker"),
        ("papers/some2015_page.md", "holds at our scale", "partly", "does not show what the results say"),
        ("papers/some2015_page.md", ":: bn_lr", ":: other", "claims.py has no other"),
        ("papers/README.md", "<!--verdicts-->", "", "has no <!--verdicts--> table"),
        ("papers/claims.toml", '"some2015_page"', '"other"', "other.md, which does not exist"),
        ("papers/claims.toml", '"some2015_page"', '"other"', "has no claim in papers/claims.toml"),
        ("papers/claims.toml", '"bn-lr"', '"bn-loss"', "'bn-loss' has no result; run: python weeks/week05/claims.py"),
        ("papers/claims.toml", 'week = "week05"', 'week = "week05"\nawaiting = true', "take its line `awaiting` out"),
        ("weeks/week05/results/claims.json", '_seeds": 3', '_seeds": 2', "measured with 2 seeds"),
    ],
)
def test_check_notices(papers, tree, file, old, new, said):
    """One breach of each kind, on pages that are otherwise in order."""
    papers.main(["sync", "--root", str(tree)])
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    assert any(said in sentence for sentence in papers.problems(tree)), papers.problems(tree)


def test_a_prediction_waits_for_its_run(papers, tree):
    """A prediction is committed before the run, when there is neither a result nor a page."""
    (tree / "papers/some2015_page.md").unlink()
    (tree / "weeks/week05/results/claims.json").unlink()
    (tree / "papers/claims.toml").write_text(toml(awaiting=True))
    papers.main(["sync", "--root", str(tree)])
    assert "| 2 to 10 | not measured |  | not measured |" in (tree / "papers/README.md").read_text()


@pytest.mark.parametrize(
    "change", [{"predicted": [3, 2]}, {"predicted": [3]}, {"week": 5}, {"prediction": 3}, {"neutral": "one"}]
)
def test_a_useless_entry_is_a_mistake(papers, load_tool, tree, change):
    """A misspelt field would be a prediction that nobody judges."""
    (tree / "papers/claims.toml").write_text(toml(**change))
    with pytest.raises(load_tool("shared.errors").Mistake, match="claim 'bn-lr'"):
        papers.read_claims(tree)


def experiments(script):
    """The names in a script's table CLAIMS, read without running it."""
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CLAIMS":
            return [key.value for key in node.value.keys]
    return []


def test_our_pages(papers, repo_root):
    """Every page has all its parts, every claim a result and a verdict, and every experiment a claim."""
    assert papers.problems(repo_root) == []
    listed = {}
    for claim in papers.read_claims(repo_root):
        if not claim.get("out_of_reach"):
            listed.setdefault(claim["week"], []).append(claim["name"])
    for script in sorted(repo_root.glob("weeks/*/claims.py")):
        week = script.parent.name
        assert experiments(script) and sorted(experiments(script)) == sorted(listed.get(week, [])), week


# --- the runner -------------------------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "weeks/week05/claims.py"
    path.parent.mkdir(parents=True)
    path.write_text("# an experiment\n")
    return path


def result_of(script):
    path = script.parents[2] / "runs/week05/results/claims.json"
    return json.loads(path.read_text())["metrics"]


def test_a_run_writes_means_and_spreads(claims, script, capsys):
    """A number a seed becomes a mean, a spread, a count; parts become means; other claims in the file stay."""
    table = {"a-b": lambda seed, run: {"value": seed, "part": 2 * seed}, "c": lambda seed, run: 7}
    claims.main(script, table, "About.", ["c"])
    claims.main(script, table, "About.", ["a-b"])
    assert result_of(script) == {
        "a_b": 1.0, "a_b_sd": 1.0, "a_b_seeds": 3, "a_b_values": [0.0, 1.0, 2.0], "a_b_part": 2.0,
        "c": 7.0, "c_sd": 0.0, "c_seeds": 3, "c_values": [7.0, 7.0, 7.0],
    }  # fmt: skip
    assert "a-b: 1 +- 1 over 3 seeds" in capsys.readouterr().out


def test_interrupted_goes_on(claims, script):
    """Ctrl-C loses the seed at work and no other; changed code starts again."""
    asked, stop_at = [], [2]

    def slow(seed, run):
        asked.append(seed)
        if seed == stop_at[0]:
            raise KeyboardInterrupt
        return seed

    with pytest.raises(KeyboardInterrupt, match="2 results are kept"):
        claims.main(script, {"slow": slow}, "About.", [])
    with pytest.raises(KeyboardInterrupt):
        claims.main(script, {"slow": slow}, "About.", [])
    assert asked == [0, 1, 2, 2]
    script.write_text("# another experiment\n")
    stop_at[0] = None
    claims.main(script, {"slow": slow}, "About.", [])
    assert asked == [0, 1, 2, 2, 0, 1, 2] and result_of(script)["slow_values"] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("argv", "answer", "said"),
    [
        (["b"], 1, "no claim 'b' in this week; name some of a"),
        (["--seeds", "0"], 1, "give 1 or more"),
        ([], inf, "no finite number"),
        ([], {"part": 1}, "no finite number"),
    ],
)
def test_what_cannot_be_measured_is_a_mistake(claims, load_tool, script, argv, answer, said):
    """Expected failures are sentences that say what to do."""
    with pytest.raises(load_tool("shared.errors").Mistake, match=said):
        claims.main(script, {"a": lambda seed, run: answer}, "About.", argv)


def test_a_trial_writes_nothing(claims, script):
    """--quick shows that the code runs, and its numbers must never be taken for results."""
    claims.main(script, {"a": lambda seed, run: run.steps(1000)}, "About.", ["--quick"])
    assert not (script.parents[2] / "runs").exists()
