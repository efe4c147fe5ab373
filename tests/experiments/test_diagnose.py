"""The diagnose command: what it leaves, what its numbers mean, what it refuses."""

from dataclasses import replace
from math import isfinite

import numpy as np
import pytest
import torch

from pyro_sib.experiments.compare import CompareSettings
from pyro_sib.experiments.diagnose import DiagnoseSettings
from pyro_sib.experiments.job import run as run_module
from pyro_sib.experiments.job.config import claim_folder
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.posterior import diagnose as diagnose_module
from pyro_sib.experiments.posterior.arviz_versions import open_posterior
from pyro_sib.experiments.posterior.checks import (
    QueryScores,
    chain_table,
    class_directions,
    predictive_checks,
    query_scores,
)
from pyro_sib.experiments.posterior.diagnose import diagnose
from pyro_sib.experiments.posterior.figures import khat_figure, loo_figure
from pyro_sib.experiments.posterior.khat import SPACES, KHat, components_of, summary
from pyro_sib.experiments.posterior.netcdf import GroupedFile, Variable
from pyro_sib.experiments.posterior.report import warnings_of
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.files import read_json
from pyro_sib.models import PRIORS, make_prior
from pyro_sib.scores.metrics import score
from tests.experiments.test_run import small

__all__ = ["small"]

