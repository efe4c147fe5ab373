"""posterior.nc: every group's names, dims and values, on both lines of ArviZ; the same draws as the predictions."""

import csv
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.job import run as run_module
from pyro_sib.experiments.job.restore import restore
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.posterior import file as posterior_file
from pyro_sib.experiments.posterior import schema as posterior_schema
from pyro_sib.experiments.posterior.arviz_versions import convergence, leave_one_out, open_posterior, psis
from pyro_sib.experiments.posterior.diagnose import subject_of
from pyro_sib.experiments.posterior.file import exported, exported_tasks, write_posterior
from pyro_sib.experiments.posterior.netcdf import GroupedFile
from pyro_sib.experiments.posterior.predictions import probabilities_of, weights_of
from pyro_sib.experiments.posterior.schema import Plan
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.inference.guide import as_distribution
from pyro_sib.inference.posterior_draws import drawn_labels
from pyro_sib.inference.prediction import PosteriorWeights
from tests.experiments.test_run import small

__all__ = ["small"]

ROOT = Path(__file__).parents[2]
TASKS, DRAWS = 4, 5
OTHER = """
import json, sys
import numpy as np
import arviz as az
from pyro_sib.experiments.posterior.arviz_versions import convergence, leave_one_out, open_posterior, psis
with open_posterior(sys.argv[1]) as posterior:
    print(json.dumps(TOLD(posterior) | {"arviz": az.__version__}))
"""
TOLD = '''
def told(posterior):
    """Names, dims, kinds and values of everything, and what ArviZ computes of it."""
    arrays = {}
    for group, data in posterior.groups.items():
        for name, array in data.variables.items():
            values = array.values
            shown = [str(v) for v in values.ravel()] if values.dtype.kind in "OUT" else values.ravel().tolist()
            arrays[group + "/" + name] = [list(array.dims), shown]
    stats = {n: posterior.values("sample_stats", n)[0].T for n in ("log_p", "log_q", "log_support")}
    smoothed, k = psis(stats["log_support"] + stats["log_p"] - stats["log_q"])
    loo = leave_one_out(posterior.groups["log_likelihood"])
    chains = np.random.default_rng(0).normal(size=(4, 50, 3))
    ess, rhat = convergence(chains)
    computed = [smoothed, k, loo.pointwise, loo.k, ess, rhat, np.array([loo.elpd, loo.se, loo.p])]
    attributes = {n: v if isinstance(v, str) else float(v) for n, v in posterior.attributes.items()}
    return {"arrays": arrays, "attributes": attributes, "computed": [c.tolist() for c in computed]}
'''


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs that wrote posterior.nc, brought back, by setting."""
    found = {}
    for setting in ("standard", "lwof"):
        settings = replace(
            small.__wrapped__(tmp_path_factory.mktemp(setting)),
            setting=setting,
            compare=False,
            draws=DRAWS,
            posterior_tasks=TASKS,
            initial_scale=0.1,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module, "draw_pictures", lambda *args: None)
            run(settings)
        found[setting] = (settings, restore(settings.out, Reporter(), settings.cache_dir))
    return found


@pytest.fixture(scope="module", params=["standard", "lwof"])
def one(made, request):
    settings, back = made[request.param]
    with open_posterior(settings.out / "posterior.nc") as posterior:
        yield settings, back, posterior


def test_every_group_has_its_arrays_and_dims(one):
    settings, _, posterior = one
    joint = settings.setting == "lwof"
    each = ("chain", "draw", "task")
    expected = {
        "prior": {"w": ("chain", "draw", "class", "feature")},
        "posterior": {"w": (*each, "class", "feature")},
        "posterior_predictive": {"y": (*each, "query")},
        "log_likelihood": {"y": (*each, "query")},
        "sample_stats": dict.fromkeys(("log_p", "log_q", "log_support"), each),
        "observed_data": {"y": ("task", "query")},
    }
    constants = {"support_y", "support_row", "query_row", "class_name", "support_x", "query_x", "q_loc", "q_scale"}
    constants |= {"mean_probability", "predictor_scale"}
    constants |= {"base_class_name", "base_loc", "base_scale"} if joint else set()
    assert set(posterior.groups) == {*expected, "constant_data"}
    assert set(posterior.groups["constant_data"].data_vars) == constants
    for group, arrays in expected.items():
        assert {n: a.dims for n, a in posterior.groups[group].data_vars.items()} == arrays
    queries = 3 * 4 * (2 if joint else 1)
    assert posterior.values("posterior", "w").shape == (1, DRAWS, TASKS, 3, 12)
    assert posterior.values("observed_data", "y").shape == (TASKS, queries)
    assert posterior.groups["posterior"]["draw"].values.tolist() == list(range(DRAWS))


def test_values_are_those_of_the_guide(one):
    _, back, posterior = one
    guide, source = back.program.guide, back.sources["evaluate"]
    episode = source.episodes(torch.arange(TASKS))
    evidence = guide.sees(episode)
    with torch.no_grad():
        theta = guide.iterates(evidence)[-1]
        weights = PosteriorWeights(guide.prior, evidence, theta)
        p, q = guide.prior.distribution(evidence.base_ids), as_distribution(theta)
        for draw in range(DRAWS):
            w, w_base = weights.draw(draw)
            logits = guide.likelihood.logits(w, evidence.query_x, w_base)
            right = guide.likelihood.distribution(logits).log_prob(episode.query_y)
            stored = {n: posterior.values("sample_stats", n, draw=draw)[0] for n in ("log_p", "log_q")}
            _close(posterior.values("posterior", "w", draw=draw)[0], w)
            _close(posterior.values("log_likelihood", "y", draw=draw)[0], right)
            _close(stored["log_p"], p.log_prob(w).sum(-1))
            _close(stored["log_q"], q.log_prob(w).sum(-1))
            _close(posterior.values("posterior_predictive", "y", draw=draw)[0], _labels(weights, draw, logits))
            for task in range(TASKS if w_base is not None else 0):
                _close(weights_of(posterior, task)[1][draw], w_base.expand(TASKS, -1, -1)[task])
    _close(posterior.values("observed_data", "y"), episode.query_y)
    _close(posterior.values("constant_data", "q_loc"), theta.loc)
    _close(posterior.values("constant_data", "q_scale"), theta.log_scale.exp())


def _labels(weights, draw, logits):
    return drawn_labels(weights.task_ids, draw, logits.softmax(-1))


def _close(found, expected):
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=2e-4, atol=2e-4)


def test_the_support_labels_and_rows_are_those_of_the_tasks(one):
    _, back, posterior = one
    source, joint = back.sources["evaluate"], "base_loc" in posterior.groups["constant_data"]
    index, novel = source.sampler.sample(torch.arange(TASKS)), source.sampler.novel
    rows = posterior.values("constant_data", "support_row")
    np.testing.assert_array_equal(rows, index.support)
    names = posterior.values("constant_data", "class_name")
    for task in range(TASKS):
        for row, label in zip(rows[task], posterior.values("constant_data", "support_y", task=task), strict=True):
            assert novel.class_names[novel.y[row]] == names[task, label]
    query_rows = posterior.values("constant_data", "query_row")
    features = posterior.values("constant_data", "query_x")
    np.testing.assert_allclose(novel.x[query_rows[0, 0]], features[0, 0], rtol=1e-6)
    if joint:
        np.testing.assert_allclose(source.base[query_rows[0, -1]], features[0, -1], rtol=1e-6)


def test_predictions_recomputed_from_stored_draws_are_the_stored_ones(one):
    settings, back, posterior = one
    guide, source = back.program.guide, back.sources["evaluate"]
    predicted = guide.probabilities(guide.sees(source.episodes(torch.arange(TASKS))), DRAWS)[0]
    with (settings.out / "tasks.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["prediction"] == "posterior"]
    for task in range(TASKS):
        mean = probabilities_of(posterior, task).mean(0)
        torch.testing.assert_close(mean, predicted[task], rtol=1e-4, atol=1e-5)
        _close(posterior.values("constant_data", "mean_probability", task=task), mean)
        truth = torch.from_numpy(posterior.values("observed_data", "y", task=task).astype(np.int64))
        nll = -mean.gather(-1, truth[:, None]).log().mean()
        assert float(nll) == pytest.approx(float(rows[task]["nll"]), rel=1e-3)
        hits = 100 * float((mean.argmax(-1) == truth).float().mean())
        assert hits == pytest.approx(float(rows[task]["both"] or rows[task]["novel"]), abs=1e-3)


def test_the_prior_group_holds_draws_of_the_prior(made, tmp_path):
    subject = subject_of(made["standard"][1])
    write_posterior(tmp_path / "p.nc", subject, 1, 400)
    with open_posterior(tmp_path / "p.nc") as posterior:
        w = torch.from_numpy(posterior.values("prior", "w")[0]).flatten(0, 1)
    p = subject.guide.prior.distribution(None)
    # Five standard errors.
    assert ((w.mean(0) - p.mean).abs() < 5 * (p.variance / len(w)).sqrt()).all()
    assert ((w.var(0) / p.variance - 1).abs() < 5 * (2 / len(w)) ** 0.5).all()


def test_attributes_say_where_it_comes_from(one):
    settings, back, posterior = one
    held = posterior.attributes
    assert json.loads(held["config"])["setting"] == settings.setting
    assert held["data_fingerprint"] == back.ground.bank.fingerprint
    assert json.loads(held["versions"])["torch"]
    assert (held["seed"], held["tasks"], held["draws"]) == (0, TASKS, DRAWS)
    assert {"commit", "split", "guide", "kl_weight", "oracle"} <= held.keys()


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_the_same_program_writes_the_same_file_in_any_pieces(made, setting, tmp_path, monkeypatch):
    subject = subject_of(made[setting][1])
    paths = [tmp_path / name for name in ("a.nc", "b.nc", "c.nc")]
    for path in paths[:2]:
        write_posterior(path, subject, TASKS, DRAWS)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    monkeypatch.setattr(posterior_schema, "BLOCK", 400)
    write_posterior(paths[2], subject, TASKS, DRAWS)
    with open_posterior(paths[0]) as whole, open_posterior(paths[2]) as pieces:
        for group, data in whole.groups.items():
            for name, array in data.data_vars.items():
                other = pieces.groups[group][name].values
                if array.dtype.kind == "f":
                    np.testing.assert_allclose(other, array.values, rtol=1e-4, atol=1e-5)
                else:
                    np.testing.assert_array_equal(other, array.values)
        np.testing.assert_array_equal(whole.values("prior", "w"), pieces.values("prior", "w"))


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_no_block_in_memory_grows_with_tasks_or_draws(made, setting, tmp_path, monkeypatch):
    subject, budget = subject_of(made[setting][1]), 1500
    monkeypatch.setattr(posterior_schema, "BLOCK", budget)
    largest: dict[int, int] = {}
    write, drawn = GroupedFile.write, posterior_file.draw_block

    def spy_write(self, group, name, block, **starts):
        largest[draws] = max(largest.get(draws, 0), block.size)
        write(self, group, name, block, **starts)

    def spy_draws(*args):
        block = drawn(*args)
        largest[draws] = max(largest.get(draws, 0), *(part.numel() for part in block))
        return block

    monkeypatch.setattr(GroupedFile, "write", spy_write)
    monkeypatch.setattr(posterior_file, "draw_block", spy_draws)
    for draws in (8, 16):
        write_posterior(tmp_path / f"{draws}.nc", subject, draws, draws)
    assert largest[8] == largest[16]
    assert largest[16] <= budget


def test_blocks_keep_to_the_budget_at_any_size():
    for features, tasks, draws in ((256, 50, 400), (3200, 2000, 10_000), (640, 3, 7), (2**23, 2, 2)):
        sizes = {"class": 5, "feature": features, "query": 150, "label": 69, "base_class": 64}
        plan = Plan.of(sizes | {"task": tasks, "draw": draws})
        assert 1 <= plan.tasks <= tasks
        assert 1 <= plan.draws <= draws
        assert plan.draws % plan.chunk == 0
        one = 64 * features
        assert plan.tasks * plan.draws * one <= max(posterior_schema.BLOCK, one)


def test_labels_are_drawn_with_their_probabilities():
    p = torch.tensor([0.1, 0.0, 0.6, 0.3])
    ids = torch.arange(200)
    labels = torch.stack([drawn_labels(ids, draw, p.expand(200, 20, 4)) for draw in range(5)])
    shares = torch.bincount(labels.flatten(), minlength=4) / labels.numel()
    assert shares[1] == 0
    # Five standard errors of 20000 draws.
    assert ((shares - p).abs() <= 5 * (p * (1 - p) / labels.numel()).sqrt()).all()


def test_a_finished_run_writes_the_file_when_asked_again(small, monkeypatch):
    monkeypatch.setattr(run_module, "draw_pictures", lambda *args: None)
    run(replace(small, compare=False))
    path = small.out / "posterior.nc"
    assert not path.exists()
    assert exported(path) is None
    again = replace(small, compare=False, posterior_tasks=2)
    run(again)
    assert exported_tasks(path) == 2
    written = path.stat().st_mtime_ns
    run(again)
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"posterior_tasks": -1}, "--posterior-tasks -1: 0 or more is needed"),
        ({"posterior_tasks": 2, "draws": 0}, "with --draws 0: 1 or more draws"),
        ({"posterior_tasks": 2, "guide": "prototypical", "setting": "standard"}, "has no density over weights"),
    ],
)
def test_what_cannot_be_exported_is_refused_at_once(small, changes, words):
    with pytest.raises(InputError, match=words):
        run(replace(small, **changes))


def test_what_is_no_posterior_file_is_refused(tmp_path):
    for path in (tmp_path / "none.nc", tmp_path / "text.nc"):
        if path.name == "text.nc":
            path.write_text("no")
        with pytest.raises(InputError, match="is no readable NetCDF file"), open_posterior(path):
            pass


def _other_arviz() -> list[str] | None:
    """How to start a Python 3.12 or later with ArviZ 1, from what is on this machine already."""
    uv = shutil.which("uv")
    if uv is None:
        return None
    found = subprocess.run([uv, "python", "find", "--offline", ">=3.12"], capture_output=True, text=True)
    pythons = [found.stdout.strip()] if found.returncode == 0 else []
    pythons += [str(p) for p in sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"))]
    packages = [part for name in ("arviz>=1", "h5netcdf", "h5py") for part in ("--with", name)]
    for python in pythons:
        command = [uv, "run", "--offline", "--no-project", "--quiet", "--python", python, *packages, "python"]
        if (
            subprocess.run(
                [*command, "-c", "from importlib.metadata import version; version('arviz'), version('h5netcdf')"],
                capture_output=True,
            ).returncode
            == 0
        ):
            return command
    return None


def test_arviz_1_reads_the_same_names_dims_and_values(made, tmp_path):
    command = _other_arviz()
    if command is None:
        pytest.skip("no Python 3.12 with arviz>=1 on this machine; `uv run --python 3.12 --with arviz` fetches one")
    scope = {"np": np, "psis": psis, "leave_one_out": leave_one_out, "convergence": convergence}
    exec(TOLD, scope)
    script = tmp_path / "other.py"
    script.write_text(TOLD + OTHER.replace("TOLD(", "told("))
    path = tmp_path / "long.nc"
    write_posterior(path, subject_of(made["lwof"][1]), 2, 150)
    with open_posterior(path) as posterior:
        ours = json.loads(json.dumps(scope["told"](posterior)))
    done = subprocess.run(
        [*command, str(script), str(path)], capture_output=True, text=True, cwd=ROOT, env=_environment()
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    assert int(theirs["arviz"].split(".")[0]) >= 1
    assert theirs["attributes"] == ours["attributes"]
    assert theirs["arrays"] == ours["arrays"]
    for here, there in zip(ours["computed"], theirs["computed"], strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-8)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