FIGURES = {
    "weights_forest.png",
    "weights_density.png",
    "weights_pair.png",
    "class_directions.png",
    "predictive_checks.png",
    "k_hat.png",
    "loo.png",
    "steps.png",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Diagnosed runs by setting: settings, result."""
    found = {}
    for setting, prior in (("standard", "low-rank"), ("lwof", "mixture")):
        one = replace(
            small.__wrapped__(tmp_path_factory.mktemp(setting)),
            setting=setting,
            prior=prior,
            kl_weight=10.0,
            initial_scale=0.3,
            compare=False,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module, "draw_pictures", lambda *args: None)
            run(one)
        settings = DiagnoseSettings(one.out, tasks=3, draws=100, cache_dir=one.cache_dir)
        with pytest.MonkeyPatch.context() as patch:
            if setting == "lwof":  # drawn, but not rendered, which takes the most time
                patch.setattr(diagnose_module, "save_figure", lambda figure, path: path.touch())
            found[setting] = (settings, diagnose(settings))
    return found


@pytest.fixture(params=["standard", "lwof"])
def one(made, request):
    return made[request.param]


def test_it_leaves_what_it_promises(one):
    settings, result = one
    out = settings.run / "diagnostics"
    joint = {"base_and_novel.png"} if result["base_and_novel"] else set()
    assert {p.name for p in out.glob("*.png")} == FIGURES | joint
    assert read_json(out / "diagnostics.json")["k_hat"] == result["k_hat"]
    text = (out / "diagnostics.md").read_text()
    assert all(f"]({name})" in text for name in FIGURES | joint)
    rows = result["k_hat"]["rows"]
    targets = {"support", "support, tempered", "queries", "queries, tempered"}
    assert {(r["target"], r["space"]) for r in rows} == {(t, s) for t in targets for s in SPACES}
    assert len(result["k_hat"]["tasks"]) == 3 * len(rows)
    assert all(isfinite(v) for r in rows for v in r.values() if not isinstance(v, str))
    assert text.count("(oracle)") == 2 * len(SPACES)


def test_the_file_is_kept_while_it_is_of_the_same_posterior(made, monkeypatch):
    monkeypatch.setattr(diagnose_module, "save_figure", lambda figure, path: None)
    settings, result = made["standard"]
    path = settings.run / "diagnostics" / "posterior.nc"
    written = path.stat().st_mtime_ns
    again = diagnose(settings)
    assert path.stat().st_mtime_ns == written
    assert again["k_hat"] == result["k_hat"]


def test_its_numbers_fit_the_run_and_each_other(one):
    settings, result = one
    loo, checks, steps = result["loo"], result["predictive_checks"], result["steps"]
    with open_posterior(settings.run / "diagnostics" / "posterior.nc") as posterior:
        scores, spread = query_scores(posterior), predictive_checks(posterior, 3)
        directions = class_directions(posterior, 3)
        likelihood = posterior.values("log_likelihood", "y")[0]
    expected = np.log(np.exp(likelihood.astype(np.float64)).mean(0))
    np.testing.assert_allclose(scores.predictive, expected, atol=1e-5)
    assert loo["predictive"] == pytest.approx(expected.mean(), abs=1e-5)
    assert loo["left_out"] <= loo["predictive"]
    assert loo["elpd"] == pytest.approx(scores.left_out.sum(), rel=1e-6)
    unweighted = result["k_hat"]["rows"][0]["nll"]
    assert unweighted == pytest.approx(-expected.mean(), abs=1e-3)
    np.testing.assert_allclose(spread.observed, -likelihood.mean(-1).T, atol=1e-4)
    assert (spread.counts.sum(-1) <= likelihood.shape[-1]).all()
    assert spread.observed_counts.sum() == 3 * 12
    assert checks["p_values"] == spread.p_value.tolist()
    assert np.nanmax(np.abs(directions.with_truth)) <= 1 + 1e-6
    assert [row["k"] for row in steps] == list(range(len(steps)))
    assert len(steps) == 4
    assert steps[0]["moved"] == 0
    assert steps[-1]["cosine_to_last"] == pytest.approx(1, abs=1e-5)


def test_warnings_name_what_is_wrong(one):
    result = {**one[1], "oracle": True, "guide": "exact-gradient"}
    base = {"target": "support", "space": "w", "above_threshold_percent": 0.0, "k_median": 0.3}
    clean = {
        **result,
        "oracle": False,
        "k_hat": {"threshold": 0.7, "rows": [base]},
        "loo": {**result["loo"], "above_threshold_percent": 0.0},
        "predictive_checks": {**result["predictive_checks"], "p_below_5_percent": 5.0},
        "chains": {"w_largest_rhat": 1.001},
    }
    assert warnings_of(clean) == []
    assert "is an oracle" in warnings_of({**clean, "oracle": True})[0]
    bad = {"threshold": 0.7, "rows": [{**base, "above_threshold_percent": 40.0, "k_median": 0.9}]}
    assert "k-hat above 0.7 in 40% of tasks (median 0.9)" in warnings_of({**clean, "k_hat": bad})[0]
    assert "R-hat is up to 1.200" in warnings_of({**clean, "chains": {"w_largest_rhat": 1.2}})[0]


@pytest.mark.parametrize("name", [*PRIORS])
def test_priors_made_of_gaussians_are_taken_as_such(name):
    base = torch.randn(6, 5)
    ids = torch.arange(6)[None]
    with torch.no_grad():
        p = make_prior(name, 5, base).distribution(ids)
        found = components_of(p)
        if name == "flow":
            assert found is None
            return
        w = torch.randn(7, 5)
        full = [v.diag() + (0 if found.factor is None else found.factor @ found.factor.T) for v in found.variances]
        each = [
            torch.distributions.MultivariateNormal(loc, cov).log_prob(w.double())
            for loc, cov in zip(found.locs, full, strict=True)
        ]
        mine = torch.logsumexp(torch.stack(each), 0) - np.log(len(each))
        torch.testing.assert_close(mine, p.log_prob(w).reshape(-1).double(), rtol=1e-3, atol=1e-3)


def test_a_summary_survives_a_k_hat_without_a_tail():
    found = [KHat(t, "support", "w", k, 1.0, 50.0, 1.0) for t, k in enumerate((0.5, 0.6, float("inf")))]
    row = summary(found, [{"accuracy": 40.0, "nll": 2.0}] * 3)[0]
    assert row["k_median"] == 0.6
    assert isfinite(row["k_90%"])
    assert row["above_threshold_percent"] == pytest.approx(100 / 3)
    assert (row["accuracy"], row["accuracy_weighted"]) == (40.0, 50.0)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_chains_that_do_not_agree_are_told(tmp_path, shift):
    path, sizes = tmp_path / "chains.nc", {"chain": 4, "draw": 300, "task": 2, "class": 2, "feature": 3}
    draws = np.random.default_rng(0).normal(1.0, 1.0, size=tuple(sizes.values()))
    draws[0] += shift
    with GroupedFile(path, sizes, {"sampler": "none"}) as file:
        file.add("posterior", {"w": Variable(tuple(sizes), "float32", "draws")})
        file.write("posterior", "w", draws)
    with open_posterior(path) as posterior:
        found = chain_table(posterior)
    assert set(found) == {f"{n}_{m}" for n in ("w", "direction") for m in ("least_ess", "largest_rhat")}
    assert (found["w_largest_rhat"] > 1.1) == (shift > 0)
    assert (found["w_least_ess"] < 100) == (shift > 0)


def _refused(settings, capsys) -> str:
    assert run_command(diagnose, settings) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_bad_input_is_one_line(made, small, tmp_path, capsys):
    good = made["standard"][0]
    assert "--draws 99: 100 or more is needed for k-hat" in _refused(replace(good, draws=99), capsys)
    assert "--tasks 0: 1 or more" in _refused(replace(good, tasks=0), capsys)
    assert "--task 3: it must be one of --tasks 3" in _refused(replace(good, task=3), capsys)
    assert "does not exist" in _refused(replace(good, chains=tmp_path / "none.nc"), capsys)
    assert "holds no run" in _refused(replace(good, run=tmp_path / "nowhere"), capsys)
    claim_folder(tmp_path / "timp", CompareSettings().cells()[0])
    assert "is no run's configuration" in _refused(replace(good, run=tmp_path / "timp"), capsys)
    for guide in ("prototypical", "matching", "snail"):
        out = tmp_path / guide
        claim_folder(out, replace(small, guide=guide, setting="standard", out=out).resolved())
        assert f"is a run of {guide}, which has no density" in _refused(replace(good, run=out), capsys)
    claim_folder(tmp_path / "unfinished", small.resolved())
    words = _refused(replace(good, run=tmp_path / "unfinished", cache_dir=small.cache_dir), capsys)
    assert "learner.safetensors is missing; finish the run" in words


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.4])
def test_the_figures_draw_k_hats_that_are_all_one(value):
    scores = QueryScores(np.zeros((2, 3)), np.full((2, 3), -np.inf), np.full((2, 3), value), -np.inf, np.nan, 0.0)
    khats = [KHat(t, "support", "w", value, 100.0, 100.0, 0.0) for t in range(2)]
    for figure in (loo_figure(scores, "constant"), khat_figure(khats, "constant")):
        figure.canvas.draw()


def test_the_base_classes_weights_and_the_joint_scores_are_those_of_the_run(made):
    settings, result = made["lwof"]
    assert made["standard"][1]["base_and_novel"] is None
    part = result["base_and_novel"]
    with open_posterior(settings.run / "diagnostics" / "posterior.nc") as posterior:
        scale = posterior.values("constant_data", "base_scale")
        p = torch.from_numpy(posterior.values("constant_data", "mean_probability").copy())
        y = torch.from_numpy(posterior.values("observed_data", "y").copy()).long()
    np.testing.assert_allclose(part["base_weights"]["scale"], scale.mean(-1), atol=1e-6)
    assert (scale > 0).all()
    assert all(0 < cosine < 1 for cosine in part["base_weights"]["draw_with_mean"])
    expected = score(p, y, len(scale)).joint
    assert expected is not None
    assert part["joint"]["errors"] == {n: pytest.approx(v, abs=1e-3) for n, v in expected.errors().items()}
    text = (settings.run / "diagnostics" / "diagnostics.md").read_text()
    assert "novel taken for base" in text
    assert "q(w_base) of a class" in text
